//! The command line of `loadtest`: parsing, signals and exit codes.
//!
//! Exit codes: 0 done, 1 usage, failure or a run that is void, 2 goals missed (with `--strict`). A
//! signal ends every child process first, by its id; the run then fails by itself and removes its
//! folders.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use fsync_runtime::Shutdown;

use crate::bench::{self, Verdict};
use crate::process::Children;

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
    let Verb::Bench(args) = cli.verb;
    match run(*args) {
        Ok(Verdict { missed: 0, .. }) => ExitCode::SUCCESS,
        Ok(verdict) if verdict.is_strict => ExitCode::from(EXIT_MISSED),
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            // As above.
            drop(writeln!(std::io::stderr(), "loadtest: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Runs the benchmark on a thread of its own, so that signals are heard meanwhile.
fn run(args: bench::Args) -> Result<Verdict> {
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
