//! Who is shut out.

use std::collections::BTreeMap;

use ::redb::{ReadableTable, ReadableTableMetadata};
use fsync_core::service::Now;

use super::read::View;
use super::tables::{REVOCATIONS as VERSION, Tables};
use super::{JournalError, failed, store_error};
use crate::auth::{REVOCATIONS, Revocation, Revocations};

impl Tables<'_> {
    /// Shuts somebody out; `false` if the list is full.
    pub(super) fn revoke(&mut self, revocation: &Revocation) -> Result<bool, JournalError> {
        let who = revocation.who.to_string();
        let is_known = self
            .revoked
            .get(who.as_str())
            .map_err(store_error)?
            .is_some();
        let count = self.revoked.len().map_err(store_error)?;
        if !is_known && count >= REVOCATIONS as u64 {
            return Ok(false);
        }
        self.revoked
            .insert(who.as_str(), revocation.since_ms)
            .map_err(store_error)?;
        let version = self.number(VERSION)?;
        self.set_number(VERSION, version + 1)?;
        Ok(true)
    }
}

impl View {
    /// Returns the list, unless it is the one that is known.
    pub(super) fn revocations(
        &self,
        known: Option<u64>,
    ) -> Result<Option<Revocations>, JournalError> {
        let version = self.number(VERSION)?;
        if known == Some(version) {
            return Ok(None);
        }
        let mut list = BTreeMap::new();
        for row in self.revoked.iter().map_err(store_error)? {
            let (who, since) = row.map_err(store_error)?;
            let who = who.value().parse();
            let who = who.map_err(|e: String| failed(&format!("a revocation: {e}")))?;
            list.insert(who, Now(since.value()));
        }
        Ok(Some(Revocations { version, list }))
    }
}
