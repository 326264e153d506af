//! Joins the parts: configuration to stores, stores to trees and sockets, all of it to one
//! listener; and its end.
//!
//! What other packages call is boxed here: an async function is compiled anew in each program that
//! awaits it, with all below it.
//!
//! Guarantees: a data directory is used by one server at a time; the order of the end stands in
//! [`Server::shutdown`], once.

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fsync_core::label::TenantName;
use fsync_core::service::error::ServiceError;
use fsync_runtime::Shutdown;
use fsync_runtime::admin::{self, Health as Ready};
use fsync_runtime::shutdown::Unfinished;
use tokio::net::TcpListener;
use tracing::{info, warn};

use crate::auth::{Auth, REVOCATIONS, Revocation};
use crate::blobs::{BlobError, Blobs};
use crate::bus::local::Line;
use crate::bus::redis::Wires;
use crate::bus::{Bus, Health, Later};
use crate::checkpoint::Checkpoints;
use crate::cluster::{self, ClusterError, ClusterId};
use crate::config::{Access, BlobStore, Config, ConfigError, Drain};
use crate::http::{self, Api, door::Door, gate::Gate};
use crate::journal::memory::Memory;
use crate::journal::redb::Redb;
use crate::journal::redis::Shared;
use crate::journal::{Journal, JournalError};
use crate::listen::tls::{Tls, TlsError};
use crate::packer;
use crate::rates::{Checks, Rates};
use crate::redis::{Redis, RedisConfig, RedisStartError};
use crate::socket::Sockets;
use crate::store::Store;
use crate::tree::Trees;
use crate::{checkpoint, drain, follow, fsck, gc, listen, metrics, rates, revoke};

/// The journal, in the data directory.
const JOURNAL: &str = "journal.redb";
/// How long tasks may take to end once the listener is closed.
const END: Duration = Duration::from_secs(30);

/// Why a server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The data directory cannot be made or locked.
    #[error(
        "the data directory {path} cannot be used: {source}; check that it exists and is writable"
    )]
    DataDir {
        /// Which.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Another server uses it.
    #[error(
        "the data directory {0} is in use by another fsync-server: stop it, or give another --data-dir"
    )]
    InUse(String),
    /// A verb was given a directory without a server's data.
    #[error("{0} holds no data of an fsync-server (there is no journal.redb): give its --data-dir")]
    NoData(String),
    /// The journal cannot be opened.
    #[error(
        "{0}; restore the data directory from a backup, or move journal.redb away to start without history"
    )]
    Journal(#[from] JournalError),
    /// Redis cannot be used.
    #[error(transparent)]
    Redis(#[from] RedisStartError),
    /// The blob store cannot be opened.
    #[error(transparent)]
    Blobs(#[from] BlobError),
    /// Redis may lose contents that were acknowledged.
    #[error(
        "--blobs {0} would keep contents in a Redis that may lose them when its machine ends: set appendonly yes and \
         appendfsync always there, or keep contents in a directory or a bucket"
    )]
    WeakBlobs(String),
    /// Journal and blob store belong to two services.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The stores cannot be read.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// Tokens cannot be checked.
    #[error("tokens cannot be checked: {0}")]
    Auth(String),
    /// TLS cannot be spoken.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A revocation was not taken.
    #[error("not revoked: {0}")]
    Revoke(String),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}; is another server running there?")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// The stores of a server, the way to other replicas, and the lock on their directory.
#[derive(Debug)]
pub struct Parts {
    /// Journal and blobs.
    pub store: Store,
    /// Wakes other replicas.
    pub bus: Arc<dyn Bus>,
    /// The service's number, if the blob store could be another's.
    pub cluster: Option<ClusterId>,
    /// Held as long as the server runs.
    _lock: Option<File>,
}

/// Opens the stores.
///
/// # Errors
/// [`StartError`].
pub async fn build_parts(config: &Config, tasks: &Shutdown) -> Result<Parts, StartError> {
    let mut parts = connect(config, tasks).await?;
    if let BlobStore::S3(_) | BlobStore::Redis(_) = config.blobs {
        let joined = cluster::join(parts.store.journal(), parts.store.blobs()).await;
        if joined.is_err() {
            parts.store.journal().close().await?;
        }
        parts.cluster = Some(joined?);
    }
    Ok(parts)
}

async fn connect(config: &Config, tasks: &Shutdown) -> Result<Parts, StartError> {
    match &config.redis {
        Some(redis) => build_shared(config, redis, tasks).await,
        None => build_alone(config, tasks).await,
    }
}

/// One of several replicas: the journal is in Redis, the blob store belongs to all.
async fn build_shared(
    config: &Config,
    at: &RedisConfig,
    tasks: &Shutdown,
) -> Result<Parts, StartError> {
    let blobs = open_blobs(&config.blobs).await?;
    let redis = Redis::open(at).await?;
    let bus = Wires::new(redis.clone(), tasks).await;
    let bus = bus.map_err(|error| RedisStartError::unreachable(at, &error))?;
    Ok(Parts {
        store: Store::new(Arc::new(Shared::new(redis)), blobs, tasks.clone()),
        bus: Arc::new(bus),
        cluster: None,
        _lock: None,
    })
}

/// The only replica: journal and blobs are its own.
async fn build_alone(config: &Config, tasks: &Shutdown) -> Result<Parts, StartError> {
    // Before the journal, which would have to be closed.
    let blobs = open_blobs(&config.blobs).await?;
    let (journal, lock): (Arc<dyn Journal>, _) = match &config.blobs {
        BlobStore::Memory => (Arc::new(Memory::default()), None),
        BlobStore::Directory(_) | BlobStore::S3(_) | BlobStore::Redis(_) => {
            let lock = lock_dir(&config.data_dir)?;
            let journal = Redb::open(&config.data_dir.join(JOURNAL))?;
            (Arc::new(journal), Some(lock))
        }
    };
    Ok(Parts {
        store: Store::new(journal, blobs, tasks.clone()),
        bus: Arc::new(Line::default().member()),
        cluster: None,
        _lock: lock,
    })
}

/// Opens the blob store; one behind a network must answer.
async fn open_blobs(at: &BlobStore) -> Result<Blobs, StartError> {
    match at {
        BlobStore::Memory => Ok(Blobs::memory()),
        BlobStore::Directory(path) => Ok(Blobs::directory(path)?),
        BlobStore::Redis(config) => {
            let redis = Redis::open(config).await?;
            match redis.keeps_writes() {
                true => Ok(Blobs::redis(redis, &config.address())),
                false => Err(StartError::WeakBlobs(config.address())),
            }
        }
        BlobStore::S3(config) => {
            let blobs = Blobs::bucket(config)?;
            blobs.tenants().await?;
            Ok(blobs)
        }
    }
}

/// Opens stores for a verb, which must not make them: a mistyped directory would look sound.
async fn existing_parts(config: &Config, tasks: &Shutdown) -> Result<Parts, StartError> {
    if config.redis.is_none() && !config.data_dir.join(JOURNAL).is_file() {
        return Err(StartError::NoData(config.data_dir.display().to_string()));
    }
    build_parts(config, tasks).await
}

fn lock_dir(path: &Path) -> Result<File, StartError> {
    let failed = |source| StartError::DataDir {
        path: path.display().to_string(),
        source,
    };
    fs::create_dir_all(path).map_err(failed)?;
    let file = File::create(path.join("lock")).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StartError::InUse(path.display().to_string())),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

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
    (sockets, trees): (&Sockets, &Trees),
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
    if parts._lock.is_some() {
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
        gc::run(parts.store.clone(), config.retention, tasks.clone()),
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
        let (ready, admin) = open_admin(&config, &late).await?;
        let tls = open_tls(&config, &tasks)?;
        let parts = build_parts(&config, &tasks).await?;
        ready.check(hears(Arc::clone(&parts.bus)));
        let listener = bind(config.listen).await?;
        let address = listener.local_addr().unwrap_or(config.listen);
        let bus = &parts.bus;
        let checks = Checks {
            auth: open_auth(&config.access, &parts, &tasks).await?,
            rates: Rates::default(),
        };
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
        start_background(&config, &parts, (&sockets, &trees), &tasks);
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

/// Opens the admin port, if there is to be one, before anything that may take long.
async fn open_admin(
    config: &Config,
    late: &Shutdown,
) -> Result<(Ready, Option<SocketAddr>), StartError> {
    let ready = Ready::default();
    let Some(address) = config.admin else {
        return Ok((ready, None));
    };
    let listener = bind(address).await?;
    let address = listener.local_addr().unwrap_or(address);
    info!(%address, "admin port");
    let serve = admin::serve(listener, ready.clone(), late.clone());
    drop(late.spawn("admin", serve));
    Ok((ready, Some(address)))
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

/// Collects garbage once in the stores of a server that does not run.
///
/// # Errors
/// [`StartError`]; `InUse` while the server runs, which collects by itself.
pub fn collect_once(config: &Config, is_dry: bool) -> Later<'_, Result<gc::Collected, StartError>> {
    Box::pin(collect(config, is_dry))
}

async fn collect(config: &Config, is_dry: bool) -> Result<gc::Collected, StartError> {
    let tasks = Shutdown::new();
    let parts = existing_parts(config, &tasks).await?;
    let collected = gc::collect_alone(&parts.store, &config.retention, is_dry).await;
    parts.store.journal().close().await?;
    // The bus, if there is one, ends by itself.
    tasks.trigger();
    collected?.ok_or_else(|| ConfigError::SharedGc.into())
}

/// Takes the journal's heads for the truth, whatever the blob store remembers; returns how many it
/// remembered otherwise.
///
/// # Errors
/// [`StartError`]; `InUse` while the server runs.
pub fn accept_once(config: &Config) -> Later<'_, Result<usize, StartError>> {
    Box::pin(accept(config))
}

async fn accept(config: &Config) -> Result<usize, StartError> {
    let tasks = Shutdown::new();
    let parts = existing_parts(config, &tasks).await?;
    let trees = parts.store.journal().trees().await?;
    let tenants: BTreeSet<TenantName> = trees.into_iter().map(|tree| tree.tenant).collect();
    let mut count = 0;
    for tenant in &tenants {
        count += checkpoint::accept(&parts.store, tenant).await?;
    }
    parts.store.journal().close().await?;
    tasks.trigger();
    Ok(count)
}

/// Checks the stores of a server that does not run.
///
/// # Errors
/// [`StartError`]; `InUse` while the server runs.
pub fn check_once(config: &Config, repairs: bool) -> Later<'_, Result<fsck::Report, StartError>> {
    Box::pin(check(config, repairs))
}

async fn check(config: &Config, repairs: bool) -> Result<fsck::Report, StartError> {
    let tasks = Shutdown::new();
    let parts = existing_parts(config, &tasks).await?;
    let checked = fsck::check(&parts.store, &config.retention, repairs).await;
    parts.store.journal().close().await?;
    // The bus, if there is one, ends by itself.
    tasks.trigger();
    Ok(checked?)
}

/// Shuts a token or a subject out, in the journal that replicas share, or by a note to the server
/// that has it open.
///
/// # Errors
/// [`StartError`] that says what to change.
pub async fn revoke_once(config: &Config, revocation: Revocation) -> Result<(), StartError> {
    let tasks = Shutdown::new();
    let parts = match existing_parts(config, &tasks).await {
        Ok(parts) => parts,
        Err(StartError::InUse(_)) => {
            let left = revoke::leave_note(&config.data_dir, &revocation).await;
            return left.map_err(StartError::Revoke);
        }
        Err(error) => return Err(error),
    };
    let revoked = parts.store.journal().revoke(revocation).await;
    parts.store.journal().close().await?;
    tasks.trigger();
    match revoked? {
        true => Ok(()),
        false => Err(StartError::Revoke(format!(
            "{REVOCATIONS} revocations are kept already: change the key instead"
        ))),
    }
}

/// Makes a new journal that of the service whose contents the blob store holds.
///
/// # Errors
/// [`StartError`] that says why not.
pub fn adopt_once(config: &Config) -> Later<'_, Result<ClusterId, StartError>> {
    Box::pin(adopt(config))
}

async fn adopt(config: &Config) -> Result<ClusterId, StartError> {
    let tasks = Shutdown::new();
    let parts = connect(config, &tasks).await?;
    let adopted = cluster::adopt(parts.store.journal(), parts.store.blobs()).await;
    parts.store.journal().close().await?;
    tasks.trigger();
    Ok(adopted?)
}
