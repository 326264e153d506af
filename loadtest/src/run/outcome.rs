//! The outcome of a run, as it stands in the JSON file; reports and comparisons read nothing else.
//!
//! Shape: one object; times are milliseconds unless the name says seconds; `version` is raised when
//! a name changes its meaning.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::oracle::Counts;
use super::plan::Scenario;
use super::scrape::Page;
use super::times::Quantiles;
use crate::machine::Machine;

/// What every file says that it is.
const FORMAT: &str = "fsync loadtest run";
const VERSION: u32 = 1;

/// All figures of a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// Always [`FORMAT`].
    pub(crate) format: String,
    /// Always [`VERSION`].
    pub(crate) version: u32,
    /// Where and how.
    pub(crate) environment: Environment,
    /// What was meant to be done.
    pub(crate) load: Load,
    /// Whether all held, and if not why.
    pub(crate) verdict: Verdict,
    /// How long things took.
    pub(crate) latency: Latency,
    /// What the oracle counted.
    pub(crate) oracle: Counts,
    /// What was done.
    pub(crate) work: Work,
    /// What was done to agents and servers, and how the agents came back.
    pub(crate) events: Vec<Event>,
    /// The run second by second.
    pub(crate) series: Vec<Second>,
    /// Processes that were watched.
    pub(crate) processes: Vec<Process>,
    /// Pages of metrics.
    pub(crate) metrics: Vec<Page>,
    /// Failures and retries by their reason.
    pub(crate) reasons: BTreeMap<String, u64>,
}

/// Where and how a run was made.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Environment {
    /// The machine of the load generator.
    pub(crate) machine: Machine,
    /// Load of the machine at the start: what ran on it in the last minute.
    pub(crate) load_average: f64,
    /// Open files that this process may have.
    pub(crate) open_files: u64,
    /// Version of the load generator.
    pub(crate) loadtest: String,
    /// Protocol version.
    pub(crate) protocol: u32,
    /// The command line.
    pub(crate) command: Vec<String>,
    /// When, in seconds since 1970 UTC.
    pub(crate) unix_seconds: u64,
}

/// What was meant to be done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Load {
    /// The scenario.
    pub(crate) scenario: Scenario,
    /// The servers.
    pub(crate) servers: Vec<String>,
    /// Virtual agents.
    pub(crate) agents: usize,
    /// Trees.
    pub(crate) trees: usize,
    /// Edits per second.
    pub(crate) rate: f64,
    /// Measured seconds.
    pub(crate) seconds: f64,
    /// Bytes of an edit's content.
    pub(crate) payload_bytes: usize,
    /// The seed.
    pub(crate) seed: u64,
}

/// Whether all held.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Verdict {
    /// Yes or no.
    pub(crate) is_passed: bool,
    /// Why not.
    pub(crate) reasons: Vec<String>,
}

/// How long things took, in the measured time.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Latency {
    /// From an edit's intended time to the service's answer.
    pub(crate) acknowledged: Quantiles,
    /// From an edit's intended time until another agent has it, for each other agent of its tree.
    pub(crate) delivered: Quantiles,
    /// From the moment a commit was sent to its answer.
    pub(crate) service: Quantiles,
    /// From the start of a socket until it has joined.
    pub(crate) handshake: Quantiles,
}

/// What was done.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Work {
    /// Seconds until all agents were connected and on a head, the ramp included.
    pub(crate) connect_seconds: f64,
    /// Seconds from the last edit until all was in step.
    pub(crate) settle_seconds: f64,
    /// Edits that were due.
    pub(crate) edits: u64,
    /// Heads that agents pulled; several edits may share one.
    pub(crate) heads_pulled: u64,
    /// Refs that sockets told of.
    pub(crate) refs_told: u64,
    /// Of these, told before on the same connection; harmless.
    pub(crate) refs_repeated: u64,
    /// Times that agents lost their connection.
    pub(crate) connections_lost: u64,
    /// Requests made again.
    pub(crate) retries: u64,
    /// Bytes of packs sent.
    pub(crate) sent_bytes: u64,
    /// Bytes of objects got.
    pub(crate) got_bytes: u64,
    /// Edits that the generator gave out more than 5 ms late.
    pub(crate) late_ticks: u64,
    /// How late the latest was.
    pub(crate) latest_tick_ms: f64,
}

/// Something that was done to agents or servers.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Event {
    /// When, in seconds of the run.
    pub(crate) second: f64,
    /// What.
    pub(crate) what: String,
    /// Agents that lost their connection by it.
    pub(crate) lost: u64,
    /// Agents that never came back.
    pub(crate) gone: u64,
    /// Seconds until 50 % of those that came back were back.
    pub(crate) back_50_seconds: f64,
    /// Seconds until 95 % were back.
    pub(crate) back_95_seconds: f64,
    /// Seconds until all were back.
    pub(crate) back_all_seconds: f64,
}

/// One second of a run.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Second {
    /// Since the start of the run.
    pub(crate) second: f64,
    /// Agents connected.
    pub(crate) connected: u64,
    /// Edits acknowledged in it.
    pub(crate) acknowledged: u64,
    /// Heads pulled in it.
    pub(crate) pulled: u64,
    /// Deliveries of edits that were meant to happen in it: half took at most this.
    pub(crate) p50: Option<f64>,
    /// 99 % took at most this.
    pub(crate) p99: Option<f64>,
    /// Resident memory of the load generator.
    pub(crate) memory_mib: f64,
}

/// A process that was watched, the load generator first.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Process {
    /// What it is.
    pub(crate) name: String,
    /// CPU time that it used from the first edit on, in cores.
    pub(crate) cores: f64,
    /// Resident memory before the first edit.
    pub(crate) memory_mib_first: f64,
    /// Resident memory at the end.
    pub(crate) memory_mib_last: f64,
    /// Resident memory each second.
    pub(crate) memory_mib: Vec<f64>,
}

impl Outcome {
    /// Returns the words that say what a file is.
    pub(super) fn format() -> (String, u32) {
        (FORMAT.to_owned(), VERSION)
    }

    /// Saves it.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(super) fn save(&self, path: &Path) -> Result<()> {
        let json = serde_json::to_vec(self)?;
        std::fs::write(path, json).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Reads one.
    ///
    /// # Errors
    /// If it is not the file of a run, or of another version.
    pub(crate) fn load(path: &Path) -> Result<Self> {
        let name = path.display();
        let text = std::fs::read(path).with_context(|| format!("cannot read {name}"))?;
        let outcome = serde_json::from_slice::<Self>(&text);
        let outcome =
            outcome.with_context(|| format!("{name} is not what `loadtest run --json` saves"))?;
        ensure!(
            (outcome.format.as_str(), outcome.version) == (FORMAT, VERSION),
            "{name} is of version {}, this program reads version {VERSION}",
            outcome.version
        );
        Ok(outcome)
    }
}
