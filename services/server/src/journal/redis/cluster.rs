//! The number of the service that a Redis, or its part under our prefix, belongs to, and which of
//! its replicas collects garbage.

use std::time::Duration;

use bytes::Bytes;

use super::{JournalError, Shared, damaged};
use crate::cluster::ClusterId;
use crate::redis::script::LEAD;
use crate::redis::{bytes, decimal, is_yes};

impl Shared {
    pub(super) async fn cluster_id(&self) -> Result<Option<ClusterId>, JournalError> {
        let key = self.redis.keys().cluster();
        let Some(found) = bytes(self.redis.call("GET", key, Vec::new()).await?) else {
            return Ok(None);
        };
        let text = std::str::from_utf8(&found).ok();
        let id = text.and_then(|text| text.parse().ok());
        id.map(Some).ok_or_else(|| damaged("a service's number"))
    }

    /// One answer of several at the same time wins; an answer that was lost is found by asking
    /// again.
    pub(super) async fn join_cluster(&self, cluster: ClusterId) -> Result<ClusterId, JournalError> {
        let key = self.redis.keys().cluster();
        let args = vec![Bytes::from(cluster.to_string()), Bytes::from_static(b"NX")];
        self.redis.call("SET", key, args).await?;
        let joined = self.cluster_id().await?;
        joined.ok_or_else(|| {
            JournalError::Unreachable("Redis lost what it was just given".to_owned())
        })
    }

    pub(super) async fn take_lead(&self, token: u64, time: Duration) -> Result<bool, JournalError> {
        let keys = vec![self.redis.keys().collector()];
        let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let answer = self
            .redis
            .run(&LEAD, keys, vec![decimal(token), decimal(ms)]);
        Ok(is_yes(&answer.await?))
    }
}
