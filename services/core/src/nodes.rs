//! Where pure functions find nodes, and where they leave new ones.
//!
//! Core never loads: a function that meets an id it cannot find returns [`NodesError::Missing`]
//! with as many ids as it can name at once; the caller fetches them and calls again. So a walk
//! costs a round trip per level, not per node.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::cbor::DecodeError;
use crate::id::{ObjectId, ObjectKind};
use crate::limits;
use crate::node::Node;

/// Why a walk over nodes stopped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NodesError {
    /// These nodes are not here: fetch them and call again.
    #[error("{} nodes are not at hand", .0.len())]
    Missing(Vec<(ObjectKind, ObjectId)>),
    /// A node breaks a rule that only its context shows.
    #[error("node {id} is not valid: {reason}")]
    Invalid {
        /// The node.
        id: ObjectId,
        /// The rule.
        reason: String,
    },
    /// The bytes under an id do not decode.
    #[error("node {id} does not decode")]
    Decode {
        /// The node.
        id: ObjectId,
        /// Why.
        #[source]
        source: DecodeError,
    },
    /// The store behind failed.
    #[error("the node store failed: {0}")]
    Store(String),
    /// A tree is deeper than a path may be, or larger than anybody may walk.
    #[error(transparent)]
    Limit(#[from] limits::LimitError),
}

/// A source of decoded nodes.
pub trait Nodes {
    /// Returns the node of `kind` with this id.
    ///
    /// # Errors
    /// [`NodesError::Missing`] with this one id if it is not at hand.
    fn node(&self, kind: ObjectKind, id: &ObjectId) -> Result<Arc<Node>, NodesError>;
}

/// A source that ends whoever reads more than [`limits::WALK_WORK`]: directories that share their
/// nodes can be larger than anybody can visit.
pub struct Metered<'a> {
    below: &'a dyn Nodes,
    work: Cell<usize>,
}

impl<'a> Metered<'a> {
    /// Starts to count.
    pub fn new(below: &'a dyn Nodes) -> Self {
        Self {
            below,
            work: Cell::new(0),
        }
    }
}

impl std::fmt::Debug for Metered<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metered")
            .field("work", &self.work)
            .finish_non_exhaustive()
    }
}

impl Nodes for Metered<'_> {
    fn node(&self, kind: ObjectKind, id: &ObjectId) -> Result<Arc<Node>, NodesError> {
        let node = self.below.node(kind, id)?;
        let work = self.work.get() + limits::NODE_WORK + node.len();
        self.work.set(work);
        limits::check("work of one walk of a tree", limits::WALK_WORK, work)?;
        Ok(node)
    }
}

/// New nodes over a source: what is written here is read first.
pub struct Overlay<'a> {
    below: &'a dyn Nodes,
    new: NewNodes,
}

/// Nodes that a function made: encoded and decoded, by id, in a fixed order.
#[derive(Debug, Default, Clone)]
pub struct NewNodes(BTreeMap<ObjectId, (Arc<Node>, Vec<u8>)>);

impl NewNodes {
    /// Returns kind, id and bytes of each node.
    pub fn iter(&self) -> impl Iterator<Item = (ObjectKind, ObjectId, &[u8])> {
        self.0
            .iter()
            .map(|(id, (node, bytes))| (node.kind(), *id, bytes.as_slice()))
    }

    /// Returns the decoded node.
    pub fn get(&self, id: &ObjectId) -> Option<&Arc<Node>> {
        self.0.get(id).map(|(node, _)| node)
    }

    /// Returns how many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a node and returns its id.
    pub fn insert(&mut self, node: Node) -> ObjectId {
        let (id, bytes) = node.encode();
        self.0.entry(id).or_insert_with(|| (Arc::new(node), bytes));
        id
    }

    /// Adds all of `other`.
    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }
}

impl<'a> Overlay<'a> {
    /// Starts with no new node.
    pub fn new(below: &'a dyn Nodes) -> Self {
        Self {
            below,
            new: NewNodes::default(),
        }
    }

    /// Adds a node and returns its id.
    pub fn insert(&mut self, node: Node) -> ObjectId {
        self.new.insert(node)
    }

    /// Adds nodes that a function made.
    pub fn absorb(&mut self, new: NewNodes) {
        self.new.extend(new);
    }

    /// Returns the new nodes.
    pub fn into_new(self) -> NewNodes {
        self.new
    }
}

impl std::fmt::Debug for Overlay<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Overlay")
            .field("new", &self.new.len())
            .finish_non_exhaustive()
    }
}

impl Nodes for Overlay<'_> {
    fn node(&self, kind: ObjectKind, id: &ObjectId) -> Result<Arc<Node>, NodesError> {
        match self.new.get(id) {
            Some(node) => Ok(Arc::clone(node)),
            None => self.below.node(kind, id),
        }
    }
}

/// Nodes in memory; for tests, merges and the simulator.
#[derive(Debug, Default, Clone)]
pub struct MemoryNodes(HashMap<ObjectId, Arc<Node>>);

impl MemoryNodes {
    /// Adds nodes that a function made.
    pub fn absorb(&mut self, new: &NewNodes) {
        for (id, (node, _)) in &new.0 {
            self.0.insert(*id, Arc::clone(node));
        }
    }

    /// Decodes and adds one node.
    ///
    /// # Errors
    /// [`DecodeError`] if it is not canonical.
    pub fn insert(
        &mut self,
        kind: ObjectKind,
        id: ObjectId,
        bytes: &[u8],
    ) -> Result<(), DecodeError> {
        self.0.insert(id, Arc::new(Node::decode(kind, bytes)?));
        Ok(())
    }

    /// Returns whether the node is here.
    pub fn contains(&self, id: &ObjectId) -> bool {
        self.0.contains_key(id)
    }
}

impl Nodes for MemoryNodes {
    fn node(&self, kind: ObjectKind, id: &ObjectId) -> Result<Arc<Node>, NodesError> {
        self.0
            .get(id)
            .cloned()
            .ok_or_else(|| NodesError::Missing(vec![(kind, *id)]))
    }
}

/// Gathers missing ids over several tries, so that one answer names them all.
#[derive(Debug, Default)]
pub struct Gather(Vec<(ObjectKind, ObjectId)>);

impl Gather {
    /// Keeps the ids of a `Missing` and returns `None`; passes everything else on.
    ///
    /// # Errors
    /// Any other [`NodesError`].
    pub fn take<T>(&mut self, result: Result<T, NodesError>) -> Result<Option<T>, NodesError> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(NodesError::Missing(ids)) => {
                self.0.extend(ids);
                Ok(None)
            }
            Err(other) => Err(other),
        }
    }

    /// Returns whether nothing was missing so far.
    pub fn is_complete(&self) -> bool {
        self.0.is_empty()
    }

    /// Ends the gathering.
    ///
    /// # Errors
    /// [`NodesError::Missing`] with all ids, each once.
    pub fn finish(mut self) -> Result<(), NodesError> {
        if self.0.is_empty() {
            return Ok(());
        }
        self.0.sort_unstable();
        self.0.dedup();
        Err(NodesError::Missing(self.0))
    }
}
