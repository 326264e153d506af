//! What `verify` finds on a disk that damages what it keeps.

use std::sync::Arc;

use fsync_agent::files::{Files, Meta, Place, Rename, StageKey};
use fsync_agent::folder::Parts;
use fsync_agent::folder::verify::{Finding, Verified, verify};
use fsync_agent::scan::{self, RootCheck, Scope};
use fsync_agent::state::{Durability, State, StateError};
use fsync_core::exception::Exception;
use fsync_core::label::AgentName;
use fsync_core::path::RelPath;
use fsync_tests::sim::backend::Platter;
use fsync_tests::sim::files::SimFiles;
use fsync_tests::sim::hand::{Hand, Story};
use fsync_tests::sim::inodes::Body;
use fsync_tests::sim::rng::Rng;
use fsync_tests::sim::volume::{Clock, Volume};

/// Longer than the coarsest clock tick, in ns.
const LATER: i64 = 3_000_000_000;

struct Machine {
    clock: Clock,
    files: SimFiles,
    parts: Parts,
}

fn path(text: &str) -> RelPath {
    RelPath::parse(text.as_bytes()).unwrap()
}

impl Machine {
    /// A folder with some files, scanned long after they were written.
    fn new() -> Self {
        let clock = Clock::default();
        let hand = Hand::new("nobody", Rng::new(0), Story::default());
        let files = SimFiles::new(Volume::new(clock.clone(), 0, hand));
        let parts = Parts {
            files: Arc::new(files.clone()),
            state: Arc::new(State::open_with(Platter::default().open()).unwrap()),
            agent: AgentName::from_lossy("m"),
        };
        let machine = Self {
            clock,
            files,
            parts,
        };
        machine.files.make_dir(Place::Tree(&path("d"))).unwrap();
        for name in ["a", "d/b", "d/c"] {
            machine.put(name);
        }
        machine.later();
        machine.scan();
        machine
    }

    fn put(&self, name: &str) {
        let key = StageKey::small(1);
        self.files
            .stage(&key, name.as_bytes(), &Meta::default())
            .unwrap();
        self.files
            .rename(
                Place::Stage(&key),
                Place::Tree(&path(name)),
                Rename::NoReplace,
            )
            .unwrap();
    }

    fn later(&self) {
        self.clock.set(self.clock.now() + LATER);
    }

    fn scan(&self) {
        let Parts { files, state, .. } = &self.parts;
        scan::scan(&**files, state, &Scope::Whole, RootCheck::Hold, &mut |_| {}).unwrap();
    }

    /// Changes a byte without telling anybody.
    fn rot(&self, name: &str) {
        let mut volume = self.files.volume();
        let ino = volume.at(&path(name)).unwrap();
        let Body::File(bytes) = &mut volume.inodes.get_mut(ino).body else {
            panic!("{name} is a file");
        };
        bytes.write(0, b"!");
    }

    fn verify(&self) -> Verified {
        verify(&self.parts, &|| false).unwrap()
    }

    fn findings(&self) -> Vec<(String, Finding)> {
        let findings = self.verify().findings.into_iter();
        findings
            .map(|(path, finding)| (path.to_string(), finding))
            .collect()
    }
}

#[test]
fn a_sound_folder_is_read_whole_and_nothing_is_found() {
    let machine = Machine::new();
    let expected = Verified {
        files: 3,
        bytes: 7,
        ..Verified::default()
    };
    assert_eq!(machine.verify(), expected);
}

#[test]
fn a_byte_that_changed_by_itself_is_found_and_left_alone() {
    let machine = Machine::new();
    machine.rot("d/b");
    let roots = machine.parts.state.snapshot().unwrap().roots().unwrap();
    assert_eq!(machine.findings(), [("d/b".to_owned(), Finding::Rotten)]);
    assert_eq!(machine.verify().files, 2);
    assert_eq!(
        machine.parts.state.snapshot().unwrap().roots().unwrap(),
        roots
    );
    // A scan trusts the times, as it must: only verifying reads.
    machine.scan();
    assert_eq!(machine.findings(), [("d/b".to_owned(), Finding::Rotten)]);
}

#[test]
fn an_edit_that_was_not_scanned_is_no_finding() {
    let machine = Machine::new();
    let a = path("a");
    let meta = Meta {
        mtime: fsync_core::node::Mtime(5),
        ..Meta::default()
    };
    machine.rot("a");
    machine.files.set_meta(Place::Tree(&a), &meta).unwrap();
    let gone = StageKey::exchange(9);
    machine
        .files
        .rename(
            Place::Tree(&path("d/c")),
            Place::Stage(&gone),
            Rename::NoReplace,
        )
        .unwrap();
    let verified = machine.verify();
    assert_eq!(
        (verified.found, verified.waiting, verified.files),
        (0, 2, 1)
    );
}

#[test]
fn a_file_that_was_read_within_a_clock_tick_of_its_change_is_no_finding() {
    let machine = Machine::new();
    machine.put("young");
    machine.scan();
    machine.rot("young");
    let verified = machine.verify();
    assert_eq!((verified.found, verified.waiting), (0, 1));
}

#[test]
fn what_the_disk_does_not_give_any_more_is_found() {
    let machine = Machine::new();
    {
        let mut volume = machine.files.volume();
        let ino = volume.at(&path("a")).unwrap();
        volume.inodes.get_mut(ino).mode = 0;
    }
    let findings = machine.findings();
    assert!(
        matches!(&findings[..], [(at, Finding::Unreadable(_))] if at == "a"),
        "{findings:?}"
    );
}

#[test]
fn an_excepted_path_is_counted_and_not_judged() {
    let machine = Machine::new();
    let exception = Exception::Unreadable {
        reason: "r".to_owned(),
    };
    machine
        .parts
        .state
        .update::<_, StateError>(Durability::Lazy, |tx| {
            tx.set_exception(&path("d"), Some(&exception))
        })
        .unwrap();
    machine.rot("d/b");
    let verified = machine.verify();
    assert_eq!(
        (verified.found, verified.excepted, verified.files),
        (0, 3, 1)
    );
}

#[test]
fn an_index_that_contradicts_the_tree_is_found() {
    let machine = Machine::new();
    machine
        .parts
        .state
        .update::<_, StateError>(Durability::Lazy, |tx| {
            let (dir, name) = path("d/c").split_last().unwrap();
            let dir = tx.dir_at(&dir)?.unwrap();
            tx.remove_row(dir, &name).map(drop)
        })
        .unwrap();
    assert_eq!(machine.findings(), [("d/c".to_owned(), Finding::Index)]);
}
