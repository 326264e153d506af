//! The rules of a state's rows, over a file and in memory alike.

use std::path::Path;

use fsync_agent::files::Kind;
use fsync_agent::state::{
    DirNo, Durability, Held, Memory, Row, Stamp, State, StateError, Tx, View,
};
use fsync_core::exception::Exception;
use fsync_core::id::{ObjectId, ObjectKind};
use fsync_core::node::{Content, Entry, FileEntry, Mtime};
use fsync_core::path::{Name, RelPath};
use proptest::prelude::*;

/// The name of an engine, an empty state, and what a loss of power would leave of it.
type Engine = (&'static str, State, Box<dyn Fn() -> State>);

/// Opens an empty state in each engine.
fn engines(dir: &Path) -> Vec<Engine> {
    let path = dir.join("state.redb");
    let copy = dir.join("copy.redb");
    let memory = Memory::default();
    let in_file = State::open(&path).unwrap().state;
    let in_memory = State::open_in(memory.clone()).unwrap();
    let file_left = move || {
        std::fs::copy(&path, &copy).unwrap();
        State::open(&copy).unwrap().state
    };
    let memory_left = move || State::open_in(memory.crash(true)).unwrap();
    vec![
        ("file", in_file, Box::new(file_left)),
        ("memory", in_memory, Box::new(memory_left)),
    ]
}

fn number(state: &State, name: &str) -> u64 {
    state.snapshot().unwrap().number(name).unwrap()
}

fn set(state: &State, durability: Durability, name: &str, value: u64) {
    let change = |tx: &mut Tx<'_>| tx.set_number(name, value);
    state.update::<_, StateError>(durability, change).unwrap();
}

#[test]
fn what_is_lazy_goes_with_the_power_and_what_is_durable_takes_it_along() {
    let temp = tempfile::tempdir().unwrap();
    for (engine, state, left) in engines(temp.path()) {
        set(&state, Durability::Durable, "a", 1);
        set(&state, Durability::Lazy, "a", 2);
        set(&state, Durability::Lazy, "b", 3);
        let now = left();
        let found = ["a", "b"].map(|name| number(&now, name));
        assert_eq!(found, [1, 0], "{engine}");
        drop(now);
        set(&state, Durability::Durable, "c", 4);
        let left = left();
        let found = ["a", "b", "c"].map(|name| number(&left, name));
        assert_eq!(found, [2, 3, 4], "{engine}");
    }
}

#[test]
fn a_process_that_ends_loses_nothing_and_nobody_sees_what_it_does_later() {
    let memory = Memory::default();
    let state = State::open_in(memory.clone()).unwrap();
    set(&state, Durability::Lazy, "a", 1);
    let next = State::open_in(memory.crash(false)).unwrap();
    set(&state, Durability::Durable, "a", 2);
    assert_eq!(number(&next, "a"), 1);
}

#[test]
fn a_snapshot_stays_as_it_was() {
    let temp = tempfile::tempdir().unwrap();
    for (engine, state, _) in engines(temp.path()) {
        set(&state, Durability::Lazy, "a", 1);
        let before = state.snapshot().unwrap();
        let seen = state.update::<_, StateError>(Durability::Lazy, |tx| {
            tx.set_number("a", 2)?;
            let inside = tx.number("a")?;
            Ok((inside, number(&state, "a")))
        });
        assert_eq!(
            seen.unwrap(),
            (2, 1),
            "{engine}: only the update sees itself"
        );
        assert_eq!(before.number("a").unwrap(), 1, "{engine}");
        assert_eq!(number(&state, "a"), 2, "{engine}");
    }
}

#[test]
fn an_update_that_fails_changes_nothing() {
    let temp = tempfile::tempdir().unwrap();
    for (engine, state, _) in engines(temp.path()) {
        let failed = state.update(Durability::Lazy, |tx| {
            tx.set_number("n", 1)?;
            Err::<(), _>(StateError::Damaged("test"))
        });
        assert!(failed.is_err());
        assert_eq!(number(&state, "n"), 0, "{engine}");
    }
}

/// One change of the rows.
#[derive(Debug, Clone)]
enum Change {
    File(u8, u8, u8),
    Dir(u8, u8),
    Remove(u8, u8),
    Except(u8, bool),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => (0..4_u8, 0..6_u8, any::<u8>()).prop_map(|(d, n, c)| Change::File(d, n, c)),
        2 => (0..4_u8, 0..6_u8).prop_map(|(d, n)| Change::Dir(d, n)),
        2 => (0..4_u8, 0..6_u8).prop_map(|(d, n)| Change::Remove(d, n)),
        1 => (0..6_u8, any::<bool>()).prop_map(|(p, on)| Change::Except(p, on)),
    ]
}

fn name(number: u8) -> Name {
    Name::new(["a", "a-b", "b", "c", "d", "e"][usize::from(number)].as_bytes()).unwrap()
}

fn row(kind: Kind, ino: u64, held: Held) -> Row {
    let stamp = Stamp {
        kind,
        dev: 1,
        ino,
        btime: None,
        size: 1,
        mtime: 2,
        ctime: 3,
    };
    Row {
        stamp,
        recorded: 4,
        held,
    }
}

fn apply(tx: &mut Tx<'_>, change: &Change) -> Result<(), StateError> {
    let dir = |number: u8| DirNo(u64::from(number));
    match change {
        Change::File(at, to, content) => {
            let entry = Entry::File(FileEntry {
                content: Content::Chunk(ObjectId::of(ObjectKind::Chunk, &[*content])),
                size: 1,
                exec: false,
                mtime: Mtime(2),
            });
            let row = row(Kind::File, u64::from(*content), Held::Leaf(entry));
            tx.put_row(dir(*at), &name(*to), &row)
        }
        Change::Dir(at, to) => {
            let no = tx.new_dir()?;
            let row = row(Kind::Dir, 1000 + no.0, Held::Dir(no));
            tx.put_row(dir(*at), &name(*to), &row)
        }
        Change::Remove(at, to) => tx.remove_row(dir(*at), &name(*to)).map(drop),
        Change::Except(at, on) => {
            let path = RelPath::parse(name(*at).as_bytes()).unwrap();
            tx.set_exception(&path, on.then_some(&Exception::Ignored))
        }
    }
}

/// Returns all that can be read of the rows that [`apply`] makes.
fn picture<S: fsync_agent::state::Source>(view: &View<S>) -> String {
    let rows: Vec<_> = (0..8).map(|dir| view.rows(DirNo(dir)).unwrap()).collect();
    let homes: Vec<_> = (0..8)
        .map(|dir| view.parent_of(DirNo(dir)).unwrap())
        .collect();
    let root = RelPath::root();
    let exceptions = view.exceptions_within(&root).unwrap();
    let has = view.has_exceptions().unwrap();
    let tracked = view.tracked().unwrap();
    format!("{rows:?} {homes:?} {exceptions:?} {has} {tracked}")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn memory_holds_what_a_file_holds(updates in proptest::collection::vec(
        (proptest::collection::vec(change(), 1..12), any::<bool>(), any::<bool>()), 1..8)) {
        let temp = tempfile::tempdir().unwrap();
        let found: Vec<Vec<String>> = engines(temp.path())
            .into_iter()
            .map(|(_, state, left)| {
                let mut found = Vec::new();
                for (changes, is_durable, fails) in &updates {
                    let durability = match is_durable {
                        true => Durability::Durable,
                        false => Durability::Lazy,
                    };
                    let updated = state.update(durability, |tx| {
                        for change in changes {
                            apply(tx, change)?;
                            found.push(picture(tx));
                        }
                        match fails {
                            true => Err(StateError::Damaged("test")),
                            false => Ok(()),
                        }
                    });
                    prop_assert_eq!(updated.is_err(), *fails);
                    found.push(picture(&state.snapshot().unwrap()));
                }
                found.push(picture(&left().snapshot().unwrap()));
                Ok(found)
            })
            .collect::<Result<_, TestCaseError>>()?;
        prop_assert_eq!(&found[0], &found[1]);
    }
}
