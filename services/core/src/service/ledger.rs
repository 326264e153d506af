//! A journal in memory: heads, lineage, objects, what is complete for which tree, upload sessions.
//!
//! Guarantees: the rules of every journal, in their plainest form: a commit changes all or nothing;
//! an object is told of only to a tree for which it is complete or to a session that holds it; a
//! sweep never takes what a commit relies on.
//! Place: the server's journal for `memory:` and the simulator's store; the redb journal passes the
//! same contract suite.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::id::{ObjectId, ObjectKind, RevisionId};
use crate::label::{TenantName, TreeKey};
use crate::mutant::{self, Mutant};
use crate::node::Node;
use crate::service::Now;
use crate::service::commit::Committed;
use crate::service::facts::{Answers, CHAIN_REVISIONS, Questions};
use crate::service::record::{
    CommitWrite, HeadState, Held, PackEntry, PackId, Payload, Place, Stored, UploadId, Usage,
};
use crate::wire::{Epoch, Head, Seq};

mod loss;
mod objects;

use objects::{place_of, used};

/// The journal.
#[derive(Debug, Default)]
pub struct Ledger {
    tenants: BTreeMap<TenantName, Tenant>,
    trees: BTreeMap<TreeKey, Tree>,
    uploads: BTreeMap<UploadId, Upload>,
}

#[derive(Debug, Default)]
struct Tenant {
    generation: u64,
    objects: BTreeMap<ObjectId, Row>,
    /// Objects whose places were found empty: not here, but whoever may read them still may once
    /// they are.
    lost: BTreeMap<ObjectId, Row>,
    packs: BTreeMap<PackId, u64>,
    doomed: BTreeMap<PackId, Now>,
}

#[derive(Debug)]
struct Row {
    kind: ObjectKind,
    bytes: u32,
    place: Place,
    born: Now,
}

#[derive(Debug, Default)]
struct Tree {
    head: Option<Head>,
    lineage: BTreeMap<RevisionId, Seq>,
    revisions: BTreeMap<Seq, Stored>,
    complete: BTreeMap<ObjectId, Marked>,
}

/// When an object was marked complete for a tree, and its length in bytes.
type Marked = (Now, u32);

#[derive(Debug)]
struct Upload {
    tree: TreeKey,
    expires: Now,
    objects: BTreeSet<ObjectId>,
}

/// How much of a pack is still needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackUse {
    /// The pack.
    pub pack: PackId,
    /// Its size in bytes.
    pub bytes: u64,
    /// Bytes of objects that the index still finds in it.
    pub live_bytes: u64,
    /// Bytes of objects that were lost from it and are still owed to a tree.
    pub lost_bytes: u64,
}

impl PackUse {
    /// Returns the use of a pack that nothing is known to need.
    pub fn unused(pack: PackId, bytes: u64) -> Self {
        Self {
            pack,
            bytes,
            live_bytes: 0,
            lost_bytes: 0,
        }
    }
}

impl Ledger {
    /// Answers all questions but those for nodes, from one state.
    pub fn ask(&self, tree: &TreeKey, questions: &Questions) -> Answers {
        let empty = Tree::default();
        let state = self.trees.get(tree).unwrap_or(&empty);
        let stored = |id: &RevisionId| {
            let seq = state.lineage.get(id)?;
            state.revisions.get(seq).cloned()
        };
        let head = || {
            let head = state.head?;
            let revision = stored(&head.revision)?.revision;
            Some(HeadState { head, revision })
        };
        let held = |(upload, id): &(Option<UploadId>, ObjectId)| {
            ((*upload, *id), self.held(tree, *upload, id))
        };
        Answers {
            generation: self.tenants.get(&tree.tenant).map_or(0, |t| t.generation),
            head: questions.head.then(head),
            revisions: questions
                .revisions
                .iter()
                .map(|id| (*id, stored(id)))
                .collect(),
            held: questions.held.iter().map(held).collect(),
            nodes: Vec::new(),
            chain: questions
                .chain_after
                .map(|after| (after, state.chain(after))),
        }
    }

    /// Answers all questions; nodes are found if they are inline, as they always are in the
    /// simulator.
    pub fn answer(&self, tree: &TreeKey, questions: &Questions) -> Answers {
        let node = |(kind, id): &(ObjectKind, ObjectId)| {
            let place = self.locate(&tree.tenant, id);
            let node = match place {
                Some((_, Place::Inline(bytes))) => Node::decode(*kind, &bytes).ok().map(Arc::new),
                _ => None,
            };
            (*id, node)
        };
        Answers {
            nodes: questions.nodes.iter().map(node).collect(),
            ..self.ask(tree, questions)
        }
    }

    /// Returns what and where an object is, without asking who wants to know.
    pub fn locate(&self, tenant: &TenantName, id: &ObjectId) -> Option<(ObjectKind, Place)> {
        let row = self.tenants.get(tenant)?.objects.get(id)?;
        Some((row.kind, row.place.clone()))
    }

    /// Commits all or nothing.
    pub fn commit(
        &mut self,
        tree: &TreeKey,
        write: &CommitWrite,
        payloads: Vec<Payload>,
    ) -> Result<Committed, crate::cbor::DecodeError> {
        let tenant = self.tenants.entry(tree.tenant.clone()).or_default();
        let state = self.trees.entry(tree.clone()).or_default();
        let head = state.head.map(|h| h.revision);
        let is_other = head != write.expected || tenant.generation != write.generation;
        if is_other && !mutant::is_on(Mutant::BlindCommit) {
            return Ok(Committed::Conflict);
        }
        let decode = |new: &crate::service::record::NewRevision| {
            Stored::decode(new.seq, new.id, &new.bytes, (write.now, new.trace))
        };
        let revisions: Vec<Stored> = write
            .revisions
            .iter()
            .map(decode)
            .collect::<Result<_, _>>()?;
        for payload in payloads {
            tenant.store(payload, write.now);
        }
        for (kind, id, bytes) in write.made.iter() {
            tenant.store_inline(kind, id, bytes.to_vec(), write.now);
        }
        for stored in revisions {
            state.lineage.insert(stored.id, stored.seq);
            state.revisions.insert(stored.seq, stored);
        }
        let marked = write.complete.iter();
        state
            .complete
            .extend(marked.map(|(id, bytes)| (*id, (write.now, *bytes))));
        state.head = Some(write.head);
        Ok(Committed::Done)
    }

    /// Returns how much is stored for a tree.
    pub fn usage(&self, tree: &TreeKey) -> Usage {
        let marked = self.trees.get(tree).map(|state| state.complete.values());
        let add = |usage: Usage, marked: &Marked| Usage {
            bytes: usage.bytes + u64::from(marked.1),
            objects: usage.objects + 1,
        };
        marked.map_or(Usage::default(), |marked| {
            marked.fold(Usage::default(), add)
        })
    }

    /// Returns a tree's head.
    pub fn head(&self, tree: &TreeKey) -> Option<Head> {
        self.trees.get(tree)?.head
    }

    /// Puts a tree's positions into another epoch; `false` if its head is not `head` any more.
    pub fn renew(&mut self, tree: &TreeKey, head: Head, epoch: Epoch) -> bool {
        let state = self.trees.get_mut(tree);
        let now = state.and_then(|state| state.head.as_mut());
        let now = now.filter(|now| **now == head);
        if let Some(now) = now {
            now.epoch = epoch;
            return true;
        }
        false
    }

    /// Returns up to `limit` revisions before `before` (or from the head), newest first.
    pub fn log(&self, tree: &TreeKey, before: Option<Seq>, limit: usize) -> Vec<Stored> {
        let Some(state) = self.trees.get(tree) else {
            return Vec::new();
        };
        let end = before.unwrap_or(Seq(u64::MAX));
        let newest = state.revisions.range(..end).rev();
        newest
            .take(limit)
            .map(|(_, stored)| stored.clone())
            .collect()
    }

    /// Opens an upload session.
    pub fn open_upload(&mut self, tree: &TreeKey, upload: UploadId, expires: Now) {
        let state = Upload {
            tree: tree.clone(),
            expires,
            objects: BTreeSet::new(),
        };
        self.uploads.insert(upload, state);
    }

    /// Renews a session of this tree; `false` if it is not open.
    pub fn touch_upload(&mut self, tree: &TreeKey, upload: UploadId, expires: Now) -> bool {
        match self.uploads.get_mut(&upload) {
            Some(state) if state.tree == *tree => {
                state.expires = expires;
                true
            }
            _ => false,
        }
    }

    /// Stores objects for a session and renews it; `false` if it is not open.
    pub fn add_upload(
        &mut self,
        tree: &TreeKey,
        upload: UploadId,
        payload: Payload,
        (now, expires): (Now, Now),
    ) -> bool {
        if !self.touch_upload(tree, upload, expires) {
            return false;
        }
        let tenant = self.tenants.entry(tree.tenant.clone()).or_default();
        let ids = tenant.store(payload, now);
        if let Some(state) = self.uploads.get_mut(&upload) {
            state.objects.extend(ids);
        }
        true
    }

    /// Ends sessions that expired before `now`; returns how many.
    pub fn expire_uploads(&mut self, now: Now) -> usize {
        let before = self.uploads.len();
        let mut tenants = BTreeSet::new();
        self.uploads.retain(|_, upload| {
            let is_open = upload.expires > now;
            if !is_open {
                tenants.insert(upload.tree.tenant.clone());
            }
            is_open
        });
        for tenant in tenants {
            self.tenants.entry(tenant).or_default().generation += 1;
        }
        before - self.uploads.len()
    }

    /// Returns all trees.
    pub fn trees(&self) -> Vec<TreeKey> {
        self.trees.keys().cloned().collect()
    }

    /// Returns what the open sessions of a tree pin.
    pub fn pins(&self, tree: &TreeKey) -> Vec<ObjectId> {
        let of_tree = self.uploads.values().filter(|u| u.tree == *tree);
        of_tree.flat_map(|u| u.objects.iter().copied()).collect()
    }

    /// Forgets that objects are complete for a tree, but for `live` and what was marked at or after
    /// `cutoff`.
    ///
    /// Returns how many it forgot (or would, with `is_dry`); `None` if the head is not `head` any
    /// more.
    pub fn sweep_tree(
        &mut self,
        tree: &TreeKey,
        head: Option<Head>,
        live: &BTreeSet<ObjectId>,
        (cutoff, is_dry): (Now, bool),
    ) -> Option<u64> {
        let state = self.trees.get_mut(tree)?;
        if state.head != head {
            return None;
        }
        let is_dead = |id: &ObjectId, marked: &Marked| !live.contains(id) && marked.0 < cutoff;
        let dead = state
            .complete
            .iter()
            .filter(|(id, at)| is_dead(id, at))
            .count() as u64;
        if dead > 0 && !is_dry {
            state.complete.retain(|id, marked| !is_dead(id, marked));
            self.tenants
                .entry(tree.tenant.clone())
                .or_default()
                .generation += 1;
        }
        Some(dead)
    }

    /// Forgets objects of a tenant that are complete for no tree, in no session, and older than
    /// `cutoff`.
    ///
    /// Returns how many (or would, with `is_dry`), and how much of each pack is still needed.
    pub fn sweep_objects(
        &mut self,
        tenant: &TenantName,
        (cutoff, is_dry): (Now, bool),
    ) -> (u64, Vec<PackUse>) {
        let in_trees = self.trees.iter().filter(|(key, _)| key.tenant == *tenant);
        let mut live: BTreeSet<ObjectId> = in_trees
            .flat_map(|(_, tree)| tree.complete.keys().copied())
            .collect();
        let sessions = self.uploads.values().filter(|u| u.tree.tenant == *tenant);
        live.extend(sessions.flat_map(|u| u.objects.iter().copied()));
        let Some(state) = self.tenants.get_mut(tenant) else {
            return (0, Vec::new());
        };
        let is_dead = |id: &ObjectId, row: &Row| !live.contains(id) && row.born < cutoff;
        let packs = state.packs.iter();
        let mut uses: BTreeMap<PackId, PackUse> = packs
            .map(|(pack, bytes)| (*pack, PackUse::unused(*pack, *bytes)))
            .collect();
        let mut dead = 0;
        for (id, row) in &state.objects {
            if is_dead(id, row) {
                dead += 1;
            } else if let Some(used) = used(&mut uses, row) {
                used.live_bytes += u64::from(row.bytes);
            }
        }
        for (_, row) in state.lost.iter().filter(|(id, row)| !is_dead(id, row)) {
            if let Some(used) = used(&mut uses, row) {
                used.lost_bytes += u64::from(row.bytes);
            }
        }
        if !is_dry {
            state.lost.retain(|id, row| !is_dead(id, row));
        }
        if !is_dry && dead > 0 {
            state.objects.retain(|id, row| !is_dead(id, row));
            state.generation += 1;
        }
        (dead, uses.into_values().collect())
    }

    /// Points objects that are still at `from` (`None`: inline) to their places in a new pack.
    pub fn repoint(
        &mut self,
        tenant: &TenantName,
        from: Option<PackId>,
        (pack, entries): (PackId, &[PackEntry]),
    ) {
        let state = self.tenants.entry(tenant.clone()).or_default();
        for entry in entries {
            let Some(row) = state.objects.get_mut(&entry.id) else {
                continue;
            };
            let at = match &row.place {
                Place::Inline(_) => None,
                Place::Pack(place) => Some(place.pack),
            };
            if at == from {
                row.place = Place::Pack(place_of(pack, entry));
            }
        }
        state.note_pack(pack, entries);
    }

    /// Notes that no object is read from a pack any more; its file may go after the grace.
    pub fn doom_pack(&mut self, tenant: &TenantName, pack: PackId, now: Now) {
        let state = self.tenants.entry(tenant.clone()).or_default();
        state.packs.remove(&pack);
        state.doomed.insert(pack, now);
    }

    /// Returns packs doomed before `cutoff`.
    pub fn doomed(&self, tenant: &TenantName, cutoff: Now) -> Vec<PackId> {
        let Some(state) = self.tenants.get(tenant) else {
            return Vec::new();
        };
        let due = state.doomed.iter().filter(|(_, since)| **since < cutoff);
        due.map(|(pack, _)| *pack).collect()
    }

    /// Forgets a doomed pack whose file is gone.
    pub fn forget_pack(&mut self, tenant: &TenantName, pack: PackId) {
        self.tenants
            .entry(tenant.clone())
            .or_default()
            .doomed
            .remove(&pack);
    }

    /// Adds objects of a pack that the index does not know.
    pub fn index_pack(
        &mut self,
        tenant: &TenantName,
        (pack, entries): (PackId, Vec<PackEntry>),
        now: Now,
    ) {
        let tenant = self.tenants.entry(tenant.clone()).or_default();
        tenant.store(Payload::Packed(pack, entries), now);
    }

    /// Returns all packs that are known, used or doomed.
    pub fn packs(&self, tenant: &TenantName) -> BTreeSet<PackId> {
        let Some(state) = self.tenants.get(tenant) else {
            return BTreeSet::new();
        };
        state
            .packs
            .keys()
            .chain(state.doomed.keys())
            .copied()
            .collect()
    }

    /// Returns how many bytes are inline.
    pub fn inline_bytes(&self) -> u64 {
        let rows = self.tenants.values().flat_map(|t| t.objects.values());
        let inline = rows.filter(|row| matches!(row.place, Place::Inline(_)));
        inline.map(|row| u64::from(row.bytes)).sum()
    }

    /// Returns inline objects of one tenant, about `limit_bytes` of them.
    pub fn inline(&self, limit_bytes: u64) -> Option<(TenantName, Vec<ObjectId>)> {
        self.tenants.iter().find_map(|(name, tenant)| {
            let mut bytes = 0;
            let ids: Vec<ObjectId> = tenant
                .objects
                .iter()
                .filter(|(_, row)| matches!(row.place, Place::Inline(_)))
                .take_while(|(_, row)| {
                    let fits = bytes < limit_bytes;
                    bytes += u64::from(row.bytes);
                    fits
                })
                .map(|(id, _)| *id)
                .collect();
            (!ids.is_empty()).then(|| (name.clone(), ids))
        })
    }

    fn held(&self, tree: &TreeKey, upload: Option<UploadId>, id: &ObjectId) -> Option<Held> {
        let row = self.tenants.get(&tree.tenant)?.objects.get(id)?;
        let is_complete = self
            .trees
            .get(tree)
            .is_some_and(|t| t.complete.contains_key(id));
        let session = upload
            .and_then(|u| self.uploads.get(&u))
            .filter(|u| u.tree == *tree);
        let in_session = session.is_some_and(|u| u.objects.contains(id));
        (is_complete || in_session).then_some(Held {
            kind: row.kind,
            bytes: row.bytes,
            is_complete,
        })
    }
}

impl Tree {
    fn chain(&self, after: Seq) -> Vec<Stored> {
        let range = self.revisions.range(Seq(after.0.saturating_add(1))..);
        let chain: Vec<Stored> = range
            .take(CHAIN_REVISIONS + 1)
            .map(|(_, stored)| stored.clone())
            .collect();
        if chain.len() > CHAIN_REVISIONS {
            return Vec::new();
        }
        chain
    }
}
