//! `compare`: two runs side by side, and what got worse.
//!
//! Guarantees: runs of different loads are compared all the same, and that they differ is said
//! first; a fault counter above the other's is always worse.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Result;

use crate::run::{Outcome, Quantiles};

/// More than this much worse is told as worse.
const TOLERANCE: f64 = 0.05;
/// Differences below this, in the unit of the figure, are noise whatever their ratio.
const LEAST: f64 = 0.05;

/// Flags of `compare`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    /// The earlier run, as `run --json` saved it
    #[arg(value_name = "A.json")]
    before: PathBuf,
    /// The later run
    #[arg(value_name = "B.json")]
    after: PathBuf,
    /// Exit with 2 if anything got worse by more than 5 %
    #[arg(long)]
    strict: bool,
}

/// Which way is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Better {
    Less,
    More,
}

/// One figure of both runs.
#[derive(Debug)]
struct Figure {
    name: String,
    unit: &'static str,
    better: Better,
    before: f64,
    after: f64,
}

impl Figure {
    fn ratio(&self) -> f64 {
        self.after / self.before
    }

    fn is_worse(&self) -> bool {
        let (before, after) = match self.better {
            Better::Less => (self.before, self.after),
            Better::More => (self.after, self.before),
        };
        after > before * (1.0 + TOLERANCE) && after - before > LEAST
    }
}

/// Prints the comparison; returns whether it may pass.
///
/// # Errors
/// If a file is not one of a run.
pub(crate) fn run(args: &Args, out: &mut impl Write) -> Result<bool> {
    let (before, after) = (Outcome::load(&args.before)?, Outcome::load(&args.after)?);
    let worse = print(&before, &after, out)?;
    Ok(!args.strict || worse == 0)
}

fn print(before: &Outcome, after: &Outcome, out: &mut impl Write) -> Result<usize> {
    for difference in differences(before, after) {
        writeln!(out, "not the same load: {difference}")?;
    }
    writeln!(
        out,
        "{:<34}{:>12}{:>12}{:>9}",
        "", "before", "after", "ratio"
    )?;
    let figures = figures(before, after);
    for figure in &figures {
        let verdict = if figure.is_worse() { "  WORSE" } else { "" };
        let ratio = match figure.before == 0.0 {
            true => "-".to_owned(),
            false => format!("{:.2}", figure.ratio()),
        };
        let name = format!("{} ({})", figure.name, figure.unit);
        let (before, after) = (figure.before, figure.after);
        writeln!(
            out,
            "{name:<34}{before:>12.1}{after:>12.1}{ratio:>9}{verdict}"
        )?;
    }
    let worse: Vec<&str> = figures
        .iter()
        .filter(|figure| figure.is_worse())
        .map(|figure| figure.name.as_str())
        .collect();
    match worse.as_slice() {
        [] => writeln!(out, "nothing got worse by more than 5 %")?,
        names => writeln!(out, "worse by more than 5 %: {}", names.join(", "))?,
    }
    Ok(worse.len())
}

fn differences(before: &Outcome, after: &Outcome) -> Vec<String> {
    let (a, b) = (&before.load, &after.load);
    let pairs = [
        (
            "scenario",
            format!("{:?}", a.scenario),
            format!("{:?}", b.scenario),
        ),
        (
            "servers",
            a.servers.len().to_string(),
            b.servers.len().to_string(),
        ),
        ("agents", a.agents.to_string(), b.agents.to_string()),
        ("trees", a.trees.to_string(), b.trees.to_string()),
        ("rate", a.rate.to_string(), b.rate.to_string()),
        ("seconds", a.seconds.to_string(), b.seconds.to_string()),
        (
            "payload bytes",
            a.payload_bytes.to_string(),
            b.payload_bytes.to_string(),
        ),
    ];
    let different = pairs.into_iter().filter(|(_, a, b)| a != b);
    different
        .map(|(name, a, b)| format!("{name} {a} and {b}"))
        .collect()
}

/// A figure of one run.
type Of = fn(&Outcome) -> f64;
type TimesOf = fn(&Outcome) -> &Quantiles;
type QuantileOf = fn(&Quantiles) -> f64;

const DISTRIBUTIONS: [(&str, TimesOf); 4] = [
    ("acknowledged", |o| &o.latency.acknowledged),
    ("delivered", |o| &o.latency.delivered),
    ("service time", |o| &o.latency.service),
    ("handshake", |o| &o.latency.handshake),
];

const QUANTILES: [(&str, QuantileOf); 3] =
    [("p50", |q| q.p50), ("p99", |q| q.p99), ("max", |q| q.max)];

const SINGLE: [(&str, &str, Better, Of); 7] = [
    ("connect", "s", Better::Less, |o| o.work.connect_seconds),
    ("all back after events", "s", Better::Less, |o| {
        let back = o.events.iter().map(|event| event.back_all_seconds);
        back.fold(0.0, f64::max)
    }),
    ("edits acknowledged", "1/s", Better::More, |o| {
        o.latency.acknowledged.count as f64 / o.load.seconds.max(1.0)
    }),
    ("memory of loadtest", "MiB", Better::Less, |o| {
        o.processes.first().map_or(0.0, |p| p.memory_mib_last)
    }),
    ("memory of watched processes", "MiB", Better::Less, |o| {
        o.processes.iter().skip(1).map(|p| p.memory_mib_last).sum()
    }),
    ("CPU of watched processes", "cores", Better::Less, |o| {
        o.processes.iter().skip(1).map(|p| p.cores).sum()
    }),
    ("faults", "number", Better::Less, |o| {
        o.oracle
            .faults()
            .iter()
            .map(|(_, count)| *count as f64)
            .sum()
    }),
];

fn figures(before: &Outcome, after: &Outcome) -> Vec<Figure> {
    let mut figures = Vec::new();
    for (name, times) in DISTRIBUTIONS {
        let (before, after) = (times(before), times(after));
        figures.extend(QUANTILES.map(|(quantile, of)| Figure {
            name: format!("{name} {quantile}"),
            unit: "ms",
            better: Better::Less,
            before: of(before),
            after: of(after),
        }));
    }
    figures.extend(SINGLE.map(|(name, unit, better, of)| Figure {
        name: name.to_owned(),
        unit,
        better,
        before: of(before),
        after: of(after),
    }));
    figures
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::sample_outcome;

    fn printed(before: &Outcome, after: &Outcome) -> (String, usize) {
        let mut out = Vec::new();
        let worse = print(before, after, &mut out).unwrap();
        (String::from_utf8(out).unwrap(), worse)
    }

    #[test]
    fn a_run_is_not_worse_than_itself() {
        let (text, worse) = printed(&sample_outcome(), &sample_outcome());
        assert_eq!(worse, 0, "{text}");
        assert!(text.contains("nothing got worse"));
    }

    #[test]
    fn what_got_worse_by_more_than_the_tolerance_is_named() {
        let (before, mut after) = (sample_outcome(), sample_outcome());
        after.latency.delivered.p99 *= 1.5;
        after.latency.acknowledged.p50 *= 1.04;
        after.latency.service.p50 *= 0.5;
        after.oracle.lost = 1;
        let (text, worse) = printed(&before, &after);
        assert_eq!(worse, 2, "{text}");
        assert!(
            text.contains("worse by more than 5 %: delivered p99, faults"),
            "{text}"
        );
    }

    #[test]
    fn different_loads_are_said_first() {
        let (before, mut after) = (sample_outcome(), sample_outcome());
        after.load.agents = 99;
        let (text, _) = printed(&before, &after);
        assert!(
            text.starts_with("not the same load: agents 10 and 99\n"),
            "{text}"
        );
    }
}
