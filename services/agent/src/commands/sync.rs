//! `sync`: keeps a folder in step, in the foreground.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use fsync_core::label::{AgentName, TreeKey};
use fsync_runtime::{Shutdown, duration};

use super::{Exit, output::Output};
use crate::client::{ServerUrl, TokenSource};
use crate::marker::{Claim, Wish};
use crate::progress;
use crate::run::{self, Options, Outcome};

/// Time that tasks get to end after the sync has ended.
const DRAIN: Duration = Duration::from_secs(10);

/// Flags of `sync`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The folder to keep in step
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// The server, as http://HOST:PORT or https://HOST
    #[arg(long, env = "FSYNC_SERVER", value_name = "URL")]
    server: ServerUrl,
    /// The shared tree, as NAME or TENANT/NAME
    #[arg(long, env = "FSYNC_TREE", value_name = "NAME")]
    tree: TreeKey,
    /// File that holds the access token, read again when it changes [default: what `login` stored for
    /// the server]
    #[arg(long, env = "FSYNC_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// File with certificates (PEM) to trust beside the system's
    #[arg(long, env = "FSYNC_CA_FILE", value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Name of this agent in history and conflict copies [default: host name and four characters]
    #[arg(long, env = "FSYNC_AGENT_NAME", value_name = "NAME")]
    agent_name: Option<AgentName>,
    /// Where the agent keeps its state [default: $XDG_STATE_HOME/fsync/ID]
    #[arg(long, env = "FSYNC_STATE_DIR", value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// How long the trash keeps what was taken away
    #[arg(long, env = "FSYNC_TRASH_KEEP", default_value = "30d", value_parser = duration, value_name = "DURATION")]
    trash_keep: Duration,
    /// End as soon as folder and head are in step
    #[arg(long)]
    once: bool,
    /// Print events as JSON lines
    #[arg(long)]
    pub(crate) json: bool,
}

/// Runs the verb.
///
/// # Errors
/// Whatever keeps the folder from being synced; the message says what to do.
pub async fn run(args: Args, output: &Output) -> anyhow::Result<Exit> {
    let token = match &args.token_file {
        Some(path) => TokenSource::file(path)?,
        None => super::stored_token(&args.server)?,
    };
    let ca_pem = args.ca_file.as_deref().map(read_ca).transpose()?;
    let claim = Claim::take(&Wish {
        dir: args.dir,
        tree: args.tree,
        server: args.server,
        agent: args.agent_name,
        state_dir: args.state_dir,
        token_file: args.token_file,
        ca_file: args.ca_file,
    })?;
    output.note(&format!(
        "syncing {} with tree {} on {} as {}",
        claim.dir.display(),
        claim.config.tree,
        claim.config.server,
        claim.config.agent
    ));
    let shutdown = Shutdown::new();
    shutdown
        .watch_signals()
        .context("cannot listen for signals")?;
    let options = Options {
        claim: Arc::new(claim),
        token,
        ca_pem,
        is_once: args.once,
        trash_keep: args.trash_keep,
        progress: progress::choose(args.json),
    };
    let outcome = run::run(options, &shutdown).await;
    if let Err(unfinished) = shutdown.end(DRAIN).await {
        tracing::warn!(%unfinished, "not everything ended in time");
    }
    Ok(told(outcome?, output))
}

/// Tells the user how it ended.
fn told(outcome: Outcome, output: &Output) -> Exit {
    match outcome {
        Outcome::InStep | Outcome::Stopped => Exit::Done,
        Outcome::Held(reason) => {
            output.error(&anyhow::anyhow!(reason));
            Exit::Held
        }
        Outcome::Unreachable(reason) => {
            output.error(&anyhow::anyhow!(reason));
            Exit::Unreachable
        }
    }
}

pub(super) fn read_ca(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read the CA file {}", path.display()))
}
