//! The mark of garbage collection: everything that roots reach.
//!
//! Guarantees: iterative, bounded by the number of distinct objects; asks for nodes in batches that
//! the driver chooses.
//! Does not: delete. What is not marked may go, after the grace that the driver keeps.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::{ObjectId, ObjectKind};
use crate::node::Node;

/// A mark in work: feed it nodes until [`Mark::wanted`] is empty.
#[derive(Debug, Default)]
pub struct Mark {
    live: BTreeSet<ObjectId>,
    open: BTreeMap<ObjectId, ObjectKind>,
}

impl Mark {
    /// Adds a root directory; later calls go on from what is marked already.
    pub fn add_root(&mut self, root: ObjectId) {
        self.reach(ObjectKind::Directory, root);
    }

    /// Pins one object without looking below it.
    pub fn pin(&mut self, id: ObjectId) {
        self.live.insert(id);
    }

    /// Returns up to `count` nodes to load and [`Mark::feed`]; empty when the mark is done.
    pub fn wanted(&self, count: usize) -> Vec<(ObjectKind, ObjectId)> {
        let open = self.open.iter().take(count);
        open.map(|(id, kind)| (*kind, *id)).collect()
    }

    /// Takes a loaded node.
    pub fn feed(&mut self, id: &ObjectId, node: &Node) {
        if self.open.remove(id).is_some() {
            for (kind, child) in node.children() {
                self.reach(kind, child);
            }
        }
    }

    /// Passes over a node that cannot be loaded; what is below it is not marked.
    pub fn skip(&mut self, id: &ObjectId) {
        self.open.remove(id);
    }

    /// Returns what is live.
    pub fn live(&self) -> &BTreeSet<ObjectId> {
        &self.live
    }

    /// Ends the mark.
    pub fn into_live(self) -> BTreeSet<ObjectId> {
        self.live
    }

    fn reach(&mut self, kind: ObjectKind, id: ObjectId) {
        if self.live.insert(id) && kind.is_node() {
            self.open.insert(id, kind);
        }
    }
}
