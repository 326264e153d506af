//! The command line of `loadtest`: parsing, signals and exit codes.
//!
//! Exit codes: 0 done, 1 usage, failure, a run that is void or a load run that did not pass, 2 goals
//! missed or figures worse (with `--strict`). A
//! signal ends every child process first, by its id; the run then fails by itself and removes its
//! folders.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use fsync_runtime::Shutdown;

use crate::bench::{self, Verdict};
use crate::compare;
use crate::process::Children;
use crate::run;

/// How long the run may take to clean up after a signal.
const CLEANUP: Duration = Duration::from_secs(30);
const EXIT_MISSED: u8 = 2;

/// Measures fsync from outside.
#[derive(Debug, Parser)]
#[command(name = "loadtest", version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

/// What is to be done.
#[derive(Debug, Subcommand)]
enum Verb {
    /// Measure one server and two agents on this machine over real folders
    Bench(Box<bench::Args>),
    /// Load servers with thousands of virtual agents and judge whether anything was lost
    Run(Box<run::Args>),
    /// Compare two load runs that were saved as JSON
    Compare(compare::Args),
}

/// Runs the program with the process's arguments; `main` returns what this returns.
pub(crate) fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Nothing can be done about a terminal that is gone.
            drop(error.print());
            return ExitCode::from(u8::from(error.use_stderr()));
        }
    };
    match perform(cli.verb) {
        Ok(code) => code,
        Err(error) => {
            // As above.
            drop(writeln!(std::io::stderr(), "loadtest: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn perform(verb: Verb) -> Result<ExitCode> {
    let code = match verb {
        Verb::Bench(args) => match bench(*args)? {
            Verdict { missed: 0, .. } => 0,
            verdict if verdict.is_strict => EXIT_MISSED,
            _ => 0,
        },
        Verb::Run(args) => u8::from(!load(*args)?),
        Verb::Compare(args) => match compare::run(&args, &mut std::io::stdout())? {
            true => 0,
            false => EXIT_MISSED,
        },
    };
    Ok(ExitCode::from(code))
}

/// Runs a load test; a signal ends it without an outcome.
fn load(args: run::Args) -> Result<bool> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let shutdown = Shutdown::new();
        shutdown
            .watch_signals()
            .context("cannot listen for signals")?;
        run::run(args, &shutdown).await
    })
}

/// Runs the benchmark on a thread of its own, so that signals are heard meanwhile.
fn bench(args: bench::Args) -> Result<Verdict> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let shutdown = Shutdown::new();
        shutdown
            .watch_signals()
            .context("cannot listen for signals")?;
        let children = Children::default();
        let theirs = children.clone();
        let work = shutdown.spawn_blocking("bench", move || bench::run(&args, &theirs));
        tokio::pin!(work);
        tokio::select! {
            ended = &mut work => ended.context("the benchmark panicked")?,
            () = shutdown.triggered() => {
                children.kill_all();
                // Its own error only says that its children are gone.
                drop(tokio::time::timeout(CLEANUP, work).await);
                bail!("stopped by a signal")
            }
        }
    })
}
