//! The whole system on one machine in one process, for newcomers: a server on a free port, two
//! agents, two folders live.
//!
//! ```text
//! DIR/folder-a   DIR/folder-b   the two folders        DIR/.fsync-demo/   what server and agents keep
//! ```
//! Guarantees: only folders that the demo made are emptied, and never with `--keep-existing`;
//! Ctrl+C ends agents first, then the server, and everything that was saved is kept.
//! Does not: contain any sync code; it starts the same server and agents that the other binaries
//! start.

mod samples;
mod service;
mod show;
mod stage;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use fsync_agent::client::{ServerUrl, TokenSource};
use fsync_agent::marker::{Claim, Wish};
use fsync_agent::run::{self, Options, Outcome, RunError};
use fsync_runtime::{LogArgs, Shutdown, telemetry};
use tokio::sync::mpsc;

use service::Service;
use show::{Show, say};
use stage::Stage;

/// The tree that the two folders share.
const TREE: &str = "demo";
/// Time that the agents get to end, and then the server.
const DRAIN: Duration = Duration::from_secs(10);

/// Shows fsync on one machine: a server, two agents and two folders that stay in step until Ctrl+C.
#[derive(Debug, Parser)]
#[command(name = "fsync-demo", version, about, max_term_width = 100)]
pub struct Args {
    /// Keep what the two folders hold; without it both are emptied and filled with samples
    #[arg(long)]
    keep_existing: bool,
    /// Where the two folders are made
    #[arg(long, value_name = "DIR", default_value = "fsync-demo")]
    dir: PathBuf,
    #[command(flatten)]
    log: LogArgs,
}

/// How its spans are told from others'.
const SERVICE: telemetry::Service = telemetry::Service {
    name: "fsync-demo",
    version: env!("CARGO_PKG_VERSION"),
};

/// Runs the demo with the process's arguments; `main` returns what this returns.
pub fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // Nothing can be done about a terminal that is gone.
            drop(error.print());
            // As the other programs: 1 for wrong usage.
            return ExitCode::from(u8::from(error.use_stderr()));
        }
    };
    fsync_runtime::crypto::install();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let telemetry = {
        let _inside = runtime.enter();
        telemetry::init(&args.log, "warn", SERVICE)?
    };
    let ended = runtime.block_on(demo(args));
    telemetry.flush();
    ended
}

async fn demo(args: &Args) -> anyhow::Result<()> {
    let stage = Stage::set(&args.dir, args.keep_existing)?;
    let shutdown = Shutdown::new();
    shutdown
        .watch_signals()
        .context("cannot listen for signals")?;
    let server = Service::start(stage.server_data()).await?;
    let url = server.url()?;
    say(&format!("server      {url}"));
    let played = play(&stage, &url, &shutdown).await;
    say("stopping");
    let agents = shutdown.end(DRAIN).await;
    server.stop().await?;
    agents?;
    say("stopped; everything that was saved is kept");
    played
}

/// Runs both agents until the user stops them or one fails.
async fn play(stage: &Stage, url: &ServerUrl, shutdown: &Shutdown) -> anyhow::Result<()> {
    // Two agents, each in step once: room for both.
    let (in_step, mut queue) = mpsc::channel(2);
    let mut agents = Vec::new();
    for (name, dir) in stage.folders() {
        let claim = Claim::take(&Wish {
            dir,
            tree: TREE.parse()?,
            server: url.clone(),
            agent: Some(name.parse()?),
            state_dir: Some(stage.data(name)),
            token_file: None,
            ca_file: None,
        })?;
        let options = Options {
            claim: Arc::new(claim),
            token: TokenSource::default(),
            ca_pem: None,
            is_once: false,
            trash_keep: fsync_agent::trash::KEEP,
            progress: Show::start(name, in_step.clone()),
        };
        agents.push(start_agent(options, shutdown));
    }
    drop(in_step);
    let count = agents.len();
    let announce = async {
        for _ in 0..count {
            queue.recv().await;
        }
        say(&stage.live_block(url));
        shutdown.triggered().await;
    };
    let (first, second) = (agents.remove(0), agents.remove(0));
    tokio::select! {
        () = announce => Ok(()),
        ended = first => judge(ended),
        ended = second => judge(ended),
    }
}

type Agent = tokio::task::JoinHandle<Result<Outcome, RunError>>;

fn start_agent(options: Options, shutdown: &Shutdown) -> Agent {
    let part = shutdown.clone();
    shutdown.spawn("agent", async move { run::run(options, &part).await })
}

fn judge(ended: Result<Result<Outcome, RunError>, tokio::task::JoinError>) -> anyhow::Result<()> {
    match ended?? {
        Outcome::Stopped | Outcome::InStep => Ok(()),
        Outcome::Held(reason) | Outcome::Unreachable(reason) => Err(anyhow::anyhow!(reason)),
    }
}
