//! `bench`: measures the scenarios of one machine against the real server and agents, over real
//! folders.
//!
//! Guarantees: rounds of all scenarios are interleaved in random order and all are reported; each
//! round has a server, two agents and folders of its own; it ends by comparing the folders, and
//! folders that differ void the whole run.
//! Does not: compare with other programs, or say anything about a network other than loopback.
//! Place: `cli` runs it; the scenarios are one file each.

mod s1;
mod s2;
mod s4;
mod s5;
mod s6;
mod site;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};

use crate::machine::{self, Machine};
use crate::process::Children;
use crate::random::Random;
use crate::report::{Report, Row, Section};
use crate::stats::{Rounds, Samples};

const CLASS: &str = "durable: every acknowledged change is on the disk of the server, every applied one on the agent's";

/// Flags of `bench`.
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(crate) struct Args {
    /// Which scenarios: s1 save latency, s2 many small files, s4 large files, s5 bursts, s6 restart
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "LIST",
        default_value = "s1,s2,s4,s5,s6"
    )]
    scenario: Vec<Scenario>,
    /// How often each scenario is run
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Small sizes, to see whether everything works
    #[arg(long)]
    quick: bool,
    /// Also 100,000 files in s2
    #[arg(long)]
    large: bool,
    /// Where the folders are made; a disk, not memory [default: the system's place for temporary
    /// files]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Keep folders and logs
    #[arg(long)]
    keep: bool,
    /// Save all figures as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Exit with 2 if a goal is missed
    #[arg(long)]
    strict: bool,
    /// Repeat contents and orders of an earlier run
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// The server's program [default: fsync-server beside this one]
    #[arg(long, value_name = "FILE")]
    server_bin: Option<PathBuf>,
    /// The agent's program [default: fsync-agent beside this one]
    #[arg(long, value_name = "FILE")]
    agent_bin: Option<PathBuf>,
}

/// A scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Scenario {
    S1,
    S2,
    S4,
    S5,
    S6,
}

/// How the run ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Verdict {
    /// Goals that were missed.
    pub(crate) missed: usize,
    /// Whether that is a failure.
    pub(crate) is_strict: bool,
}

/// What every scenario needs.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
struct Bench<'a> {
    dir: &'a Path,
    server: PathBuf,
    agent: PathBuf,
    children: &'a Children,
    is_quick: bool,
    is_large: bool,
    is_kept: bool,
}

impl Bench<'_> {
    /// Returns the size that counts, or the small one.
    fn size<T>(&self, full: T, quick: T) -> T {
        if self.is_quick { quick } else { full }
    }
}

impl Scenario {
    fn name(self) -> &'static str {
        match self {
            Self::S1 => "s1",
            Self::S2 => "s2",
            Self::S4 => "s4",
            Self::S5 => "s5",
            Self::S6 => "s6",
        }
    }

    fn about(self) -> &'static str {
        match self {
            Self::S1 => s1::ABOUT,
            Self::S2 => s2::ABOUT,
            Self::S4 => s4::ABOUT,
            Self::S5 => s5::ABOUT,
            Self::S6 => s6::ABOUT,
        }
    }

    fn round(self, bench: &Bench<'_>, random: &mut Random) -> Result<Samples> {
        match self {
            Self::S1 => s1::round(bench, random),
            Self::S2 => s2::round(bench, random),
            Self::S4 => s4::round(bench, random),
            Self::S5 => s5::round(bench, random),
            Self::S6 => s6::round(bench, random),
        }
    }

    fn rows(self, rounds: Rounds<'_>) -> Result<Vec<Row>> {
        match self {
            Self::S1 => s1::rows(rounds),
            Self::S2 => Ok(s2::rows(rounds)),
            Self::S4 => Ok(s4::rows(rounds)),
            Self::S5 => Ok(s5::rows(rounds)),
            Self::S6 => Ok(s6::rows(rounds)),
        }
    }
}

/// Runs the benchmark.
///
/// # Errors
/// If something cannot be started, does not get in step in time, or two folders that must be equal
/// are not.
pub(crate) fn run(args: &Args, children: &Children) -> Result<Verdict> {
    let parent = args.dir.clone().unwrap_or_else(std::env::temp_dir);
    ensure!(
        !machine::is_in_memory(&parent).with_context(|| parent.display().to_string())?,
        "{} is kept in memory, where nothing is durable and figures mean nothing; give a folder on a disk with --dir",
        parent.display()
    );
    let mut dir = tempfile::Builder::new()
        .prefix("fsync-bench-")
        .tempdir_in(&parent)?;
    dir.disable_cleanup(args.keep);
    let bench = Bench {
        dir: dir.path(),
        server: program(args.server_bin.as_deref(), "fsync-server")?,
        agent: program(args.agent_bin.as_deref(), "fsync-agent")?,
        children,
        is_quick: args.quick,
        is_large: args.large,
        is_kept: args.keep,
    };
    let seed = args.seed.unwrap_or_else(seed_of_now);
    let rounds = all_rounds(args, &bench, &mut Random::new(seed))?;
    let report = Report {
        machine: Machine::here(bench.dir)?,
        seed,
        is_quick: args.quick,
        class: CLASS,
        sections: sections(rounds)?,
    };
    report.print(&mut std::io::stdout().lock())?;
    if let Some(path) = &args.json {
        report.save(path)?;
    }
    Ok(Verdict {
        missed: report.missed(),
        is_strict: args.strict,
    })
}

/// Runs each scenario once per round, in random order.
fn all_rounds(
    args: &Args,
    bench: &Bench<'_>,
    random: &mut Random,
) -> Result<Vec<(Scenario, Vec<Samples>)>> {
    let mut all: Vec<(Scenario, Vec<Samples>)> = Vec::new();
    for scenario in &args.scenario {
        if all.iter().all(|(known, _)| known != scenario) {
            all.push((*scenario, Vec::new()));
        }
    }
    for round in 1..=args.rounds {
        let mut order: Vec<usize> = (0..all.len()).collect();
        random.shuffle(&mut order);
        for place in order {
            let (scenario, samples) = &mut all[place];
            let start = Instant::now();
            let name = scenario.name();
            let measured = scenario.round(bench, random);
            samples.push(measured.with_context(|| format!("{name}, round {round}: void"))?);
            let seconds = start.elapsed().as_secs_f64();
            // Nothing is lost with a terminal that is gone.
            drop(writeln!(
                std::io::stderr(),
                "round {round} of {}: {name} took {seconds:.1} s",
                args.rounds
            ));
        }
    }
    Ok(all)
}

fn sections(all: Vec<(Scenario, Vec<Samples>)>) -> Result<Vec<Section>> {
    all.into_iter()
        .map(|(scenario, rounds)| {
            Ok(Section {
                scenario: scenario.name(),
                about: scenario.about(),
                rows: scenario.rows(Rounds(&rounds))?,
                rounds,
            })
        })
        .collect()
}

fn program(given: Option<&Path>, name: &str) -> Result<PathBuf> {
    let path = match given {
        Some(path) => path.to_owned(),
        None => std::env::current_exe()?.with_file_name(name),
    };
    ensure!(
        path.is_file(),
        "{} does not exist; build it with `cargo build --release --bins` or name it with a flag",
        path.display()
    );
    Ok(path)
}

fn seed_of_now() -> u64 {
    let since_1970 = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    since_1970.as_secs()
}
