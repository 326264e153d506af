//! One compare-and-set in the making: folds the commits of a batch, one after the other, onto the
//! head.
//!
//! Guarantees: pure; with the same facts and batch it gives the same draft. Questions are gathered
//! for the whole batch, so that they cost one look-up per round, not per commit.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Placed, Push};
use crate::hints;
use crate::id::{ObjectId, ObjectKind, RevisionId};
use crate::label::AgentName;
use crate::limits;
use crate::merge::{self, Merged, Side};
use crate::node::Node;
use crate::nodes::{NewNodes, Nodes, NodesError};
use crate::revision::{MoveHint, Revision};
use crate::service::Now;
use crate::service::admit::{self, Admission, Grounds};
use crate::service::error::ServiceError;
use crate::service::facts::{Facts, Questions};
use crate::service::record::{CommitWrite, HeadState, Held, NewRevision, Stored, Ticket};
use crate::wire::{Epoch, Head, Seq};

/// How far before the base the chain of hints is read.
const LOOK_BACK: u64 = 64;

pub(super) struct Draft<'a> {
    facts: &'a Facts,
    pub(super) questions: Questions,
    /// The head if all so far were committed.
    head: Option<HeadState>,
    added: Vec<(Seq, RevisionId, Revision, Vec<u8>)>,
    earlier: BTreeMap<ObjectId, Held>,
    earlier_nodes: BTreeMap<ObjectId, Arc<Node>>,
    made: NewNodes,
    tickets: Vec<Ticket>,
    placed: Vec<(Ticket, RevisionId, Placed)>,
    refused: Vec<(Ticket, ServiceError)>,
}

/// Why a push goes no further in this draft.
enum Stop {
    /// Questions are open.
    Open,
    Refused(ServiceError),
}

impl From<ServiceError> for Stop {
    fn from(error: ServiceError) -> Self {
        Self::Refused(error)
    }
}

type Base<'b> = Option<(RevisionId, Seq, &'b Revision)>;

impl<'a> Draft<'a> {
    pub(super) fn of(facts: &'a Facts, batch: &[Push]) -> Self {
        let mut draft = Self {
            facts,
            questions: Questions::default(),
            head: None,
            added: Vec::new(),
            earlier: BTreeMap::new(),
            earlier_nodes: BTreeMap::new(),
            made: NewNodes::default(),
            tickets: Vec::new(),
            placed: Vec::new(),
            refused: Vec::new(),
        };
        let Some(head) = &facts.head else {
            draft.questions.head = true;
            return draft;
        };
        draft.head.clone_from(head);
        for push in batch {
            if let Err(Stop::Refused(error)) = draft.add(push) {
                draft.refused.push((push.ticket, error));
            }
        }
        draft
    }

    /// Returns the write with the head it makes (`None` if nothing changes), how pushes end, and
    /// which are refused.
    #[expect(
        clippy::type_complexity,
        reason = "three lists, taken apart at once by the only caller"
    )]
    pub(super) fn finish(
        self,
        now: Now,
    ) -> (
        Option<(CommitWrite, HeadState)>,
        Vec<(Ticket, RevisionId, Placed)>,
        Vec<(Ticket, ServiceError)>,
    ) {
        let (Some(head), false) = (self.head, self.added.is_empty()) else {
            return (None, self.placed, self.refused);
        };
        let revision = |(seq, id, _, bytes)| NewRevision {
            seq,
            id,
            bytes,
            trace: None,
        };
        let size = |(id, held): (ObjectId, Held)| (id, held.bytes);
        let write = CommitWrite {
            expected: self
                .facts
                .head
                .as_ref()
                .and_then(|h| h.as_ref())
                .map(|h| h.head.revision),
            generation: self.facts.generation.unwrap_or_default(),
            head: head.head,
            revisions: self.added.into_iter().map(revision).collect(),
            tickets: self.tickets,
            made: self.made,
            complete: self.earlier.into_iter().map(size).collect(),
            now,
            trace: None,
        };
        (Some((write, head)), self.placed, self.refused)
    }

    fn add(&mut self, push: &Push) -> Result<(), Stop> {
        if let Some(how) = self.position(push)? {
            self.placed.push((push.ticket, push.id, how));
            return Ok(());
        }
        let lineage = self.parents(push)?;
        let base = nearest(&lineage);
        let admission = self.admit(push, base)?;
        if !self.questions.is_empty() {
            return Err(Stop::Open);
        }
        let merged = match &self.head {
            Some(head) if !push.revision.parents.contains(&head.head.revision) => {
                Some(self.merge(push, &admission, base)?)
            }
            _ => None,
        };
        self.take(push, &admission, merged);
        Ok(())
    }

    /// Returns where the revision stands already, if it does.
    fn position(&mut self, push: &Push) -> Result<Option<Placed>, Stop> {
        if let Some((seq, ..)) = self.added.iter().find(|(_, id, ..)| *id == push.id) {
            return Ok(Some(Placed::New(*seq)));
        }
        let Some(head) = &self.head else {
            return Ok(None);
        };
        if head.head.revision == push.id {
            return Ok(Some(Placed::Before(head.head.seq)));
        }
        // A child of the head cannot be one of its ancestors.
        if push.revision.parents.contains(&head.head.revision) {
            return Ok(None);
        }
        match self.facts.revisions.get(&push.id) {
            Some(stored) => Ok(stored.as_ref().map(|s| Placed::Before(s.seq))),
            None => {
                self.questions.revisions.insert(push.id);
                Err(Stop::Open)
            }
        }
    }

    /// Returns the parents with their places; all must be in the lineage.
    fn parents(&mut self, push: &Push) -> Result<Vec<(RevisionId, Seq, Revision)>, Stop> {
        let mut parents = Vec::new();
        let mut is_open = false;
        for id in &push.revision.parents {
            if let Some((seq, _, revision, _)) = self.added.iter().find(|a| a.1 == *id) {
                parents.push((*id, *seq, revision.clone()));
                continue;
            }
            if let Some(head) = self.head.as_ref().filter(|h| h.head.revision == *id) {
                parents.push((*id, head.head.seq, head.revision.clone()));
                continue;
            }
            match self.facts.revisions.get(id) {
                Some(Some(stored)) => parents.push((*id, stored.seq, stored.revision.clone())),
                Some(None) => return Err(ServiceError::BaseUnknown(*id).into()),
                None if self.head.is_none() => return Err(ServiceError::BaseUnknown(*id).into()),
                None => {
                    self.questions.revisions.insert(*id);
                    is_open = true;
                }
            }
        }
        if is_open {
            Err(Stop::Open)
        } else {
            Ok(parents)
        }
    }

    fn admit(&mut self, push: &Push, base: Base<'_>) -> Result<Admission, Stop> {
        if let Some((id, seq, revision)) = base {
            self.check_kept(id, seq, revision.root)?;
        }
        let grounds = Grounds {
            facts: self.facts,
            earlier: &self.earlier,
            earlier_nodes: &self.earlier_nodes,
            pushed: &push.objects,
            upload: push.upload,
        };
        let old = base.map(|b| b.2.root);
        let mut questions = Questions::default();
        let admission = admit::admit(&grounds, push.revision.root, old, &mut questions)
            .map_err(ServiceError::Invalid)?;
        let is_open = !questions.is_empty();
        self.questions.held.extend(questions.held);
        self.questions.nodes.extend(questions.nodes);
        if is_open {
            return Err(Stop::Open);
        }
        if !admission.missing.is_empty() {
            let missing = admission.missing.iter().take(limits::REQUEST_OBJECTS);
            return Err(ServiceError::Missing(missing.copied().collect()).into());
        }
        Ok(admission)
    }

    /// A base whose contents retention dropped is no base.
    fn check_kept(&mut self, id: RevisionId, seq: Seq, root: ObjectId) -> Result<(), Stop> {
        let is_recent = self.head.as_ref().is_some_and(|h| h.head.seq == seq)
            || self.earlier.contains_key(&root);
        if is_recent {
            return Ok(());
        }
        match self.facts.held.get(&(None, root)) {
            Some(Some(_)) => Ok(()),
            Some(None) => Err(ServiceError::BaseUnknown(id).into()),
            None => {
                self.questions.held.insert((None, root));
                Err(Stop::Open)
            }
        }
    }

    fn merge(
        &mut self,
        push: &Push,
        admission: &Admission,
        base: Base<'_>,
    ) -> Result<Merged, Stop> {
        let Some(head) = self.head.clone() else {
            return Err(ServiceError::Internal("a merge without head".to_owned()).into());
        };
        let is_first_parent =
            base.is_some_and(|(id, ..)| push.revision.parents.first() == Some(&id));
        let ours = Side {
            root: head.revision.root,
            author: head.revision.author.clone(),
            time: head.revision.time,
            moves: match base {
                Some((id, seq, revision)) => self.hints(&head, id, seq, &revision.parents)?,
                None => Vec::new(),
            },
        };
        let theirs = Side {
            root: push.revision.root,
            author: push.revision.author.clone(),
            time: push.revision.time,
            moves: match is_first_parent {
                true => push.revision.moves.clone(),
                false => Vec::new(),
            },
        };
        let view = View {
            draft: self,
            push,
            admission,
        };
        match merge::merge(&view, base.map(|b| b.2.root), &ours, &theirs) {
            Ok(merged) => Ok(merged),
            Err(NodesError::Missing(ids)) => {
                self.questions.nodes.extend(ids);
                Err(Stop::Open)
            }
            Err(error) => Err(ServiceError::from(error).into()),
        }
    }

    /// Returns the head's renames since the base.
    fn hints(
        &mut self,
        head: &HeadState,
        base: RevisionId,
        seq: Seq,
        parents: &[RevisionId],
    ) -> Result<Vec<MoveHint>, Stop> {
        // A base that was merged in itself hangs on revisions a little before it.
        let seq = Seq(seq.0.saturating_sub(LOOK_BACK));
        let chain: &[Stored] = match &self.facts.chain {
            Some((after, chain)) if *after <= seq => chain,
            _ => {
                let asked = self.questions.chain_after;
                self.questions.chain_after = Some(asked.map_or(seq, |other| other.min(seq)));
                return Err(Stop::Open);
            }
        };
        let mut known: BTreeMap<RevisionId, &Revision> =
            chain.iter().map(|s| (s.id, &s.revision)).collect();
        known.extend(
            self.added
                .iter()
                .map(|(_, id, revision, _)| (*id, revision)),
        );
        Ok(hints::along(&known, (&base, parents), &head.head.revision))
    }

    fn take(&mut self, push: &Push, admission: &Admission, merged: Option<Merged>) {
        self.keep_objects(push, &admission.visited);
        let seq = self.next_seq();
        let before = self.head.take();
        let epoch = match &before {
            Some(head) => head.head.epoch,
            None => Epoch::mint(push.entropy),
        };
        let bytes = push.revision.to_bytes();
        self.added
            .push((seq, push.id, push.revision.clone(), bytes));
        self.tickets.push(push.ticket);
        self.placed.push((push.ticket, push.id, Placed::New(seq)));
        self.set_head(epoch, seq, (push.id, push.revision.clone()));
        if let (Some(merged), Some(before)) = (merged, before) {
            let revision = Revision {
                root: merged.root,
                parents: vec![before.head.revision, push.id],
                author: AgentName::merge(),
                time: before.revision.time.max(push.revision.time),
                is_approved: push.revision.is_approved,
                moves: merged.moves,
            };
            for (kind, id, bytes) in merged.new.iter() {
                let held = Held {
                    kind,
                    bytes: u32::try_from(bytes.len()).unwrap_or(u32::MAX),
                    is_complete: true,
                };
                self.earlier.insert(id, held);
                if let Some(node) = merged.new.get(&id) {
                    self.earlier_nodes.insert(id, Arc::clone(node));
                }
            }
            self.made.extend(merged.new);
            let (id, bytes) = revision.encode();
            let seq = Seq(seq.0 + 1);
            self.added.push((seq, id, revision.clone(), bytes));
            self.set_head(epoch, seq, (id, revision));
        }
    }

    fn keep_objects(&mut self, push: &Push, visited: &BTreeSet<ObjectId>) {
        for id in visited {
            let pushed = push.objects.nodes.get(id);
            let node = pushed.or_else(|| self.facts.nodes.get(id).and_then(Option::as_ref));
            let stored = self.facts.held.get(&(push.upload, *id)).copied().flatten();
            let held = match (node, push.objects.chunks.get(id), stored) {
                (Some(node), ..) => Held {
                    kind: node.kind(),
                    bytes: match (push.objects.node_bytes.get(id), stored) {
                        (Some(bytes), _) => *bytes,
                        (None, stored) => stored.map_or(0, |held| held.bytes),
                    },
                    is_complete: true,
                },
                (None, Some(bytes), _) => Held {
                    kind: ObjectKind::Chunk,
                    bytes: u32::try_from(*bytes).unwrap_or(u32::MAX),
                    is_complete: true,
                },
                (None, None, Some(held)) => Held {
                    is_complete: true,
                    ..held
                },
                (None, None, None) => continue,
            };
            self.earlier.insert(*id, held);
            if let Some(node) = node {
                self.earlier_nodes.insert(*id, Arc::clone(node));
            }
        }
    }

    fn next_seq(&self) -> Seq {
        Seq(self.head.as_ref().map_or(0, |h| h.head.seq.0) + 1)
    }

    fn set_head(&mut self, epoch: Epoch, seq: Seq, (id, revision): (RevisionId, Revision)) {
        self.head = Some(HeadState {
            head: Head {
                epoch,
                seq,
                revision: id,
            },
            revision,
        });
    }
}

/// Returns the parent of highest seq, ties by lowest id: the merge's base.
fn nearest(parents: &[(RevisionId, Seq, Revision)]) -> Base<'_> {
    parents
        .iter()
        .max_by(|a, b| a.1.cmp(&b.1).then(b.0.cmp(&a.0)))
        .map(|(id, seq, revision)| (*id, *seq, revision))
}

/// The nodes that a merge may read.
struct View<'a, 'd> {
    draft: &'a Draft<'d>,
    push: &'a Push,
    admission: &'a Admission,
}

impl Nodes for View<'_, '_> {
    fn node(&self, kind: ObjectKind, id: &ObjectId) -> Result<Arc<Node>, NodesError> {
        // Only what was admitted counts: a push may bring nodes that nothing reaches.
        if self.admission.visited.contains(id)
            && let Some(node) = self.push.objects.nodes.get(id)
        {
            return Ok(Arc::clone(node));
        }
        if let Some(node) = self.draft.earlier_nodes.get(id) {
            return Ok(Arc::clone(node));
        }
        self.draft.facts.node(kind, id)
    }
}
