//! Reading hostile trees: look-up, walk, file lists, seek and what a push needs end and do not
//! panic.
#![no_main]

use std::collections::BTreeSet;

use fsync_core::changed;
use fsync_core::filelist;
use fsync_core::id::ObjectId;
use fsync_core::limits;
use fsync_core::node::{Entry, Run};
use fsync_core::nodes::{MemoryNodes, Overlay};
use fsync_core::path::RelPath;
use fsync_core::seek;
use fsync_core::tree::{self, Edits};
use fsync_fuzz::bytes::Bytes;
use fsync_fuzz::forge::Forge;
use fsync_fuzz::shape;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut input = Bytes(data);
    let mut forge = Forge::default();
    forge.make(&mut input);
    let (root, other) = (forge.pick(&mut input), forge.pick(&mut input));
    let nodes = &forge.nodes;
    let mut found = Vec::new();
    let walked = tree::walk(nodes, &root, &mut |path, entry| {
        found.push((path.clone(), *entry))
    });
    assert!(
        found
            .iter()
            .all(|(path, _)| path.depth() <= limits::PATH_DEPTH + 1)
    );
    // Some are enough: to look up every path of a deep tree takes long and teaches nothing.
    for (path, entry) in found.iter().take(64) {
        if walked.is_ok() {
            check_lookup(nodes, &root, (path, entry));
        }
        check_file(nodes, entry);
    }
    drop(changed::changed(nodes, Some(&other), &root, &[]));
    if let Ok(changed) = changed::at_hand(nodes, &root) {
        let ids: BTreeSet<ObjectId> = changed.nodes.iter().map(|(_, id)| *id).collect();
        assert_eq!(ids.len(), changed.nodes.len(), "a node is sent twice");
        drop(seek::seek(nodes, &root, &ids));
    }
    check_edit(nodes, &root, &mut input);
});

/// Look-up goes by the last names in inner nodes, which a reader takes on trust (admission checks
/// them): it may miss what a walk shows, yet never give something else.
fn check_lookup(nodes: &MemoryNodes, root: &ObjectId, (path, entry): (&RelPath, &Entry)) {
    if let Ok(Some(there)) = tree::lookup(nodes, root, path) {
        assert_eq!(there, *entry, "look-up gives what a walk does not show");
    }
}

fn check_file(nodes: &MemoryNodes, entry: &Entry) {
    let Some(file) = entry.as_file() else { return };
    if let Ok(runs) = filelist::read_file(nodes, &file.content, file.size) {
        let total: u64 = runs.iter().map(Run::bytes).sum();
        assert_eq!(total, file.size, "the runs of a file do not add up");
    }
}

fn check_edit(nodes: &MemoryNodes, root: &ObjectId, input: &mut Bytes<'_>) {
    let mut edits = Edits::new();
    for _ in 0..input.below(4) {
        let path = shape::path(input);
        let entry = (input.below(2) == 1).then_some(Entry::Dir(*root));
        edits.insert(path, entry);
    }
    let mut overlay = Overlay::new(nodes);
    let Ok(edited) = tree::edit(&mut overlay, root, &edits) else {
        return;
    };
    let last_wins = |path: &RelPath| !edits.keys().any(|p| p != path && p.is_within(path));
    for (path, entry) in edits.iter().filter(|(path, _)| last_wins(path)) {
        if let Ok(there) = tree::lookup(&overlay, &edited, path) {
            assert_eq!(there, *entry, "an edit of {path} did not happen");
        }
    }
}
