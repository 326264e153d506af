//! This build's server and agents.

use std::path::PathBuf;

use anyhow::{Context, Result};

use super::tool::{REPLICAS, Tool};
use crate::folder::MARKER;
use crate::process::run;
use crate::{Agent, Server, System};

const CONFLICT_MARK: &str = " (conflicted copy ";
/// After the first pass all that was saved is on the service, after the second it is everywhere.
const PASSES: usize = 2;

/// A server and one agent per replica.
#[derive(Debug)]
pub struct Fsync {
    system: System,
    server: Server,
    agents: [Option<Agent>; REPLICAS],
}

impl Fsync {
    /// Starts the server.
    ///
    /// # Errors
    /// If it does not come up.
    pub fn new() -> Result<Self> {
        let system = System::new()?;
        let server = system.server()?;
        Ok(Self {
            system,
            server,
            agents: std::array::from_fn(|_| None),
        })
    }
}

impl Tool for Fsync {
    fn name(&self) -> Result<String> {
        Ok(run("fsync-agent", ["--version"])?
            .success()?
            .trim()
            .to_owned())
    }

    fn folder(&self, replica: usize) -> PathBuf {
        self.system.path(&format!("user-{replica}"))
    }

    fn start(&mut self, replica: usize) -> Result<()> {
        let agent = self
            .system
            .agent(&format!("user-{replica}"), &self.server)?;
        self.agents[replica] = Some(agent);
        Ok(())
    }

    fn stop(&mut self, replica: usize) -> Result<()> {
        let mut agent = self.agents[replica].take().context("it runs")?;
        agent.process.stop()?;
        Ok(())
    }

    fn quiet(&mut self) -> Result<()> {
        for _ in 0..PASSES {
            self.agents.iter().flatten().try_for_each(Agent::flush)?;
        }
        Ok(())
    }

    fn original(&self, name: &str) -> Option<String> {
        let (stem, rest) = name.split_once(CONFLICT_MARK)?;
        let (_, extension) = rest.rsplit_once(')')?;
        Some(format!("{stem}{extension}"))
    }

    fn is_own(&self, name: &str) -> bool {
        name == MARKER
    }
}
