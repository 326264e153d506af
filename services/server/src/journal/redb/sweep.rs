//! What garbage collection and repacking change in the redb journal.

use std::collections::{BTreeMap, BTreeSet};

use ::redb::ReadableTable;
use fsync_core::id::ObjectId;
use fsync_core::label::{TenantName, TreeKey};
use fsync_core::service::Now;
use fsync_core::service::record::{PackEntry, PackId};
use fsync_core::wire::Head;

use super::super::{PackUse, Sweep};
use super::tables::{
    INLINE_BYTES, OWNED_ID_BYTES, Tables, UPLOAD_ID_BYTES, head_row, id_of, object_key,
    owner_range, rows_of, upload_range, uploaded_id,
};
use super::{JournalError, store_error};
use crate::journal::rows::ObjectRow;

/// Packs by number.
type Uses = BTreeMap<PackId, PackUse>;

fn used(uses: &mut Uses, pack: PackId) -> &mut PackUse {
    uses.entry(pack).or_insert_with(|| PackUse::unused(pack, 0))
}

impl Tables<'_> {
    pub(super) fn sweep_tree(
        &mut self,
        key: &TreeKey,
        head: Option<Head>,
        live: &BTreeSet<ObjectId>,
        sweep: Sweep,
    ) -> Result<Option<u64>, JournalError> {
        let (tree, _) = self.tree(key)?;
        let now = self.heads.get(tree).map_err(store_error)?;
        if now.map(|row| head_row(row.value())) != head {
            return Ok(None);
        }
        let (first, last) = owner_range(tree);
        let mut dead = Vec::new();
        for row in self
            .complete
            .range::<&[u8; OWNED_ID_BYTES]>(&first..=&last)
            .map_err(store_error)?
        {
            let (key, marked) = row.map_err(store_error)?;
            let (marked, bytes) = marked.value();
            if marked < sweep.cutoff.0 && !live.contains(&id_of(key.value())) {
                dead.push((*key.value(), bytes));
            }
        }
        if !sweep.is_dry && !dead.is_empty() {
            let mut usage = self.usage(tree)?;
            for (key, bytes) in &dead {
                self.complete.remove(key).map_err(store_error)?;
                usage.bytes = usage.bytes.saturating_sub(u64::from(*bytes));
                usage.objects = usage.objects.saturating_sub(1);
            }
            self.set_usage(tree, usage)?;
            self.raise_generation(&key.tenant)?;
        }
        Ok(Some(dead.len() as u64))
    }

    pub(super) fn sweep_objects(
        &mut self,
        name: &TenantName,
        sweep: Sweep,
    ) -> Result<(u64, Vec<PackUse>), JournalError> {
        let (tenant, _) = self.tenant(name)?;
        let live = self.live_of(tenant)?;
        let mut uses = self.unused_packs(tenant)?;
        let mut dead = Vec::new();
        for row in rows_of(&self.objects, tenant)? {
            let (key, row) = row?;
            if row.born < sweep.cutoff && !live.contains(&id_of(&key)) {
                dead.push((key, row));
            } else if let Some((pack, _)) = row.pack {
                used(&mut uses, pack).live_bytes += u64::from(row.bytes);
            }
        }
        self.sweep_lost(tenant, &live, sweep, &mut uses)?;
        if !sweep.is_dry && !dead.is_empty() {
            for (key, row) in &dead {
                self.objects.remove(key).map_err(store_error)?;
                if row.pack.is_none() {
                    self.remove_inline(key)?;
                }
            }
            self.raise_generation(name)?;
        }
        Ok((dead.len() as u64, uses.into_values().collect()))
    }

    fn unused_packs(&self, tenant: u32) -> Result<Uses, JournalError> {
        let mut uses = Uses::new();
        let packs = (tenant, 0)..=(tenant, u128::MAX);
        for row in self.packs.range(packs).map_err(store_error)? {
            let (key, bytes) = row.map_err(store_error)?;
            let pack = PackId(key.value().1);
            uses.insert(pack, PackUse::unused(pack, bytes.value()));
        }
        Ok(uses)
    }

    /// Drops lost objects that nothing needs any more; counts the others at their packs.
    fn sweep_lost(
        &mut self,
        tenant: u32,
        live: &BTreeSet<ObjectId>,
        sweep: Sweep,
        uses: &mut Uses,
    ) -> Result<(), JournalError> {
        let mut dead = Vec::new();
        for (key, row) in self.lost_rows(tenant)? {
            if row.born < sweep.cutoff && !live.contains(&id_of(&key)) {
                dead.push(key);
            } else if let Some((pack, _)) = row.pack {
                used(uses, pack).lost_bytes += u64::from(row.bytes);
            }
        }
        for key in dead.iter().filter(|_| !sweep.is_dry) {
            self.lost.remove(key).map_err(store_error)?;
        }
        Ok(())
    }

    pub(super) fn repoint(
        &mut self,
        tenant: &TenantName,
        from: Option<PackId>,
        pack: PackId,
        entries: &[PackEntry],
    ) -> Result<(), JournalError> {
        let (tenant, _) = self.tenant(tenant)?;
        for entry in entries {
            let key = object_key(tenant, &entry.id);
            let row = self.objects.get(&key).map_err(store_error)?;
            let row = row.map(|row| ObjectRow::decode(row.value())).transpose()?;
            let Some(row) = row.filter(|row| row.pack.map(|p| p.0) == from) else {
                continue;
            };
            let row = ObjectRow {
                pack: Some((pack, entry.offset)),
                ..row
            };
            self.objects
                .insert(&key, row.encode().as_slice())
                .map_err(store_error)?;
            if from.is_none() {
                self.remove_inline(&key)?;
            }
        }
        self.note_pack(tenant, pack, entries)
    }

    pub(super) fn doom_pack(
        &mut self,
        tenant: &TenantName,
        pack: PackId,
        now: Now,
    ) -> Result<(), JournalError> {
        let (tenant, _) = self.tenant(tenant)?;
        self.packs.remove((tenant, pack.0)).map_err(store_error)?;
        self.doomed
            .insert((tenant, pack.0), now.0)
            .map_err(store_error)?;
        Ok(())
    }

    pub(super) fn forget_pack(
        &mut self,
        tenant: &TenantName,
        pack: PackId,
    ) -> Result<(), JournalError> {
        let (tenant, _) = self.tenant(tenant)?;
        self.doomed.remove((tenant, pack.0)).map_err(store_error)?;
        Ok(())
    }

    fn remove_inline(&mut self, key: &[u8; OWNED_ID_BYTES]) -> Result<(), JournalError> {
        let bytes = self
            .inline
            .remove(key)
            .map_err(store_error)?
            .map(|b| b.value().len());
        let total = self.number(INLINE_BYTES)?;
        let left = total.saturating_sub(bytes.unwrap_or_default() as u64);
        self.set_number(INLINE_BYTES, left)
    }

    /// Returns all that a tree or an open session of the tenant has.
    fn live_of(&self, tenant: u32) -> Result<BTreeSet<ObjectId>, JournalError> {
        let mut trees = BTreeSet::new();
        for row in self.trees.iter().map_err(store_error)? {
            let (tree, owner) = row.map_err(store_error)?.1.value();
            if owner == tenant {
                trees.insert(tree);
            }
        }
        let mut live = BTreeSet::new();
        for tree in &trees {
            let (first, last) = owner_range(*tree);
            for row in self
                .complete
                .range::<&[u8; OWNED_ID_BYTES]>(&first..=&last)
                .map_err(store_error)?
            {
                live.insert(id_of(row.map_err(store_error)?.0.value()));
            }
        }
        for row in self.uploads.iter().map_err(store_error)? {
            let (upload, state) = row.map_err(store_error)?;
            if !trees.contains(&state.value().0) {
                continue;
            }
            let (first, last) = upload_range(upload.value());
            for row in self
                .upload_objects
                .range::<&[u8; UPLOAD_ID_BYTES]>(&first..=&last)
                .map_err(store_error)?
            {
                live.insert(uploaded_id(row.map_err(store_error)?.0.value()));
            }
        }
        Ok(live)
    }
}
