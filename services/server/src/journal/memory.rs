//! The journal in memory: core's [`Ledger`] behind a lock; for `--blobs memory:` and tests.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use fsync_core::admin::Policy;
use fsync_core::id::{ObjectId, ObjectKind};
use fsync_core::label::{TenantName, TreeKey};
use fsync_core::service::Now;
use fsync_core::service::commit::Committed;
use fsync_core::service::facts::{Answers, Questions};
use fsync_core::service::ledger::{Ledger, PackUse};
use fsync_core::service::record::{
    CommitWrite, Loss, PackEntry, PackId, Payload, Place, Stored, UploadId, Usage,
};
use fsync_core::wire::{Epoch, Head, Seq};

use super::{Answer, Journal, JournalError, Lease, Sweep};
use crate::auth::{REVOCATIONS, Revocation, Revocations};
use crate::cluster::ClusterId;

/// A journal that ends with the process.
#[derive(Debug, Default)]
pub struct Memory {
    ledger: Mutex<Ledger>,
    cluster: OnceLock<ClusterId>,
    revoked: Mutex<Revocations>,
    policies: Mutex<BTreeMap<TreeKey, Policy>>,
}

impl Memory {
    fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T: Send + 'static>(&self, work: impl FnOnce(&mut Ledger) -> T) -> Answer<'_, T> {
        let result = work(&mut self.lock());
        Box::pin(std::future::ready(Ok(result)))
    }
}

impl Journal for Memory {
    fn keeps_contents(&self) -> bool {
        // As long as the blob store in memory does.
        true
    }

    fn cluster(&self) -> Answer<'_, Option<ClusterId>> {
        Box::pin(std::future::ready(Ok(self.cluster.get().copied())))
    }

    fn join(&self, cluster: ClusterId) -> Answer<'_, ClusterId> {
        let joined = *self.cluster.get_or_init(|| cluster);
        Box::pin(std::future::ready(Ok(joined)))
    }

    fn lead(&self, _token: u64, _time: Duration) -> Answer<'_, bool> {
        // There is nobody else.
        Box::pin(std::future::ready(Ok(true)))
    }

    fn revoke(&self, revocation: Revocation) -> Answer<'_, bool> {
        let mut revoked = self.revoked.lock().unwrap_or_else(PoisonError::into_inner);
        let has_room =
            revoked.list.len() < REVOCATIONS || revoked.list.contains_key(&revocation.who);
        if has_room {
            let since = Now(revocation.since_ms);
            revoked.list.insert(revocation.who, since);
            revoked.version += 1;
        }
        Box::pin(std::future::ready(Ok(has_room)))
    }

    fn revocations(&self, known: Option<u64>) -> Answer<'_, Option<Revocations>> {
        let revoked = self.revoked.lock().unwrap_or_else(PoisonError::into_inner);
        let news = (known != Some(revoked.version)).then(|| revoked.clone());
        Box::pin(std::future::ready(Ok(news)))
    }

    fn usage(&self, tree: TreeKey) -> Answer<'_, Usage> {
        self.with(|ledger| ledger.usage(&tree))
    }

    fn policy(&self, tree: TreeKey) -> Answer<'_, Option<Policy>> {
        let policies = self.policies.lock().unwrap_or_else(PoisonError::into_inner);
        Box::pin(std::future::ready(Ok(policies.get(&tree).cloned())))
    }

    fn set_policy(&self, tree: TreeKey, policy: Option<Policy>) -> Answer<'_, ()> {
        let mut policies = self.policies.lock().unwrap_or_else(PoisonError::into_inner);
        match policy {
            Some(policy) => drop(policies.insert(tree, policy)),
            None => drop(policies.remove(&tree)),
        }
        Box::pin(std::future::ready(Ok(())))
    }

    fn close(&self) -> Answer<'_, ()> {
        self.with(|_| ())
    }

    fn ask(&self, tree: TreeKey, questions: Questions) -> Answer<'_, Answers> {
        self.with(|ledger| ledger.ask(&tree, &questions))
    }

    fn locate(
        &self,
        tenant: TenantName,
        ids: Vec<ObjectId>,
    ) -> Answer<'_, Vec<Option<(ObjectKind, Place)>>> {
        self.with(|ledger| ids.iter().map(|id| ledger.locate(&tenant, id)).collect())
    }

    fn commit(
        &self,
        tree: TreeKey,
        write: Box<CommitWrite>,
        payloads: Vec<Arc<Payload>>,
    ) -> Answer<'_, Committed> {
        let payloads = payloads.into_iter().map(Arc::unwrap_or_clone).collect();
        let result = self.lock().commit(&tree, &write, payloads);
        let result = result.map_err(|e| JournalError::Failed(e.to_string()));
        Box::pin(std::future::ready(result))
    }

    fn heads(&self, trees: Vec<TreeKey>) -> Answer<'_, Vec<Option<Head>>> {
        self.with(|ledger| trees.iter().map(|tree| ledger.head(tree)).collect())
    }

    fn renew(&self, tree: TreeKey, head: Head, epoch: Epoch) -> Answer<'_, bool> {
        self.with(|ledger| ledger.renew(&tree, head, epoch))
    }

    fn log(&self, tree: TreeKey, before: Option<Seq>, limit: usize) -> Answer<'_, Vec<Stored>> {
        self.with(|ledger| ledger.log(&tree, before, limit))
    }

    fn open_upload(&self, tree: TreeKey, upload: UploadId, lease: Lease) -> Answer<'_, ()> {
        self.with(|ledger| ledger.open_upload(&tree, upload, lease.expires))
    }

    fn touch_upload(&self, tree: TreeKey, upload: UploadId, lease: Lease) -> Answer<'_, bool> {
        self.with(|ledger| ledger.touch_upload(&tree, upload, lease.expires))
    }

    fn add_upload(
        &self,
        tree: TreeKey,
        upload: UploadId,
        payload: Payload,
        lease: Lease,
    ) -> Answer<'_, bool> {
        let times = (lease.now, lease.expires);
        self.with(|ledger| ledger.add_upload(&tree, upload, payload, times))
    }

    fn expire_uploads(&self, now: Now) -> Answer<'_, usize> {
        self.with(|ledger| ledger.expire_uploads(now))
    }

    fn trees(&self) -> Answer<'_, Vec<TreeKey>> {
        self.with(|ledger| ledger.trees())
    }

    fn pins(&self, tree: TreeKey) -> Answer<'_, Vec<ObjectId>> {
        self.with(|ledger| ledger.pins(&tree))
    }

    fn sweep_tree(
        &self,
        tree: TreeKey,
        head: Option<Head>,
        live: Arc<BTreeSet<ObjectId>>,
        sweep: Sweep,
    ) -> Answer<'_, Option<u64>> {
        self.with(|ledger| ledger.sweep_tree(&tree, head, &live, (sweep.cutoff, sweep.is_dry)))
    }

    fn sweep_objects(&self, tenant: TenantName, sweep: Sweep) -> Answer<'_, (u64, Vec<PackUse>)> {
        self.with(|ledger| ledger.sweep_objects(&tenant, (sweep.cutoff, sweep.is_dry)))
    }

    fn repoint(
        &self,
        tenant: TenantName,
        from: Option<PackId>,
        pack: PackId,
        entries: Vec<PackEntry>,
    ) -> Answer<'_, ()> {
        self.with(|ledger| ledger.repoint(&tenant, from, (pack, &entries)))
    }

    fn lose(&self, tenant: TenantName, losses: Vec<Loss>) -> Answer<'_, u64> {
        self.with(|ledger| ledger.lose(&tenant, &losses))
    }

    fn lost(&self, tree: TreeKey, from: ObjectId, limit: usize) -> Answer<'_, Vec<ObjectId>> {
        self.with(|ledger| ledger.lost(&tree, from, limit))
    }

    fn owned(&self, tree: TreeKey, ids: Vec<ObjectId>) -> Answer<'_, Vec<ObjectId>> {
        self.with(|ledger| ledger.owned(&tree, &ids))
    }

    fn index_pack(
        &self,
        tenant: TenantName,
        pack: PackId,
        entries: Vec<PackEntry>,
        now: Now,
    ) -> Answer<'_, ()> {
        self.with(|ledger| ledger.index_pack(&tenant, (pack, entries), now))
    }

    fn doom_pack(&self, tenant: TenantName, pack: PackId, now: Now) -> Answer<'_, ()> {
        self.with(|ledger| ledger.doom_pack(&tenant, pack, now))
    }

    fn doomed(&self, tenant: TenantName, cutoff: Now) -> Answer<'_, Vec<PackId>> {
        self.with(|ledger| ledger.doomed(&tenant, cutoff))
    }

    fn forget_pack(&self, tenant: TenantName, pack: PackId) -> Answer<'_, ()> {
        self.with(|ledger| ledger.forget_pack(&tenant, pack))
    }

    fn packs(&self, tenant: TenantName) -> Answer<'_, BTreeSet<PackId>> {
        self.with(|ledger| ledger.packs(&tenant))
    }

    fn inline_bytes(&self) -> Answer<'_, u64> {
        self.with(|ledger| ledger.inline_bytes())
    }

    fn inline(&self, limit_bytes: u64) -> Answer<'_, Option<(TenantName, Vec<ObjectId>)>> {
        self.with(|ledger| ledger.inline(limit_bytes))
    }
}
