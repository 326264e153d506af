//! Merge, plan and compare of hostile trees: they end, do not panic, and what a merge makes can be
//! read by everyone.
#![no_main]

use std::collections::BTreeMap;

use fsync_core::changed;
use fsync_core::compare::{self, Sides};
use fsync_core::exception::Exception;
use fsync_core::id::ObjectId;
use fsync_core::label::AgentName;
use fsync_core::merge::{self, Merged, Side};
use fsync_core::node::Node;
use fsync_core::nodes::{MemoryNodes, NewNodes, Overlay};
use fsync_core::path::RelPath;
use fsync_core::plan::{self, Skip};
use fsync_core::revision::{self, MoveHint, Timestamp};
use fsync_core::tree;
use fsync_fuzz::bytes::Bytes;
use fsync_fuzz::forge::Forge;
use fsync_fuzz::shape;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut input = Bytes(data);
    let mut forge = Forge::default();
    forge.make(&mut input);
    let nodes = &forge.nodes;
    let [base, ours, theirs] = [(); 3].map(|()| forge.pick(&mut input));
    let side = |root, input: &mut Bytes<'_>| Side {
        root,
        author: AgentName::merge(),
        time: Timestamp(0),
        moves: moves(input),
    };
    let (ours, theirs) = (side(ours, &mut input), side(theirs, &mut input));
    let base = (input.below(4) != 0).then_some(base);
    if let Ok(merged) = merge::merge(nodes, base, &ours, &theirs) {
        check_merged(nodes, merged, [&ours, &theirs]);
    }
    let masked: Vec<RelPath> = (0..input.below(3))
        .map(|_| shape::path(&mut input))
        .collect();
    let skip: Skip = masked.iter().cloned().collect();
    let (from, to) = (&ours.root, &theirs.root);
    drop(plan::plan(nodes, (from, to), &theirs.moves, &skip));
    drop(changed::changed(nodes, Some(from), to, &theirs.moves));
    let ignored = |path| (path, Exception::Ignored);
    let exceptions: BTreeMap<_, _> = masked.into_iter().map(ignored).collect();
    let sides = Sides {
        synced: base.unwrap_or(ours.root),
        working: theirs.root,
        head: ours.root,
        exceptions: &exceptions,
        local_moves: &theirs.moves,
        head_moves: &ours.moves,
        agent: &theirs.author,
        time: theirs.time,
    };
    if let Ok(compared) = compare::compare(nodes, &sides) {
        check_new(&compared.new);
    }
});

fn check_merged(nodes: &MemoryNodes, merged: Merged, sides: [&Side; 2]) {
    check_new(&merged.new);
    let is_sound = |side: &&Side| tree::walk(nodes, &side.root, &mut |_, _| {}).is_ok();
    let are_sound = sides.iter().all(is_sound);
    let mut overlay = Overlay::new(nodes);
    overlay.absorb(merged.new);
    // A merge of two good trees that nobody can read would be a head that nobody gets past.
    let walked = tree::walk(&overlay, &merged.root, &mut |_, _| {});
    assert!(
        !are_sound || walked.is_ok(),
        "the merge of two good trees: {walked:?}"
    );
}

/// Whatever core makes, core must decode.
fn check_new(new: &NewNodes) {
    for (kind, id, bytes) in new.iter() {
        assert_eq!(ObjectId::of(kind, bytes), id);
        if let Err(error) = Node::decode(kind, bytes) {
            panic!("core made a node that does not decode: {error}");
        }
    }
}

/// Chooses hints that a revision may hold: one that does not decode never comes this far.
fn moves(input: &mut Bytes<'_>) -> Vec<MoveHint> {
    let hint = |input: &mut Bytes<'_>| MoveHint {
        from: shape::path(input),
        to: shape::path(input),
    };
    let hints: Vec<_> = (0..input.below(5)).map(|_| hint(input)).collect();
    revision::decode_moves(&revision::encode_moves(&hints)).unwrap_or_default()
}
