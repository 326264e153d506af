//! Objects whose places were found empty: their rows wait among the lost until they are stored
//! again.
//!
//! Costs: forgetting a whole pack reads the tenant's index once; packs are rarely lost.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use fsync_core::id::ObjectId;
use fsync_core::label::{TenantName, TreeKey};
use fsync_core::service::record::{Loss, PackId, PackPlace};
use futures_util::future::try_join_all;

use super::index::{chunked, id_arg};
use super::{JournalError, Shared, damaged};
use crate::journal::rows::ObjectRow;
use crate::redis::keys::Shard;
use crate::redis::list;
use crate::redis::script::TAKE;

impl Shared {
    pub(super) async fn forget_places(
        &self,
        tenant: &TenantName,
        losses: &[Loss],
    ) -> Result<u64, JournalError> {
        let mut packs = BTreeSet::new();
        let mut objects: Vec<(ObjectId, PackPlace)> = Vec::new();
        for loss in losses {
            match loss {
                Loss::Pack(pack) => drop(packs.insert(*pack)),
                Loss::Object(id, place) => objects.push((*id, *place)),
            }
        }
        let ids: Vec<ObjectId> = objects.iter().map(|(id, _)| *id).collect();
        let rows = self.rows(tenant, &ids).await?;
        let mut lost: BTreeMap<ObjectId, ObjectRow> = objects
            .into_iter()
            .zip(rows)
            .filter_map(|((id, place), row)| Some((id, row?, place)))
            .filter(|(_, row, place)| row.place() == Some(*place))
            .map(|(id, row, _)| (id, row))
            .collect();
        if !packs.is_empty() {
            lost.extend(self.rows_in(tenant, &packs).await?);
        }
        let count = self.take(tenant, lost, Taken::Lost).await?;
        if count > 0 {
            // Afterwards: an admission that was made before the loss must not outlive it.
            self.raise_generations(tenant).await?;
        }
        Ok(count)
    }

    async fn rows_in(
        &self,
        tenant: &TenantName,
        packs: &BTreeSet<PackId>,
    ) -> Result<Vec<(ObjectId, ObjectRow)>, JournalError> {
        let mut found = Vec::new();
        for shard in Shard::all() {
            let rows = self.shard(self.redis.keys().index(tenant, shard)).await?;
            let is_in = |row: &ObjectRow| row.pack.is_some_and(|(pack, _)| packs.contains(&pack));
            found.extend(rows.into_iter().filter(|(_, row)| is_in(row)));
        }
        Ok(found)
    }

    /// Reads a whole shard of the index or of the lost, in the order of ids.
    pub(super) async fn shard(
        &self,
        key: String,
    ) -> Result<Vec<(ObjectId, ObjectRow)>, JournalError> {
        let rows = self.scan(key).await?.into_iter();
        let read = |(id, row): (Bytes, Bytes)| {
            let id = ObjectId::from_slice(&id).ok_or_else(|| damaged("an id"))?;
            Ok((id, ObjectRow::decode(&row)?))
        };
        rows.map(read).collect()
    }

    /// Takes rows that are still what they were; returns how many.
    pub(super) async fn take(
        &self,
        tenant: &TenantName,
        rows: impl IntoIterator<Item = (ObjectId, ObjectRow)>,
        how: Taken,
    ) -> Result<u64, JournalError> {
        let mut shards: BTreeMap<Shard, Vec<Bytes>> = BTreeMap::new();
        for (id, row) in rows {
            let args = shards.entry(Shard::of(&id)).or_default();
            args.extend([id_arg(&id), Bytes::from(row.encode())]);
        }
        let keys = self.redis.keys();
        let calls = chunked(&shards, 2).map(async |(shard, args)| {
            let (index, lost) = (keys.index(tenant, shard), keys.lost(tenant, shard));
            let (from, to) = match how {
                Taken::Lost => (index, lost),
                Taken::Dropped => (index.clone(), index),
                Taken::DroppedLost => (lost.clone(), lost),
            };
            let rest = [keys.inline(tenant, shard), keys.inline_bytes(tenant, shard)];
            let touched = [from, to].into_iter().chain(rest).collect();
            self.redis.run(&TAKE, touched, args).await
        });
        let counts = try_join_all(calls).await?;
        Ok(counts.iter().filter_map(crate::redis::number).sum())
    }

    /// Returns lost objects that are complete for a tree, from `from` on and round.
    pub(super) async fn owed(
        &self,
        tree: &TreeKey,
        from: ObjectId,
        limit: usize,
    ) -> Result<Vec<ObjectId>, JournalError> {
        let mut lost = Vec::new();
        for shard in Shard::all() {
            let key = self.redis.keys().lost(&tree.tenant, shard);
            lost.extend(self.shard(key).await?.into_iter().map(|(id, _)| id));
        }
        let middle = lost.partition_point(|id| *id < from);
        lost.rotate_left(middle);
        let mut owed = self.complete_of(tree, &lost).await?;
        owed.truncate(limit);
        Ok(owed)
    }

    /// Returns those of `ids` that are complete for a tree, in their order.
    pub(super) async fn complete_of(
        &self,
        tree: &TreeKey,
        ids: &[ObjectId],
    ) -> Result<Vec<ObjectId>, JournalError> {
        let calls = ids.chunks(super::CALL_OBJECTS).map(async |part| {
            let key = self.redis.keys().complete(tree);
            let args = part.iter().map(id_arg).collect();
            let marks = list(self.redis.call("HMGET", key, args).await?);
            let here = part.iter().zip(marks).filter(|(_, mark)| !mark.is_null());
            Ok::<_, JournalError>(here.map(|(id, _)| *id).collect::<Vec<_>>())
        });
        Ok(try_join_all(calls).await?.concat())
    }
}

/// What becomes of rows that are taken.
#[derive(Debug, Clone, Copy)]
pub(super) enum Taken {
    /// They are lost.
    Lost,
    /// They go, with what is inline.
    Dropped,
    /// They were lost, and go.
    DroppedLost,
}
