//! Files of [`Forge`]: mostly of lengths that add up, so that readers get past the first check.

use fsync_core::id::ObjectId;
use fsync_core::node::{Content, FileEntry, Mtime, Node, Run};

use crate::bytes::Bytes;
use crate::forge::Forge;

/// Returns the bytes that a part of a file covers.
pub(crate) fn covered(node: &Node) -> u64 {
    let sum = |sum: u64, bytes: u64| sum.saturating_add(bytes);
    match node {
        Node::FileLeaf(runs) => runs.iter().map(Run::bytes).fold(0, sum),
        Node::FileInner(_, children) => children.iter().map(|child| child.1).fold(0, sum),
        _ => 0,
    }
}

/// Returns what a length is wrong by: mostly nothing.
fn lie(input: &mut Bytes<'_>) -> u64 {
    match input.byte() {
        wrong @ 240.. => u64::from(wrong - 239),
        _ => 0,
    }
}

impl Forge {
    pub(crate) fn file(&self, input: &mut Bytes<'_>, is_chunk: bool) -> FileEntry {
        let (content, size) = if is_chunk {
            let (id, bytes) = self.chunk(input);
            (Content::Chunk(id), bytes)
        } else {
            let list = self.choose(input, &mut 0);
            (
                Content::List(list.id),
                list.bytes.saturating_add(lie(input)),
            )
        };
        FileEntry {
            content,
            size,
            exec: input.below(2) == 1,
            mtime: Mtime(input.byte().into()),
        }
    }

    /// Chooses a chunk; its id says how long it is, for those who answer that they hold it.
    fn chunk(&self, input: &mut Bytes<'_>) -> (ObjectId, u64) {
        let first = input.byte();
        let id = match input.below(8) {
            0 => self.pick(input),
            _ => ObjectId::from_bytes([first; 32]),
        };
        (id, u64::from(first) + lie(input))
    }

    pub(crate) fn file_leaf(&self, input: &mut Bytes<'_>) -> Node {
        let run = |input: &mut Bytes<'_>| {
            if input.below(2) == 0 {
                let bytes = u64::from(input.byte()) << input.below(56);
                return Run::Hole { bytes };
            }
            let (id, bytes) = self.chunk(input);
            Run::Chunk { id, bytes }
        };
        Node::FileLeaf((0..input.below(4)).map(|_| run(input)).collect())
    }

    pub(crate) fn file_inner(&self, input: &mut Bytes<'_>, places: &mut usize) -> Node {
        let level = input.byte() % 8;
        let mut child = |input: &mut Bytes<'_>| {
            let part = self.choose(input, places);
            (part.id, part.bytes.saturating_add(lie(input)))
        };
        let children = (0..2 + input.below(2)).map(|_| child(input)).collect();
        Node::FileInner(level, children)
    }
}
