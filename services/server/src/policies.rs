//! Policies of trees, remembered for a moment: who may do what beside what tokens say, and how much
//! may be stored.
//!
//! Guarantees: a change counts within [`FRESH`] on every replica, at once on the one that made it; a
//! request whose token is enough costs no look. Memory is bounded by [`KEPT`].

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use fsync_core::admin::Policy;
use fsync_core::label::TreeKey;
use fsync_core::service::error::ServiceError;

use crate::journal::Journal;

/// How long a policy is believed.
pub const FRESH: Duration = Duration::from_secs(2);
/// Policies that are remembered; beyond that all are read anew.
const KEPT: usize = 8192;

/// A policy, if there is one, and when it was read.
type Read = (Instant, Option<Arc<Policy>>);

/// All policies; clones are the same.
#[derive(Debug, Clone)]
pub struct Policies {
    journal: Arc<dyn Journal>,
    read: Arc<Mutex<HashMap<TreeKey, Read>>>,
}

impl Policies {
    /// Remembers nothing yet.
    pub fn new(journal: Arc<dyn Journal>) -> Self {
        Self {
            journal,
            read: Arc::default(),
        }
    }

    /// Returns a tree's policy.
    ///
    /// # Errors
    /// [`ServiceError`] of the journal.
    pub async fn of(&self, tree: &TreeKey) -> Result<Option<Arc<Policy>>, ServiceError> {
        let known = self.lock().get(tree).cloned();
        if let Some((at, policy)) = known
            && at.elapsed() < FRESH
        {
            return Ok(policy);
        }
        let at = Instant::now();
        let policy = self.journal.policy(tree.clone()).await?.map(Arc::new);
        let mut read = self.lock();
        if read.len() >= KEPT {
            read.clear();
        }
        read.insert(tree.clone(), (at, policy.clone()));
        Ok(policy)
    }

    /// Sets or removes a tree's policy.
    ///
    /// # Errors
    /// [`ServiceError`] of the journal.
    pub async fn set(&self, tree: &TreeKey, policy: Option<Policy>) -> Result<(), ServiceError> {
        self.journal.set_policy(tree.clone(), policy).await?;
        self.lock().remove(tree);
        Ok(())
    }

    /// Checks that so many bytes more may be stored for a tree. What others store at the same moment
    /// is not counted yet: a quota may be passed by what is under way.
    ///
    /// # Errors
    /// [`ServiceError::Quota`], or one of the journal.
    pub async fn check_room(&self, tree: &TreeKey, bytes: u64) -> Result<(), ServiceError> {
        let policy = self.of(tree).await?;
        let Some(quota) = policy.and_then(|policy| policy.quota_bytes) else {
            return Ok(());
        };
        let used = self.journal.usage(tree.clone()).await?.bytes;
        match used.saturating_add(bytes) <= quota {
            true => Ok(()),
            false => Err(ServiceError::Quota {
                tree: tree.clone(),
                used,
                quota,
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TreeKey, Read>> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
