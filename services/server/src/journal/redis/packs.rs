//! Packs of a tenant, and what is not in a pack yet.

use std::collections::BTreeSet;

use bytes::Bytes;
use fsync_core::id::ObjectId;
use fsync_core::label::TenantName;
use fsync_core::service::Now;
use fsync_core::service::record::{PackEntry, PackId};
use futures_util::future::try_join_all;

use super::{JournalError, Shared, damaged};
use crate::redis::keys::Shard;
use crate::redis::{bytes, decimal, list, number};

impl Shared {
    pub(super) async fn note_pack(
        &self,
        tenant: &TenantName,
        pack: PackId,
        entries: &[PackEntry],
    ) -> Result<(), JournalError> {
        let size: u64 = entries.iter().map(|entry| u64::from(entry.bytes)).sum();
        let key = self.redis.keys().packs(tenant);
        let args = vec![pack_arg(pack), decimal(size)];
        self.redis.call("HSET", key, args).await?;
        Ok(())
    }

    /// Returns packs with a number each.
    pub(super) async fn numbers(&self, key: String) -> Result<Vec<(PackId, u64)>, JournalError> {
        let rows = self.scan(key).await?.into_iter();
        let read = |(pack, value): (Bytes, Bytes)| {
            let pack = std::str::from_utf8(&pack).ok();
            let pack = pack.and_then(|text| u128::from_str_radix(text, 16).ok());
            let value = std::str::from_utf8(&value).ok();
            let value = value.and_then(|text| text.parse().ok());
            let row = pack.map(PackId).zip(value);
            row.ok_or_else(|| damaged("a pack's row"))
        };
        rows.map(read).collect()
    }

    pub(super) async fn doom(
        &self,
        tenant: &TenantName,
        pack: PackId,
        now: Now,
    ) -> Result<(), JournalError> {
        // Doomed first: a pack that is in neither would be an orphan, whose file goes sooner.
        let (doomed, packs) = (
            self.redis.keys().doomed(tenant),
            self.redis.keys().packs(tenant),
        );
        let args = vec![pack_arg(pack), decimal(now.0)];
        self.redis.call("HSET", doomed, args).await?;
        self.redis.call("HDEL", packs, vec![pack_arg(pack)]).await?;
        Ok(())
    }

    pub(super) async fn undoom(
        &self,
        tenant: &TenantName,
        pack: PackId,
        size: u64,
    ) -> Result<(), JournalError> {
        let (doomed, packs) = (
            self.redis.keys().doomed(tenant),
            self.redis.keys().packs(tenant),
        );
        let args = vec![pack_arg(pack), decimal(size)];
        self.redis.call("HSET", packs, args).await?;
        self.redis
            .call("HDEL", doomed, vec![pack_arg(pack)])
            .await?;
        Ok(())
    }

    pub(super) async fn doomed_before(
        &self,
        tenant: &TenantName,
        cutoff: Now,
    ) -> Result<Vec<PackId>, JournalError> {
        let doomed = self.numbers(self.redis.keys().doomed(tenant)).await?;
        let due = doomed.into_iter().filter(|(_, since)| *since < cutoff.0);
        Ok(due.map(|(pack, _)| pack).collect())
    }

    pub(super) async fn forget(
        &self,
        tenant: &TenantName,
        pack: PackId,
    ) -> Result<(), JournalError> {
        let key = self.redis.keys().doomed(tenant);
        self.redis.call("HDEL", key, vec![pack_arg(pack)]).await?;
        Ok(())
    }

    pub(super) async fn known_packs(
        &self,
        tenant: &TenantName,
    ) -> Result<BTreeSet<PackId>, JournalError> {
        let keys = self.redis.keys();
        // Used ones first: one that is doomed meanwhile is found among the doomed.
        let mut packs = self.numbers(keys.packs(tenant)).await?;
        packs.extend(self.numbers(keys.doomed(tenant)).await?);
        Ok(packs.into_iter().map(|(pack, _)| pack).collect())
    }

    pub(super) async fn bytes_inline(&self) -> Result<u64, JournalError> {
        let mut total = 0;
        for tenant in self.tenants().await? {
            let calls = Shard::all().map(async |shard| {
                let key = self.redis.keys().inline_bytes(&tenant, shard);
                self.redis.call("GET", key, Vec::new()).await
            });
            let found = try_join_all(calls).await?;
            total += found.iter().filter_map(number).sum::<u64>();
        }
        Ok(total)
    }

    /// Returns inline objects of one tenant, about `limit_bytes` of them.
    pub(super) async fn some_inline(
        &self,
        limit_bytes: u64,
    ) -> Result<Option<(TenantName, Vec<ObjectId>)>, JournalError> {
        for tenant in self.tenants().await? {
            let found = self.inline_of(&tenant, limit_bytes).await?;
            if !found.is_empty() {
                return Ok(Some((tenant, found)));
            }
        }
        Ok(None)
    }

    async fn inline_of(
        &self,
        tenant: &TenantName,
        limit_bytes: u64,
    ) -> Result<Vec<ObjectId>, JournalError> {
        let mut found = Vec::new();
        let mut size = 0;
        for shard in Shard::all() {
            let key = self.redis.keys().inline(tenant, shard);
            let ids = list(self.redis.call("HKEYS", key, Vec::new()).await?).into_iter();
            let ids: Option<Vec<ObjectId>> =
                ids.map(|id| ObjectId::from_slice(&bytes(id)?)).collect();
            let ids = ids.ok_or_else(|| damaged("an id"))?;
            let rows = self.rows(tenant, &ids).await?;
            let inline = ids
                .into_iter()
                .zip(rows)
                .filter_map(|(id, row)| Some((id, row?)));
            for (id, row) in inline {
                if size >= limit_bytes {
                    return Ok(found);
                }
                size += u64::from(row.bytes);
                found.push(id);
            }
        }
        Ok(found)
    }

    async fn tenants(&self) -> Result<BTreeSet<TenantName>, JournalError> {
        let trees = self.all_trees().await?;
        Ok(trees.into_iter().map(|tree| tree.tenant).collect())
    }
}

fn pack_arg(pack: PackId) -> Bytes {
    Bytes::from(pack.to_string())
}
