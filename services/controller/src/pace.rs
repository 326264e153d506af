//! When an object is looked at again: a pace for each, so that neither its own status writes nor a
//! server that is away make a storm.
//!
//! Guarantees: an object whose spec did not change is looked at no sooner than it was said to be;
//! failures in a row wait longer each time, with full jitter, up to [`LONGEST`]; a status whose
//! conditions are the same is written no more than once in [`STATUS`].
//! Does not: sleep; time is an argument.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Shortest time between two writes of a status whose conditions are the same.
pub const STATUS: Duration = Duration::from_secs(10);
/// Window of the wait after the first failure.
const FIRST: Duration = Duration::from_secs(2);
/// Window of the wait after many.
const LONGEST: Duration = Duration::from_secs(120);
/// Nothing waits less after a failure.
const SHORTEST: Duration = Duration::from_millis(500);
/// An object that was not looked at for so long is gone.
const FORGOTTEN: Duration = Duration::from_secs(3600);

/// An object and which of its specs is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// Its uid.
    pub uid: String,
    /// Generation of its spec.
    pub generation: i64,
}

#[derive(Debug, Clone)]
struct Step {
    generation: i64,
    looked: Instant,
    due: Instant,
    written: Option<Instant>,
    failures: u32,
}

/// The pace of all objects.
#[derive(Debug, Default)]
pub struct Pace(Mutex<HashMap<String, Step>>);

impl Pace {
    /// Returns how long the object still has to wait; `None` if it is its turn.
    pub fn wait(&self, turn: &Turn, now: Instant) -> Option<Duration> {
        let steps = self.lock();
        let step = steps.get(&turn.uid)?;
        let left = step.due.saturating_duration_since(now);
        (step.generation == turn.generation && !left.is_zero()).then_some(left)
    }

    /// The object was looked at with success; it is due again in `next`.
    pub fn done(&self, turn: &Turn, now: Instant, next: Duration) -> Duration {
        self.set(turn, now, next, 0);
        next
    }

    /// The object could not be brought where it should be; returns when to try again.
    pub fn failed(&self, turn: &Turn, now: Instant) -> Duration {
        self.failed_with(turn, now, RandomState::new().build_hasher().finish())
    }

    fn failed_with(&self, turn: &Turn, now: Instant, jitter: u64) -> Duration {
        let known = self
            .lock()
            .get(&turn.uid)
            .map(|s| (s.generation, s.failures));
        let before = known.filter(|(g, _)| *g == turn.generation);
        let failures = before.map_or(0, |(_, count)| count);
        let wait = backoff(failures, jitter);
        self.set(turn, now, wait, failures.saturating_add(1));
        wait
    }

    /// Returns whether a status may be written of which only numbers are new.
    pub fn may_write(&self, turn: &Turn, now: Instant) -> bool {
        let written = self.lock().get(&turn.uid).and_then(|step| step.written);
        written.is_none_or(|at| now.saturating_duration_since(at) >= STATUS)
    }

    /// A status was written.
    pub fn wrote(&self, turn: &Turn, now: Instant) {
        let mut steps = self.lock();
        let step = steps.entry(turn.uid.clone()).or_insert(Step {
            generation: turn.generation,
            looked: now,
            due: now,
            written: None,
            failures: 0,
        });
        step.written = Some(now);
    }

    /// The object is gone.
    pub fn forget(&self, turn: &Turn) {
        self.lock().remove(&turn.uid);
    }

    fn set(&self, turn: &Turn, now: Instant, next: Duration, failures: u32) {
        let mut steps = self.lock();
        steps.retain(|_, step| now.saturating_duration_since(step.looked) < FORGOTTEN);
        let written = steps.get(&turn.uid).and_then(|step| step.written);
        let step = Step {
            generation: turn.generation,
            looked: now,
            due: now + next,
            written,
            failures,
        };
        steps.insert(turn.uid.clone(), step);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Step>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns a place in the window that so many failures before this one have opened.
fn backoff(failures: u32, jitter: u64) -> Duration {
    const STEPS: u32 = 1 << 20;
    let window = FIRST.saturating_mul(1 << failures.min(10)).min(LONGEST);
    let step = u32::try_from(jitter % u64::from(STEPS)).unwrap_or(0);
    SHORTEST + window * step / STEPS
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEN: Duration = Duration::from_secs(10);

    fn turn(generation: i64) -> Turn {
        Turn {
            uid: "one".to_owned(),
            generation,
        }
    }

    #[test]
    fn an_object_waits_for_its_turn_unless_its_spec_changed() {
        let (pace, start) = (Pace::default(), Instant::now());
        assert_eq!(pace.wait(&turn(1), start), None);
        pace.done(&turn(1), start, TEN);
        assert_eq!(pace.wait(&turn(1), start + TEN / 2), Some(TEN / 2));
        assert_eq!(pace.wait(&turn(2), start + TEN / 2), None);
        assert_eq!(pace.wait(&turn(1), start + TEN), None);
    }

    #[test]
    fn failures_wait_longer_each_time_and_a_success_forgets_them() {
        let (pace, start) = (Pace::default(), Instant::now());
        let most = (1 << 20) - 1;
        let waits: Vec<u64> = (0..9)
            .map(|_| pace.failed_with(&turn(1), start, most).as_millis())
            .map(|ms| u64::try_from(ms).unwrap().div_ceil(500) / 2)
            .collect();
        assert_eq!(waits, [2, 4, 8, 16, 32, 64, 120, 120, 120]);
        pace.done(&turn(1), start, TEN);
        assert!(pace.failed_with(&turn(1), start, most) < TEN);
        assert!(
            pace.failed_with(&turn(2), start, most) < TEN / 2,
            "another spec starts anew"
        );
    }

    #[test]
    fn jitter_covers_the_window_and_leaves_a_pause() {
        assert_eq!(backoff(3, 0), SHORTEST);
        assert!(backoff(3, 1 << 19) > Duration::from_secs(8));
    }

    #[test]
    fn numbers_are_written_once_in_ten_seconds() {
        let (pace, start) = (Pace::default(), Instant::now());
        assert!(pace.may_write(&turn(1), start));
        pace.wrote(&turn(1), start);
        pace.done(&turn(1), start, TEN);
        assert!(!pace.may_write(&turn(1), start + TEN - Duration::from_millis(1)));
        assert!(pace.may_write(&turn(1), start + TEN));
        pace.forget(&turn(1));
        assert!(pace.may_write(&turn(1), start));
    }

    #[test]
    fn what_is_gone_is_forgotten() {
        let (pace, start) = (Pace::default(), Instant::now());
        pace.done(&turn(1), start, TEN);
        let other = Turn {
            uid: "two".to_owned(),
            generation: 1,
        };
        pace.done(&other, start + FORGOTTEN, TEN);
        assert_eq!(pace.lock().len(), 1);
    }
}
