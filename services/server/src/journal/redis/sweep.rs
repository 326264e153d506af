//! What garbage collection changes in Redis.
//!
//! Guarantees: a mark or a row goes only if it is still what it was when it was judged, so that
//! what a commit stores meanwhile stays: storing makes a row young. Sessions are read before marks,
//! since a commit moves objects from the former to the latter.
//! Relies on: a grace longer than a commit takes from storing its objects to moving the head. So the
//! server does not collect with Redis until collectors hold a lock that also fences late commits.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use fsync_core::id::ObjectId;
use fsync_core::label::{TenantName, TreeKey};
use fsync_core::service::record::PackId;
use fsync_core::wire::Head;

use super::loss::Taken;
use super::{CALL_OBJECTS, JournalError, PackUse, Shared, Sweep, damaged};
use crate::journal::rows::ObjectRow;
use crate::redis::decimal;
use crate::redis::keys::Shard;
use crate::redis::script::FORGET;

impl Shared {
    pub(super) async fn forget_dead(
        &self,
        tree: &TreeKey,
        head: Option<Head>,
        live: &BTreeSet<ObjectId>,
        sweep: Sweep,
    ) -> Result<Option<u64>, JournalError> {
        let mut dead = Vec::new();
        for (id, mark) in self.scan(self.redis.keys().complete(tree)).await? {
            let is_old = std::str::from_utf8(&mark)
                .ok()
                .and_then(|text| text.split_once(':')?.0.parse::<u64>().ok())
                .is_some_and(|marked| marked < sweep.cutoff.0);
            let known = ObjectId::from_slice(&id).ok_or_else(|| damaged("an id"))?;
            if is_old && !live.contains(&known) {
                dead.push((id, mark));
            }
        }
        if sweep.is_dry {
            let now = self.heads_of(std::slice::from_ref(tree)).await?;
            let is_same = now.first().copied().flatten() == head;
            return Ok(is_same.then_some(dead.len() as u64));
        }
        let expected = expected(head);
        let mut count = 0;
        // At least one call, which tells whether the head is still the same.
        for part in dead.chunks(CALL_OBJECTS).chain([&[][..]]) {
            let keys = self.redis.keys();
            let touched = vec![keys.head(tree), keys.complete(tree)];
            let marks = part
                .iter()
                .flat_map(|(id, mark)| [id.clone(), mark.clone()]);
            let args = expected.iter().cloned().chain(marks).collect();
            let forgotten = self.redis.run(&FORGET, touched, args).await?;
            match crate::redis::number(&forgotten) {
                Some(forgotten) => count += forgotten,
                None => return Ok(None),
            }
        }
        Ok(Some(count))
    }

    pub(super) async fn drop_dead(
        &self,
        tenant: &TenantName,
        sweep: Sweep,
    ) -> Result<(u64, Vec<PackUse>), JournalError> {
        let live = self.live_of(tenant).await?;
        let doomed = self.numbers(self.redis.keys().doomed(tenant)).await?;
        let packs = self.numbers(self.redis.keys().packs(tenant)).await?;
        let mut uses: BTreeMap<PackId, PackUse> = packs
            .into_iter()
            .map(|(pack, size)| (pack, PackUse::unused(pack, size)))
            .collect();
        let is_dead =
            |id: &ObjectId, row: &ObjectRow| row.born < sweep.cutoff && !live.contains(id);
        let mut count = 0;
        for shard in Shard::all() {
            let keys = self.redis.keys();
            let rows = self.shard(keys.index(tenant, shard)).await?;
            let (dead, kept): (Vec<_>, _) =
                rows.into_iter().partition(|(id, row)| is_dead(id, row));
            count_uses(&mut uses, kept, |used| &mut used.live_bytes);
            count += match sweep.is_dry {
                true => dead.len() as u64,
                false => self.take(tenant, dead, Taken::Dropped).await?,
            };
            let lost = self.shard(keys.lost(tenant, shard)).await?;
            let (dead, kept): (Vec<_>, _) =
                lost.into_iter().partition(|(id, row)| is_dead(id, row));
            count_uses(&mut uses, kept, |used| &mut used.lost_bytes);
            if !sweep.is_dry {
                self.take(tenant, dead, Taken::DroppedLost).await?;
            }
        }
        if count > 0 && !sweep.is_dry {
            self.raise_generations(tenant).await?;
        }
        if !sweep.is_dry {
            self.revive(tenant, &doomed, &uses).await?;
        }
        Ok((count, uses.into_values().collect()))
    }

    /// Takes back the doom of packs that something stands in: a replica noted a pack and stored its
    /// rows while a collector looked. The file is still there, because it goes a grace later.
    async fn revive(
        &self,
        tenant: &TenantName,
        doomed: &[(PackId, u64)],
        uses: &BTreeMap<PackId, PackUse>,
    ) -> Result<(), JournalError> {
        for (pack, _) in doomed {
            let Some(used) = uses.get(pack) else { continue };
            self.undoom(tenant, *pack, used.live_bytes + used.lost_bytes)
                .await?;
        }
        Ok(())
    }

    /// Returns all that a tree or an open session of the tenant has.
    async fn live_of(&self, tenant: &TenantName) -> Result<BTreeSet<ObjectId>, JournalError> {
        let mut live = BTreeSet::new();
        let trees = self.all_trees().await?;
        for tree in trees.iter().filter(|tree| tree.tenant == *tenant) {
            live.extend(self.pinned(tree).await?);
            for (id, _) in self.scan(self.redis.keys().complete(tree)).await? {
                live.insert(ObjectId::from_slice(&id).ok_or_else(|| damaged("an id"))?);
            }
        }
        Ok(live)
    }
}

fn expected(head: Option<Head>) -> [Bytes; 3] {
    match head {
        None => [Bytes::new(), Bytes::new(), Bytes::new()],
        Some(head) => [
            decimal(head.epoch.0),
            decimal(head.seq.0),
            Bytes::copy_from_slice(head.revision.as_bytes()),
        ],
    }
}

fn count_uses(
    uses: &mut BTreeMap<PackId, PackUse>,
    rows: Vec<(ObjectId, ObjectRow)>,
    which: impl Fn(&mut PackUse) -> &mut u64,
) {
    for (_, row) in rows {
        if let Some((pack, _)) = row.pack {
            let used = uses.entry(pack).or_insert_with(|| PackUse::unused(pack, 0));
            *which(used) += u64::from(row.bytes);
        }
    }
}
