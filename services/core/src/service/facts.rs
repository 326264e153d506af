//! What the state machines ask the journal, and what they were told.
//!
//! A machine never waits: it works on the facts it has, gathers every question it meets, and starts
//! again once they are answered. A negative answer is a fact too, so no question is asked twice for
//! one state of the journal.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::id::{ObjectId, ObjectKind, RevisionId};
use crate::node::Node;
use crate::nodes::{Nodes, NodesError};
use crate::service::record::{HeadState, Held, Stored, UploadId};
use crate::wire::Seq;

/// Most revisions that one look at the lineage after a seq brings; a longer chain gives no move
/// hints.
pub const CHAIN_REVISIONS: usize = 1000;

/// What is to be looked up; answered by [`Answers`] in one go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Questions {
    /// The head now.
    pub head: bool,
    /// Revisions with their places in the lineage.
    pub revisions: BTreeSet<RevisionId>,
    /// Objects: complete for the tree, or in the session.
    pub held: BTreeSet<(Option<UploadId>, ObjectId)>,
    /// Nodes to load; only ids that are held are asked for.
    pub nodes: BTreeSet<(ObjectKind, ObjectId)>,
    /// All revisions with a greater seq, at most [`CHAIN_REVISIONS`] (else none).
    pub chain_after: Option<Seq>,
}

impl Questions {
    /// Returns whether nothing is asked.
    pub fn is_empty(&self) -> bool {
        !self.head
            && self.revisions.is_empty()
            && self.held.is_empty()
            && self.nodes.is_empty()
            && self.chain_after.is_none()
    }
}

/// Answers to [`Questions`]: one for each thing asked, from one state of the journal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answers {
    /// Counts what garbage collection took from the tenant; a commit names the one it relied on.
    pub generation: u64,
    /// The head, if asked.
    pub head: Option<Option<HeadState>>,
    /// Revisions; `None` if not in the lineage.
    pub revisions: Vec<(RevisionId, Option<Stored>)>,
    #[expect(clippy::type_complexity, reason = "a question and its answer")]
    /// Objects; `None` if neither complete for the tree nor in the session.
    pub held: Vec<((Option<UploadId>, ObjectId), Option<Held>)>,
    /// Nodes; `None` if the store does not have them.
    pub nodes: Vec<(ObjectId, Option<Arc<Node>>)>,
    /// The chain after the seq that was asked for, in order.
    pub chain: Option<(Seq, Vec<Stored>)>,
}

/// What is known; grows by answers, shrinks when the journal may have changed.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) generation: Option<u64>,
    pub(super) head: Option<Option<HeadState>>,
    pub(super) revisions: BTreeMap<RevisionId, Option<Stored>>,
    pub(super) held: BTreeMap<(Option<UploadId>, ObjectId), Option<Held>>,
    pub(super) nodes: BTreeMap<ObjectId, Option<Arc<Node>>>,
    pub(super) chain: Option<(Seq, Vec<Stored>)>,
}

impl Facts {
    /// Takes answers; a new generation makes earlier facts about objects doubtful, so they are
    /// dropped.
    pub(super) fn learn(&mut self, answers: Answers) {
        if self.generation.is_some_and(|g| g != answers.generation) {
            self.held.clear();
            self.nodes.clear();
        }
        self.generation = Some(answers.generation);
        if let Some(head) = answers.head {
            self.head = Some(head);
        }
        self.revisions.extend(answers.revisions);
        self.held.extend(answers.held);
        self.nodes.extend(answers.nodes);
        if answers.chain.is_some() {
            self.chain = answers.chain;
        }
    }

    /// Forgets all: another writer moved the head.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// Keeps only the head and the generation, after a commit of one's own.
    pub(super) fn keep_head(&mut self, head: HeadState) {
        let generation = self.generation;
        *self = Self {
            generation,
            head: Some(Some(head)),
            ..Self::default()
        };
    }
}

impl Nodes for Facts {
    fn node(&self, kind: ObjectKind, id: &ObjectId) -> Result<Arc<Node>, NodesError> {
        match self.nodes.get(id) {
            Some(Some(node)) => Ok(Arc::clone(node)),
            Some(None) => Err(NodesError::Store(format!("node {id} is lost"))),
            None => Err(NodesError::Missing(vec![(kind, *id)])),
        }
    }
}
