//! Runs the black-box model: `model [--tool NAME] [--runs N] [--from SEED] [--rounds N]`.
//!
//! Tools: `fsync` (this build), `syncthing` and `unison` (Debian's packages, which must be
//! installed), `mirror` (wrong on purpose). Each run is one seed. A run that fails prints its seed
//! and the least of its history that no conjecture explains; the summary counts what was broken.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, bail};
use fsync_tests::model::fsync::Fsync;
use fsync_tests::model::mirror::Mirror;
use fsync_tests::model::run::{Outcome, programs, run};
use fsync_tests::model::syncthing::Syncthing;
use fsync_tests::model::tool::Tool;
use fsync_tests::model::unison::Unison;

const USAGE: &str =
    "usage: model [--tool fsync|syncthing|unison|mirror] [--runs N] [--from SEED] [--rounds N]";

#[derive(Debug)]
struct Options {
    tool: String,
    runs: u64,
    from: u64,
    rounds: usize,
}

fn options() -> Option<Options> {
    let mut options = Options {
        tool: "fsync".to_owned(),
        runs: 20,
        from: 0,
        rounds: 6,
    };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--tool" => options.tool = args.next()?,
            "--runs" => options.runs = args.next()?.parse().ok()?,
            "--from" => options.from = args.next()?.parse().ok()?,
            "--rounds" => options.rounds = args.next()?.parse().ok()?,
            _ => return None,
        }
    }
    Some(options)
}

fn tool(name: &str) -> Result<Box<dyn Tool>> {
    Ok(match name {
        "fsync" => Box::new(Fsync::new()?),
        "syncthing" => Box::new(Syncthing::new()?),
        "unison" => Box::new(Unison::new()?),
        "mirror" => Box::new(Mirror::new()?),
        other => bail!("there is no tool {other}\n{USAGE}"),
    })
}

fn one(options: &Options, seed: u64) -> Result<(String, Outcome)> {
    let mut tool = tool(&options.tool)?;
    let scratch = tempfile::tempdir()?;
    let outcome = run(&mut *tool, &programs(seed, options.rounds), scratch.path())?;
    Ok((tool.name()?, outcome))
}

#[expect(clippy::print_stdout, reason = "the report is this program's output")]
fn all(options: &Options) -> Result<bool> {
    let started = Instant::now();
    let mut broken: BTreeMap<String, u64> = BTreeMap::new();
    let mut sum = Outcome::default();
    let mut name = String::new();
    for seed in options.from..options.from + options.runs {
        let (tool, outcome) = one(options, seed)?;
        name = tool;
        sum.rounds += outcome.rounds;
        sum.events += outcome.events;
        sum.copies += outcome.copies;
        sum.unknown += outcome.unknown;
        if let Some(failure) = outcome.failure {
            println!("seed {seed}, round {}: {failure}", outcome.rounds);
            println!(
                "  repeat: model --tool {} --runs 1 --from {seed}",
                options.tool
            );
            *broken.entry(failure.kind).or_default() += 1;
        }
    }
    println!(
        "{name}: {} runs, {} failed, {} rounds, {} events, {} conflict copies, {} rounds not decided, {:.1} s",
        options.runs,
        broken.values().sum::<u64>(),
        sum.rounds,
        sum.events,
        sum.copies,
        sum.unknown,
        started.elapsed().as_secs_f64()
    );
    for (kind, count) in &broken {
        println!("  {count} x {kind}");
    }
    Ok(broken.is_empty())
}

#[expect(clippy::print_stderr, reason = "errors go beside the report")]
fn main() -> ExitCode {
    let Some(options) = options() else {
        eprintln!("{USAGE}");
        let is_asked = std::env::args().any(|arg| arg == "--help" || arg == "-h");
        return ExitCode::from(u8::from(!is_asked));
    };
    match all(&options) {
        Ok(is_right) => ExitCode::from(u8::from(!is_right)),
        Err(error) => {
            eprintln!("error: {error:?}");
            ExitCode::from(2)
        }
    }
}
