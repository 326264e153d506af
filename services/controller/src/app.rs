//! The wiring: kinds, Lease, the two controllers, and their end.
//!
//! ```text
//! start    admin port -> kinds are there -> Lease loop -> while it is ours: controllers, GC orders
//! end      1 signal: not ready, no new renewals, no new reconciles
//!          2 reconciles that run end, at most until the Lease's term does
//!          3 the Lease is given away
//!          4 the admin port closes
//! ```
//! Guarantees: without the Lease nothing is written, neither to Kubernetes nor to the server; a
//! Lease that is lost ends all that runs, and the replica stands by again.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use fsync_runtime::Shutdown;
use fsync_runtime::admin::{self, Health};
use futures_util::StreamExt;
use kube::runtime::controller::{Config as Pacing, Controller, Error as ControllerError};
use kube::runtime::watcher;
use kube::{Api, Client};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::cli::Config;
use crate::context::Context;
use crate::kinds::Kinds;
use crate::lease::{self, Election, Term};
use crate::server::{Credential, Server};
use crate::tree::Trees;
use crate::{gc, metrics, token, tree};

/// Objects of one kind that are looked at together: the server and the API server have others to
/// answer.
const TOGETHER: u16 = 8;
/// How long the end waits for tasks.
const LAST: Duration = Duration::from_secs(5);

/// Why the controller did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The admin port cannot be opened.
    #[error("cannot listen on {address} (--admin-listen): {source}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No Kubernetes API server is named.
    #[error("no Kubernetes API: run in a pod with a service account, or set KUBECONFIG ({0})")]
    Kubernetes(String),
    /// The HTTP client cannot be made.
    #[error("the HTTP client cannot be made: {0}")]
    Http(#[from] reqwest::Error),
}

/// Runs until the shutdown; calls `listening` with the admin port's address once it is open.
///
/// # Errors
/// [`StartError`]: tell the user and end.
pub async fn run(
    config: Config,
    shutdown: &Shutdown,
    listening: impl FnOnce(SocketAddr),
) -> Result<(), StartError> {
    let client = Client::try_default().await;
    let client = client.map_err(|error| StartError::Kubernetes(error.to_string()))?;
    let server = Server::new(
        config.server_admin.clone(),
        Credential::file(&config.admin_token_file),
    )?;
    let own = client.default_namespace().to_owned();
    let namespace = config.namespace.clone().unwrap_or(own);
    let (health, kinds) = (Health::default(), Kinds::new());
    let checked = kinds.clone();
    health.check(move || checked.check());
    let port = open(&config, &health, listening).await?;
    health.started();
    tracing::info!(namespace, server = %config.server_admin, identity = config.identity, "started");

    kinds.wait(&client, shutdown).await;
    let leases = Api::namespaced(client.clone(), &namespace);
    let election = Arc::new(Election::new(leases, &config.lease, &config.identity));
    let parts = Parts {
        context: Arc::new(Context::new(
            client,
            server,
            config.server_url.clone(),
            &config.identity,
        )),
        namespace,
        gc: config.gc_schedule,
    };
    let (sender, term) = watch::channel(None);
    let (elect, stop) = (Arc::clone(&election), shutdown.clone());
    let renewing = shutdown.spawn("lease", async move {
        lease::run(&elect, &sender, &stop).await;
        // What is left of the term must still be seen to end.
        sender
    });
    lead(&parts, term, shutdown).await;
    health.ending();
    drop(renewing.await);
    if let Err(error) = election.release().await {
        tracing::warn!(%error, "the lease was not given away: it ends by itself");
    }
    close(port).await;
    Ok(())
}

/// What acts while the Lease is ours.
struct Parts {
    context: Arc<Context>,
    namespace: String,
    gc: Option<Duration>,
}

/// Opens the admin port, if one is wanted; its tasks end last.
async fn open(
    config: &Config,
    health: &Health,
    listening: impl FnOnce(SocketAddr),
) -> Result<Shutdown, StartError> {
    let port = Shutdown::new();
    let Some(address) = config.admin_listen else {
        return Ok(port);
    };
    let bad = |source| StartError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(bad)?;
    listening(listener.local_addr().map_err(bad)?);
    drop(port.spawn(
        "admin",
        admin::serve(listener, health.clone(), port.clone()),
    ));
    Ok(port)
}

async fn close(port: Shutdown) {
    if let Err(error) = port.end(LAST).await {
        tracing::warn!(%error, "the admin port did not close");
    }
}

/// Acts whenever the Lease is ours, until the shutdown.
async fn lead(parts: &Parts, mut term: watch::Receiver<Term>, shutdown: &Shutdown) {
    metrics::leader(false);
    while !shutdown.is_triggered() {
        tokio::select! {
            () = lease::gained(&mut term) => {}
            () = shutdown.triggered() => return,
        }
        tracing::info!("this replica acts");
        metrics::leader(true);
        tokio::select! {
            () = act(parts, shutdown) => {}
            () = lease::lost(&mut term) => tracing::warn!("the lease is lost: this replica stands by"),
        }
        metrics::leader(false);
    }
}

/// Runs both controllers until the shutdown; dropping it ends what they do at once.
async fn act(parts: &Parts, shutdown: &Shutdown) {
    let context = &parts.context;
    let end = || shutdown.token().cancelled_owned();
    let pacing = || Pacing::default().concurrency(TOGETHER);

    let trees = Api::namespaced(context.client.clone(), &parts.namespace);
    let trees = Controller::new(trees, watcher::Config::default())
        .with_config(pacing())
        .graceful_shutdown_on(end());
    let all = Arc::new(Trees {
        context: Arc::clone(context),
        all: trees.store(),
    });
    let trees = trees
        .run(
            tree::look_at,
            |tree, error, all| tree::failed(&tree, error, &all),
            all,
        )
        .for_each(told);

    let tokens = Api::namespaced(context.client.clone(), &parts.namespace);
    let tokens = Controller::new(tokens, watcher::Config::default())
        .with_config(pacing())
        .graceful_shutdown_on(end())
        .run(
            token::look_at,
            |token, error, context| token::failed(&token, error, &context),
            Arc::clone(context),
        )
        .for_each(told);
    let both = async {
        tokio::join!(trees, tokens);
    };
    tokio::select! {
        () = both => {}
        () = gc::run(&context.server, parts.gc) => {}
    }
}

/// Logs what nobody else has logged: failures of watches. A reconcile logs its own.
async fn told<T, E, W>(outcome: Result<T, ControllerError<E, W>>)
where
    E: std::error::Error,
    W: std::error::Error,
{
    std::future::ready(()).await;
    if let Err(ControllerError::QueueError(error)) = outcome {
        tracing::warn!(%error, "a watch failed, and is made again");
    }
}
