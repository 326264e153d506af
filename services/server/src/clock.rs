//! The two things that core must not have: the clock and randomness.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{SystemTime, UNIX_EPOCH};

use fsync_core::service::Now;

/// Returns the time.
pub(crate) fn now() -> Now {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Now(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Returns a random number: fit for names and jitter, not for secrets.
pub(crate) fn random_u64() -> u64 {
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u64(now().0);
    hasher.finish()
}

/// Returns a random number that no other process will draw.
pub(crate) fn random_u128() -> u128 {
    // Two draws: each has keys of its own.
    u128::from(random_u64()) << 64 | u128::from(random_u64())
}
