//! The admin port: health and metrics for whoever watches the process; never reachable through an ingress.
//!
//! ```text
//! GET /livez      200: the event loop runs; asks nobody else
//! GET /startupz   200 once the process serves
//! GET /readyz     200 if it is to get new connections; 503 with a reason a line if not
//! GET /metrics    all metrics, as Prometheus reads them
//! ```
//!
//! Guarantees: an answer costs no round trip to anything.
//! Place: with the feature `admin`; server, and whatever else runs as a service.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use axum::routing::get;
use tokio::net::TcpListener;

use crate::Shutdown;
use crate::metrics;

/// Says why the process should get no new connections, if so.
type Check = Box<dyn Fn() -> Result<(), String> + Send + Sync>;

/// How the process is; clones are the same.
#[derive(Clone, Default)]
pub struct Health(Arc<Inner>);

#[derive(Default)]
struct Inner {
    has_started: AtomicBool,
    is_ending: AtomicBool,
    checks: Mutex<Vec<Check>>,
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Health").finish_non_exhaustive()
    }
}

impl Health {
    /// Adds something that must hold for the process to be ready; asked at each question.
    pub fn check(&self, check: impl Fn() -> Result<(), String> + Send + Sync + 'static) {
        let mut checks = self.0.checks.lock().unwrap_or_else(PoisonError::into_inner);
        checks.push(Box::new(check));
    }

    /// The process serves.
    pub fn started(&self) {
        self.0.has_started.store(true, Ordering::Relaxed);
    }

    /// The process is about to end: it gets nothing new from now on.
    pub fn ending(&self) {
        self.0.is_ending.store(true, Ordering::Relaxed);
    }

    /// Returns whether the process is about to end.
    pub fn is_ending(&self) -> bool {
        self.0.is_ending.load(Ordering::Relaxed)
    }

    /// Returns why the process should get no new connections; empty if it should.
    pub fn unready(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if !self.0.has_started.load(Ordering::Relaxed) {
            reasons.push("starting".to_owned());
        }
        if self.is_ending() {
            reasons.push("draining".to_owned());
        }
        let checks = self.0.checks.lock().unwrap_or_else(PoisonError::into_inner);
        reasons.extend(checks.iter().filter_map(|check| check().err()));
        reasons
    }
}

/// Answers questions about health until the shutdown.
pub async fn serve(listener: TcpListener, health: Health, tasks: Shutdown) {
    serve_routes(listener, routes(health), tasks).await;
}

/// Returns the routes of health and metrics, for who adds some.
pub fn routes(health: Health) -> Router {
    Router::new()
        .route("/metrics", get(async || text()))
        .route("/livez", get(async || "alive\n"))
        .route("/startupz", get(startup))
        .route("/readyz", get(ready))
        .with_state(health)
}

/// Serves an admin port's routes until the shutdown.
pub async fn serve_routes(listener: TcpListener, routes: Router, tasks: Shutdown) {
    let token = tasks.token();
    let serve = axum::serve(listener, routes)
        .with_graceful_shutdown(async move { token.cancelled().await });
    if let Err(error) = serve.await {
        tracing::warn!(%error, "the admin port ended badly");
    }
}

type Text = ([(HeaderName, &'static str); 1], String);

fn text() -> Result<Text, StatusCode> {
    match metrics::text() {
        Ok(text) => Ok(([(header::CONTENT_TYPE, metrics::TEXT_TYPE)], text)),
        Err(error) => {
            tracing::warn!(%error, "the metrics cannot be written");
            Err(StatusCode::INTERNAL_SERVER_ERROR)
        }
    }
}

async fn startup(State(health): State<Health>) -> (StatusCode, &'static str) {
    let has_started = health.0.has_started.load(Ordering::Relaxed);
    std::future::ready(match has_started {
        true => (StatusCode::OK, "started\n"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "starting\n"),
    })
    .await
}

async fn ready(State(health): State<Health>) -> (StatusCode, String) {
    let reasons = health.unready();
    std::future::ready(match reasons.is_empty() {
        true => (StatusCode::OK, "ready\n".to_owned()),
        false => (StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n") + "\n"),
    })
    .await
}
