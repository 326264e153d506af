//! One server, and agents with folders, for one round.
//!
//! Guarantees: all of it lies in one directory, which goes with it; programs end before their
//! folders go.

use std::cell::Cell;
use std::ffi::OsString;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::Bench;
use crate::process::{Children, Ended, Process};
use crate::usage::Usage;

/// How long anything may take before the run is given up.
pub(super) const PATIENCE: Duration = Duration::from_secs(300);
const TREE: &str = "bench";

/// A server and the place for folders.
#[derive(Debug)]
pub(super) struct Site {
    server: Process,
    address: SocketAddr,
    agent: PathBuf,
    children: Children,
    started: Cell<usize>,
    dir: PathBuf,
}

/// A running agent.
#[derive(Debug)]
pub(super) struct Agent(Process);

impl Site {
    /// Starts a server on empty data.
    ///
    /// # Errors
    /// If it does not come up.
    pub(super) fn start(bench: &Bench<'_>, name: &str) -> Result<Self> {
        // Kept until the whole run ends: for minutes after many files were removed, ext4 searches
        // long for an inode that was not just freed, and the next round would measure that.
        let dir = tempfile::Builder::new()
            .prefix(&format!("{name}-"))
            .disable_cleanup(true)
            .tempdir_in(bench.dir)?
            .keep();
        let data: OsString = dir.join("server").into();
        let arguments = [
            "--listen".into(),
            "127.0.0.1:0".into(),
            "--data-dir".into(),
            data,
        ];
        let log = dir.join("server.log");
        let mut server = Process::start(bench.children, &bench.server, &arguments, log)?;
        let (_, address) = server.wait_line("listening", PATIENCE, |line| {
            let address = line.strip_prefix("fsync-server listening on http://");
            Ok(address.map(str::parse).transpose()?)
        })?;
        Ok(Self {
            server,
            address,
            agent: bench.agent.clone(),
            children: bench.children.clone(),
            started: Cell::new(0),
            dir,
        })
    }

    /// Ends the server and removes all files: for sites of few and large ones.
    ///
    /// # Errors
    /// If the disk does not do it.
    pub(super) fn remove(self, bench: &Bench<'_>) -> Result<()> {
        let Self { server, dir, .. } = self;
        drop(server);
        if bench.is_kept {
            return Ok(());
        }
        fs::remove_dir_all(&dir).with_context(|| dir.display().to_string())
    }

    /// Returns the server.
    pub(super) fn server(&self) -> &Process {
        &self.server
    }

    /// Returns where the server listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns a path at the site; folders of agents among them.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Makes a directory at the site.
    ///
    /// # Errors
    /// If the disk does not take it.
    pub(super) fn folder(&self, name: &str) -> Result<PathBuf> {
        let path = self.path(name);
        fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
        Ok(path)
    }

    /// Starts an agent on the folder of that name.
    ///
    /// # Errors
    /// If it cannot be started.
    pub(super) fn agent(&self, name: &str) -> Result<Agent> {
        self.agent_with(name, &format!("http://{}", self.address), &["--json"])
    }

    /// Starts an agent that ends when it is in step.
    ///
    /// # Errors
    /// If it cannot be started.
    pub(super) fn agent_once(&self, name: &str) -> Result<Agent> {
        self.agent_with(
            name,
            &format!("http://{}", self.address),
            &["--json", "--once"],
        )
    }

    /// Starts an agent that reaches the server by another way.
    ///
    /// # Errors
    /// If it cannot be started.
    pub(super) fn agent_by(&self, name: &str, url: &str) -> Result<Agent> {
        self.agent_with(name, url, &["--json"])
    }

    fn agent_with(&self, name: &str, url: &str, flags: &[&str]) -> Result<Agent> {
        let folder = self.folder(name)?;
        let state = self.state(name);
        let mut arguments: Vec<OsString> = vec!["sync".into(), folder.into()];
        let named = [
            "--server",
            url,
            "--tree",
            TREE,
            "--agent-name",
            name,
            "--state-dir",
        ];
        arguments.extend(named.iter().map(OsString::from));
        arguments.push(state.into());
        arguments.extend(flags.iter().map(OsString::from));
        self.started.set(self.started.get() + 1);
        let log = self.path(&format!("{name}-{}.log", self.started.get()));
        Process::start(&self.children, &self.agent, &arguments, log).map(Agent)
    }

    /// Returns where the agent of that name keeps its state.
    pub(super) fn state(&self, name: &str) -> PathBuf {
        self.path(&format!("state-{name}"))
    }
}

impl Agent {
    /// Waits until it says that folder and head are in step; returns the time since its start.
    ///
    /// # Errors
    /// If it is held, ends, or takes too long.
    pub(super) fn in_step(&mut self) -> Result<Duration> {
        let (at, ()) = self.0.wait_line("in step", PATIENCE, state_is_in_step)?;
        Ok(at.duration_since(self.0.started()))
    }

    /// Returns its process id.
    pub(super) fn id(&self) -> u32 {
        self.0.id()
    }

    /// Returns what it has used.
    ///
    /// # Errors
    /// If it has gone.
    pub(super) fn usage(&self) -> Result<Usage> {
        self.0.usage()
    }

    /// Waits for its end by itself; returns the time since its start too.
    ///
    /// # Errors
    /// If it ends badly or takes too long.
    pub(super) fn wait(self) -> Result<(Duration, Ended)> {
        let started = self.0.started();
        let ended = self.0.wait(PATIENCE)?;
        Ok((ended.at.duration_since(started), ended))
    }

    /// Ends it as SIGTERM does.
    ///
    /// # Errors
    /// If it does not end in time.
    pub(super) fn stop(self) -> Result<()> {
        self.0.stop(PATIENCE)
    }
}

fn state_is_in_step(line: &str) -> Result<Option<()>> {
    let Ok(event) = serde_json::from_str::<Value>(line) else {
        return Ok(None);
    };
    match (event["event"].as_str(), event["state"].as_str()) {
        (Some("state"), Some("in-step")) => Ok(Some(())),
        (Some("state"), Some("held")) => bail!("it is held: {}", event["reason"]),
        _ => Ok(None),
    }
}

/// Waits until a condition holds that has no event, looking every `pause`; returns when it was seen
/// to hold.
///
/// # Errors
/// If the time is up.
pub(super) fn until(
    what: &str,
    pause: Duration,
    mut holds: impl FnMut() -> bool,
) -> Result<Instant> {
    let start = Instant::now();
    loop {
        if holds() {
            return Ok(Instant::now());
        }
        if start.elapsed() > PATIENCE {
            bail!("{what}: not within {PATIENCE:?}");
        }
        std::thread::sleep(pause);
    }
}

/// Returns the bytes of all files below a directory.
///
/// # Errors
/// If it cannot be read.
pub(super) fn bytes_below(dir: &Path) -> Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(dir).with_context(|| dir.display().to_string())? {
        let entry = entry?;
        sum += match entry.file_type()?.is_dir() {
            true => bytes_below(&entry.path())?,
            false => entry.metadata()?.len(),
        };
    }
    Ok(sum)
}
