//! What is read from the redb journal, over one snapshot.

use std::collections::BTreeSet;

use ::redb::{ReadOnlyTable, ReadTransaction, ReadableTable};
use fsync_core::admin::Policy;
use fsync_core::id::{ID_BYTES, ObjectId, ObjectKind, RevisionId};
use fsync_core::label::{TenantName, TreeKey};
use fsync_core::service::Now;
use fsync_core::service::facts::{Answers, CHAIN_REVISIONS, Questions};
use fsync_core::service::record::{HeadState, Held, PackId, Place, Stored, UploadId, Usage};
use fsync_core::wire::{Head, Seq};

use super::tables::{
    CLUSTER, COMPLETE, DOOMED, HEADS, INLINE, INLINE_BYTES, LINEAGE, LOST, META, OBJECTS, OwnedId,
    PACKS, POLICIES, REVISIONS, REVOKED, TENANTS, TREES, UPLOAD_ID_BYTES, UPLOAD_OBJECTS, UPLOADS,
    USAGE, cluster_of, head_row, id_of, object_key, owner_of, revision_key, upload_key,
    upload_range, uploaded_id, usage_row,
};
use super::{JournalError, failed, store_error};
use crate::cluster::ClusterId;
use crate::journal::rows::{ObjectRow, read_revision};

/// All tables of one read transaction.
pub(super) struct View {
    meta: ReadOnlyTable<&'static str, u64>,
    trees: ReadOnlyTable<&'static str, (u32, u32)>,
    tenants: ReadOnlyTable<&'static str, (u32, u64)>,
    heads: ReadOnlyTable<u32, (u64, u64, &'static [u8; ID_BYTES])>,
    lineage: ReadOnlyTable<OwnedId, u64>,
    revisions: ReadOnlyTable<(u32, u64), &'static [u8]>,
    objects: ReadOnlyTable<OwnedId, &'static [u8]>,
    pub(super) lost: ReadOnlyTable<OwnedId, &'static [u8]>,
    inline: ReadOnlyTable<OwnedId, &'static [u8]>,
    pub(super) complete: ReadOnlyTable<OwnedId, (u64, u32)>,
    usage: ReadOnlyTable<u32, (u64, u64)>,
    policies: ReadOnlyTable<&'static str, &'static [u8]>,
    packs: ReadOnlyTable<(u32, u128), u64>,
    doomed: ReadOnlyTable<(u32, u128), u64>,
    uploads: ReadOnlyTable<u64, (u32, u64)>,
    upload_objects: ReadOnlyTable<&'static [u8; UPLOAD_ID_BYTES], ()>,
    pub(super) revoked: ReadOnlyTable<&'static str, u64>,
}

impl View {
    pub(super) fn open(transaction: &ReadTransaction) -> Result<Self, JournalError> {
        Ok(Self {
            meta: transaction.open_table(META).map_err(store_error)?,
            trees: transaction.open_table(TREES).map_err(store_error)?,
            tenants: transaction.open_table(TENANTS).map_err(store_error)?,
            heads: transaction.open_table(HEADS).map_err(store_error)?,
            lineage: transaction.open_table(LINEAGE).map_err(store_error)?,
            revisions: transaction.open_table(REVISIONS).map_err(store_error)?,
            objects: transaction.open_table(OBJECTS).map_err(store_error)?,
            lost: transaction.open_table(LOST).map_err(store_error)?,
            inline: transaction.open_table(INLINE).map_err(store_error)?,
            complete: transaction.open_table(COMPLETE).map_err(store_error)?,
            usage: transaction.open_table(USAGE).map_err(store_error)?,
            policies: transaction.open_table(POLICIES).map_err(store_error)?,
            packs: transaction.open_table(PACKS).map_err(store_error)?,
            doomed: transaction.open_table(DOOMED).map_err(store_error)?,
            uploads: transaction.open_table(UPLOADS).map_err(store_error)?,
            upload_objects: transaction
                .open_table(UPLOAD_OBJECTS)
                .map_err(store_error)?,
            revoked: transaction.open_table(REVOKED).map_err(store_error)?,
        })
    }

    pub(super) fn usage(&self, tree: &TreeKey) -> Result<Usage, JournalError> {
        let Some((tree, _)) = self.tree(tree)? else {
            return Ok(Usage::default());
        };
        let row = self.usage.get(tree).map_err(store_error)?;
        Ok(row.map_or(Usage::default(), |row| usage_row(row.value())))
    }

    pub(super) fn policy(&self, tree: &TreeKey) -> Result<Option<Policy>, JournalError> {
        let row = self.policies.get(tree.to_string().as_str());
        let row = row.map_err(store_error)?;
        let policy = row.map(|json| serde_json::from_slice(json.value()));
        policy
            .transpose()
            .map_err(|e| failed(&format!("the policy of {tree} does not decode: {e}")))
    }

    pub(super) fn ask(
        &self,
        tree: &TreeKey,
        questions: &Questions,
    ) -> Result<Answers, JournalError> {
        let generation = self.tenant(&tree.tenant)?.map_or(0, |t| t.1);
        let Some((tree, tenant)) = self.tree(tree)? else {
            return Ok(nothing(questions, generation));
        };
        let mut answers = Answers {
            generation,
            ..Answers::default()
        };
        if questions.head {
            answers.head = Some(self.head(tree)?);
        }
        for id in &questions.revisions {
            answers.revisions.push((*id, self.revision(tree, id)?));
        }
        for (upload, id) in &questions.held {
            let held = self.held((tree, tenant), *upload, id)?;
            answers.held.push(((*upload, *id), held));
        }
        if let Some(after) = questions.chain_after {
            answers.chain = Some((after, self.chain(tree, after)?));
        }
        Ok(answers)
    }

    pub(super) fn locate(
        &self,
        tenant: &TenantName,
        ids: &[ObjectId],
    ) -> Result<Vec<Option<(ObjectKind, Place)>>, JournalError> {
        let Some((tenant, _)) = self.tenant(tenant)? else {
            return Ok(vec![None; ids.len()]);
        };
        ids.iter().map(|id| self.place(tenant, id)).collect()
    }

    fn place(
        &self,
        tenant: u32,
        id: &ObjectId,
    ) -> Result<Option<(ObjectKind, Place)>, JournalError> {
        let key = object_key(tenant, id);
        let Some(row) = self.objects.get(&key).map_err(store_error)? else {
            return Ok(None);
        };
        let row = ObjectRow::decode(row.value())?;
        if let Some(place) = row.place() {
            return Ok(Some((row.kind, Place::Pack(place))));
        }
        let body = self.inline.get(&key).map_err(store_error)?;
        Ok(body.map(|body| (row.kind, Place::Inline(body.value().to_vec()))))
    }

    pub(super) fn log(
        &self,
        tree: &TreeKey,
        before: Option<Seq>,
        limit: usize,
    ) -> Result<Vec<Stored>, JournalError> {
        let Some((tree, _)) = self.tree(tree)? else {
            return Ok(Vec::new());
        };
        let end = before.map_or(u64::MAX, |seq| seq.0);
        let range = self
            .revisions
            .range((tree, 0)..(tree, end))
            .map_err(store_error)?;
        range.rev().take(limit).map(read_row).collect()
    }

    pub(super) fn trees(&self) -> Result<Vec<TreeKey>, JournalError> {
        let rows = self.trees.iter().map_err(store_error)?;
        rows.map(|row| {
            let (name, _) = row.map_err(store_error)?;
            name.value()
                .parse()
                .map_err(|e| failed(&format!("a tree's name is damaged: {e}")))
        })
        .collect()
    }

    pub(super) fn pins(&self, tree: &TreeKey) -> Result<Vec<ObjectId>, JournalError> {
        let Some((tree, _)) = self.tree(tree)? else {
            return Ok(Vec::new());
        };
        let mut pins = Vec::new();
        for row in self.uploads.iter().map_err(store_error)? {
            let (upload, state) = row.map_err(store_error)?;
            if state.value().0 != tree {
                continue;
            }
            let (first, last) = upload_range(upload.value());
            for row in self
                .upload_objects
                .range::<&[u8; UPLOAD_ID_BYTES]>(&first..=&last)
                .map_err(store_error)?
            {
                pins.push(uploaded_id(row.map_err(store_error)?.0.value()));
            }
        }
        Ok(pins)
    }

    pub(super) fn doomed(
        &self,
        tenant: &TenantName,
        cutoff: Now,
    ) -> Result<Vec<PackId>, JournalError> {
        let Some((tenant, _)) = self.tenant(tenant)? else {
            return Ok(Vec::new());
        };
        let range = (tenant, 0)..=(tenant, u128::MAX);
        let mut due = Vec::new();
        for row in self.doomed.range(range).map_err(store_error)? {
            let (key, since) = row.map_err(store_error)?;
            if since.value() < cutoff.0 {
                due.push(PackId(key.value().1));
            }
        }
        Ok(due)
    }

    pub(super) fn packs(&self, tenant: &TenantName) -> Result<BTreeSet<PackId>, JournalError> {
        let Some((tenant, _)) = self.tenant(tenant)? else {
            return Ok(BTreeSet::new());
        };
        let range = || (tenant, 0)..=(tenant, u128::MAX);
        let packs = self.packs.range(range()).map_err(store_error)?;
        let doomed = self.doomed.range(range()).map_err(store_error)?;
        let id = |row: Result<(::redb::AccessGuard<'_, (u32, u128)>, _), _>| {
            let (key, _): (_, ::redb::AccessGuard<'_, u64>) = row.map_err(store_storage)?;
            Ok(PackId(key.value().1))
        };
        packs.map(id).chain(doomed.map(id)).collect()
    }

    pub(super) fn inline_bytes(&self) -> Result<u64, JournalError> {
        self.number(INLINE_BYTES)
    }

    pub(super) fn cluster(&self) -> Result<Option<ClusterId>, JournalError> {
        let [high, low] = CLUSTER;
        Ok(cluster_of(self.number(high)?, self.number(low)?))
    }

    pub(super) fn number(&self, name: &str) -> Result<u64, JournalError> {
        let value = self.meta.get(name).map_err(store_error)?;
        Ok(value.map_or(0, |v| v.value()))
    }

    pub(super) fn inline(
        &self,
        limit_bytes: u64,
    ) -> Result<Option<(TenantName, Vec<ObjectId>)>, JournalError> {
        let mut owner = None;
        let mut bytes = 0;
        let mut ids = Vec::new();
        for row in self.inline.iter().map_err(store_error)? {
            let (key, body) = row.map_err(store_error)?;
            let tenant = owner_of(key.value());
            if *owner.get_or_insert(tenant) != tenant || bytes >= limit_bytes {
                break;
            }
            bytes += body.value().len() as u64;
            ids.push(id_of(key.value()));
        }
        let Some(owner) = owner else {
            return Ok(None);
        };
        for row in self.tenants.iter().map_err(store_error)? {
            let (name, state) = row.map_err(store_error)?;
            if state.value().0 == owner {
                let name = name.value().parse().map_err(|e| failed(&format!("{e}")))?;
                return Ok(Some((name, ids)));
            }
        }
        Err(failed("inline objects belong to no tenant"))
    }

    fn tenant(&self, name: &TenantName) -> Result<Option<(u32, u64)>, JournalError> {
        let row = self.tenants.get(name.as_str()).map_err(store_error)?;
        Ok(row.map(|r| r.value()))
    }

    pub(super) fn tree(&self, key: &TreeKey) -> Result<Option<(u32, u32)>, JournalError> {
        let row = self
            .trees
            .get(key.to_string().as_str())
            .map_err(store_error)?;
        Ok(row.map(|r| r.value()))
    }

    pub(super) fn head_of(&self, tree: &TreeKey) -> Result<Option<Head>, JournalError> {
        match self.tree(tree)? {
            Some((tree, _)) => self.bare_head(tree),
            None => Ok(None),
        }
    }

    fn bare_head(&self, tree: u32) -> Result<Option<Head>, JournalError> {
        let row = self.heads.get(tree).map_err(store_error)?;
        Ok(row.map(|row| head_row(row.value())))
    }

    fn head(&self, tree: u32) -> Result<Option<HeadState>, JournalError> {
        let Some(head) = self.bare_head(tree)? else {
            return Ok(None);
        };
        let stored = self.at(tree, head.seq)?;
        let stored = stored.ok_or_else(|| failed("a head's revision is lost"))?;
        Ok(Some(HeadState {
            head,
            revision: stored.revision,
        }))
    }

    fn at(&self, tree: u32, seq: Seq) -> Result<Option<Stored>, JournalError> {
        let row = self.revisions.get((tree, seq.0)).map_err(store_error)?;
        row.map(|row| read_revision(seq, row.value())).transpose()
    }

    fn revision(&self, tree: u32, id: &RevisionId) -> Result<Option<Stored>, JournalError> {
        let seq = self
            .lineage
            .get(&revision_key(tree, id))
            .map_err(store_error)?;
        match seq {
            Some(seq) => self.at(tree, Seq(seq.value())),
            None => Ok(None),
        }
    }

    fn held(
        &self,
        (tree, tenant): (u32, u32),
        upload: Option<UploadId>,
        id: &ObjectId,
    ) -> Result<Option<Held>, JournalError> {
        let is_complete = self
            .complete
            .get(&object_key(tree, id))
            .map_err(store_error)?
            .is_some();
        if !is_complete && !self.is_uploaded(tree, upload, id)? {
            return Ok(None);
        }
        let row = self
            .objects
            .get(&object_key(tenant, id))
            .map_err(store_error)?;
        let row = row.map(|row| ObjectRow::decode(row.value())).transpose()?;
        Ok(row.map(|row| Held {
            kind: row.kind,
            bytes: row.bytes,
            is_complete,
        }))
    }

    fn is_uploaded(
        &self,
        tree: u32,
        upload: Option<UploadId>,
        id: &ObjectId,
    ) -> Result<bool, JournalError> {
        let Some(UploadId(upload)) = upload else {
            return Ok(false);
        };
        let state = self.uploads.get(upload).map_err(store_error)?;
        if state.is_none_or(|s| s.value().0 != tree) {
            return Ok(false);
        }
        let key = upload_key(upload, id.as_bytes());
        Ok(self
            .upload_objects
            .get(&key)
            .map_err(store_error)?
            .is_some())
    }

    fn chain(&self, tree: u32, after: Seq) -> Result<Vec<Stored>, JournalError> {
        let first = (tree, after.0.saturating_add(1));
        let range = self
            .revisions
            .range(first..=(tree, u64::MAX))
            .map_err(store_error)?;
        let chain: Vec<Stored> = range
            .take(CHAIN_REVISIONS + 1)
            .map(read_row)
            .collect::<Result<_, _>>()?;
        if chain.len() > CHAIN_REVISIONS {
            return Ok(Vec::new());
        }
        Ok(chain)
    }
}

type RevisionRow<'a> = Result<
    (
        ::redb::AccessGuard<'a, (u32, u64)>,
        ::redb::AccessGuard<'a, &'static [u8]>,
    ),
    ::redb::StorageError,
>;

fn read_row(row: RevisionRow<'_>) -> Result<Stored, JournalError> {
    let (key, row) = row.map_err(store_error)?;
    read_revision(Seq(key.value().1), row.value())
}

fn store_storage(error: ::redb::StorageError) -> JournalError {
    store_error(error)
}

/// The answers for a tree that does not exist.
fn nothing(questions: &Questions, generation: u64) -> Answers {
    Answers {
        generation,
        head: questions.head.then_some(None),
        revisions: questions.revisions.iter().map(|id| (*id, None)).collect(),
        held: questions.held.iter().map(|key| (*key, None)).collect(),
        nodes: Vec::new(),
        chain: questions.chain_after.map(|after| (after, Vec::new())),
    }
}
