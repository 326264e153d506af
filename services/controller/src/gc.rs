//! Starts collections of garbage on the server, at an interval, if one is given.
//!
//! Guarantees: only the replica that holds the Lease does; one that runs already is left to run.
//! Does not: collect anything; the server does, under its own lock.

use std::time::Duration;

use crate::metrics;
use crate::server::{GcStart, Server};

/// Orders a collection each `interval`, never at once: a controller that restarts often would
/// order one after the other. Ends only with its caller.
pub(crate) async fn run(server: &Server, interval: Option<Duration>) {
    let Some(interval) = interval else {
        return std::future::pending().await;
    };
    loop {
        tokio::time::sleep(interval).await;
        match server.start_gc().await {
            Ok(GcStart::Started) => {
                tracing::info!("a collection of garbage started");
                metrics::gc("started");
            }
            Ok(GcStart::Running) => metrics::gc("running"),
            Err(error) => {
                tracing::warn!(%error, "a collection of garbage could not be started");
                metrics::gc("failed");
            }
        }
    }
}
