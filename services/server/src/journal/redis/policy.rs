//! What is to hold for a tree, and how much is stored for it.

use bytes::Bytes;
use fsync_core::admin::Policy;
use fsync_core::label::TreeKey;
use fsync_core::service::record::Usage;

use super::{JournalError, Shared, damaged};
use crate::redis::{bytes, number};

impl Shared {
    pub(super) async fn usage_of(&self, tree: &TreeKey) -> Result<Usage, JournalError> {
        let keys = self.redis.keys();
        let field = vec![Bytes::from_static(b"bytes")];
        let bytes = self.redis.call("HGET", keys.head(tree), field);
        let objects = self.redis.call("HLEN", keys.complete(tree), Vec::new());
        let (bytes, objects) = futures_util::future::try_join(bytes, objects).await?;
        Ok(Usage {
            bytes: number(&bytes).unwrap_or_default(),
            objects: number(&objects).unwrap_or_default(),
        })
    }

    pub(super) async fn policy_of(&self, tree: &TreeKey) -> Result<Option<Policy>, JournalError> {
        let key = self.redis.keys().policy(tree);
        let found = bytes(self.redis.call("GET", key, Vec::new()).await?);
        let policy = found.map(|json| serde_json::from_slice(&json));
        policy.transpose().map_err(|_e| damaged("a policy"))
    }

    pub(super) async fn put_policy(
        &self,
        tree: &TreeKey,
        policy: Option<&Policy>,
    ) -> Result<(), JournalError> {
        let key = self.redis.keys().policy(tree);
        match policy {
            Some(policy) => {
                let json = serde_json::to_vec(policy);
                let json = json
                    .map_err(|e| JournalError::Failed(format!("a policy does not encode: {e}")))?;
                self.redis.call("SET", key, vec![Bytes::from(json)]).await?;
            }
            None => {
                self.redis.call("DEL", key, Vec::new()).await?;
            }
        }
        Ok(())
    }
}
