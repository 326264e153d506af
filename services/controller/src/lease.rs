//! The Lease that decides which replica of the controller acts.
//!
//! ```text
//! renewal is sent    t                 act until t + ACT        others may take it at t + DURATION
//!                    |------ 5 s ------|------ 5 s -------|------------ 5 s -----------|
//!                         RENEW             margin for one retry         margin for what is under way
//! ```
//! Guarantees: a replica acts only for [`ACT`] after it sent a renewal that was answered, by its own
//! clock; another's Lease is taken only after it has not changed for its whole duration, by the
//! clock of who looks: clocks need not agree. Every write names the version that was read, so one
//! of two that write at once loses.
//! Does not: keep two from acting for ever: what was sent by the last one may still arrive. What
//! the server is asked for may be asked for twice.
//! Place: [`run`] is a task that `app.rs` starts; the shutdown ends it; [`Election::release`] comes
//! last, so that another replica need not wait.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, ObjectMeta, PostParams};
use tokio::sync::watch;
use tokio::time::{sleep_until, timeout};

use crate::context::MANAGER;
use fsync_runtime::Shutdown;

/// How long a Lease holds that is not renewed.
pub const DURATION: Duration = Duration::from_secs(15);
/// How long its holder acts after a renewal.
pub const ACT: Duration = Duration::from_secs(10);
/// Time between two renewals.
const RENEW: Duration = Duration::from_secs(5);
/// Time between two attempts to get it, and after a renewal that failed.
const RETRY: Duration = Duration::from_secs(1);
/// Longest wait for the API server.
const CALL: Duration = Duration::from_secs(3);
/// HTTP status of a write that came too late.
const CONFLICT: u16 = 409;

/// Until when this replica may act; `None` if it may not.
pub type Term = Option<Instant>;

/// One replica's part in the election.
#[derive(Debug)]
pub struct Election {
    api: Api<Lease>,
    name: String,
    identity: String,
    seen: Mutex<Option<Seen>>,
}

/// Another's Lease, and since when it has been as it is.
#[derive(Debug, Clone)]
struct Seen {
    spec: LeaseSpec,
    since: Instant,
}

/// What is to be done about a Lease.
#[derive(Debug, Clone, PartialEq)]
enum Step {
    /// There is none: make it.
    Make(LeaseSpec),
    /// It is ours, or free: write this.
    Write(LeaseSpec),
    /// It is another's.
    Wait,
}

/// Tries to get the Lease and to keep it, and tells until when this replica may act.
pub async fn run(election: &Election, term: &watch::Sender<Term>, shutdown: &Shutdown) {
    while !shutdown.is_triggered() {
        let asked = Instant::now();
        let pause = match timeout(CALL, election.attempt()).await {
            Ok(Ok(true)) => {
                term.send_replace(Some(asked + ACT));
                RENEW
            }
            Ok(Ok(false)) => {
                term.send_replace(None);
                RETRY
            }
            // The term stays as it is and ends by itself.
            Ok(Err(error)) => {
                tracing::warn!(%error, "the lease could not be looked at");
                RETRY
            }
            Err(_elapsed) => {
                tracing::warn!(waited = ?CALL, "the lease could not be looked at: no answer");
                RETRY
            }
        };
        tokio::select! {
            () = sleep_until((asked + pause).into()) => {}
            () = shutdown.triggered() => {}
        }
    }
}

/// Waits until this replica may act.
pub async fn gained(term: &mut watch::Receiver<Term>) {
    // An error means that the task is gone, and with it every hope.
    if term.wait_for(|term| is_good(*term)).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Waits until this replica may not act any more.
pub async fn lost(term: &mut watch::Receiver<Term>) {
    loop {
        let Some(end) = *term.borrow_and_update() else {
            return;
        };
        tokio::select! {
            () = sleep_until(end.into()) => return,
            changed = term.changed() => if changed.is_err() {
                return sleep_until(end.into()).await;
            },
        }
    }
}

fn is_good(term: Term) -> bool {
    term.is_some_and(|end| end > Instant::now())
}

impl Election {
    /// Takes part under a name of its own.
    pub fn new(api: Api<Lease>, name: &str, identity: &str) -> Self {
        Self {
            api,
            name: name.to_owned(),
            identity: identity.to_owned(),
            seen: Mutex::new(None),
        }
    }

    /// Gets or renews the Lease; returns whether it is ours.
    ///
    /// # Errors
    /// The API server's, or that of the way to it: try again.
    pub async fn attempt(&self) -> Result<bool, kube::Error> {
        let found = self.api.get_opt(&self.name).await?;
        let spec = found
            .as_ref()
            .map(|lease| lease.spec.clone().unwrap_or_default());
        let written = match self.step(spec, Instant::now(), Timestamp::now()) {
            Step::Wait => return Ok(false),
            Step::Make(spec) => self.make(spec).await,
            Step::Write(spec) => self.write(found.unwrap_or_default(), spec).await,
        };
        match written {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.code == CONFLICT => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Gives the Lease away, if it is ours.
    ///
    /// # Errors
    /// As [`Election::attempt`]; it then ends by itself.
    pub async fn release(&self) -> Result<(), kube::Error> {
        let Some(found) = self.api.get_opt(&self.name).await? else {
            return Ok(());
        };
        let spec = found.spec.clone().unwrap_or_default();
        if spec.holder_identity.as_deref() != Some(&self.identity) {
            return Ok(());
        }
        let free = LeaseSpec {
            holder_identity: None,
            renew_time: Some(MicroTime(Timestamp::now())),
            ..spec
        };
        self.write(found, free).await.map(drop)
    }

    async fn make(&self, spec: LeaseSpec) -> Result<Lease, kube::Error> {
        let lease = Lease {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                ..ObjectMeta::default()
            },
            spec: Some(spec),
        };
        self.api.create(&how(), &lease).await
    }

    async fn write(&self, found: Lease, spec: LeaseSpec) -> Result<Lease, kube::Error> {
        let lease = Lease {
            spec: Some(spec),
            ..found
        };
        self.api.replace(&self.name, &how(), &lease).await
    }

    fn step(&self, found: Option<LeaseSpec>, now: Instant, clock: Timestamp) -> Step {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(found) = found else {
            return Step::Make(self.held(&LeaseSpec::default(), clock));
        };
        let holder = found.holder_identity.as_deref().unwrap_or_default();
        if holder == self.identity || holder.is_empty() {
            *seen = None;
            return Step::Write(self.held(&found, clock));
        }
        let known = seen.as_ref().filter(|seen| seen.spec == found);
        let since = known.map_or(now, |seen| seen.since);
        let holds = found
            .lease_duration_seconds
            .and_then(|n| u64::try_from(n).ok());
        let holds = holds.map_or(DURATION, Duration::from_secs);
        if now.saturating_duration_since(since) >= holds {
            *seen = None;
            return Step::Write(self.held(&found, clock));
        }
        *seen = Some(Seen { spec: found, since });
        Step::Wait
    }

    /// Returns a Lease as this replica holds it.
    fn held(&self, before: &LeaseSpec, clock: Timestamp) -> LeaseSpec {
        let is_ours = before.holder_identity.as_deref() == Some(&self.identity);
        let changes = before.lease_transitions.unwrap_or(0);
        let acquired = before.acquire_time.clone().filter(|_| is_ours);
        let is_first = before == &LeaseSpec::default();
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
            acquire_time: Some(acquired.unwrap_or(MicroTime(clock))),
            renew_time: Some(MicroTime(clock)),
            lease_transitions: Some(changes + i32::from(!is_ours && !is_first)),
            ..LeaseSpec::default()
        }
    }
}

fn how() -> PostParams {
    PostParams {
        field_manager: Some(MANAGER.to_owned()),
        ..PostParams::default()
    }
}

#[cfg(test)]
mod tests;
