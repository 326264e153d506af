//! Hostile trees out of the fuzzer's bytes: nodes that each decode, put together without regard to
//! one another.
//!
//! An id is a hash, so a node can name only what was made before it: trees have no cycles, but a
//! node may stand at many places, at the wrong height, under the wrong kind, or be missing.

use fsync_core::id::ObjectId;
use fsync_core::node::Node;
use fsync_core::nodes::MemoryNodes;
use fsync_core::pack::Object;

use crate::bytes::Bytes;
use crate::file;

/// Places that a node may have in all below one root. Nodes shared at every level make more places
/// than any walk can end with, which is known and would drown everything else.
const PLACES: usize = 600;
/// Nodes that are chosen one by one.
const NODES: usize = 64;
/// Nodes with those that only make a tree deep: enough to pass the deepest path.
const ALL_NODES: usize = 1_000;

/// A node that was made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Made {
    pub(crate) id: ObjectId,
    /// The places in all below it, with its own.
    pub(crate) places: usize,
    /// The bytes that it covers, if it is a part of a file.
    pub(crate) bytes: u64,
}

/// The forged nodes.
#[derive(Debug, Default)]
pub struct Forge {
    /// What can be read.
    pub nodes: MemoryNodes,
    /// The same as a push would bring it.
    pub objects: Vec<Object>,
    pub(crate) made: Vec<Made>,
}

impl Forge {
    /// Makes as many nodes as one byte says.
    pub fn make(&mut self, input: &mut Bytes<'_>) {
        for _ in 0..input.below(NODES) {
            let mut places = 1;
            let node = match input.below(8) {
                0..3 => self.dir_leaf(input, &mut places),
                3 => self.dir_inner(input, &mut places),
                4 => self.file_leaf(input),
                5 => self.file_inner(input, &mut places),
                6 => Node::Symlink(vec![b'/'; input.below(3)]),
                _ => {
                    // Seldom very deep: such a tree is slow to look at and teaches little.
                    let levels = match input.byte() {
                        few @ ..240 => usize::from(few) % 4,
                        many => 32 * usize::from(many - 239),
                    };
                    self.nest(levels);
                    continue;
                }
            };
            self.add(&node, places);
        }
    }

    /// Chooses one of the nodes, or one that is missing.
    pub fn pick(&self, input: &mut Bytes<'_>) -> ObjectId {
        self.choose(input, &mut 0).id
    }

    /// The same, and adds the places of the node to those of who names it.
    pub(crate) fn choose(&self, input: &mut Bytes<'_>, places: &mut usize) -> Made {
        let back = input.below(NODES);
        let made = self.made.iter().rev().nth(back).copied();
        let made = made.unwrap_or_else(|| Made {
            id: ObjectId::from_bytes([input.byte(); 32]),
            places: 1,
            bytes: 0,
        });
        *places += made.places;
        made
    }

    /// Keeps a node if it decodes, as every reader does before it trusts one.
    pub(crate) fn add(&mut self, node: &Node, places: usize) {
        let (id, encoded) = node.encode();
        let has_room = places <= PLACES && self.made.len() < ALL_NODES;
        if has_room && self.nodes.insert(node.kind(), id, &encoded).is_ok() {
            self.objects.push(Object::new(node.kind(), encoded));
            let bytes = file::covered(node);
            self.made.push(Made { id, places, bytes });
        }
    }
}
