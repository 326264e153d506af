//! Objects whose places were found empty, in the redb journal: their rows wait in `lost` until they
//! are stored again.
//!
//! Costs: forgetting a whole pack reads the tenant's index once; packs are rarely lost.

use std::collections::BTreeSet;

use ::redb::ReadableTable;
use fsync_core::id::ObjectId;
use fsync_core::label::{TenantName, TreeKey};
use fsync_core::service::record::{Loss, PackId};

use super::read::View;
use super::tables::{KeyedRow, OWNED_ID_BYTES, Tables, id_of, object_key, owner_range, rows_of};
use super::{JournalError, store_error};
use crate::journal::rows::ObjectRow;

impl Tables<'_> {
    pub(super) fn lose(&mut self, name: &TenantName, losses: &[Loss]) -> Result<u64, JournalError> {
        let (tenant, _) = self.tenant(name)?;
        let mut packs = BTreeSet::new();
        let mut lost = Vec::new();
        for loss in losses {
            match loss {
                Loss::Pack(pack) => {
                    packs.insert(*pack);
                }
                Loss::Object(id, place) => {
                    let key = object_key(tenant, id);
                    let row = self.objects.get(&key).map_err(store_error)?;
                    let row = row.map(|row| ObjectRow::decode(row.value())).transpose()?;
                    let is_there = |row: &ObjectRow| row.place() == Some(*place);
                    lost.extend(row.filter(is_there).map(|row| (key, row)));
                }
            }
        }
        if !packs.is_empty() {
            lost.extend(self.rows_in(tenant, &packs)?);
        }
        let mut count = 0;
        for (key, row) in lost {
            let row = row.encode();
            self.lost
                .insert(&key, row.as_slice())
                .map_err(store_error)?;
            let before = self.objects.remove(&key).map_err(store_error)?;
            count += u64::from(before.is_some());
        }
        if count > 0 {
            self.raise_generation(name)?;
        }
        Ok(count)
    }

    fn rows_in(
        &self,
        tenant: u32,
        packs: &BTreeSet<PackId>,
    ) -> Result<Vec<KeyedRow>, JournalError> {
        let is_in = |row: &ObjectRow| row.pack.is_some_and(|(pack, _)| packs.contains(&pack));
        rows_of(&self.objects, tenant)?
            .filter(|row| row.as_ref().map_or(true, |(_, row)| is_in(row)))
            .collect()
    }

    pub(super) fn lost_rows(&self, tenant: u32) -> Result<Vec<KeyedRow>, JournalError> {
        rows_of(&self.lost, tenant)?.collect()
    }
}

impl View {
    pub(super) fn lost(
        &self,
        key: &TreeKey,
        from: &ObjectId,
        limit: usize,
    ) -> Result<Vec<ObjectId>, JournalError> {
        let Some((tree, tenant)) = self.tree(key)? else {
            return Ok(Vec::new());
        };
        let (first, last) = owner_range(tenant);
        let middle = object_key(tenant, from);
        let after = self.lost.range::<&[u8; OWNED_ID_BYTES]>(&middle..=&last);
        let round = self.lost.range::<&[u8; OWNED_ID_BYTES]>(&first..&middle);
        let rows = after
            .map_err(store_error)?
            .chain(round.map_err(store_error)?);
        let mut found = Vec::new();
        for row in rows {
            if found.len() >= limit {
                break;
            }
            let id = id_of(row.map_err(store_error)?.0.value());
            if self.is_owned(tree, &id)? {
                found.push(id);
            }
        }
        Ok(found)
    }

    pub(super) fn owned(
        &self,
        key: &TreeKey,
        ids: &[ObjectId],
    ) -> Result<Vec<ObjectId>, JournalError> {
        let Some((tree, _)) = self.tree(key)? else {
            return Ok(Vec::new());
        };
        let mut owned = Vec::new();
        for id in ids {
            if self.is_owned(tree, id)? {
                owned.push(*id);
            }
        }
        Ok(owned)
    }

    fn is_owned(&self, tree: u32, id: &ObjectId) -> Result<bool, JournalError> {
        let row = self.complete.get(&object_key(tree, id));
        Ok(row.map_err(store_error)?.is_some())
    }
}
