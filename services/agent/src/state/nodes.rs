//! Nodes in the state: decoded ones in a small cache, unreachable ones swept.

use std::collections::{HashMap, HashSet, VecDeque};
use std::ops::ControlFlow;
use std::sync::{Arc, PoisonError};

use fsync_core::id::{ObjectId, ObjectKind};
use fsync_core::node::Node;
use fsync_core::nodes::{Nodes, NodesError};

use super::engine::{Part, Rows};
use super::view::get;
use super::{Durability, Result, State, StateError, key};

/// Encoded bytes of the nodes that are kept decoded.
const CACHE_BYTES: usize = 2 * 1024 * 1024;
/// Fewer nodes than this are never swept.
const SWEEP_MIN: u64 = 4096;
/// Rows that one transaction of a sweep removes at most.
const SWEEP_BATCH: usize = 5000;

/// Decoded nodes, first in, first out.
#[derive(Debug, Default)]
pub(super) struct Cache {
    nodes: HashMap<ObjectId, (Arc<Node>, usize)>,
    order: VecDeque<ObjectId>,
    bytes: usize,
}

impl Cache {
    fn insert(&mut self, id: ObjectId, node: Arc<Node>, bytes: usize) {
        if self.nodes.insert(id, (node, bytes)).is_some() {
            return;
        }
        self.order.push_back(id);
        self.bytes += bytes;
        while self.bytes > CACHE_BYTES {
            let Some(oldest) = self.order.pop_front() else {
                break;
            };
            if let Some((_, bytes)) = self.nodes.remove(&oldest) {
                self.bytes -= bytes;
            }
        }
    }
}

/// What a sweep did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sweep {
    /// Nodes that are reachable.
    pub kept: u64,
    /// Nodes that were removed.
    pub removed: u64,
}

impl Nodes for State {
    fn node(&self, kind: ObjectKind, id: &ObjectId) -> std::result::Result<Arc<Node>, NodesError> {
        let store = |error: StateError| NodesError::Store(error.to_string());
        {
            let cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((node, _)) = cache.nodes.get(id)
                && node.kind() == kind
            {
                return Ok(Arc::clone(node));
            }
        }
        let Some(bytes) = self.stored(id).map_err(store)? else {
            return Err(NodesError::Missing(vec![(kind, *id)]));
        };
        let bytes = bytes.get(1..).unwrap_or_default();
        let node =
            Node::decode(kind, bytes).map_err(|source| NodesError::Decode { id: *id, source })?;
        let node = Arc::new(node);
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        cache.insert(*id, Arc::clone(&node), bytes.len());
        Ok(node)
    }
}

impl State {
    fn stored(&self, id: &ObjectId) -> Result<Option<Vec<u8>>> {
        get(self.snapshot()?.table(Part::Nodes)?, id.as_bytes())
    }

    /// Removes nodes that neither the state's own roots nor `roots` reach, if the table has grown
    /// to twice its size after the last sweep. A node of a root that is not at hand is passed over.
    ///
    /// # Errors
    /// [`StateError`] of the database.
    pub fn sweep(&self, roots: &[ObjectId]) -> Result<Option<Sweep>> {
        let count = self.node_count()?;
        if count < SWEEP_MIN || count < 2 * self.snapshot()?.number(key::SWEPT)? {
            return Ok(None);
        }
        self.sweep_now(roots).map(Some)
    }

    /// As [`State::sweep`], whatever the table's size.
    ///
    /// # Errors
    /// [`StateError`] of the database.
    pub fn sweep_now(&self, roots: &[ObjectId]) -> Result<Sweep> {
        let own = self.snapshot()?.roots()?;
        let mut live = HashSet::new();
        for root in roots.iter().chain([&own.synced, &own.working]) {
            self.mark(*root, &mut live)?;
        }
        let mut removed = 0;
        let mut dead = self.dead(&live)?;
        dead.sort_unstable();
        for batch in dead.chunks(SWEEP_BATCH) {
            self.update(Durability::Lazy, |tx| {
                for id in batch {
                    tx.remove_node(id)?;
                }
                Ok::<_, StateError>(())
            })?;
            removed += batch.len() as u64;
        }
        *self.cache.lock().unwrap_or_else(PoisonError::into_inner) = Cache::default();
        let kept = self.node_count()?;
        self.update(Durability::Lazy, |tx| tx.set_number(key::SWEPT, kept))?;
        Ok(Sweep { kept, removed })
    }

    fn mark(&self, root: ObjectId, live: &mut HashSet<ObjectId>) -> Result<()> {
        let mut stack = vec![(ObjectKind::Directory, root)];
        while let Some((kind, id)) = stack.pop() {
            if !kind.is_node() || !live.insert(id) {
                continue;
            }
            match self.node(kind, &id) {
                Ok(node) => stack.extend(node.children().into_iter().filter(|(k, _)| k.is_node())),
                Err(NodesError::Missing(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn dead(&self, live: &HashSet<ObjectId>) -> Result<Vec<ObjectId>> {
        let snapshot = self.snapshot()?;
        let mut dead = Vec::new();
        snapshot.table(Part::Nodes)?.scan(&[], |id, _| {
            let id = ObjectId::from_slice(id).ok_or(StateError::Damaged("node"))?;
            if !live.contains(&id) {
                dead.push(id);
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(dead)
    }
}
