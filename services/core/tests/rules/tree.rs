//! Directories: written the same however they came about, split where edits do not shift the cuts.

use std::collections::BTreeSet;

use fsync_core::id::ObjectId;
use fsync_core::limits::NODE_BYTES;
use fsync_core::node::{Entry, Node};
use fsync_core::nodes::{NewNodes, NodesError, Overlay};
use fsync_core::path::RelPath;
use fsync_core::tree::{self, Edits, Entries};
use proptest::collection::btree_map;
use proptest::prelude::*;

use crate::fixtures::{Store, file, name, path};
use crate::strategies::{directories, entries, names};

/// Returns a directory of numbered files.
fn numbered(count: usize) -> Entries {
    (0..count)
        .map(|n| (name(&format!("file-{n:07}.txt")), file(&n.to_string())))
        .collect()
}

fn write(entries: &Entries) -> (ObjectId, NewNodes) {
    let mut new = NewNodes::default();
    let id = tree::write_dir(entries, &mut new);
    (id, new)
}

/// Returns count and bytes of the nodes of `after` that `before` lacks.
fn changed(before: &NewNodes, after: &NewNodes) -> (usize, usize) {
    let new = after.iter().filter(|(_, id, _)| before.get(id).is_none());
    new.fold((0, 0), |(count, sum), (_, _, bytes)| {
        (count + 1, sum + bytes.len())
    })
}

#[test]
fn one_edit_in_a_hundred_thousand_entries_changes_three_nodes() {
    let entries = numbered(100_000);
    let (_, before) = write(&entries);
    for at in [0, 1, 499, 50_000, 77_777, 99_999] {
        let mut edited = entries.clone();
        edited.insert(name(&format!("file-{at:07}.txt")), file("edited"));
        let (count, _) = changed(&before, &write(&edited).1);
        assert!(count <= 3, "edit of {at}: {count} nodes");
    }
}

#[test]
fn an_insertion_or_removal_does_not_shift_the_cuts() {
    let entries = numbered(100_000);
    let (_, before) = write(&entries);
    for at in [0, 1, 499, 50_000, 77_777, 99_999] {
        let mut more = entries.clone();
        more.insert(name(&format!("file-{at:07}.txu")), file("new"));
        let mut fewer = entries.clone();
        fewer.remove(&name(&format!("file-{at:07}.txt")));
        for after in [more, fewer] {
            let (count, bytes) = changed(&before, &write(&after).1);
            assert!(
                count <= 8 && bytes <= 64 * 1024,
                "{at}: {count} nodes, {bytes} bytes"
            );
        }
    }
}

#[test]
fn one_edit_in_a_million_entries_pushes_at_most_64_kib() {
    let mut entries = numbered(1_000_000);
    let (_, before) = write(&entries);
    entries.insert(name("file-0314159.txt"), file("edited"));
    let (count, bytes) = changed(&before, &write(&entries).1);
    assert!(
        count <= 5 && bytes <= 64 * 1024,
        "{count} nodes, {bytes} bytes"
    );
}

#[test]
fn no_node_is_larger_than_the_limit() {
    let long: Entries = (0..3000)
        .map(|n| (name(&format!("{n:0>255}")), file("x")))
        .collect();
    for entries in [numbered(100_000), long] {
        let (_, new) = write(&entries);
        let largest = new.iter().map(|(_, _, bytes)| bytes.len()).max();
        assert!(largest <= Some(NODE_BYTES), "{largest:?}");
        assert!(
            new.iter()
                .all(|(kind, _, bytes)| Node::decode(kind, bytes).is_ok())
        );
    }
}

#[test]
fn a_split_directory_reads_back_and_finds_each_name() {
    let entries = numbered(5000);
    let (id, new) = write(&entries);
    let mut store = Store::default();
    store.keep(&new);
    assert_eq!(tree::read_dir(&store.0, &id), Ok(entries.clone()));
    for (name, entry) in &entries {
        assert_eq!(tree::find(&store.0, &id, name), Ok(Some(*entry)));
    }
    for absent in ["a", "file-0000000.txs", "file-0002500.txt0", "z"] {
        assert_eq!(
            tree::find(&store.0, &id, &name(absent)),
            Ok(None),
            "{absent}"
        );
    }
}

#[test]
fn all_parts_that_are_missing_are_named_at_once() {
    let (id, new) = write(&numbered(5000));
    let mut top = NewNodes::default();
    top.insert(Node::clone(new.get(&id).unwrap()));
    let mut store = Store::default();
    store.keep(&top);
    let Err(NodesError::Missing(ids)) = tree::read_dir(&store.0, &id) else {
        panic!("a directory without its leaves was read");
    };
    assert_eq!(ids.len(), new.len() - 1);
}

#[test]
fn edits_make_the_directories_on_the_way_and_leave_emptied_ones() {
    let mut store = Store::default();
    let root = store.tree([("a/b/c", file("1")), ("a/d", file("2"))]);
    let root = store.edit(
        root,
        &Edits::from([
            (path("a/b/c"), None),
            (path("x/y"), Some(file("3"))),
            (path("no/such/thing"), None),
        ]),
    );
    let paths: Vec<String> = store.list(root).keys().map(RelPath::to_string).collect();
    assert_eq!(paths, ["a", "a/b", "a/d", "x", "x/y"]);
}

#[test]
fn an_edit_below_a_set_path_applies_on_top_of_it() {
    let mut store = Store::default();
    let root = store.tree([("dir/old", file("1"))]);
    let moved = tree::lookup(&store.0, &root, &path("dir")).unwrap();
    let edits = Edits::from([
        (path("dir"), None),
        (path("new"), moved),
        (path("new/more"), Some(file("2"))),
    ]);
    let edited = store.edit(root, &edits);
    assert_eq!(
        edited,
        store.tree([("new/old", file("1")), ("new/more", file("2"))])
    );
}

#[test]
fn an_edit_reads_only_the_directories_on_the_way() {
    let mut store = Store::default();
    let root = store.tree([("near/file", file("1"))]);
    // Its node exists nowhere, so reading it would fail.
    let far = Entry::Dir(ObjectId::from_bytes([9; 32]));
    let root = store.edit(root, &Edits::from([(path("far"), Some(far))]));
    let edited = store.edit(root, &Edits::from([(path("near/file"), Some(file("2")))]));
    assert_eq!(tree::lookup(&store.0, &edited, &path("far")), Ok(Some(far)));
}

#[test]
fn a_file_on_the_way_is_replaced_by_the_directory_that_an_edit_needs() {
    let mut store = Store::default();
    let root = store.tree([("a", file("1"))]);
    let below = store.edit(root, &Edits::from([(path("a/b"), Some(file("2")))]));
    assert_eq!(below, store.tree([("a/b", file("2"))]));
    let removed = store.edit(root, &Edits::from([(path("a/b"), None)]));
    assert_eq!(removed, root);
}

/// Makes a directory whose second part starts with the last name of the first.
fn new_twice(store: &mut Store, first: ObjectId) -> ObjectId {
    let mut new = NewNodes::default();
    let second = Entries::from([(name("file-0000001.txt"), file("again"))]);
    let second = tree::write_dir(&second, &mut new);
    let parts = vec![(name("m"), first), (name("z"), second)];
    let id = new.insert(Node::DirInner(1, parts));
    store.keep(&new);
    id
}

#[test]
fn trees_of_other_shapes_are_refused() {
    let mut new = NewNodes::default();
    let (a, b) = (write(&numbered(2)), write(&numbered(3)));
    new.extend(a.1);
    new.extend(b.1);
    let leaf = new.insert(Node::Symlink(b"x".to_vec()));
    let inner = |level, children: &[(&str, ObjectId)]| {
        Node::DirInner(
            level,
            children.iter().map(|(n, id)| (name(n), *id)).collect(),
        )
    };
    let low = new.insert(inner(1, &[("m", a.0), ("z", b.0)]));
    let overlapping = new.insert(inner(1, &[("m", b.0), ("z", a.0)]));
    let same_height = new.insert(inner(1, &[("m", low), ("z", a.0)]));
    let too_low = new.insert(inner(2, &[("m", a.0), ("z", leaf)]));
    let mut store = Store::default();
    store.keep(&new);
    let twice = new_twice(&mut store, a.0);
    for id in [overlapping, twice, same_height, too_low, leaf] {
        let read = tree::read_dir(&store.0, &id);
        assert!(matches!(read, Err(NodesError::Invalid { .. })), "{read:?}");
    }
}

/// One change of one name.
fn changes() -> impl Strategy<Value = Vec<(fsync_core::path::Name, Option<Entry>)>> {
    proptest::collection::vec((names(), proptest::option::of(entries())), 0..40)
}

fn small_edits() -> impl Strategy<Value = Edits> {
    let texts = proptest::option::of((0..4u8).prop_map(|text| file(&text.to_string())));
    btree_map(crate::strategies::paths(), texts, 1..12)
}

proptest! {
    #[test]
    fn editing_gives_what_writing_from_scratch_gives(
        start in directories(300), changes in changes(),
    ) {
        let mut store = Store::default();
        let (mut root, new) = write(&start);
        store.keep(&new);
        let mut expected = start;
        for (name, entry) in changes {
            root = store.edit(root, &Edits::from([(RelPath::root().join(&name), entry)]));
            match entry {
                Some(entry) => expected.insert(name, entry),
                None => expected.remove(&name),
            };
        }
        prop_assert_eq!(tree::read_dir(&store.0, &root), Ok(expected.clone()));
        prop_assert_eq!(root, write(&expected).0);
    }

    #[test]
    fn edits_at_once_give_what_edits_one_by_one_give(
        edits in small_edits(),
    ) {
        let mut store = Store::default();
        let start = store.tree([("a/a", file("x")), ("a/b", file("y")), ("b", file("z"))]);
        let at_once = store.edit(start, &edits);
        // Parents come before what is below them, so one by one is the same order.
        let one_by_one = edits.iter().fold(start, |root, (path, entry)| {
            store.edit(root, &Edits::from([(path.clone(), *entry)]))
        });
        prop_assert_eq!(at_once, one_by_one);
    }

    #[test]
    fn differences_turn_one_tree_into_the_other(
        edits in small_edits(),
    ) {
        let mut store = Store::default();
        let start = store.tree([("a/a", file("x")), ("a/b", file("y")), ("b", file("z"))]);
        let end = store.edit(start, &edits);
        for (from, to) in [(start, end), (end, start)] {
            let found = tree::differences(&store.0, &from, &to).unwrap();
            prop_assert!(found.len() <= edits.len() + 3, "only what differs");
            prop_assert_eq!(store.edit(from, &found), to);
        }
    }

    #[test]
    fn every_written_node_decodes_and_is_written_once(entries in directories(400)) {
        let (id, new) = write(&entries);
        let mut store = Store::default();
        store.keep(&new);
        let mut overlay = Overlay::new(&store.0);
        let mut again = NewNodes::default();
        prop_assert_eq!(tree::write_dir(&entries, &mut again), id);
        overlay.absorb(again);
        let all: BTreeSet<_> = new.iter().map(|(_, id, _)| id).collect();
        prop_assert!(overlay.into_new().iter().all(|(_, id, _)| all.contains(&id)));
        prop_assert!(new.iter().all(|(kind, _, bytes)| Node::decode(kind, bytes).is_ok()));
    }
}
