//! Runs one synced folder until it is stopped: threads, network, watcher and control around a [`crate::folder`].

use std::sync::Arc;

use fsync_runtime::Shutdown;

use crate::client::ClientError;
use crate::control::server::ServeError;
use crate::marker::Claim;
use crate::progress::Progress;

/// What a run needs.
#[derive(Debug)]
pub struct Options {
    /// The folder; its locks are held until the run ends.
    pub claim: Claim,
    /// The bearer token.
    pub token: Option<String>,
    /// Certificates in PEM to trust beside the system's.
    pub ca_pem: Option<Vec<u8>>,
    /// End as soon as folder and head are in step.
    pub is_once: bool,
    /// Who is told what happens.
    pub progress: Arc<dyn Progress>,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Folder and head are in step; only with [`Options::is_once`].
    InStep,
    /// The user or the system stopped it.
    Stopped,
    /// A hold needs the user; only with [`Options::is_once`]. Says what, and the command that releases it.
    Held(String),
    /// The server cannot be reached; only with [`Options::is_once`]. Says where and why.
    Unreachable(String),
}

/// Why a folder cannot be synced.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The server, for good.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The control socket.
    #[error(transparent)]
    Control(#[from] ServeError),
}

/// Syncs until stopped, or once.
///
/// # Errors
/// [`RunError`]: tell the user and end.
#[expect(clippy::unused_async, reason = "the driver is not there yet")]
pub async fn run(options: Options, _shutdown: &Shutdown) -> Result<Outcome, RunError> {
    drop(options);
    Ok(Outcome::Stopped)
}
