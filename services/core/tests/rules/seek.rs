//! Objects are found in a tree by their ids.

use std::collections::{BTreeMap, BTreeSet};

use fsync_core::filelist;
use fsync_core::id::{ObjectId, ObjectKind};
use fsync_core::limits;
use fsync_core::node::{Entry, FileEntry, Mtime, Run};
use fsync_core::nodes::NewNodes;
use fsync_core::seek::{Spot, seek};

use crate::fixtures::{Store, chunk, file, path};

fn found(store: &Store, root: ObjectId, wanted: &[ObjectId]) -> BTreeMap<ObjectId, Vec<Spot>> {
    let wanted: BTreeSet<ObjectId> = wanted.iter().copied().collect();
    seek(&store.0, &root, &wanted).unwrap()
}

fn at(text: &str, offset: u64, bytes: u64) -> Spot {
    Spot::Chunk {
        path: path(text),
        offset,
        bytes,
    }
}

#[test]
fn chunks_and_nodes_are_found_where_they_stand() {
    let mut store = Store::default();
    let link = store.link("x");
    let root = store.tree([("d/a", file("one")), ("b", file("one")), ("l", link)]);
    let dir = store.list(root)[&path("d")].id();
    let wanted = [root, dir, link.id(), chunk("one"), chunk("other")];
    let found = found(&store, root, &wanted);
    assert_eq!(found[&root], [Spot::Node(ObjectKind::Directory)]);
    assert_eq!(found[&dir], [Spot::Node(ObjectKind::Directory)]);
    assert_eq!(found[&link.id()], [Spot::Node(ObjectKind::Symlink)]);
    assert_eq!(found[&chunk("one")], [at("b", 0, 3), at("d/a", 0, 3)]);
    assert_eq!(found.len(), 4, "what the tree does not hold is not found");
}

#[test]
fn a_run_of_a_large_file_is_found_at_its_offset() {
    let mut store = Store::default();
    let bytes = limits::WHOLE_FILE_BYTES;
    let run = |n: u64| Run::Chunk {
        id: chunk(&n.to_string()),
        bytes,
    };
    let mut runs: Vec<Run> = (0..2000).map(run).collect();
    runs.insert(1, Run::Hole { bytes: 1 << 20 });
    let mut new = NewNodes::default();
    let content = filelist::write_file(&runs, &mut new);
    store.keep(&new);
    let large = Entry::File(FileEntry {
        content,
        size: runs.iter().map(Run::bytes).sum(),
        exec: false,
        mtime: Mtime(1),
    });
    let root = store.tree([("large", large)]);
    let wanted: Vec<ObjectId> = new.iter().map(|(_, id, _)| id).collect();
    assert!(wanted.len() > 2, "the list is split");
    let nodes = found(&store, root, &wanted);
    assert_eq!(nodes.len(), wanted.len());
    let found = found(&store, root, &[chunk("0"), chunk("1999")]);
    assert_eq!(found[&chunk("0")], [at("large", 0, bytes)]);
    let offset = 1999 * bytes + (1 << 20);
    assert_eq!(found[&chunk("1999")], [at("large", offset, bytes)]);
}

#[test]
fn every_part_of_a_split_directory_is_looked_at() {
    let mut store = Store::default();
    let names: Vec<String> = (0..3000).map(|n| format!("name-{n:05}")).collect();
    let entry = |name: &String| file(name);
    let root = store.tree(names.iter().map(|name| (name.as_str(), entry(name))));
    let wanted: Vec<ObjectId> = names.iter().map(|name| chunk(name)).collect();
    assert_eq!(found(&store, root, &wanted).len(), names.len());
}
