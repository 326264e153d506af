//! The state: survives, starts afresh when damaged, forgets nodes that nothing reaches.

use fsync_agent::state::{Durability, State, StateError};
use fsync_core::id::RevisionId;
use fsync_core::node::Node;
use fsync_core::nodes::{NewNodes, Nodes};
use fsync_core::wire::{Epoch, Head, Seq};

use crate::fixture::Folder;

#[test]
fn what_was_made_durable_is_there_after_opening_again() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("state.redb");
    let head = Head {
        epoch: Epoch(7),
        seq: Seq(8),
        revision: RevisionId::of(b"x"),
    };
    let state = State::open(&path).unwrap().state;
    state
        .update::<_, StateError>(Durability::Lazy, |tx| tx.set_base(Some(&head)))
        .unwrap();
    state.make_durable().unwrap();
    drop(state);
    let state = State::open(&path).unwrap().state;
    assert_eq!(state.snapshot().unwrap().base().unwrap(), Some(head));
}

/// Returns the base that a copy of the file has, as after a power loss: an orderly end would make
/// everything durable.
fn survivor(path: &std::path::Path) -> Option<Head> {
    let copy = path.with_extension("copy");
    std::fs::copy(path, &copy).unwrap();
    let state = State::open(&copy).unwrap().state;
    state.snapshot().unwrap().base().unwrap()
}

#[test]
fn a_lazy_update_survives_once_a_later_durable_one_returned() {
    type End = fn(&State);
    let by_wish: End = |state| state.make_durable().unwrap();
    let by_update: End = |state| {
        let set = |tx: &mut fsync_agent::state::Tx<'_>| tx.set_number("n", 1);
        state
            .update::<_, StateError>(Durability::Durable, set)
            .unwrap();
    };
    // One that changes nothing costs no commit of its own, but must not skip what waits.
    let by_nothing: End = |state| {
        state
            .update::<_, StateError>(Durability::Durable, |_| Ok(()))
            .unwrap();
    };
    for end in [by_wish, by_update, by_nothing] {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("state.redb");
        let state = State::open(&path).unwrap().state;
        let head = |seq| Head {
            epoch: Epoch(7),
            seq: Seq(seq),
            revision: RevisionId::of(b"x"),
        };
        for seq in 1..=2 {
            state
                .update::<_, StateError>(Durability::Lazy, |tx| tx.set_base(Some(&head(seq))))
                .unwrap();
            let before = Some(seq - 1).filter(|seq| *seq > 0).map(head);
            assert_eq!(survivor(&path), before, "lazy is not durable yet");
            end(&state);
            assert_eq!(survivor(&path), Some(head(seq)));
        }
    }
}

#[test]
fn a_damaged_state_is_moved_aside_and_a_fresh_one_made() {
    for damage in [&b"this is no database, however long it is made"[..], b""] {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("state.redb");
        std::fs::write(&path, damage.repeat(1000)).unwrap();
        let opened = State::open(&path).unwrap();
        assert_eq!(opened.moved_aside.is_some(), !damage.is_empty());
        assert_eq!(opened.state.snapshot().unwrap().tracked().unwrap(), 0);
    }
}

#[test]
fn a_state_that_is_open_is_refused() {
    let folder = Folder::new();
    let again = State::open(&folder.temp.path().join("state.redb"));
    assert!(matches!(again, Err(StateError::InUse(_))));
}

#[test]
fn a_sweep_keeps_what_the_roots_reach() {
    let folder = Folder::new();
    folder.write("a/b/c", "x");
    folder.link("a/link", "b");
    folder.scan();
    let mut new = NewNodes::default();
    let dead = new.insert(Node::Symlink(b"dead".to_vec()));
    folder
        .state
        .update::<_, StateError>(Durability::Lazy, |tx| tx.put_nodes(&new))
        .unwrap();
    let sweep = folder.state.sweep_now(&[]).unwrap();
    assert!(sweep.removed >= 1);
    assert!(
        folder
            .state
            .node(fsync_core::id::ObjectKind::Symlink, &dead)
            .is_err()
    );
    assert_eq!(folder.working(), ["a/", "a/b/", "a/b/c=x", "a/link@"]);
    assert_eq!(folder.state.sweep(&[]).unwrap(), None);
}
