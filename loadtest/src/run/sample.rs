//! Looks at the run once a second: a line of progress, and a sample for the report.
//!
//! Guarantees: on a terminal the line is written over; elsewhere a line comes every 10 s.
//! Task: `samples`, ended by the shutdown token of the run.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use super::agent::Common;
use super::diary::Micros;
use crate::usage::Usage;

/// Seconds between two lines that nobody watches.
const LINE_EVERY: u64 = 10;

/// What was seen in one second.
#[derive(Debug, Clone, Default)]
pub(super) struct Sample {
    /// When.
    pub(super) at: Micros,
    /// Agents connected.
    pub(super) connected: u64,
    /// Edits due so far.
    pub(super) due: u64,
    /// Edits acknowledged so far.
    pub(super) acknowledged: u64,
    /// Heads pulled so far.
    pub(super) pulled: u64,
    /// This process.
    pub(super) own: Usage,
    /// The watched processes, in the order of the flag; `None` once one is gone.
    pub(super) watched: Vec<Option<Usage>>,
}

/// What the sampler needs.
#[derive(Debug)]
pub(super) struct Sampler {
    /// What all have in common.
    pub(super) common: Arc<Common>,
    /// How many agents there are.
    pub(super) agents: usize,
    /// Processes to look at.
    pub(super) pids: Vec<u32>,
}

impl Sampler {
    /// Samples until the run ends.
    pub(super) async fn run(self) -> Vec<Sample> {
        let stop = self.common.shutdown.token();
        let mut ticks = interval(Duration::from_secs(1));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut samples: Vec<Sample> = Vec::new();
        let is_watched = std::io::stderr().is_terminal();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = ticks.tick() => {}
            }
            let sample = self.look();
            let line = self.line(&sample, samples.last());
            show(&line, is_watched, samples.len() as u64);
            samples.push(sample);
        }
        if is_watched {
            show("", true, 0);
        }
        samples
    }

    fn look(&self) -> Sample {
        let tally = &self.common.tally;
        Sample {
            at: self.common.clock.now(),
            connected: tally.connected.get(),
            due: tally.due.get(),
            acknowledged: tally.acknowledged.get(),
            pulled: tally.pulled.get(),
            own: Usage::of(std::process::id()).unwrap_or_default(),
            watched: self.pids.iter().map(|pid| Usage::of(*pid).ok()).collect(),
        }
    }

    fn line(&self, now: &Sample, before: Option<&Sample>) -> String {
        let pulled = before.map_or(0, |before| now.pulled - before.pulled);
        let tally = &self.common.tally;
        format!(
            "{:>5.0} s  {}/{} connected  {} edits, {} waiting  {pulled} heads/s  {} retries  {} late ticks",
            now.at.seconds(),
            now.connected,
            self.agents,
            now.acknowledged,
            now.due.saturating_sub(tally.settled.get()),
            tally.retries.get(),
            tally.misses.get(),
        )
    }
}

/// Shows a line; nothing can be done about a terminal that is gone.
fn show(line: &str, is_watched: bool, number: u64) {
    let mut out = std::io::stderr();
    if is_watched {
        drop(write!(out, "\r\x1b[2K{line}"));
        drop(out.flush());
    } else if number.is_multiple_of(LINE_EVERY) {
        drop(writeln!(out, "{line}"));
    }
}
