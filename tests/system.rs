//! A server and its agents as real processes in one temporary directory.
//!
//! Ports are free ones, agents have fixed names; everything ends and is removed with the
//! [`System`].

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::folder;
use crate::launch::{Kind, Launch, Mount};
use crate::process::{Finished, Process, binary, run, run_command};
use crate::wait::{PATIENCE, until};

const SERVER: &str = "fsync-server";
const AGENT: &str = "fsync-agent";
/// The server with fault points.
pub const FAULTY_SERVER: &str = "fsync-server-faulty";
/// The agent with fault points.
pub const FAULTY_AGENT: &str = "fsync-agent-faulty";
const NAME_FLAG: &str = "--agent-name";
/// The tree that agents sync unless told otherwise.
pub const TREE: &str = "docs";

/// A temporary directory with a server's data, folders, agents' states and logs.
#[derive(Debug)]
pub struct System {
    dir: TempDir,
    server: &'static str,
    agent: &'static str,
}

impl System {
    /// Makes the directory; nothing runs yet.
    ///
    /// # Errors
    /// The system's.
    pub fn new() -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("fsync-e2e-").tempdir()?;
        for name in ["data", "logs"] {
            fs::create_dir(dir.path().join(name))?;
        }
        Ok(Self {
            dir,
            server: SERVER,
            agent: AGENT,
        })
    }

    /// As [`System::new`], of programs with fault points.
    ///
    /// # Errors
    /// The system's.
    pub fn faulty() -> Result<Self> {
        Ok(Self {
            server: FAULTY_SERVER,
            agent: FAULTY_AGENT,
            ..Self::new()?
        })
    }

    /// Returns a path inside the directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Makes an empty folder.
    ///
    /// # Errors
    /// The system's.
    pub fn folder(&self, name: &str) -> Result<PathBuf> {
        let path = self.path(name);
        fs::create_dir_all(&path)?;
        Ok(path)
    }

    /// Starts the server on a free port and its own data; after a stop it finds its data again.
    ///
    /// # Errors
    /// If it does not come up.
    pub fn server(&self) -> Result<Server> {
        self.server_on("127.0.0.1:0", &[])
    }

    /// As [`System::server`], on an address and with further flags.
    ///
    /// # Errors
    /// If it does not come up.
    pub fn server_on(&self, listen: &str, flags: &[&str]) -> Result<Server> {
        self.server_in(listen, flags, &[])
    }

    /// As [`System::server_on`], in an environment.
    ///
    /// # Errors
    /// If it does not come up.
    pub fn server_in(
        &self,
        listen: &str,
        flags: &[&str],
        environment: &[(&str, &str)],
    ) -> Result<Server> {
        let mut process = self.launch_server(listen, flags, environment)?;
        let url = process.line_after("listening on ", PATIENCE)?;
        Ok(Server { process, url })
    }

    /// As [`System::server_on`], in an environment and without waiting for it.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn launch_server(
        &self,
        listen: &str,
        flags: &[&str],
        environment: &[(&str, &str)],
    ) -> Result<Process> {
        let mut args: Vec<OsString> = vec!["--listen".into(), listen.into(), "--data-dir".into()];
        args.push(self.path("data").into());
        args.extend(flags.iter().map(OsString::from));
        Process::start_with(self.server, args, &self.path("logs"), environment)
    }

    /// As [`System::server_on`], by a [`Launch`].
    ///
    /// # Errors
    /// If it does not come up.
    pub fn server_by(&self, launch: &Launch, listen: &str) -> Result<Server> {
        let mut command = launch.command(binary(self.server)?);
        command.args(["--listen", listen, "--data-dir"]);
        command.arg(self.path("data"));
        let mut process = Process::spawn(SERVER, command, &self.path("logs"))?;
        let url = process.line_after("listening on ", PATIENCE)?;
        Ok(Server { process, url })
    }

    /// Starts an agent that keeps a folder in step until it is stopped; the folder's name is the
    /// agent's. It is connected, and answers verbs, when this returns.
    ///
    /// # Errors
    /// If it cannot be started or does not connect.
    pub fn agent(&self, folder: &str, server: &Server) -> Result<Agent> {
        let mut agent = self.agent_with(folder, &server.url, &[])?;
        agent.process.line_after("connected to ", PATIENCE)?;
        Ok(agent)
    }

    /// As [`System::agent`], of another name than its folder's.
    ///
    /// # Errors
    /// If it cannot be started or does not connect.
    pub fn agent_named(&self, name: &str, folder: &str, server: &Server) -> Result<Agent> {
        let mut agent = self.agent_with(folder, &server.url, &[NAME_FLAG, name])?;
        agent.process.line_after("connected to ", PATIENCE)?;
        Ok(agent)
    }

    /// As [`System::agent`], with a server's URL and further flags; it need not be there yet.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn agent_with(&self, folder: &str, url: &str, flags: &[&str]) -> Result<Agent> {
        self.launch_agent(folder, url, flags, &[])
    }

    /// As [`System::agent_with`], in an environment.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn launch_agent(
        &self,
        folder: &str,
        url: &str,
        flags: &[&str],
        environment: &[(&str, &str)],
    ) -> Result<Agent> {
        let root = self.folder(folder)?;
        let args = self.sync_args(folder, url, flags);
        let process = Process::start_with(self.agent, args, &self.path("logs"), environment)?;
        Ok(Agent {
            process,
            root: root.clone(),
            dir: root,
            launch: Launch::default(),
        })
    }

    /// As [`System::agent`], by a [`Launch`] and with further flags.
    ///
    /// # Errors
    /// If it cannot be started or does not connect.
    pub fn agent_by(
        &self,
        launch: &Launch,
        folder: &str,
        server: &Server,
        flags: &[&str],
    ) -> Result<Agent> {
        self.agent_by_url(launch, folder, (&server.url, flags))
    }

    /// As [`System::agent_by`], with a server's URL and further flags.
    ///
    /// # Errors
    /// If it cannot be started or does not connect.
    pub fn agent_by_url(
        &self,
        launch: &Launch,
        folder: &str,
        (url, flags): (&str, &[&str]),
    ) -> Result<Agent> {
        let root = self.folder(folder)?;
        let mut command = launch.command(binary(self.agent)?);
        command.args(self.sync_args(folder, url, flags));
        let mut process = Process::spawn(AGENT, command, &self.path("logs"))?;
        process.line_after("connected to ", PATIENCE)?;
        Ok(Agent {
            process,
            root: root.clone(),
            dir: root,
            launch: launch.clone(),
        })
    }

    /// Mounts a disk where a folder is to be; `None` where the system allows none.
    ///
    /// # Errors
    /// If what was allowed fails.
    pub fn mount(&self, folder: &str, kind: Kind<'_>) -> Result<Option<Mount>> {
        let at = self.folder(folder)?;
        Mount::start(kind, &at, &self.path("logs").join(folder))
    }

    /// As [`System::agent`], with its folder on a mounted disk.
    ///
    /// # Errors
    /// If the agent cannot be started or does not connect.
    pub fn agent_on(&self, mount: &Mount, folder: &str, server: &Server) -> Result<Agent> {
        let agent = self.agent_by(&mount.launch(), folder, server, &[])?;
        Ok(Agent {
            root: mount.root()?,
            ..agent
        })
    }

    /// Brings a folder in step once and returns how that ended.
    ///
    /// # Errors
    /// If the agent cannot be started or does not end.
    pub fn once(&self, folder: &str, url: &str, flags: &[&str]) -> Result<Finished> {
        self.folder(folder)?;
        let mut args = self.sync_args(folder, url, flags);
        args.push("--once".into());
        run(self.agent, args)
    }

    fn sync_args(&self, folder: &str, url: &str, flags: &[&str]) -> Vec<OsString> {
        let mut args: Vec<OsString> = vec!["sync".into(), self.path(folder).into()];
        args.extend(["--server", url, "--tree", TREE].map(OsString::from));
        // A flag that says it again says something else.
        if !flags.contains(&NAME_FLAG) {
            args.extend([NAME_FLAG, folder].map(OsString::from));
        }
        args.push("--state-dir".into());
        args.push(self.path(&format!("state-{folder}")).into());
        args.extend(flags.iter().map(OsString::from));
        args
    }

    /// Waits until two folders hold the same.
    ///
    /// # Errors
    /// After [`PATIENCE`]: how they differ.
    pub fn in_step(&self, a: &str, b: &str) -> Result<()> {
        let what = format!("{a} and {b} are the same");
        until(&what, PATIENCE, || {
            folder::same(&self.path(a), &self.path(b))
        })
    }
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    /// The process.
    pub process: Process,
    /// Its address, `http://HOST:PORT`.
    pub url: String,
}

impl Server {
    /// Returns `HOST:PORT`, to start it again on the same port.
    pub fn address(&self) -> &str {
        self.url.strip_prefix("http://").unwrap_or(&self.url)
    }
}

/// A running agent.
#[derive(Debug)]
pub struct Agent {
    /// The process.
    pub process: Process,
    /// The folder that it keeps in step, as the test sees it.
    pub root: PathBuf,
    /// The same, as the agent sees it.
    dir: PathBuf,
    /// How it was started.
    launch: Launch,
}

impl Agent {
    /// Runs a verb on the agent's folder.
    ///
    /// # Errors
    /// If it cannot be run or does not end.
    pub fn verb(&self, verb: &str, args: &[&str]) -> Result<Finished> {
        let mut command = self.launch.command(binary(AGENT)?);
        command.arg(verb).arg(&self.dir).args(args);
        run_command(AGENT, command)
    }

    /// Returns when all that was saved before the call is on the service and the head of that
    /// moment is applied.
    ///
    /// # Errors
    /// What `flush` says.
    pub fn flush(&self) -> Result<()> {
        self.verb("flush", &[])?.success().context("flush")?;
        Ok(())
    }
}

/// Runs a verb of the agent on a folder.
///
/// # Errors
/// If it cannot be run or does not end.
pub fn verb_on(root: &Path, verb: &str, args: &[&str]) -> Result<Finished> {
    let mut all: Vec<OsString> = vec![verb.into(), root.into()];
    all.extend(args.iter().map(OsString::from));
    run(AGENT, all)
}
