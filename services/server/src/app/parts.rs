//! The stores of a server, as its configuration describes them: alone, or one of several replicas.
//!
//! Guarantees: a data directory is used by one server at a time.

use std::fs::{self, File, TryLockError};
use std::path::Path;
use std::sync::Arc;

use fsync_runtime::Shutdown;

use super::error::StartError;
use crate::blobs::Blobs;
use crate::bus::Bus;
use crate::bus::local::Line;
use crate::bus::redis::Wires;
use crate::cluster::{self, ClusterId};
use crate::config::{BlobStore, Config};
use crate::journal::Journal;
use crate::journal::memory::Memory;
use crate::journal::redb::Redb;
use crate::journal::redis::Shared;
use crate::redis::{Redis, RedisConfig, RedisStartError};
use crate::store::Store;

/// The journal, in the data directory.
const JOURNAL: &str = "journal.redb";

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
    pub(super) lock: Option<File>,
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

pub(super) async fn connect(config: &Config, tasks: &Shutdown) -> Result<Parts, StartError> {
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
        lock: None,
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
        lock,
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
pub(super) async fn existing_parts(config: &Config, tasks: &Shutdown) -> Result<Parts, StartError> {
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
