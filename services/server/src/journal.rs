//! The journal: heads, lineage, object index, what is complete for which tree, upload sessions.
//!
//! Guarantees (each held by one contract suite over all implementations): a commit changes all or
//! nothing and is durable when it is answered; a head moves only from the ref that the commit
//! expects; one tree's objects are never told of to another; a sweep never takes what a commit
//! relies on.
//! Does not: hold contents for long. Objects of small pushes start here and are moved to packs
//! later.
//! Place: called by `tree.rs`, `store.rs`, `gc.rs`; implemented by [`redb`], [`memory`] and
//! [`redis`].

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use fsync_core::admin::Policy;
use fsync_core::id::{ObjectId, ObjectKind};
use fsync_core::label::{TenantName, TreeKey};
use fsync_core::service::Now;
use fsync_core::service::commit::Committed;
use fsync_core::service::error::ServiceError;
use fsync_core::service::facts::{Answers, Questions};
pub use fsync_core::service::ledger::PackUse;
use fsync_core::service::record::{
    CommitWrite, Loss, PackEntry, PackId, Payload, Place, Stored, UploadId, Usage,
};
use fsync_core::wire::{Epoch, Head, Seq};

use crate::auth::{Revocation, Revocations};
use crate::clock;
use crate::cluster::ClusterId;

pub mod memory;
pub mod redb;
pub mod redis;
mod rows;

/// Why a journal could not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// The disk is full; nothing was changed.
    #[error("the journal's disk is full")]
    Full,
    /// The journal is damaged or its disk fails.
    #[error("the journal failed: {0}")]
    Failed(String),
    /// It does not answer now; whether a write was carried out is not known. Come back.
    #[error("the journal does not answer: {0}")]
    Unreachable(String),
}

impl JournalError {
    /// Makes the error for what stands in the journal and cannot be.
    fn damaged(reason: &str) -> Self {
        Self::Failed(reason.to_owned())
    }
}

/// Shortest time after which a request comes back that the journal did not answer, and jitter, in
/// milliseconds.
const BACK_MS: u64 = 500;
const BACK_JITTER_MS: u64 = 1500;

impl From<JournalError> for ServiceError {
    fn from(error: JournalError) -> Self {
        match error {
            JournalError::Full => Self::StoreFull(error.to_string()),
            JournalError::Failed(reason) => Self::Internal(format!("the journal failed: {reason}")),
            JournalError::Unreachable(_) => Self::Unavailable {
                reason: error.to_string(),
                retry_after_ms: BACK_MS + clock::random_u64() % BACK_JITTER_MS,
            },
        }
    }
}

/// What a journal answers.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, JournalError>> + Send + 'a>>;

/// When something happens and until when a session lives then.
#[derive(Debug, Clone, Copy)]
pub struct Lease {
    /// The service's clock.
    pub now: Now,
    /// End of the session unless it is used again.
    pub expires: Now,
}

/// What a sweep may take.
#[derive(Debug, Clone, Copy)]
pub struct Sweep {
    /// Nothing younger goes.
    pub cutoff: Now,
    /// Only count.
    pub is_dry: bool,
}

/// Everything the service must remember but contents.
pub trait Journal: Debug + Send + Sync {
    /// Returns whether contents that it acknowledged are durable, so that small ones may stay in it
    /// for a while; else they are put into the blob store first.
    fn keeps_contents(&self) -> bool;

    /// Returns the number of the service that it belongs to, if it has one yet.
    fn cluster(&self) -> Answer<'_, Option<ClusterId>>;

    /// Gives it a number unless it has one; returns what it has then. Of several at the same time
    /// one wins.
    fn join(&self, cluster: ClusterId) -> Answer<'_, ClusterId>;

    /// Makes the holder of a token the one who collects garbage, for so long; zero lets it go.
    /// `false` if another is. Saves work only: every step of a collection is safe for itself, whoever
    /// else collects.
    fn lead(&self, token: u64, time: Duration) -> Answer<'_, bool>;

    /// Shuts a token or a subject out, durably; `false` if the list is full. A second time changes
    /// nothing but the time.
    fn revoke(&self, revocation: Revocation) -> Answer<'_, bool>;

    /// Returns who is shut out; `None` if that is what `known` says.
    fn revocations(&self, known: Option<u64>) -> Answer<'_, Option<Revocations>>;

    /// Returns how much is stored for a tree; at the cost of one look.
    fn usage(&self, tree: TreeKey) -> Answer<'_, Usage>;

    /// Returns a tree's policy.
    fn policy(&self, tree: TreeKey) -> Answer<'_, Option<Policy>>;

    /// Sets or removes a tree's policy, durably; the tree need not exist.
    fn set_policy(&self, tree: TreeKey, policy: Option<Policy>) -> Answer<'_, ()>;

    /// Writes what is queued and closes; every later call fails.
    fn close(&self) -> Answer<'_, ()>;

    /// Answers all questions but those for nodes, from one state of the journal.
    fn ask(&self, tree: TreeKey, questions: Questions) -> Answer<'_, Answers>;

    /// Tells what and where objects of a tenant are, in the order asked; inline ones with their
    /// bytes.
    fn locate(
        &self,
        tenant: TenantName,
        ids: Vec<ObjectId>,
    ) -> Answer<'_, Vec<Option<(ObjectKind, Place)>>>;

    /// Commits all or nothing; durable when answered.
    fn commit(
        &self,
        tree: TreeKey,
        write: Box<CommitWrite>,
        payloads: Vec<Arc<Payload>>,
    ) -> Answer<'_, Committed>;

    /// Returns the heads of trees, in the order asked, at the cost of one round trip.
    fn heads(&self, trees: Vec<TreeKey>) -> Answer<'_, Vec<Option<Head>>>;

    /// Puts a tree's positions into another epoch, because somebody saw a head that contradicts
    /// `head`; `false` if the head is another by now.
    fn renew(&self, tree: TreeKey, head: Head, epoch: Epoch) -> Answer<'_, bool>;

    /// Returns up to `limit` revisions before `before` (or from the head), newest first.
    fn log(&self, tree: TreeKey, before: Option<Seq>, limit: usize) -> Answer<'_, Vec<Stored>>;

    /// Opens an upload session.
    fn open_upload(&self, tree: TreeKey, upload: UploadId, lease: Lease) -> Answer<'_, ()>;

    /// Renews a session of this tree; `false` if it is not open.
    fn touch_upload(&self, tree: TreeKey, upload: UploadId, lease: Lease) -> Answer<'_, bool>;

    /// Adds stored objects to a session and renews it; `false` if it is not open.
    fn add_upload(
        &self,
        tree: TreeKey,
        upload: UploadId,
        payload: Payload,
        lease: Lease,
    ) -> Answer<'_, bool>;

    /// Ends sessions that expired; returns how many.
    fn expire_uploads(&self, now: Now) -> Answer<'_, usize>;

    /// Returns all trees.
    fn trees(&self) -> Answer<'_, Vec<TreeKey>>;

    /// Returns what the open sessions of a tree pin.
    fn pins(&self, tree: TreeKey) -> Answer<'_, Vec<ObjectId>>;

    /// Forgets that objects are complete for a tree, but for live and young ones; `None` if the
    /// head moved.
    fn sweep_tree(
        &self,
        tree: TreeKey,
        head: Option<Head>,
        live: Arc<BTreeSet<ObjectId>>,
        sweep: Sweep,
    ) -> Answer<'_, Option<u64>>;

    /// Forgets objects that no tree and no session has; returns how many, and how much each pack is
    /// still needed.
    fn sweep_objects(&self, tenant: TenantName, sweep: Sweep) -> Answer<'_, (u64, Vec<PackUse>)>;

    /// Points objects that are still at `from` (`None`: inline) to their places in a new pack.
    fn repoint(
        &self,
        tenant: TenantName,
        from: Option<PackId>,
        pack: PackId,
        entries: Vec<PackEntry>,
    ) -> Answer<'_, ()>;

    /// Forgets places that were found empty, unless an object stands elsewhere by now; returns how
    /// many.
    ///
    /// The objects are lacking from then on, for every tree, and one that is stored again is
    /// indexed anew. Which trees they are complete for stays, so that these have them back then.
    fn lose(&self, tenant: TenantName, losses: Vec<Loss>) -> Answer<'_, u64>;

    /// Returns up to `limit` lost objects that are complete for a tree, from `from` on in order of
    /// ids and round.
    fn lost(&self, tree: TreeKey, from: ObjectId, limit: usize) -> Answer<'_, Vec<ObjectId>>;

    /// Returns those of `ids` that are complete for a tree, whether they are here or lost.
    fn owned(&self, tree: TreeKey, ids: Vec<ObjectId>) -> Answer<'_, Vec<ObjectId>>;

    /// Adds objects of a pack that the index does not know; for rebuilding a lost index from
    /// footers.
    fn index_pack(
        &self,
        tenant: TenantName,
        pack: PackId,
        entries: Vec<PackEntry>,
        now: Now,
    ) -> Answer<'_, ()>;

    /// Notes that nothing is read from a pack any more.
    fn doom_pack(&self, tenant: TenantName, pack: PackId, now: Now) -> Answer<'_, ()>;

    /// Returns packs of a tenant that were doomed before `cutoff`: their files may go.
    fn doomed(&self, tenant: TenantName, cutoff: Now) -> Answer<'_, Vec<PackId>>;

    /// Forgets a doomed pack whose file is gone.
    fn forget_pack(&self, tenant: TenantName, pack: PackId) -> Answer<'_, ()>;

    /// Returns all packs that the journal knows, used or doomed.
    fn packs(&self, tenant: TenantName) -> Answer<'_, BTreeSet<PackId>>;

    /// Returns how many bytes are inline.
    fn inline_bytes(&self) -> Answer<'_, u64>;

    /// Returns inline objects of one tenant, about `limit_bytes` of them; `None` if there is none.
    fn inline(&self, limit_bytes: u64) -> Answer<'_, Option<(TenantName, Vec<ObjectId>)>>;
}
