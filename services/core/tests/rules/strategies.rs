//! What properties are tried on: names, paths, entries, nodes and revisions, all of them valid.

use fsync_core::id::{ObjectId, RevisionId};
use fsync_core::label::AgentName;
use fsync_core::limits;
use fsync_core::node::{Content, Entry, FileEntry, Mtime, Node, Run};
use fsync_core::path::{Name, RelPath};
use fsync_core::revision::{MoveHint, Revision, Timestamp};
use fsync_core::tree::Entries;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

/// Names of any bytes; short ones often, so that they meet.
pub(crate) fn names() -> impl Strategy<Value = Name> {
    let any = prop_oneof![
        8 => vec(prop_oneof![Just(b'a'), Just(b'b'), Just(b'.'), any::<u8>()], 1..6),
        1 => vec(any::<u8>(), 1..=limits::NAME_BYTES),
    ];
    any.prop_filter_map("no name", |bytes| Name::new(bytes).ok())
}

/// Paths of up to five names.
pub(crate) fn paths() -> impl Strategy<Value = RelPath> {
    vec(names(), 1..5).prop_map(|names| names.iter().fold(RelPath::root(), |p, n| p.join(n)))
}

/// Any object id.
pub(crate) fn ids() -> impl Strategy<Value = ObjectId> {
    any::<[u8; 32]>().prop_map(ObjectId::from_bytes)
}

/// Any entry that may stand in a directory node.
pub(crate) fn entries() -> impl Strategy<Value = Entry> {
    let content = prop_oneof![
        (0..=limits::CHUNK_MAX_BYTES as u64, ids()).prop_map(|(n, id)| (n, Content::Chunk(id))),
        (limits::WHOLE_FILE_BYTES + 1..=limits::FILE_BYTES, ids())
            .prop_map(|(n, id)| (n, Content::List(id))),
    ];
    let file = (content, any::<bool>(), any::<i64>()).prop_map(|((size, content), exec, mtime)| {
        Entry::File(FileEntry {
            content,
            size,
            exec,
            mtime: Mtime(mtime),
        })
    });
    prop_oneof![
        4 => file,
        1 => ids().prop_map(Entry::Dir),
        1 => ids().prop_map(Entry::Symlink),
    ]
}

/// Any directory of up to `most` entries.
pub(crate) fn directories(most: usize) -> impl Strategy<Value = Entries> {
    btree_map(names(), entries(), 0..most)
}

/// Any run of a file.
pub(crate) fn runs() -> impl Strategy<Value = Run> {
    prop_oneof![
        4 => (ids(), 1..=limits::CHUNK_MAX_BYTES as u64).prop_map(|(id, bytes)| Run::Chunk { id, bytes }),
        1 => (1..=limits::FILE_BYTES).prop_map(|bytes| Run::Hole { bytes }),
    ]
}

/// Any node that one node alone may be.
pub(crate) fn nodes() -> impl Strategy<Value = Node> {
    let level = 1..=limits::NODE_LEVELS;
    let target = vec(1..=u8::MAX, 1..200);
    prop_oneof![
        vec(runs(), 1..100).prop_map(Node::FileLeaf),
        (level.clone(), vec((ids(), 1..u64::MAX), 2..100))
            .prop_map(|(l, children)| Node::FileInner(l, children)),
        directories(40).prop_map(|entries| Node::DirLeaf(entries.into_iter().collect())),
        (level, btree_map(names(), ids(), 2..40))
            .prop_filter("two children", |(_, c)| c.len() > 1)
            .prop_map(|(l, children)| Node::DirInner(l, children.into_iter().collect())),
        target.prop_map(Node::Symlink),
    ]
}

/// Any revision.
pub(crate) fn revisions() -> impl Strategy<Value = Revision> {
    let parents = vec(any::<[u8; 32]>().prop_map(RevisionId::from_bytes), 0..=2);
    let author = "[a-zA-Z0-9][a-zA-Z0-9._-]{0,63}".prop_map(|t| t.parse::<AgentName>().unwrap());
    let moves = (paths(), paths())
        .prop_filter("moves into itself", |(from, to)| {
            !from.is_within(to) && !to.is_within(from)
        })
        .prop_map(|(from, to)| MoveHint { from, to });
    let rest = (any::<u64>(), any::<bool>(), vec(moves, 0..8));
    (ids(), parents, author, rest).prop_map(
        |(root, parents, author, (time, is_approved, moves))| Revision {
            root,
            parents,
            author,
            time: Timestamp(time),
            is_approved,
            moves,
        },
    )
}
