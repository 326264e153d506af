//! How long to wait before trying again: growing, with full jitter, without end.
//!
//! Full jitter spreads the agents of a restarted replica evenly over the window instead of letting
//! them come in waves.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

/// First window of a reconnect.
pub const FIRST: Duration = Duration::from_secs(1);
/// Largest window of a reconnect.
pub const LAST: Duration = Duration::from_secs(5);

/// Counts failures in a row and gives the wait after each.
#[derive(Debug, Clone)]
pub struct Backoff {
    window: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self::new()
    }
}

impl Backoff {
    /// Starts with no failure.
    pub fn new() -> Self {
        Self { window: FIRST }
    }

    /// Forgets all failures.
    pub fn reset(&mut self) {
        self.window = FIRST;
    }

    /// Returns the wait after one more failure, between nothing and the window; `jitter` picks the
    /// place in it.
    pub fn next_wait(&mut self, jitter: u64) -> Duration {
        let wait = scale(self.window, jitter);
        self.window = (self.window * 2).min(LAST);
        wait
    }
}

/// Returns a place between zero and `window`.
pub fn scale(window: Duration, jitter: u64) -> Duration {
    const STEPS: u64 = 1 << 20;
    let step = u32::try_from(jitter % STEPS).unwrap_or(0);
    window * step / u32::try_from(STEPS).unwrap_or(u32::MAX)
}

/// Returns a random number; its only use is jitter, so the hasher's seed is good enough.
pub fn jitter() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_five_seconds_and_stay_there() {
        let mut backoff = Backoff::new();
        let top = (1 << 20) - 1;
        let waits: Vec<u64> = (0..6)
            .map(|_| u64::try_from(backoff.next_wait(top).as_millis().div_ceil(1000)).unwrap())
            .collect();
        assert_eq!(waits, [1, 2, 4, 5, 5, 5]);
        backoff.reset();
        assert!(backoff.next_wait(top) <= FIRST);
    }

    #[test]
    fn jitter_covers_the_whole_window() {
        assert_eq!(scale(LAST, 0), Duration::ZERO);
        assert_eq!(scale(LAST, 1 << 19), LAST / 2);
        assert!(scale(LAST, u64::MAX) < LAST);
    }
}
