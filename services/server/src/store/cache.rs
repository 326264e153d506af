//! A bounded cache of decoded nodes: two generations, the older one goes when the younger is full.

use std::collections::HashMap;
use std::sync::Arc;

use fsync_core::id::ObjectId;
use fsync_core::node::Node;

/// Encoded bytes in one generation; decoded they are about three times as many.
const GENERATION_BYTES: usize = 4 * 1024 * 1024;

/// The cache.
#[derive(Debug, Default)]
pub(super) struct NodeCache {
    young: HashMap<ObjectId, (Arc<Node>, usize)>,
    old: HashMap<ObjectId, (Arc<Node>, usize)>,
    young_bytes: usize,
}

impl NodeCache {
    /// Returns a node and keeps it young.
    pub(super) fn get(&mut self, id: &ObjectId) -> Option<Arc<Node>> {
        if let Some((node, _)) = self.young.get(id) {
            return Some(Arc::clone(node));
        }
        let (node, bytes) = self.old.remove(id)?;
        self.insert(*id, Arc::clone(&node), bytes);
        Some(node)
    }

    /// Adds a node of so many encoded bytes.
    pub(super) fn insert(&mut self, id: ObjectId, node: Arc<Node>, bytes: usize) {
        if self.young_bytes + bytes > GENERATION_BYTES {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        if self.young.insert(id, (node, bytes)).is_none() {
            self.young_bytes += bytes;
        }
    }
}
