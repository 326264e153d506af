//! Whether the kinds are installed: without them the controller waits, and says so.
//!
//! Guarantees: asks the API server's discovery, which every account may; never for definitions,
//! which no right inside a namespace covers. What is missing is said once, and then only when it
//! changes.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fsync_runtime::Shutdown;
use kube::{Client, CustomResourceExt, Resource};

use crate::crd::{AgentToken, GROUP, SyncTree, VERSION};
use crate::metrics;

/// Time between two looks.
const LOOK: Duration = Duration::from_secs(5);
/// HTTP status of a group that is not there.
const NOT_FOUND: u16 = 404;

/// What readiness says of the kinds; clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Kinds(Arc<Mutex<Option<String>>>);

impl Kinds {
    /// Nothing is known yet.
    pub(crate) fn new() -> Self {
        let asked = "the Kubernetes API was not asked for its kinds yet";
        Self(Arc::new(Mutex::new(Some(asked.to_owned()))))
    }

    /// Says why nothing is done yet, if so.
    pub(crate) fn check(&self) -> Result<(), String> {
        let pending = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pending.clone().map_or(Ok(()), Err)
    }

    /// Returns once both kinds are there, or when the end begins.
    pub(crate) async fn wait(&self, client: &Client, shutdown: &Shutdown) {
        while !shutdown.is_triggered() {
            match missing(client).await {
                Ok(missing) => {
                    metrics::kinds_missing(missing.len());
                    if missing.is_empty() {
                        self.set(None);
                        tracing::info!("the kinds are installed");
                        return;
                    }
                    let names = missing.join(", ");
                    self.set(Some(format!(
                        "waiting for kinds: {names} ({GROUP}/{VERSION})"
                    )));
                }
                Err(error) => self.set(Some(format!("the Kubernetes API: {error}"))),
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = shutdown.triggered() => {}
            }
        }
    }

    fn set(&self, pending: Option<String>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reason) = &pending
            && *kept != pending
        {
            tracing::warn!(%reason, "nothing is done until the kinds are there");
        }
        *kept = pending;
    }
}

/// Returns the kinds that are not there.
async fn missing(client: &Client) -> Result<Vec<String>, kube::Error> {
    let version = format!("{GROUP}/{VERSION}");
    let found = match client.list_api_group_resources(&version).await {
        Ok(list) => list.resources.into_iter().map(|one| one.name).collect(),
        Err(kube::Error::Api(status)) if status.code == NOT_FOUND => Vec::new(),
        Err(error) => return Err(error),
    };
    let wanted = [
        (SyncTree::plural(&()), SyncTree::crd_name()),
        (AgentToken::plural(&()), AgentToken::crd_name()),
    ];
    let is_missing = |(plural, _): &(_, _)| !found.iter().any(|name| name == plural);
    let missing = wanted.into_iter().filter(is_missing);
    Ok(missing.map(|(_, name)| name.to_owned()).collect())
}
