//! Joins the parts ([`parts`]): stores to trees and sockets, all of it to one listener; and its end.
//!
//! What other packages call is boxed here: an async function is compiled anew in each program that
//! awaits it, with all below it.
//!
//! Guarantees: the order of the end stands in [`Server::shutdown`], once.

mod error;
mod parts;
mod verbs;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use fsync_runtime::Shutdown;
use fsync_runtime::admin::{self, Health as Ready};
use fsync_runtime::shutdown::Unfinished;
use tokio::net::TcpListener;
use tracing::{info, warn};

use crate::auth::Auth;
use crate::bus::{Bus, Health, Later};
use crate::checkpoint::Checkpoints;
use crate::cluster;
use crate::config::{Access, Config, Drain};
use crate::http::admin::{Admin, Late, Signer};
use crate::http::{self, Api, door::Door, gate::Gate};
use crate::listen::tls::{Tls, TlsError};
use crate::packer;
use crate::policies::Policies;
use crate::rates::{Checks, Rates};
use crate::socket::Sockets;
use crate::tree::Trees;
use crate::{drain, follow, gc, listen, metrics, rates, revoke};

pub use error::StartError;
pub use parts::{Parts, build_parts};
pub use verbs::{accept_once, adopt_once, check_once, collect_once, revoke_once};

/// How long tasks may take to end once the listener is closed.
const END: Duration = Duration::from_secs(30);

/// A server that runs.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    is_tls: bool,
    sockets: Sockets,
    /// Ends the listener and the tasks that wait for something to do.
    tasks: Shutdown,
    /// Ends the admin port, which answers until all else has ended.
    late: Shutdown,
    gate: Gate,
    ready: Ready,
    admin: Option<SocketAddr>,
    drain: Drain,
    parts: Parts,
}

/// Starts what goes on without a request: hearing other replicas, packing, collecting garbage.
fn start_background(
    config: &Config,
    parts: &Parts,
    (sockets, trees, collector): (&Sockets, &Trees, &gc::Starter),
    tasks: &Shutdown,
) {
    let heard = (Arc::clone(&parts.bus), sockets.clone(), tasks.clone());
    drop(tasks.spawn("follow", async move {
        let (bus, sockets, tasks) = heard;
        follow::run(&*bus, sockets, tasks).await;
    }));
    drop(tasks.spawn(
        "packer",
        packer::run(parts.store.clone(), trees.clone(), tasks.clone()),
    ));
    if parts.lock.is_some() {
        let inbox = revoke::run(config.data_dir.clone(), parts.store.clone(), tasks.clone());
        drop(tasks.spawn("revoke inbox", inbox));
    }
    if let Some(ours) = parts.cluster {
        drop(tasks.spawn(
            "cluster",
            cluster::keep(parts.store.clone(), ours, tasks.clone()),
        ));
    }
    drop(tasks.spawn(
        "gc",
        gc::run(
            parts.store.clone(),
            config.retention,
            collector.clone(),
            tasks.clone(),
        ),
    ));
}

impl Server {
    /// Starts a server; it takes requests when this returns.
    ///
    /// # Errors
    /// [`StartError`] that says what to change.
    pub fn start(config: Config) -> Later<'static, Result<Self, StartError>> {
        Box::pin(Self::begin(config))
    }

    async fn begin(config: Config) -> Result<Self, StartError> {
        let config = config.check()?;
        if config.access == Access::Anyone {
            warn!(listen = %config.listen, "no authentication: anybody who reaches it reads and writes all trees");
        }
        let (tasks, late) = (Shutdown::new(), Shutdown::new());
        let (ready, admin, more) = open_admin(&config, &late).await?;
        let tls = open_tls(&config, &tasks)?;
        let parts = build_parts(&config, &tasks).await?;
        ready.check(hears(Arc::clone(&parts.bus)));
        let listener = bind(config.listen).await?;
        let address = listener.local_addr().unwrap_or(config.listen);
        let bus = &parts.bus;
        let checks = open_checks(&config.access, &parts, &tasks).await?;
        let store = parts.store.clone();
        let (layer, sockets) = Sockets::layer(store, Arc::clone(bus), checks.clone(), &tasks);
        let checkpoints = Checkpoints::default();
        let remember = checkpoints.clone().run(parts.store.clone(), tasks.clone());
        drop(tasks.spawn("checkpoints", remember));
        let trees = Trees::new(
            parts.store.clone(),
            sockets.clone(),
            Arc::clone(bus),
            (checkpoints.clone(), tasks.clone()),
        );
        gc::rebuild_index(&parts.store).await?;
        let collector = gc::Starter::default();
        let running = (&sockets, &trees, &collector);
        start_background(&config, &parts, running, &tasks);
        set_admin_api(&config, &more, (&parts, &checks, &sockets), collector);
        let gate = Gate::default();
        let door = Door::new(&config, checks.rates.clone());
        let api = Api {
            store: parts.store.clone(),
            trees,
            gate: gate.clone(),
            sockets: sockets.clone(),
            checks: checks.clone(),
        };
        drop(tasks.spawn("rates", rates::run(checks.rates, tasks.clone())));
        let routes = http::guarded(http::routes(api).layer(layer), door);
        let listening = listen::run(listener, tls, routes, tasks.clone());
        drop(tasks.spawn("listener", listening));
        let (counted, heard) = (sockets.clone(), Arc::clone(&parts.bus));
        metrics::observe(move || counted.count(), move || heard.health().echo_age);
        info!(%address, ?config, "server started");
        ready.started();
        Ok(Self {
            address,
            is_tls: config.tls.is_some(),
            sockets,
            late,
            gate,
            ready,
            admin,
            tasks,
            drain: config.drain,
            parts,
        })
    }

    /// Returns the address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the address that answers questions about health.
    pub fn admin(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// Returns how well this replica hears the others.
    pub fn hearing(&self) -> Health {
        self.parts.bus.health()
    }

    /// Returns how many sockets were let in and are open.
    pub fn sockets(&self) -> usize {
        self.sockets.count()
    }

    /// Returns the URL that agents use.
    pub fn url(&self) -> String {
        let scheme = if self.is_tls { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Ends the server in order: agents are told, the listener closes, requests in flight end,
    /// tasks end, stores close.
    ///
    /// # Errors
    /// [`Unfinished`] names tasks that did not end in time.
    pub fn shutdown(self) -> Later<'static, Result<(), Unfinished>> {
        Box::pin(self.end())
    }

    async fn end(self) -> Result<(), Unfinished> {
        // 1. not ready; sockets are told to come back, and closed, over the drain time
        drain::drain(&self.sockets, &self.gate, &self.ready, self.drain).await;
        // 2. nobody new: the listener stops taking connections, requests in flight go on
        info!("server is ending");
        self.tasks.trigger();
        // 3. commits in work and uploads in flight end
        let unfinished = self.tasks.wait(END).await;
        // 4. the journal closes, then the directory's lock is given back
        if let Err(error) = self.parts.store.journal().close().await {
            warn!(%error, "the journal did not close well");
        }
        self.late.end(END).await.and(unfinished)
    }
}

/// Reads the certificates, before anything that may take long.
fn open_tls(config: &Config, tasks: &Shutdown) -> Result<Option<Tls>, TlsError> {
    let files = config.tls.clone();
    files.map(|files| Tls::start(files, tasks)).transpose()
}

/// Says what callers must pass.
async fn open_checks(
    access: &Access,
    parts: &Parts,
    tasks: &Shutdown,
) -> Result<Checks, StartError> {
    Ok(Checks {
        auth: open_auth(access, parts, tasks).await?,
        rates: Rates::default(),
        policies: Policies::new(parts.store.shared_journal()),
    })
}

/// Puts the admin API behind the admin port, if there is a credential for it.
fn set_admin_api(
    config: &Config,
    port: &Late,
    (parts, checks, sockets): (&Parts, &Checks, &Sockets),
    collector: gc::Starter,
) {
    let Some(credential) = &config.admin_token else {
        return;
    };
    port.set(http::admin::routes(Admin {
        store: parts.store.clone(),
        policies: checks.policies.clone(),
        sockets: sockets.clone(),
        signer: Signer::of(&config.access),
        collector,
        credential: Arc::new(credential.clone()),
    }));
}

/// Says how callers are known.
async fn open_auth(access: &Access, parts: &Parts, tasks: &Shutdown) -> Result<Auth, StartError> {
    match access {
        Access::Loopback | Access::Anyone => Ok(Auth::open()),
        Access::Tokens(tokens) => {
            let journal = parts.store.shared_journal();
            let auth = Auth::closed(tokens, journal, tasks).await;
            auth.map_err(StartError::Auth)
        }
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener, StartError> {
    let listener = TcpListener::bind(address).await;
    listener.map_err(|source| StartError::Listen { address, source })
}

/// Opens the admin port, if there is to be one, before anything that may take long; the admin API
/// comes later.
async fn open_admin(
    config: &Config,
    late: &Shutdown,
) -> Result<(Ready, Option<SocketAddr>, Late), StartError> {
    let (ready, more) = (Ready::default(), Late::default());
    let Some(address) = config.admin else {
        return Ok((ready, None, more));
    };
    let listener = bind(address).await?;
    let address = listener.local_addr().unwrap_or(address);
    info!(%address, "admin port");
    let rest = more.clone();
    let routes = admin::routes(ready.clone()).fallback(move |request| rest.answer(request));
    let serve = admin::serve_routes(listener, routes, late.clone());
    drop(late.spawn("admin", serve));
    Ok((ready, Some(address), more))
}

/// A replica that does not hear itself would tell its agents of nothing but by polling: others serve
/// new ones better. One whose Redis is down stays ready, as all would be down.
fn hears(bus: Arc<dyn Bus>) -> impl Fn() -> Result<(), String> + Send + Sync {
    move || match bus.health() {
        Health {
            is_deaf: true,
            can_tell: true,
            echo_age,
        } => Err(format!(
            "wake-ups of other replicas do not arrive: nothing was heard for {} s",
            echo_age.as_secs()
        )),
        Health { .. } => Ok(()),
    }
}

/// Runs a server until the shutdown is triggered.
///
/// # Errors
/// [`StartError`]; an end that took too long is only logged.
pub async fn run(
    config: Config,
    shutdown: &Shutdown,
    started: impl FnOnce(&Server),
) -> Result<(), StartError> {
    let server = Server::start(config).await?;
    started(&server);
    shutdown.triggered().await;
    if let Err(unfinished) = server.shutdown().await {
        warn!(%unfinished, "server ended with work in flight");
    }
    Ok(())
}
