//! Nodes: what decodes is the one encoding of its content, and of one kind only.
#![no_main]

use fsync_core::id::{ObjectId, ObjectKind};
use fsync_core::limits;
use fsync_core::node::Node;
use libfuzzer_sys::fuzz_target;

const KINDS: [ObjectKind; 4] = [
    ObjectKind::Chunk,
    ObjectKind::File,
    ObjectKind::Directory,
    ObjectKind::Symlink,
];

fuzz_target!(|data: &[u8]| {
    let mut decoded = KINDS
        .into_iter()
        .filter_map(|kind| Some((kind, Node::decode(kind, data).ok()?)));
    let Some((kind, node)) = decoded.next() else {
        return;
    };
    assert!(decoded.next().is_none(), "bytes are nodes of two kinds");
    assert!(kind.is_node(), "a chunk decodes as a node");
    let (id, bytes) = node.encode();
    assert_eq!(bytes, data, "one content has two encodings");
    assert_eq!(id, ObjectId::of(kind, data));
    // Every child costs more than its id in the bytes: what is read out cannot be amplified.
    let children = node.children().len();
    assert!(children * size_of::<ObjectId>() <= limits::NODE_BYTES);
});
