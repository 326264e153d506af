//! Who is shut out, for all replicas.

use std::collections::BTreeMap;

use bytes::Bytes;
use fsync_core::service::Now;

use super::{JournalError, Shared, damaged};
use crate::auth::{REVOCATIONS, Revocation, Revocations};
use crate::redis::{bytes, decimal, is_yes, list, number, script};

impl Shared {
    pub(super) async fn shut_out(&self, revocation: &Revocation) -> Result<bool, JournalError> {
        let keys = self.redis.keys();
        let keys = vec![keys.revoked(), keys.revoked_version()];
        let args = vec![
            Bytes::from(revocation.who.to_string()),
            decimal(revocation.since_ms),
            decimal(REVOCATIONS as u64),
        ];
        Ok(is_yes(&self.redis.run(&script::REVOKE, keys, args).await?))
    }

    /// The number is read before the list: a list that is newer than it is read once more.
    pub(super) async fn shut_out_since(
        &self,
        known: Option<u64>,
    ) -> Result<Option<Revocations>, JournalError> {
        let key = self.redis.keys().revoked_version();
        let version = self.redis.call("GET", key, Vec::new()).await?;
        let version = number(&version).unwrap_or_default();
        if known == Some(version) {
            return Ok(None);
        }
        let key = self.redis.keys().revoked();
        let rows = list(self.redis.call("HGETALL", key, Vec::new()).await?);
        let mut rows = rows.into_iter();
        let mut found = BTreeMap::new();
        while let (Some(who), Some(since)) = (rows.next(), rows.next()) {
            let who = bytes(who).and_then(|who| String::from_utf8(who.to_vec()).ok());
            let who = who.and_then(|who| who.parse().ok());
            let (Some(who), Some(since)) = (who, number(&since)) else {
                return Err(damaged("a revocation"));
            };
            found.insert(who, Now(since));
        }
        Ok(Some(Revocations {
            version,
            list: found,
        }))
    }
}
