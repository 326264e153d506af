//! The service as its replicas do it: a lineage, a head, and the merge of head and incoming
//! revision.

use std::collections::{BTreeMap, BTreeSet};

use fsync_core::conflict;
use fsync_core::hints;
use fsync_core::id::{ObjectId, RevisionId};
use fsync_core::label::AgentName;
use fsync_core::merge::Side;
use fsync_core::path::RelPath;
use fsync_core::revision::{MoveHint, Revision, Timestamp};

use crate::fixtures::Store;
use crate::sketch::merge;

#[derive(Debug)]
pub(super) struct Service {
    pub(super) head: RevisionId,
    lineage: BTreeMap<RevisionId, (usize, Revision)>,
}

impl Service {
    /// Starts with a first revision of this root.
    pub(super) fn new(root: ObjectId) -> Self {
        let revision = Revision {
            root,
            parents: Vec::new(),
            author: AgentName::merge(),
            time: Timestamp(0),
            is_approved: false,
            moves: Vec::new(),
        };
        let id = revision.encode().0;
        Self {
            head: id,
            lineage: BTreeMap::from([(id, (0, revision))]),
        }
    }

    pub(super) fn revision(&self, id: &RevisionId) -> &Revision {
        &self.lineage[id].1
    }

    /// Returns a time that no revision has yet.
    pub(super) fn now(&self) -> Timestamp {
        Timestamp(self.lineage.len() as u64)
    }

    pub(super) fn root(&self) -> ObjectId {
        self.revision(&self.head).root
    }

    /// Returns the contents that lost their path in some revision and went on in a conflict copy.
    pub(super) fn disputed(&self, store: &Store) -> BTreeSet<ObjectId> {
        let is_copy = |path: &RelPath| path.names().any(|name| conflict::is_conflict_copy(&name));
        let copies = |(_, revision): &(usize, Revision)| {
            let all = store.list(revision.root).into_iter();
            all.filter(|(path, _)| is_copy(path))
                .map(|(_, entry)| entry.id())
                .collect::<Vec<_>>()
        };
        self.lineage.values().flat_map(copies).collect()
    }

    /// Returns the renames that lead from a revision to the head.
    pub(super) fn moves_since(&self, base: &RevisionId) -> Vec<MoveHint> {
        let known = self.lineage.iter().map(|(id, (_, r))| (*id, r)).collect();
        let parents = &self.revision(base).parents;
        hints::along(&known, (base, parents), &self.head)
    }

    /// Takes a revision in, merging it with the head if that is not its parent; a known one is
    /// answered "done".
    pub(super) fn commit(&mut self, store: &mut Store, revision: &Revision) -> RevisionId {
        let id = revision.encode().0;
        if self.lineage.contains_key(&id) {
            return id;
        }
        let before = self.head;
        let merged = match revision.parents.contains(&before) {
            true => None,
            false => Some(self.merge(store, revision, id)),
        };
        self.add(id, revision.clone());
        if let Some(merged) = merged {
            self.add(merged.encode().0, merged);
        }
        id
    }

    fn add(&mut self, id: RevisionId, revision: Revision) {
        self.lineage.insert(id, (self.lineage.len(), revision));
        self.head = id;
    }

    fn merge(&self, store: &mut Store, revision: &Revision, id: RevisionId) -> Revision {
        let head = self.revision(&self.head);
        let base = revision.parents.iter().max_by_key(|p| self.lineage[*p].0);
        let side = |revision: &Revision, moves| Side {
            root: revision.root,
            author: revision.author.clone(),
            time: revision.time,
            moves,
        };
        let ours = side(head, base.map_or(Vec::new(), |base| self.moves_since(base)));
        let theirs = side(revision, revision.moves.clone());
        let root = base.map(|base| self.revision(base).root);
        let merged = merge(store, root, (&ours, &theirs));
        Revision {
            root: merged.root,
            parents: vec![self.head, id],
            author: AgentName::merge(),
            time: head.time.max(revision.time),
            is_approved: false,
            moves: merged.moves,
        }
    }
}
