//! How often who may do what: token buckets per token, per tenant and for the replica.
//!
//! Guarantees: memory is bounded by the tokens that were good within the last minutes, because only
//! callers that were checked are counted; what is refused says which limit, its value, and when to
//! come back. Does not: count where no token is asked for, but for the replica's own limits.
//! Task: `rates` forgets those who rested; ends at shutdown.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use fsync_core::label::{TenantName, TreeKey};
use fsync_core::rights::{Right, TokenName};
use fsync_core::service::error::ServiceError;
use fsync_core::wire::{ErrorBody, ErrorCode};
use fsync_runtime::Shutdown;
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter};

use crate::auth::{Auth, Bearer, Identity};
use crate::limits::{self, Rate};
use crate::policies::Policies;

/// What a caller must pass.
#[derive(Debug, Clone)]
pub struct Checks {
    /// Who it is.
    pub auth: Auth,
    /// How often.
    pub rates: Rates,
    /// What else holds for a tree.
    pub policies: Policies,
}

impl Checks {
    /// Returns what a caller may do with a tree: what his token says or, if that is less than
    /// `needed`, what the tree's policy says of him.
    ///
    /// # Errors
    /// [`ServiceError`] of the journal.
    pub async fn right_to(
        &self,
        identity: &Identity,
        tree: &TreeKey,
        needed: Right,
    ) -> Result<Option<Right>, ServiceError> {
        let by_token = identity.right_to(tree);
        let Some(bearer) = identity.bearer() else {
            return Ok(by_token);
        };
        let is_enough = by_token.is_some_and(|right| right >= needed);
        if is_enough || *bearer.rights.tenant() != tree.tenant {
            return Ok(by_token);
        }
        let policy = self.policies.of(tree).await?;
        let by_policy = policy.and_then(|policy| policy.right_of(&bearer.subject));
        Ok(by_token.max(by_policy))
    }
}

/// A limit that was passed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("too many {name}: the limit is {limit}; come back in {} ms", .after.as_millis())]
pub struct Passed {
    /// What there was too much of.
    pub name: &'static str,
    /// How much there may be.
    pub limit: String,
    /// When to come back.
    pub after: Duration,
}

impl Passed {
    /// Returns the error as it stands in answers.
    pub fn to_body(&self) -> ErrorBody {
        ErrorBody {
            code: ErrorCode::RateLimited,
            message: self.to_string(),
            missing: Vec::new(),
            retry_after_ms: Some(u64::try_from(self.after.as_millis()).unwrap_or(u64::MAX)),
        }
    }
}

/// One bucket for everybody.
struct One(Rate, DefaultDirectRateLimiter);

/// One bucket for each of them.
struct Each<K: std::hash::Hash + Eq + Clone>(Rate, DefaultKeyedRateLimiter<K>);

fn quota(rate: Rate) -> Quota {
    let at_least_one = |n: u32| NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN);
    Quota::per_second(at_least_one(rate.per_second)).allow_burst(at_least_one(rate.burst))
}

fn passed(rate: Rate, after: Duration) -> Passed {
    Passed {
        name: rate.name,
        limit: format!("{} a second, {} at once", rate.per_second, rate.burst),
        // A little later than the bucket says, so that who comes back is let in.
        after: after.max(Duration::from_millis(1)) + Duration::from_millis(1),
    }
}

impl One {
    fn new(rate: Rate) -> Self {
        Self(rate, RateLimiter::direct(quota(rate)))
    }

    fn take(&self) -> Result<(), Passed> {
        let taken = self.1.check();
        taken.map_err(|until| passed(self.0, until.wait_time_from(DefaultClock::default().now())))
    }
}

impl<K: std::hash::Hash + Eq + Clone> Each<K> {
    fn new(rate: Rate) -> Self {
        Self(rate, RateLimiter::keyed(quota(rate)))
    }

    fn take(&self, key: &K, count: u32) -> Result<(), Passed> {
        let count = NonZeroU32::new(count.min(self.0.burst)).unwrap_or(NonZeroU32::MIN);
        match self.1.check_key_n(key, count) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(until)) => Err(passed(
                self.0,
                until.wait_time_from(DefaultClock::default().now()),
            )),
            // More than fits at once: it is counted as all that fits, above.
            Err(_too_many) => Ok(()),
        }
    }

    fn forget(&self) {
        self.1.retain_recent();
        self.1.shrink_to_fit();
    }
}

/// Who is counted: tenant and token.
type Token = (TenantName, TokenName);

/// All buckets; clones share them.
#[derive(Clone)]
pub struct Rates(Arc<Inner>);

struct Inner {
    replica_handshakes: One,
    tenant_handshakes: Each<TenantName>,
    token_handshakes: Each<Token>,
    tenant_requests: Each<TenantName>,
    token_requests: Each<Token>,
    tenant_kib: Each<TenantName>,
    token_kib: Each<Token>,
}

impl std::fmt::Debug for Rates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Rates")
    }
}

impl Default for Rates {
    fn default() -> Self {
        Self(Arc::new(Inner {
            replica_handshakes: One::new(limits::REPLICA_HANDSHAKES),
            tenant_handshakes: Each::new(limits::TENANT_HANDSHAKES),
            token_handshakes: Each::new(limits::TOKEN_HANDSHAKES),
            tenant_requests: Each::new(limits::TENANT_REQUESTS),
            token_requests: Each::new(limits::TOKEN_REQUESTS),
            tenant_kib: Each::new(limits::TENANT_KIB),
            token_kib: Each::new(limits::TOKEN_KIB),
        }))
    }
}

fn key_of(bearer: &Bearer) -> Token {
    (bearer.rights.tenant().clone(), bearer.id.clone())
}

impl Rates {
    /// Counts a handshake of nobody in particular: before the token is looked at.
    ///
    /// # Errors
    /// [`Passed`].
    pub fn handshake(&self) -> Result<(), Passed> {
        self.0.replica_handshakes.take()
    }

    /// Counts a handshake of a token that is good.
    ///
    /// # Errors
    /// [`Passed`].
    pub fn handshake_of(&self, identity: &Identity) -> Result<(), Passed> {
        let Some(bearer) = identity.bearer() else {
            return Ok(());
        };
        self.0.token_handshakes.take(&key_of(bearer), 1)?;
        self.0.tenant_handshakes.take(bearer.rights.tenant(), 1)
    }

    /// Counts a request, and the bytes that it announces.
    ///
    /// # Errors
    /// [`Passed`].
    pub fn request_of(&self, identity: &Identity, bytes: u64) -> Result<(), Passed> {
        let Some(bearer) = identity.bearer() else {
            return Ok(());
        };
        let (token, tenant) = (key_of(bearer), bearer.rights.tenant());
        self.0.token_requests.take(&token, 1)?;
        self.0.tenant_requests.take(tenant, 1)?;
        let kib = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX);
        if kib > 1 {
            self.0.token_kib.take(&token, kib)?;
            self.0.tenant_kib.take(tenant, kib)?;
        }
        Ok(())
    }

    fn forget(&self) {
        self.0.tenant_handshakes.forget();
        self.0.token_handshakes.forget();
        self.0.tenant_requests.forget();
        self.0.token_requests.forget();
        self.0.tenant_kib.forget();
        self.0.token_kib.forget();
    }
}

/// Forgets those who rested, until the shutdown.
pub(crate) async fn run(rates: Rates, tasks: Shutdown) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(limits::FORGET) => rates.forget(),
            () = tasks.triggered() => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_names_its_limit_and_says_when_to_come_back() {
        let each = Each::new(Rate {
            name: "tries of this test",
            per_second: 2,
            burst: 3,
        });
        for _ in 0..3 {
            assert_eq!(each.take(&1, 1), Ok(()));
        }
        let passed = each.take(&1, 1).unwrap_err();
        let text = passed.to_string();
        assert!(
            text.contains("tries of this test") && text.contains("2 a second, 3 at once"),
            "{text}"
        );
        assert!(
            passed.after <= Duration::from_millis(502),
            "{:?}",
            passed.after
        );
        // Others have their own.
        assert_eq!(each.take(&2, 1), Ok(()));
        // More than ever fits at once is what fits at once.
        assert_eq!(each.take(&3, 1000), Ok(()));
        assert!(each.take(&3, 1).is_err());
    }
}
