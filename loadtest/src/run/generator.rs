//! The generator: gives out each edit at its intended time, whatever the service does.
//!
//! Guarantees: a thread of its own that only sleeps and hands over, so that answers cannot hold it
//! up; an edit that it gives out late still counts from its intended time, and how many were late
//! is counted.
//! Thread: `generator`, on the blocking pool; ended by the last edit or by the shutdown token.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::Sender;

use super::agent::{Common, Order};
use super::diary::Micros;
use super::schedule::Schedule;
use crate::random::Random;

/// Later than this is a miss.
const TOLERANCE: Duration = Duration::from_millis(5);
/// Longest sleep before the generator looks whether the run was stopped.
const NAP: Duration = Duration::from_millis(200);

/// What the generator works with.
#[derive(Debug)]
pub(super) struct Generator {
    /// What all have in common.
    pub(super) common: Arc<Common>,
    /// The intended times, from `start` on.
    pub(super) schedule: Schedule,
    /// When the schedule begins.
    pub(super) start: Micros,
    /// The agents.
    pub(super) agents: Vec<Sender<Order>>,
    /// Chooses who edits.
    pub(super) random: Random,
}

impl Generator {
    /// Gives out all edits; returns how many found an agent's queue full and were not made.
    pub(super) fn run(mut self) -> u64 {
        let mut refused = 0;
        let start = self.common.clock.moment(self.start);
        for time in self.schedule.times() {
            let intended = start + time;
            if !self.sleep_until(intended) {
                break;
            }
            let late = intended.elapsed();
            let tally = &self.common.tally;
            if late > TOLERANCE {
                tally.misses.add(1);
                let micros = u64::try_from(late.as_micros()).unwrap_or(u64::MAX);
                tally.worst_miss.at_least(micros);
            }
            tally.due.add(1);
            let agent = &self.agents[self.random.below(self.agents.len())];
            let intended = self.common.clock.of(intended);
            if agent.try_send(Order::Edit { intended }).is_err() {
                refused += 1;
            }
        }
        refused
    }

    /// Sleeps; `false` if the run was stopped meanwhile.
    fn sleep_until(&self, moment: Instant) -> bool {
        loop {
            if self.common.shutdown.is_triggered() {
                return false;
            }
            let left = moment.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            std::thread::sleep(left.min(NAP));
        }
    }
}
