//! What an interrupted apply leaves and what late writers do, on a real folder.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::apply::{Chunks, applier, apply, chunks, entry, entry_at, put, revision};
use crate::fixture::{Folder, chunk_id, path};
use fsync_agent::apply::{Contents, Open, recover};
use fsync_agent::files::{Files, Meta, Place, Rename, StageKey};
use fsync_agent::state::{Durability, Intent, Standing, StateError};
use fsync_agent::trash;
use fsync_core::id::ObjectId;
use fsync_core::node::Entry;
use fsync_core::plan::Step;
use fsync_core::tree;

fn intend(folder: &Folder, at: &str, expected: Option<Entry>, target: Option<Entry>) {
    let intent = Intent {
        expected: Standing::agreed(expected),
        target: Standing::agreed(target),
        revision: revision(),
        time: 0,
    };
    folder
        .state
        .update::<_, StateError>(Durability::Durable, |tx| {
            tx.set_intent(&path(at), Some(&intent))
        })
        .unwrap();
}

#[test]
fn recovery_tells_the_remote_sides_doing_from_the_users() {
    let folder = Folder::new();
    for name in ["done", "undone", "edited"] {
        folder.write(name, "old");
    }
    folder.scan();
    folder.sync_all_known();
    for name in ["done", "undone", "edited", "created"] {
        intend(
            &folder,
            name,
            (name != "created").then(|| entry("old")),
            Some(entry("new")),
        );
    }
    folder.write("done", "new");
    folder.write("created", "new");
    folder.write("edited", "user");
    folder
        .disk
        .stage(&StageKey::small(1), b"left", &Meta::default())
        .unwrap();
    folder
        .disk
        .stage(&StageKey::exchange(2), b"user's own", &Meta::default())
        .unwrap();
    folder
        .disk
        .stage(&StageKey::exchange(3), b"new", &Meta::default())
        .unwrap();
    let recovered = recover(&folder.disk, &folder.state).unwrap();
    assert_eq!(recovered.applied, [path("created"), path("done")]);
    assert_eq!(recovered.undone, [path("undone")]);
    assert_eq!(recovered.edited, [path("edited")]);
    assert_eq!((recovered.removed, recovered.rescued.len()), (2, 1));
    assert_eq!(folder.synced()[..2], ["created=new", "done=new"]);
    folder.scan();
    assert_eq!(
        folder.working(),
        ["created=new", "done=new", "edited=user", "undone=old"]
    );
    assert!(folder.disk.staged().unwrap().is_empty());
}

/// Ends the process, as far as a test can, when a content is staged.
struct Deadly {
    chunks: Chunks,
    deadly: ObjectId,
    is_known: AtomicBool,
}

impl Contents for Deadly {
    fn chunk(&self, id: &ObjectId) -> Option<Cow<'_, [u8]>> {
        // The first question is where contents are, the second is staging.
        let is_deadly = *id == self.deadly && self.is_known.swap(true, Ordering::Relaxed);
        assert!(!is_deadly, "this is where it dies");
        self.chunks.chunk(id)
    }
}

#[test]
fn what_was_staged_ahead_is_not_taken_for_a_users() {
    let folder = Folder::new();
    let name = |n: usize| format!("{n:03}");
    for n in 0..300 {
        folder.write(&name(n), "old");
    }
    folder.age();
    folder.scan();
    folder.sync_all_known();
    let texts: Vec<String> = (0..300).map(|n| format!("new {n}")).collect();
    let steps: Vec<Step> = (0..300)
        .map(|n| put(&name(n), Some(entry("old")), entry(&texts[n])))
        .collect();
    let all: Vec<&str> = texts.iter().map(String::as_str).collect();
    let contents = Deadly {
        chunks: chunks(&all),
        // In the second batch, which is staged before its intents are written.
        deadly: chunk_id(texts[290].as_bytes()),
        is_known: AtomicBool::new(false),
    };
    let died = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let mut applier = applier(&folder, Open::default());
        drop(applier.apply(&steps, &contents));
    }));
    assert!(died.is_err());
    assert!(folder.disk.staged().unwrap().len() > 256);
    let recovered = recover(&folder.disk, &folder.state).unwrap();
    assert_eq!(recovered.rescued, []);
    assert!(folder.disk.staged().unwrap().is_empty());
    assert!(trash::list(&folder.disk, &folder.state).unwrap().is_empty());
    folder.scan();
    assert_eq!(folder.working(), folder.synced());
}

#[test]
fn late_writers_keep_their_content() {
    use std::io::Write;
    let folder = Folder::new();
    folder.write("a", "old");
    folder.scan();
    let mut writer = std::fs::File::options()
        .append(true)
        .open(folder.at("a"))
        .unwrap();
    let was = entry_at(&folder, "a");
    assert!(
        apply(
            &folder,
            &[Step::Remove {
                path: path("a"),
                was
            }],
            &Chunks::default()
        )
        .is_complete()
    );
    writer.write_all(b" and more").unwrap();
    let agent = "me".parse().unwrap();
    let sweep = trash::Sweep {
        files: &folder.disk,
        state: &folder.state,
        agent: &agent,
        keep: std::time::Duration::ZERO,
        settle: std::time::Duration::ZERO,
    };
    let mut rescued = Vec::new();
    let removed = sweep.run(&|| false, &mut |found| rescued.push(found));
    assert_eq!((removed.unwrap(), rescued.len()), (0, 1));
    let copy = rescued[0].copy.to_string();
    assert!(copy.starts_with("a (conflicted copy me "), "{copy}");
    assert!(folder.read(&copy).ends_with(" and more"));
    assert!(folder.disk.trash_slots().unwrap().is_empty());
}

/// A disk that takes two spellings for one name is renamed on by way of the stage.
#[test]
fn what_an_end_left_between_two_spellings_goes_back() {
    let folder = Folder::new();
    folder.write("Foo", "text");
    folder.write("Dir/in", "below");
    folder.scan();
    folder.sync_all_known();
    let dir = {
        let roots = folder.state.snapshot().unwrap().roots().unwrap();
        tree::lookup(&folder.state, &roots.synced, &path("Dir")).unwrap()
    };
    for (from, to, was) in [
        ("Foo", "foo", Some(entry_at(&folder, "Foo"))),
        ("Dir", "dir", dir),
    ] {
        intend(&folder, from, was, None);
        intend(&folder, to, None, was);
        let key = StageKey::respelled(folder.stat(from).ino);
        let (old, between) = (path(from), Place::Stage(&key));
        folder
            .disk
            .rename(Place::Tree(&old), between, Rename::NoReplace)
            .unwrap();
    }
    // One whose rename nobody knows of any more is safe in the trash.
    folder
        .disk
        .stage(&StageKey::respelled(7), b"of nobody", &Meta::default())
        .unwrap();
    let mut recovered = recover(&folder.disk, &folder.state).unwrap();
    recovered.given_back.sort();
    assert_eq!(recovered.given_back, [path("Dir"), path("Foo")]);
    assert_eq!((recovered.removed, recovered.rescued.len()), (0, 1));
    assert!(folder.disk.staged().unwrap().is_empty());
    folder.scan();
    assert_eq!(folder.working(), ["Dir/", "Dir/in=below", "Foo=text"]);
    assert_eq!(folder.synced(), folder.working());
}
