//! The journal in Redis: what all replicas of a service share.
//!
//! Guarantees: a commit is one script in one slot, which moves head, log, lineage and wake-up
//! together or not at all; the object index is written before it, so that an entry without a head
//! is garbage and never the reverse; scripts that ran although their answer was lost are known
//! again, so nothing is done twice. Readers of one tree see one state of it; its object index is
//! read after it, and a loss or a sweep in between raises the tree's generation, which makes the
//! commit come again.
//! Does not: keep what Redis loses. With `appendfsync always` it keeps all that it acknowledged.
//! Without that, contents are put into the blob store first ([`Journal::keeps_contents`]), and a
//! head that vanished is offered again by the agents.
//! Costs: a commit takes one round trip for the head, one for the shards of the index that it
//! touches, one for itself. A sweep reads the tenant's index once.
//! Place: `app.rs` opens it with `--redis`; keys stand in `redis/keys.rs`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use fsync_core::admin::Policy;
use fsync_core::id::{ObjectId, ObjectKind};
use fsync_core::label::{TenantName, TreeKey};
use fsync_core::service::Now;
use fsync_core::service::commit::Committed;
use fsync_core::service::facts::{Answers, Questions};
use fsync_core::service::record::{
    CommitWrite, Loss, PackEntry, PackId, Payload, Place, Stored, UploadId, Usage,
};
use fsync_core::wire::{Epoch, Head, Seq};

use super::{Answer, Journal, JournalError, Lease, PackUse, Sweep};
use crate::auth::{Revocation, Revocations};
use crate::cluster::ClusterId;
use crate::redis::{Redis, RedisError};

mod ask;
mod cluster;
mod index;
mod loss;
mod packs;
mod policy;
mod revoked;
mod sweep;
mod tree;
mod upload;

/// Objects that one call to a shard takes at most: bounds how long Redis is busy with it.
const CALL_OBJECTS: usize = 1000;

impl From<RedisError> for JournalError {
    fn from(error: RedisError) -> Self {
        match error {
            RedisError::Unreachable(_) => Self::Unreachable(error.to_string()),
            RedisError::Full(_) => Self::Full,
            RedisError::Refused(_) => Self::Failed(error.to_string()),
        }
    }
}

/// The journal.
#[derive(Debug, Clone)]
pub struct Shared {
    redis: Redis,
}

impl Shared {
    /// Makes the journal over a connection.
    pub fn new(redis: Redis) -> Self {
        Self { redis }
    }
}

impl Journal for Shared {
    fn keeps_contents(&self) -> bool {
        self.redis.keeps_writes()
    }

    fn cluster(&self) -> Answer<'_, Option<ClusterId>> {
        Box::pin(async move { self.cluster_id().await })
    }

    fn join(&self, cluster: ClusterId) -> Answer<'_, ClusterId> {
        Box::pin(async move { self.join_cluster(cluster).await })
    }

    fn lead(&self, token: u64, time: Duration) -> Answer<'_, bool> {
        Box::pin(async move { self.take_lead(token, time).await })
    }

    fn revoke(&self, revocation: Revocation) -> Answer<'_, bool> {
        Box::pin(async move { self.shut_out(&revocation).await })
    }

    fn revocations(&self, known: Option<u64>) -> Answer<'_, Option<Revocations>> {
        Box::pin(async move { self.shut_out_since(known).await })
    }

    fn usage(&self, tree: TreeKey) -> Answer<'_, Usage> {
        Box::pin(async move { self.usage_of(&tree).await })
    }

    fn policy(&self, tree: TreeKey) -> Answer<'_, Option<Policy>> {
        Box::pin(async move { self.policy_of(&tree).await })
    }

    fn set_policy(&self, tree: TreeKey, policy: Option<Policy>) -> Answer<'_, ()> {
        Box::pin(async move { self.put_policy(&tree, policy.as_ref()).await })
    }

    fn close(&self) -> Answer<'_, ()> {
        Box::pin(async {
            self.redis.close().await;
            Ok(())
        })
    }

    fn ask(&self, tree: TreeKey, questions: Questions) -> Answer<'_, Answers> {
        Box::pin(async move { self.answer(&tree, &questions).await })
    }

    fn locate(
        &self,
        tenant: TenantName,
        ids: Vec<ObjectId>,
    ) -> Answer<'_, Vec<Option<(ObjectKind, Place)>>> {
        Box::pin(async move { self.places(&tenant, &ids).await })
    }

    fn commit(
        &self,
        tree: TreeKey,
        write: Box<CommitWrite>,
        payloads: Vec<Arc<Payload>>,
    ) -> Answer<'_, Committed> {
        Box::pin(async move { self.move_head(&tree, &write, &payloads).await })
    }

    fn heads(&self, trees: Vec<TreeKey>) -> Answer<'_, Vec<Option<Head>>> {
        Box::pin(async move { self.heads_of(&trees).await })
    }

    fn renew(&self, tree: TreeKey, head: Head, epoch: Epoch) -> Answer<'_, bool> {
        Box::pin(async move { self.renew_epoch(&tree, head, epoch).await })
    }

    fn log(&self, tree: TreeKey, before: Option<Seq>, limit: usize) -> Answer<'_, Vec<Stored>> {
        Box::pin(async move { self.newest(&tree, before, limit).await })
    }

    fn open_upload(&self, tree: TreeKey, upload: UploadId, lease: Lease) -> Answer<'_, ()> {
        Box::pin(async move { self.open_session(&tree, upload, lease).await })
    }

    fn touch_upload(&self, tree: TreeKey, upload: UploadId, lease: Lease) -> Answer<'_, bool> {
        Box::pin(async move { self.renew_session(&tree, upload, lease, &[]).await })
    }

    fn add_upload(
        &self,
        tree: TreeKey,
        upload: UploadId,
        payload: Payload,
        lease: Lease,
    ) -> Answer<'_, bool> {
        Box::pin(async move { self.add_to_session(&tree, upload, payload, lease).await })
    }

    fn expire_uploads(&self, now: Now) -> Answer<'_, usize> {
        Box::pin(async move { self.expire_sessions(now).await })
    }

    fn trees(&self) -> Answer<'_, Vec<TreeKey>> {
        Box::pin(async move { self.all_trees().await })
    }

    fn pins(&self, tree: TreeKey) -> Answer<'_, Vec<ObjectId>> {
        Box::pin(async move { self.pinned(&tree).await })
    }

    fn sweep_tree(
        &self,
        tree: TreeKey,
        head: Option<Head>,
        live: Arc<BTreeSet<ObjectId>>,
        sweep: Sweep,
    ) -> Answer<'_, Option<u64>> {
        Box::pin(async move { self.forget_dead(&tree, head, &live, sweep).await })
    }

    fn sweep_objects(&self, tenant: TenantName, sweep: Sweep) -> Answer<'_, (u64, Vec<PackUse>)> {
        Box::pin(async move { self.drop_dead(&tenant, sweep).await })
    }

    fn repoint(
        &self,
        tenant: TenantName,
        from: Option<PackId>,
        pack: PackId,
        entries: Vec<PackEntry>,
    ) -> Answer<'_, ()> {
        Box::pin(async move { self.point_to(&tenant, from, (pack, &entries)).await })
    }

    fn lose(&self, tenant: TenantName, losses: Vec<Loss>) -> Answer<'_, u64> {
        Box::pin(async move { self.forget_places(&tenant, &losses).await })
    }

    fn lost(&self, tree: TreeKey, from: ObjectId, limit: usize) -> Answer<'_, Vec<ObjectId>> {
        Box::pin(async move { self.owed(&tree, from, limit).await })
    }

    fn owned(&self, tree: TreeKey, ids: Vec<ObjectId>) -> Answer<'_, Vec<ObjectId>> {
        Box::pin(async move { self.complete_of(&tree, &ids).await })
    }

    fn index_pack(
        &self,
        tenant: TenantName,
        pack: PackId,
        entries: Vec<PackEntry>,
        now: Now,
    ) -> Answer<'_, ()> {
        Box::pin(async move {
            let payload = Payload::Packed(pack, entries);
            self.store(&tenant, [&payload].into_iter(), now).await
        })
    }

    fn doom_pack(&self, tenant: TenantName, pack: PackId, now: Now) -> Answer<'_, ()> {
        Box::pin(async move { self.doom(&tenant, pack, now).await })
    }

    fn doomed(&self, tenant: TenantName, cutoff: Now) -> Answer<'_, Vec<PackId>> {
        Box::pin(async move { self.doomed_before(&tenant, cutoff).await })
    }

    fn forget_pack(&self, tenant: TenantName, pack: PackId) -> Answer<'_, ()> {
        Box::pin(async move { self.forget(&tenant, pack).await })
    }

    fn packs(&self, tenant: TenantName) -> Answer<'_, BTreeSet<PackId>> {
        Box::pin(async move { self.known_packs(&tenant).await })
    }

    fn inline_bytes(&self) -> Answer<'_, u64> {
        Box::pin(async move { self.bytes_inline().await })
    }

    fn inline(&self, limit_bytes: u64) -> Answer<'_, Option<(TenantName, Vec<ObjectId>)>> {
        Box::pin(async move { self.some_inline(limit_bytes).await })
    }
}

fn damaged(what: &str) -> JournalError {
    JournalError::Failed(format!("Redis holds {what} that is none of ours"))
}
