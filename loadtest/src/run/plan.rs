//! What is to be run: the flags, and the plan that they make once they were checked.
//!
//! Guarantees: a plan that exists can be run; whatever is wrong with flags is said before anybody
//! connects, with the flag's name.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use fsync_agent::client::{ServerUrl, TokenSource};
use fsync_core::label::TreeKey;
use fsync_core::limits;
use serde::{Deserialize, Serialize};

use super::chaos::Kill;
use super::schedule::{Rate, Schedule, Shape};
use super::time::duration;

/// Smallest content, in bytes: enough random ones that no two edits are equal.
const LEAST_PAYLOAD: usize = 16;

/// Flags of `run`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    /// The servers; the agents of each tree are spread over all of them
    #[arg(long, value_name = "URL", value_delimiter = ',', required = true)]
    server: Vec<ServerUrl>,
    /// Virtual agents; agent i is at tree i modulo the number of trees
    #[arg(long, value_name = "N", default_value_t = 100)]
    agents: usize,
    /// Trees
    #[arg(long, value_name = "M", default_value_t = 10)]
    trees: usize,
    /// Edits per second, of all agents together
    #[arg(long, value_name = "R", default_value_t = 10.0)]
    rate: f64,
    /// How long edits are made and measured, as in 500ms, 60s, 30m
    #[arg(long, value_name = "D", default_value = "60s", value_parser = duration)]
    duration: Duration,
    /// steady: edits at equal distances; burst: those of 5 s at once; storm: all sockets dropped at
    /// half time; churn: a sixtieth of the agents reconnect each second; chaos: servers are killed;
    /// soak: as steady, for long
    #[arg(long, value_name = "NAME", default_value = "steady")]
    scenario: Scenario,
    /// Over how long the agents connect at the start
    #[arg(long, value_name = "S", default_value = "5s", value_parser = duration)]
    ramp: Duration,
    /// How long edits are made before those that are measured
    #[arg(long, value_name = "S", default_value = "2s", value_parser = duration)]
    warm_up: Duration,
    /// How long agents may take to connect after the ramp, and to be on the head after the last edit
    #[arg(long, value_name = "S", default_value = "60s", value_parser = duration)]
    settle: Duration,
    /// Size of each edit's new content, in bytes
    #[arg(long, value_name = "B", default_value_t = 1024)]
    payload_bytes: usize,
    /// Repeat the agents and contents of an earlier run
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Trees are named PREFIX-0 and so on; `TENANT/` may stand before it [default: a new name]
    #[arg(long, value_name = "PREFIX")]
    tree_prefix: Option<String>,
    /// A file with the token that all agents show
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Certificates in PEM to trust beside the system's
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// With chaos: processes of this machine that are killed one after another; restart them from
    /// outside
    #[arg(long, value_name = "PID", value_delimiter = ',')]
    chaos_pids: Vec<i32>,
    /// With chaos: a line for sh that is run instead; FSYNC_CHAOS_ROUND says for which time
    #[arg(long, value_name = "LINE", conflicts_with = "chaos_pids")]
    chaos_command: Option<String>,
    /// How often the line is run, evenly over the time
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    chaos_times: u16,
    /// Pages of Prometheus metrics to read every 10 s
    #[arg(long, value_name = "URL", value_delimiter = ',')]
    metrics: Vec<String>,
    /// Processes of this machine whose memory and CPU time are noted every second
    #[arg(long, value_name = "PID", value_delimiter = ',')]
    watch_pids: Vec<u32>,
    /// Fail if more than 1 % of the deliveries take longer
    #[arg(long, value_name = "D", value_parser = duration)]
    max_p99: Option<Duration>,
    /// Fail if after a storm, churn or kill the last agent is back later
    #[arg(long, value_name = "D", value_parser = duration)]
    max_back: Option<Duration>,
    /// Save all figures as JSON
    #[arg(long, value_name = "FILE")]
    pub(super) json: Option<PathBuf>,
    /// Save a report as one HTML file
    #[arg(long, value_name = "FILE")]
    pub(super) report: Option<PathBuf>,
}

/// What is done beside the edits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Scenario {
    /// Nothing.
    Steady,
    /// Edits come in bursts.
    Burst,
    /// All sockets are dropped at half time.
    Storm,
    /// Some agents reconnect each second.
    Churn,
    /// Servers are killed.
    Chaos,
    /// Nothing, for long.
    Soak,
}

impl Scenario {
    /// Returns the word on the command line.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Steady => "steady",
            Self::Burst => "burst",
            Self::Storm => "storm",
            Self::Churn => "churn",
            Self::Chaos => "chaos",
            Self::Soak => "soak",
        }
    }
}

/// A plan that can be run.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) servers: Vec<ServerUrl>,
    pub(super) agents: usize,
    pub(super) trees: Vec<TreeKey>,
    pub(super) rate: Rate,
    pub(super) duration: Duration,
    pub(super) warm_up: Duration,
    pub(super) ramp: Duration,
    pub(super) settle: Duration,
    pub(super) scenario: Scenario,
    pub(super) payload_bytes: usize,
    pub(super) seed: u64,
    pub(super) token: TokenSource,
    pub(super) ca_pem: Option<Vec<u8>>,
    pub(super) kills: Vec<Kill>,
    pub(super) metrics: Vec<String>,
    pub(super) watch_pids: Vec<u32>,
    pub(super) max_p99: Option<Duration>,
    pub(super) max_back: Option<Duration>,
}

impl Plan {
    /// Checks the flags; `fresh` is a number that no earlier run had.
    ///
    /// # Errors
    /// Which flag is wrong and how to put it right.
    pub(super) fn new(args: &Args, fresh: u64) -> Result<Self> {
        ensure!(args.trees > 0, "--trees is 0: at least one tree is needed");
        ensure!(
            args.agents >= args.trees,
            "--agents is {} and --trees {}: each tree needs an agent",
            args.agents,
            args.trees
        );
        let largest = usize::try_from(limits::WHOLE_FILE_BYTES)?;
        ensure!(
            (LEAST_PAYLOAD..=largest).contains(&args.payload_bytes),
            "--payload-bytes is {}: from {LEAST_PAYLOAD} to {largest} bytes are one chunk",
            args.payload_bytes
        );
        ensure!(
            !args.duration.is_zero(),
            "--duration is 0: nothing would be measured"
        );
        let prefix = match &args.tree_prefix {
            Some(prefix) => prefix.clone(),
            None => format!("load-{fresh:x}"),
        };
        Ok(Self {
            servers: args.server.clone(),
            agents: args.agents,
            trees: trees(&prefix, args.trees)?,
            rate: Rate::new(args.rate)?,
            duration: args.duration,
            warm_up: args.warm_up,
            ramp: args.ramp,
            settle: args.settle,
            scenario: args.scenario,
            payload_bytes: args.payload_bytes,
            seed: args.seed.unwrap_or(fresh),
            token: match &args.token_file {
                Some(path) => TokenSource::file(path)?,
                None => TokenSource::default(),
            },
            ca_pem: args.ca_file.as_deref().map(read).transpose()?,
            kills: kills(args)?,
            metrics: args.metrics.clone(),
            watch_pids: args.watch_pids.clone(),
            max_p99: args.max_p99,
            max_back: args.max_back,
        })
    }

    /// Returns the schedule of all edits, those of the warm-up first.
    pub(super) fn schedule(&self) -> Schedule {
        Schedule {
            rate: self.rate,
            length: self.warm_up + self.duration,
            shape: match self.scenario {
                Scenario::Burst => Shape::Bursts,
                _ => Shape::Even,
            },
        }
    }
}

fn trees(prefix: &str, count: usize) -> Result<Vec<TreeKey>> {
    let names = (0..count).map(|number| format!("{prefix}-{number}").parse());
    names.collect::<Result<_, _>>().context("--tree-prefix")
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

fn kills(args: &Args) -> Result<Vec<Kill>> {
    let is_chaos = args.scenario == Scenario::Chaos;
    match (&args.chaos_command, args.chaos_pids.as_slice()) {
        (None, []) if is_chaos => {
            bail!("--scenario chaos needs --chaos-pids or --chaos-command: what is to be killed?")
        }
        (None, []) => Ok(Vec::new()),
        _ if !is_chaos => bail!("--chaos-pids and --chaos-command belong to --scenario chaos"),
        (Some(line), _) => Ok((1..=args.chaos_times)
            .map(|round| Kill::Command {
                line: line.clone(),
                round,
            })
            .collect()),
        (None, pids) => pids.iter().map(|pid| Kill::process(*pid)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    fn plan(flags: &str) -> Result<Plan> {
        let words = format!("run --server http://localhost:1 {flags}");
        let words = words.split_whitespace().map(str::to_owned);
        Plan::new(&Cli::try_parse_from(words)?.args, 0xabc)
    }

    #[test]
    fn trees_have_a_new_prefix_unless_told_otherwise() {
        let names = |flags: &str| {
            let trees = plan(flags).unwrap().trees;
            trees.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(names("--trees 2")[1], "default/load-abc-1");
        assert_eq!(names("--trees 1 --tree-prefix acme/x"), ["acme/x-0"]);
    }

    #[test]
    fn wrong_flags_are_named() {
        for (flags, name) in [
            ("--trees 0", "--trees"),
            ("--agents 1 --trees 2", "--agents"),
            ("--rate 0", "--rate"),
            ("--rate nan", "--rate"),
            ("--duration 0s", "--duration"),
            ("--duration 5", "--duration"),
            ("--max-p99 fast", "--max-p99"),
            ("--payload-bytes 1", "--payload-bytes"),
            ("--payload-bytes 70000", "--payload-bytes"),
            ("--tree-prefix a/b/c", "--tree-prefix"),
            ("--token-file /nowhere/token", "/nowhere/token"),
            ("--scenario chaos", "--chaos-pids"),
            ("--scenario calm", "--scenario"),
            ("--chaos-command true", "--scenario chaos"),
            ("--scenario chaos --chaos-pids 1", "--chaos-pids"),
        ] {
            let error = format!("{:#}", plan(flags).expect_err(flags));
            assert!(error.contains(name), "{flags}: {error}");
        }
    }
}
