//! The simulator's machines: the product's own folders and service, messages in memory, virtual time.

use anyhow::{Result, anyhow, ensure};
use fsync_core::path::RelPath;

use super::{Listing, Site};
use crate::sim::site::Place;

/// Machines that a scenario has at most.
const MACHINES: usize = 3;

/// See the module's head.
#[derive(Debug)]
pub struct Simulated(Place);

impl Simulated {
    /// Makes the machines; no agent runs yet.
    pub fn new() -> Self {
        Self(Place::new(MACHINES))
    }
}

impl Default for Simulated {
    fn default() -> Self {
        Self::new()
    }
}

fn parsed(path: &str) -> Result<RelPath> {
    Ok(RelPath::parse(path.as_bytes())?)
}

impl Site for Simulated {
    fn name(&self) -> &'static str {
        "simulated machines, messages in memory"
    }

    fn start(&mut self, at: usize) -> Result<()> {
        self.0.start(at);
        Ok(())
    }

    fn stop(&mut self, at: usize) -> Result<()> {
        self.0.stop(at);
        Ok(())
    }

    fn cut(&mut self, at: usize) -> Result<()> {
        self.0.cut(at);
        Ok(())
    }

    fn write(&mut self, at: usize, path: &str, bytes: &[u8]) -> Result<()> {
        self.0.write(at, &parsed(path)?, bytes);
        Ok(())
    }

    fn make_dir(&mut self, at: usize, path: &str) -> Result<()> {
        self.0.make_dir(at, &parsed(path)?);
        Ok(())
    }

    fn rename(&mut self, at: usize, from: &str, to: &str) -> Result<()> {
        self.0.rename(at, &parsed(from)?, &parsed(to)?);
        Ok(())
    }

    fn remove(&mut self, at: usize, path: &str) -> Result<()> {
        self.0.remove(at, &parsed(path)?);
        Ok(())
    }

    fn list(&self, at: usize) -> Result<Listing> {
        let named = |(path, bytes): (RelPath, _)| (path.to_string(), bytes);
        Ok(self.0.list(at).into_iter().map(named).collect())
    }

    fn revisions(&mut self) -> Result<u64> {
        Ok(self.0.revisions())
    }

    fn settle(&mut self) -> Result<()> {
        self.0.settle().map_err(|e| anyhow!(e))
    }

    fn idle(&mut self) -> Result<()> {
        self.0.idle();
        let broken = self.0.broken();
        ensure!(broken.is_none(), "{broken:?}");
        Ok(())
    }

    fn load(&mut self, revision: u64, path: &str) -> Result<Vec<u8>> {
        self.0
            .load(revision, &parsed(path)?)
            .map_err(|e| anyhow!(e))
    }

    fn replace_server(&mut self) -> Result<()> {
        self.0.replace_server();
        Ok(())
    }
}
