//! What every reconcile needs, and what can go wrong in one.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::controller::Action;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Client, Resource, ResourceExt};

use crate::condition::Finding;
use crate::metrics::{self, Kind};
use crate::pace::{Pace, Turn};
use crate::server::{BaseUrl, Server, ServerError};

/// Field manager of everything that the controller writes.
pub const MANAGER: &str = "fsync-controller";

/// What every reconcile needs.
pub struct Context {
    /// The API server.
    pub client: Client,
    /// The server's admin API.
    pub server: Server,
    /// What Secrets tell agents of where the server is.
    pub server_url: BaseUrl,
    /// When each object is looked at again.
    pub pace: Pace,
    events: Recorder,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context")
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

impl Context {
    /// Joins the parts; `identity` stands in events.
    pub fn new(client: Client, server: Server, server_url: BaseUrl, identity: &str) -> Self {
        let reporter = Reporter {
            controller: MANAGER.to_owned(),
            instance: Some(identity.to_owned()),
        };
        Self {
            events: Recorder::new(client.clone(), reporter),
            client,
            server,
            server_url,
            pace: Pace::default(),
        }
    }

    /// Tells whoever looks at an object what was found; an event that cannot be written is not
    /// worth a failure.
    pub async fn tell(&self, about: &ObjectReference, finding: &Finding) {
        let type_ = match finding.reason.is_ready() {
            true => EventType::Normal,
            false => EventType::Warning,
        };
        let event = Event {
            type_,
            reason: finding.reason.as_str().to_owned(),
            note: Some(finding.message.chars().take(NOTE_CHARS).collect()),
            action: "Reconcile".to_owned(),
            secondary: None,
        };
        if let Err(error) = self.events.publish(&event, about).await {
            tracing::debug!(%error, "an event was not written");
        }
    }
}

/// Longest note of an event; the API allows 1 KiB.
const NOTE_CHARS: usize = 250;

/// Why a reconcile ended without having written down how things are.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The API server refused, or is away: come back.
    #[error("the Kubernetes API: {0}")]
    Kube(#[from] kube::Error),
    /// The server could not do what the end of an object needs: come back.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// What the end of an object needs could not be done: come back.
    #[error("its end: {0}")]
    Unfinished(String),
    /// A finalizer could not be set or taken away: come back.
    #[error("the finalizer: {0}")]
    Finalizer(String),
}

/// Returns which object, and which of its specs, is meant.
pub fn turn(object: &impl Resource<DynamicType = ()>) -> Turn {
    Turn {
        uid: object.uid().unwrap_or_default(),
        generation: object.meta().generation.unwrap_or_default(),
    }
}

/// What comes after a reconcile that failed: the same object again, later each time.
pub(crate) fn again(
    context: &Context,
    kind: Kind,
    object: &impl Resource<DynamicType = ()>,
    error: &ReconcileError,
) -> Action {
    let wait = context.pace.failed(&turn(object), Instant::now());
    let name = object.name_any();
    tracing::warn!(kind = kind.as_str(), name, %error, again_in = ?wait, "reconcile failed");
    metrics::reconciled(kind, "error");
    Action::requeue(wait)
}

/// Returns an action that comes back after some time.
pub(crate) fn later(wait: Duration) -> Action {
    Action::requeue(wait)
}
