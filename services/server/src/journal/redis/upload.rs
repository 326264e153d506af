//! Upload sessions: each belongs to a tree and stands in the tree's slot.

use bytes::Bytes;
use fsync_core::id::{ID_BYTES, ObjectId};
use fsync_core::label::TreeKey;
use fsync_core::service::Now;
use fsync_core::service::record::{Payload, UploadId};
use futures_util::future::try_join_all;

use super::{JournalError, Lease, Shared, damaged};
use crate::redis::keys::Partition;
use crate::redis::script::{EXPIRE, UPLOAD};
use crate::redis::{bytes, decimal, is_yes, list, number, pairs};

impl Shared {
    pub(super) async fn open_session(
        &self,
        tree: &TreeKey,
        upload: UploadId,
        lease: Lease,
    ) -> Result<(), JournalError> {
        let opened = Some(tree.to_string());
        self.session(tree, (upload, lease), &[], opened).await?;
        Ok(())
    }

    /// Renews a session and adds objects that are stored; `false` if it is not open.
    pub(super) async fn renew_session(
        &self,
        tree: &TreeKey,
        upload: UploadId,
        lease: Lease,
        ids: &[ObjectId],
    ) -> Result<bool, JournalError> {
        self.session(tree, (upload, lease), ids, None).await
    }

    async fn session(
        &self,
        tree: &TreeKey,
        (upload, lease): (UploadId, Lease),
        ids: &[ObjectId],
        opened: Option<String>,
    ) -> Result<bool, JournalError> {
        let keys = self.redis.keys();
        let touched = vec![
            keys.uploads(tree),
            keys.upload(tree, upload),
            keys.trees(Partition::of(tree)),
        ];
        let mut added = Vec::with_capacity(ids.len() * ID_BYTES);
        for id in ids {
            added.extend_from_slice(id.as_bytes());
        }
        let args = vec![
            decimal(upload.0),
            decimal(lease.expires.0),
            Bytes::from(added),
            Bytes::from(opened.unwrap_or_default()),
        ];
        Ok(is_yes(&self.redis.run(&UPLOAD, touched, args).await?))
    }

    pub(super) async fn add_to_session(
        &self,
        tree: &TreeKey,
        upload: UploadId,
        payload: Payload,
        lease: Lease,
    ) -> Result<bool, JournalError> {
        if !self.renew_session(tree, upload, lease, &[]).await? {
            return Ok(false);
        }
        let payloads = [&payload].into_iter();
        self.store(&tree.tenant, payloads, lease.now).await?;
        let ids: Vec<ObjectId> = match &payload {
            Payload::Inline(objects) => objects.iter().map(|object| object.id).collect(),
            Payload::Packed(_, entries) => entries.iter().map(|entry| entry.id).collect(),
        };
        self.renew_session(tree, upload, lease, &ids).await
    }

    pub(super) async fn expire_sessions(&self, now: Now) -> Result<usize, JournalError> {
        let mut ended = 0;
        for tree in self.all_trees().await? {
            for (upload, expires) in self.sessions(&tree).await? {
                if expires > now {
                    continue;
                }
                let keys = self.redis.keys();
                let touched = vec![
                    keys.uploads(&tree),
                    keys.upload(&tree, upload),
                    keys.head(&tree),
                ];
                let args = vec![decimal(upload.0), decimal(now.0)];
                ended += usize::from(is_yes(&self.redis.run(&EXPIRE, touched, args).await?));
            }
        }
        Ok(ended)
    }

    async fn sessions(&self, tree: &TreeKey) -> Result<Vec<(UploadId, Now)>, JournalError> {
        let key = self.redis.keys().uploads(tree);
        let found = self.redis.call("HGETALL", key, Vec::new()).await?;
        let read = |(upload, expires)| match (number(&upload), number(&expires)) {
            (Some(upload), Some(expires)) => Ok((UploadId(upload), Now(expires))),
            _ => Err(damaged("an upload session")),
        };
        pairs(found).map(read).collect()
    }

    pub(super) async fn pinned(&self, tree: &TreeKey) -> Result<Vec<ObjectId>, JournalError> {
        let sessions = self.sessions(tree).await?;
        let calls = sessions.into_iter().map(async |(upload, _)| {
            let key = self.redis.keys().upload(tree, upload);
            self.redis.call("SMEMBERS", key, Vec::new()).await
        });
        let mut pins = Vec::new();
        for found in try_join_all(calls).await? {
            for id in list(found) {
                let id = bytes(id).and_then(|id| ObjectId::from_slice(&id));
                pins.push(id.ok_or_else(|| damaged("an id"))?);
            }
        }
        Ok(pins)
    }
}
