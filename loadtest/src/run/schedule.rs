//! When edits are meant to happen: fixed before the run, whatever the servers do meanwhile.
//!
//! Guarantees: times never depend on answers, so that a stall of the service shows as latency of
//! every edit that was due in it (no coordinated omission); the same plan gives the same times.
//! Does not: choose agents, or wait.

use std::time::Duration;

/// In [`Shape::Bursts`] the edits of this time come at once.
pub(super) const BURST: Duration = Duration::from_secs(5);

/// Edits per second, more than 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rate(f64);

impl Rate {
    /// Takes a number of edits per second.
    ///
    /// # Errors
    /// If it is not a positive number, or more than the generator can make.
    pub(super) fn new(per_second: f64) -> Result<Self, BadRate> {
        match per_second {
            rate if rate > 0.0 && rate <= 100_000.0 => Ok(Self(rate)),
            other => Err(BadRate(other)),
        }
    }

    /// Returns it.
    pub(super) fn per_second(self) -> f64 {
        self.0
    }
}

/// No rate.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("--rate is {0}: edits per second are more than 0 and at most 100000")]
pub(super) struct BadRate(f64);

/// How edits lie in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// One after another, at equal distances.
    Even,
    /// All of [`BURST`] at once, then nothing.
    Bursts,
}

/// The intended times of all edits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Schedule {
    /// How many a second.
    pub(super) rate: Rate,
    /// Over how long.
    pub(super) length: Duration,
    /// How they lie.
    pub(super) shape: Shape,
}

impl Schedule {
    /// Returns the intended time of each edit, from the start of the schedule, in order.
    pub(super) fn times(self) -> impl Iterator<Item = Duration> {
        let (rate, length) = (self.rate.per_second(), self.length);
        let even = (0_u32..).map(move |number| Duration::from_secs_f64(f64::from(number) / rate));
        let even = even.take_while(move |time| *time < length);
        even.map(move |time| match self.shape {
            Shape::Even => time,
            Shape::Bursts => time - within_burst(time),
        })
    }
}

/// Returns how far into its burst a time lies.
fn within_burst(time: Duration) -> Duration {
    Duration::from_secs(time.as_secs() % BURST.as_secs())
        + Duration::from_nanos(u64::from(time.subsec_nanos()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(rate: f64, seconds: u64, shape: Shape) -> Vec<u128> {
        let schedule = Schedule {
            rate: Rate::new(rate).unwrap(),
            length: Duration::from_secs(seconds),
            shape,
        };
        schedule.times().map(|time| time.as_millis()).collect()
    }

    #[test]
    fn even_edits_have_equal_distances() {
        assert_eq!(millis(4.0, 1, Shape::Even), [0, 250, 500, 750]);
        assert_eq!(millis(0.5, 5, Shape::Even), [0, 2000, 4000]);
    }

    #[test]
    fn a_burst_holds_the_edits_of_five_seconds() {
        let times = millis(2.0, 10, Shape::Bursts);
        assert_eq!(times, [[0; 10], [5000; 10]].concat());
    }

    #[test]
    fn what_is_no_rate_is_refused() {
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e9] {
            assert!(Rate::new(rate).is_err(), "{rate}");
        }
    }
}
