//! Real agents on real folders, over HTTP and Socket.IO.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{Listing, Site};
use crate::folder::{self, Item, write};
use crate::proxy::Proxy;
use crate::wait::{PATIENCE, until};
use crate::{Agent, Server, System};

/// How long nothing may happen before it counts as quiet.
const IDLE: Duration = Duration::from_secs(1);

/// See the module's head.
#[derive(Debug)]
pub struct Real {
    agents: BTreeMap<usize, Agent>,
    proxy: Proxy,
    server: Server,
    system: System,
    servers: usize,
}

impl Real {
    /// Starts a server; no agent runs yet.
    ///
    /// # Errors
    /// If it does not come up.
    pub fn new() -> Result<Self> {
        let system = System::new()?;
        let server = system.server()?;
        Ok(Self {
            agents: BTreeMap::new(),
            proxy: Proxy::start(server.address())?,
            server,
            system,
            servers: 1,
        })
    }

    fn root(&self, at: usize) -> Result<PathBuf> {
        self.system.folder(&name(at))
    }

    fn agent(&self, at: usize) -> Result<&Agent> {
        self.agents.get(&at).context("no agent runs there")
    }
}

fn name(at: usize) -> String {
    format!("folder{at}")
}

impl Site for Real {
    fn name(&self) -> &'static str {
        "real agents over Socket.IO"
    }

    fn start(&mut self, at: usize) -> Result<()> {
        let mut agent = self.system.agent_with(&name(at), &self.proxy.url(), &[])?;
        agent.process.line_after("connected to ", PATIENCE)?;
        self.agents.insert(at, agent);
        Ok(())
    }

    fn stop(&mut self, at: usize) -> Result<()> {
        let mut agent = self.agents.remove(&at).context("no agent runs there")?;
        ensure!(agent.process.stop()?.success(), "it did not end well");
        Ok(())
    }

    /// All connections at once: the proxy does not know whose they are.
    fn cut(&mut self, _at: usize) -> Result<()> {
        self.proxy.cut();
        Ok(())
    }

    fn write(&mut self, at: usize, path: &str, bytes: &[u8]) -> Result<()> {
        write(&self.root(at)?, path, bytes)
    }

    fn make_dir(&mut self, at: usize, path: &str) -> Result<()> {
        Ok(fs::create_dir_all(self.root(at)?.join(path))?)
    }

    fn rename(&mut self, at: usize, from: &str, to: &str) -> Result<()> {
        let root = self.root(at)?;
        Ok(fs::rename(root.join(from), root.join(to))?)
    }

    fn remove(&mut self, at: usize, path: &str) -> Result<()> {
        let path = self.root(at)?.join(path);
        match path.is_dir() {
            true => Ok(fs::remove_dir_all(path)?),
            false => Ok(fs::remove_file(path)?),
        }
    }

    fn list(&self, at: usize) -> Result<Listing> {
        let root = self.root(at)?;
        let mut listing = Listing::new();
        for (path, item) in folder::list(&root)? {
            let content = match item {
                Item::Dir => None,
                _ => Some(fs::read(root.join(&path))?),
            };
            listing.insert(path.to_string_lossy().into_owned(), content);
        }
        Ok(listing)
    }

    fn revisions(&mut self) -> Result<u64> {
        let agent = self.agents.values().next().context("no agent runs")?;
        let status = agent.verb("status", &["--json"])?.success()?;
        let status: serde_json::Value = serde_json::from_str(&status)?;
        Ok(status["head"]["seq"].as_u64().unwrap_or(0))
    }

    fn settle(&mut self) -> Result<()> {
        // Twice: what the last one sends is new to the first ones.
        for _ in 0..2 {
            self.agents.values().try_for_each(Agent::flush)?;
        }
        let roots: Vec<&PathBuf> = self.agents.values().map(|agent| &agent.root).collect();
        until("all folders are the same", PATIENCE, || {
            let pairs = roots.iter().zip(roots.iter().skip(1));
            pairs.into_iter().try_for_each(|(a, b)| folder::same(a, b))
        })
    }

    fn idle(&mut self) -> Result<()> {
        let begun = std::time::Instant::now();
        until("some time has passed", PATIENCE, || {
            for agent in self.agents.values_mut() {
                ensure!(agent.process.is_running()?, "an agent has ended");
            }
            ensure!(begun.elapsed() > IDLE, "not yet");
            Ok(())
        })
    }

    fn load(&mut self, revision: u64, path: &str) -> Result<Vec<u8>> {
        let agent = self.agent(*self.agents.keys().next().context("no agent runs")?)?;
        let (wanted, root) = (revision.to_string(), agent.root.clone());
        let args = ["--path", path, "--at", &wanted];
        let before = fs::read(root.join(path)).ok();
        let restored = agent.verb("restore", &args)?.success()?;
        agent.flush()?;
        let is_new = !restored.contains(": 0 paths changed");
        until("it is restored", PATIENCE, || {
            let found = fs::read(root.join(path))?;
            ensure!(
                !is_new || before.as_ref() != Some(&found),
                "not yet: {restored}"
            );
            Ok(found)
        })
    }

    fn replace_server(&mut self) -> Result<()> {
        let address = self.server.address().to_owned();
        ensure!(self.server.process.stop()?.success(), "it did not end well");
        let data = self.system.path("data");
        fs::rename(
            &data,
            self.system.path(&format!("lost data {}", self.servers)),
        )?;
        fs::create_dir(&data)?;
        self.servers += 1;
        self.server = self.system.server_on(&address, &[])?;
        Ok(())
    }
}
