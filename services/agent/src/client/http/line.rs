//! The line to the server: pooled connections, and how long an answer is waited for.
//!
//! A network that drops what is sent, without closing anything, leaves connections that look alive.
//! Guarantees: bytes that nobody acknowledges end their connection after [`UNHEARD`]; an answer that
//! does not come is a failure, and all pooled connections are left with it, for what swallowed one
//! has swallowed the others. The first wait is short, so that a dead line costs little; each miss in
//! a row doubles the next one up to [`ANSWER_LAST`], so that a server that is merely slow gets the
//! time that it needs.
//! Does not: send.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use reqwest::Client;

use super::{Options, root_cause};
use crate::client::error::ClientError;

/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// How long an idle connection is kept; below the 60 s after which many proxies close one.
const IDLE: Duration = Duration::from_secs(45);
/// Idle connections kept: three bulk transfers each way, a commit and a delta.
const IDLE_CONNECTIONS: usize = 8;
/// How long sent bytes may go without the other side's acknowledgement.
const UNHEARD: Duration = Duration::from_secs(15);
/// First wait for an answer to begin, beside the time that the body takes.
const ANSWER_FIRST: Duration = Duration::from_secs(15);
/// Longest wait.
const ANSWER_LAST: Duration = Duration::from_secs(60);

/// The line; clones share it.
#[derive(Debug, Clone)]
pub(super) struct Line(Arc<Inner>);

/// How long one request waits.
#[derive(Debug)]
pub(super) struct Wait {
    misses: u32,
    /// For the answer to begin.
    pub(super) answer: Duration,
}

#[derive(Debug)]
struct Inner {
    ca_pem: Option<Vec<u8>>,
    client: RwLock<Client>,
    misses: AtomicU32,
}

impl Line {
    pub(super) fn new(options: &Options) -> Result<Self, ClientError> {
        let ca_pem = options.ca_pem.clone();
        let client = RwLock::new(connections(ca_pem.as_deref())?);
        Ok(Self(Arc::new(Inner {
            ca_pem,
            client,
            misses: AtomicU32::new(0),
        })))
    }

    /// Returns the connections of now.
    pub(super) fn client(&self) -> Client {
        let client = self.0.client.read();
        client.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns how long the next answer may take to begin.
    pub(super) fn wait(&self) -> Wait {
        let misses = self.0.misses.load(Ordering::Relaxed);
        Wait {
            misses,
            answer: patience(misses),
        }
    }

    /// An answer came.
    pub(super) fn heard(&self) {
        self.0.misses.store(0, Ordering::Relaxed);
    }

    /// No answer came within a wait; several that began together are one miss.
    pub(super) fn missed(&self, wait: &Wait) {
        let (old, new) = (wait.misses, wait.misses.saturating_add(1));
        let counted =
            self.0
                .misses
                .compare_exchange(old, new, Ordering::Relaxed, Ordering::Relaxed);
        if counted.is_ok() {
            self.renew();
        }
    }

    /// Leaves all connections: what follows makes new ones.
    pub(super) fn renew(&self) {
        match connections(self.0.ca_pem.as_deref()) {
            Ok(new) => {
                *self
                    .0
                    .client
                    .write()
                    .unwrap_or_else(PoisonError::into_inner) = new;
            }
            // It could be set up before: the old ones are all there is.
            Err(error) => tracing::warn!(%error, "going on with the old connections"),
        }
    }
}

/// Doubles the first wait for each miss.
fn patience(misses: u32) -> Duration {
    ANSWER_FIRST
        .saturating_mul(1 << misses.min(8))
        .min(ANSWER_LAST)
}

fn connections(ca_pem: Option<&[u8]>) -> Result<Client, ClientError> {
    let setup = |e: reqwest::Error| ClientError::Setup(root_cause(&e));
    let mut builder = Client::builder()
        .user_agent(concat!("fsync-agent/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT)
        .tcp_nodelay(true)
        .tcp_keepalive(IDLE)
        .tcp_user_timeout(UNHEARD)
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(IDLE_CONNECTIONS)
        .redirect(reqwest::redirect::Policy::none());
    if let Some(pem) = ca_pem {
        for certificate in reqwest::Certificate::from_pem_bundle(pem).map_err(setup)? {
            builder = builder.add_root_certificate(certificate);
        }
    }
    builder.build().map_err(setup)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_short_at_first_and_long_for_a_server_that_is_slow() {
        let waits: Vec<u64> = [0, 1, 2, 3, u32::MAX]
            .map(|misses| patience(misses).as_secs())
            .into();
        assert_eq!(waits, [15, 30, 60, 60, 60]);
    }
}
