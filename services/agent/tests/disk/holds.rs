//! Holds of a folder: each is ended by itself, and a root that is put back is noticed.

use std::sync::Arc;

use fsync_agent::files::disk::Disk;
use fsync_agent::folder::{Folder, FolderEffect, FolderInput, HoldKind, Now, Parts};
use fsync_agent::state::{Durability, State, StateError};
use fsync_core::clock::Moment;
use fsync_core::exception::Exception;
use fsync_core::revision::Timestamp;

use crate::fixture::path;

fn at(seconds: u64) -> Now {
    Now {
        moment: Moment(seconds * 1000),
        time: Timestamp(0),
    }
}

/// Opens a folder with a file `here`.
fn open(temp: &tempfile::TempDir) -> (Folder, Vec<FolderEffect>) {
    let root = temp.path().join("root");
    std::fs::create_dir(&root).unwrap();
    std::fs::write(root.join("here"), "1").unwrap();
    let parts = Parts {
        files: Arc::new(Disk::open(&root).unwrap()),
        state: Arc::new(State::open(&temp.path().join("state")).unwrap().state),
        agent: "me".parse().unwrap(),
    };
    Folder::open(parts, at(0)).unwrap()
}

#[test]
fn a_hold_is_ended_without_the_other() {
    let temp = tempfile::tempdir().unwrap();
    let (mut folder, _) = open(&temp);
    let state = Arc::clone(&folder.parts().state);
    state
        .update::<_, StateError>(Durability::Lazy, |tx| {
            tx.set_exception(&path("here"), Some(&Exception::Held))?;
            tx.set_exception(&path("gone"), Some(&Exception::Held))
        })
        .unwrap();
    let held = |folder: &Folder| {
        let status = folder.status().unwrap();
        (status.held_out, status.held_in)
    };
    assert_eq!(held(&folder), (1, 1));
    let approve = FolderInput::Approve(HoldKind::DeletesOut);
    folder.handle(approve, at(1)).unwrap();
    assert_eq!(held(&folder), (0, 1));
    let reject = FolderInput::Reject(HoldKind::DeletesIn);
    folder.handle(reject, at(2)).unwrap();
    assert_eq!(held(&folder), (0, 0));
}

#[test]
fn a_root_that_is_put_back_ends_its_hold() {
    let temp = tempfile::tempdir().unwrap();
    let (mut folder, _) = open(&temp);
    let (root, away) = (temp.path().join("root"), temp.path().join("away"));
    std::fs::rename(&root, &away).unwrap();
    let problem = |folder: &Folder| folder.status().unwrap().root_problem;
    let effects = folder.handle(FolderInput::Overflow, at(10)).unwrap();
    assert!(problem(&folder).is_some());
    let wakes = |e: &FolderEffect| matches!(e, FolderEffect::WakeAt(at) if at.0 <= 15_000);
    assert!(effects.iter().any(wakes), "{effects:?}");
    std::fs::create_dir(&root).unwrap();
    folder.handle(FolderInput::Tick, at(15)).unwrap();
    let other = problem(&folder).unwrap();
    assert!(other.contains("replaced"), "{other}");
    std::fs::remove_dir(&root).unwrap();
    std::fs::rename(&away, &root).unwrap();
    folder.handle(FolderInput::Tick, at(20)).unwrap();
    assert_eq!(problem(&folder), None);
}
