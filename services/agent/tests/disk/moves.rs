//! Renames that are seen one after the other, while nothing can be sent.

use std::sync::Arc;

use fsync_agent::files::disk::Disk;
use fsync_agent::folder::{Folder, FolderInput, Now, Parts};
use fsync_agent::state::{Durability, Roots, State, StateError};
use fsync_core::clock::Moment;
use fsync_core::revision::Timestamp;

fn at(seconds: u64) -> Now {
    Now {
        moment: Moment(seconds * 1000),
        time: Timestamp(0),
    }
}

#[test]
fn two_renames_of_a_directory_are_one_step_to_send() {
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path().join("root");
    std::fs::create_dir_all(root.join("a")).unwrap();
    for name in ["x", "y", "z"] {
        std::fs::write(root.join("a").join(name), name).unwrap();
    }
    let parts = Parts {
        files: Arc::new(Disk::open(&root).unwrap()),
        state: Arc::new(State::open(&temp.path().join("state")).unwrap().state),
        agent: "me".parse().unwrap(),
    };
    let state = Arc::clone(&parts.state);
    let (mut folder, _) = Folder::open(parts, at(0)).unwrap();
    // As after a commit: all that is there is known.
    state
        .update::<_, StateError>(Durability::Lazy, |tx| {
            let working = tx.roots()?.working;
            tx.set_roots(&Roots {
                synced: working,
                working,
            })
        })
        .unwrap();
    for (step, (from, to)) in [("a", "b"), ("b", "c")].into_iter().enumerate() {
        std::fs::rename(root.join(from), root.join(to)).unwrap();
        let now = at(10 * (step as u64 + 1));
        folder.handle(FolderInput::Overflow, now).unwrap();
    }
    assert_eq!(folder.status().unwrap().unsent, 1);
}
