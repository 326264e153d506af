//! The demo's server: the real one, on a free port of this machine.

use std::path::PathBuf;

use fsync_agent::client::ServerUrl;
use fsync_server::{Config, Server};

/// A running server.
#[derive(Debug)]
pub(crate) struct Service(Server);

impl Service {
    /// Starts it with its data in `dir`.
    pub(crate) async fn start(dir: PathBuf) -> anyhow::Result<Self> {
        Ok(Self(Server::start(Config::local(dir)).await?))
    }

    /// Returns its address.
    pub(crate) fn url(&self) -> anyhow::Result<ServerUrl> {
        Ok(self.0.url().parse()?)
    }

    /// Ends it: sockets are told, work in flight ends, stores close.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        Ok(self.0.shutdown().await?)
    }
}
