//! Why a server, or a verb on its stores, cannot start; each says what to change.

use std::net::SocketAddr;

use fsync_core::service::error::ServiceError;

use crate::blobs::BlobError;
use crate::cluster::ClusterError;
use crate::config::ConfigError;
use crate::journal::JournalError;
use crate::listen::tls::TlsError;
use crate::redis::RedisStartError;

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
