//! What commits and upload sessions change in the redb journal.

use std::sync::Arc;

use ::redb::ReadableTable;
use fsync_core::id::{ObjectId, ObjectKind};
use fsync_core::label::{TenantName, TreeKey};
use fsync_core::service::Now;
use fsync_core::service::commit::Committed;
use fsync_core::service::record::{CommitWrite, PackEntry, PackId, Payload, UploadId};
use fsync_core::wire::{Epoch, Head};

use super::super::Lease;
use super::tables::{
    INLINE_BYTES, Tables, UPLOAD_ID_BYTES, head_row, object_key, revision_key, upload_key,
    upload_range,
};
use super::{JournalError, store_error};
use crate::journal::rows::{ObjectRow, revision_row};

impl Tables<'_> {
    pub(super) fn commit(
        &mut self,
        key: &TreeKey,
        write: &CommitWrite,
        payloads: &[Arc<Payload>],
    ) -> Result<Committed, JournalError> {
        let (tree, tenant) = self.tree(key)?;
        let (_, generation) = self.tenant(&key.tenant)?;
        let head = self
            .heads
            .get(tree)
            .map_err(store_error)?
            .map(|h| *h.value().2);
        let expected = write.expected.map(|id| *id.as_bytes());
        if head != expected || generation != write.generation {
            return Ok(Committed::Conflict);
        }
        for payload in payloads {
            self.store(tenant, payload, write.now, None)?;
        }
        for (kind, id, bytes) in write.made.iter() {
            self.store_inline(tenant, (kind, id, bytes), write.now)?;
        }
        for new in &write.revisions {
            let row = revision_row(new, write.now);
            let at = (tree, new.seq.0);
            self.revisions
                .insert(at, row.as_slice())
                .map_err(store_error)?;
            let id = revision_key(tree, &new.id);
            self.lineage.insert(&id, new.seq.0).map_err(store_error)?;
        }
        let mut usage = self.usage(tree)?;
        for (id, bytes) in &write.complete {
            let id = object_key(tree, id);
            let mark = (write.now.0, *bytes);
            let before = self.complete.insert(&id, mark).map_err(store_error)?;
            if before.is_none() {
                usage.bytes += u64::from(*bytes);
                usage.objects += 1;
            }
        }
        self.set_usage(tree, usage)?;
        let head = &write.head;
        let row = (head.epoch.0, head.seq.0, head.revision.as_bytes());
        self.heads.insert(tree, row).map_err(store_error)?;
        Ok(Committed::Done)
    }

    pub(super) fn renew(
        &mut self,
        key: &TreeKey,
        head: Head,
        epoch: Epoch,
    ) -> Result<bool, JournalError> {
        let (tree, _) = self.tree(key)?;
        let now = self.heads.get(tree).map_err(store_error)?;
        if now.map(|row| head_row(row.value())) != Some(head) {
            return Ok(false);
        }
        let row = (epoch.0, head.seq.0, head.revision.as_bytes());
        self.heads.insert(tree, row).map_err(store_error)?;
        Ok(true)
    }

    pub(super) fn open_upload(
        &mut self,
        key: &TreeKey,
        upload: UploadId,
        lease: Lease,
    ) -> Result<(), JournalError> {
        let (tree, _) = self.tree(key)?;
        self.uploads
            .insert(upload.0, (tree, lease.expires.0))
            .map_err(store_error)?;
        Ok(())
    }

    pub(super) fn touch_upload(
        &mut self,
        key: &TreeKey,
        upload: UploadId,
        lease: Lease,
    ) -> Result<bool, JournalError> {
        let (tree, _) = self.tree(key)?;
        let owner = self
            .uploads
            .get(upload.0)
            .map_err(store_error)?
            .map(|u| u.value().0);
        if owner != Some(tree) {
            return Ok(false);
        }
        self.uploads
            .insert(upload.0, (tree, lease.expires.0))
            .map_err(store_error)?;
        Ok(true)
    }

    pub(super) fn add_upload(
        &mut self,
        key: &TreeKey,
        upload: UploadId,
        payload: &Payload,
        lease: Lease,
    ) -> Result<bool, JournalError> {
        if !self.touch_upload(key, upload, lease)? {
            return Ok(false);
        }
        let (_, tenant) = self.tree(key)?;
        self.store(tenant, payload, lease.now, Some(upload))?;
        Ok(true)
    }

    pub(super) fn expire_uploads(&mut self, now: Now) -> Result<usize, JournalError> {
        let mut ended = Vec::new();
        for row in self.uploads.iter().map_err(store_error)? {
            let (upload, state) = row.map_err(store_error)?;
            let (tree, expires) = state.value();
            if expires <= now.0 {
                ended.push((upload.value(), tree));
            }
        }
        for (upload, tree) in &ended {
            self.uploads.remove(upload).map_err(store_error)?;
            let (first, last) = upload_range(*upload);
            self.upload_objects
                .retain_in::<&[u8; UPLOAD_ID_BYTES], _>(&first..=&last, |_, ()| false)
                .map_err(store_error)?;
            if let Some(tenant) = self.tenant_of(*tree)? {
                self.raise_generation(&tenant)?;
            }
        }
        Ok(ended.len())
    }

    pub(super) fn index_pack(
        &mut self,
        tenant: &TenantName,
        pack: PackId,
        entries: &[PackEntry],
        now: Now,
    ) -> Result<(), JournalError> {
        let (tenant, _) = self.tenant(tenant)?;
        let payload = Payload::Packed(pack, entries.to_vec());
        self.store(tenant, &payload, now, None)
    }

    fn tenant_of(&self, tree: u32) -> Result<Option<TenantName>, JournalError> {
        for row in self.trees.iter().map_err(store_error)? {
            let (name, state) = row.map_err(store_error)?;
            if state.value().0 == tree {
                return Ok(name.value().parse::<TreeKey>().ok().map(|key| key.tenant));
            }
        }
        Ok(None)
    }

    fn store(
        &mut self,
        tenant: u32,
        payload: &Payload,
        now: Now,
        upload: Option<UploadId>,
    ) -> Result<(), JournalError> {
        match payload {
            Payload::Inline(objects) => {
                for object in objects {
                    let parts = (object.kind, object.id, object.bytes.as_slice());
                    self.store_inline(tenant, parts, now)?;
                    self.note_upload(upload, &object.id)?;
                }
            }
            Payload::Packed(pack, entries) => {
                self.note_pack(tenant, *pack, entries)?;
                for entry in entries {
                    let row = ObjectRow {
                        kind: entry.kind,
                        bytes: entry.bytes,
                        born: now,
                        pack: Some((*pack, entry.offset)),
                    };
                    self.keep_or_insert(tenant, &entry.id, row)?;
                    self.note_upload(upload, &entry.id)?;
                }
            }
        }
        Ok(())
    }

    pub(super) fn note_pack(
        &mut self,
        tenant: u32,
        pack: PackId,
        entries: &[PackEntry],
    ) -> Result<(), JournalError> {
        let bytes: u64 = entries.iter().map(|e| u64::from(e.bytes)).sum();
        self.packs
            .insert((tenant, pack.0), bytes)
            .map_err(store_error)?;
        Ok(())
    }

    fn note_upload(&mut self, upload: Option<UploadId>, id: &ObjectId) -> Result<(), JournalError> {
        if let Some(UploadId(upload)) = upload {
            let key = upload_key(upload, id.as_bytes());
            self.upload_objects.insert(&key, ()).map_err(store_error)?;
        }
        Ok(())
    }

    fn store_inline(
        &mut self,
        tenant: u32,
        (kind, id, body): (ObjectKind, ObjectId, &[u8]),
        now: Now,
    ) -> Result<(), JournalError> {
        let row = ObjectRow {
            kind,
            bytes: u32::try_from(body.len()).unwrap_or(u32::MAX),
            born: now,
            pack: None,
        };
        if self.keep_or_insert(tenant, &id, row)? {
            let key = object_key(tenant, &id);
            self.inline.insert(&key, body).map_err(store_error)?;
            let total = self.number(INLINE_BYTES)? + body.len() as u64;
            self.set_number(INLINE_BYTES, total)?;
        }
        Ok(())
    }

    /// Inserts a row; one that is there stays where it is and only becomes young again. Returns
    /// whether it was new.
    fn keep_or_insert(
        &mut self,
        tenant: u32,
        id: &ObjectId,
        row: ObjectRow,
    ) -> Result<bool, JournalError> {
        let key = object_key(tenant, id);
        let before = self.objects.get(&key).map_err(store_error)?;
        let before = before
            .map(|row| ObjectRow::decode(row.value()))
            .transpose()?;
        let is_new = before.is_none();
        if is_new {
            self.lost.remove(&key).map_err(store_error)?;
        }
        let row = match before {
            None => row,
            Some(before) => ObjectRow {
                born: row.born,
                ..before
            },
        };
        self.objects
            .insert(&key, row.encode().as_slice())
            .map_err(store_error)?;
        Ok(is_new)
    }
}
