//! Buckets as the server is given them: fixtures.

use fsync_core::label::TenantName;
use fsync_server::blobs::Blobs;
use fsync_server::blobs::s3::{Credentials, S3Config};
use fsync_server::config::BlobStore;
use fsync_server::redis::RedisConfig;
use fsync_server::{Config, Server};

#[expect(
    dead_code,
    unreachable_pub,
    reason = "it is public where it is at home, and used up there"
)]
#[path = "../../../../tests/s3.rs"]
mod server;

pub(crate) use server::proxy::{Harm, Proxy};
pub(crate) use server::{BUCKET, Kind, S3Server, url_at};

/// Returns how to reach a URL with the servers' credentials.
pub(crate) fn config_of(url: &str) -> S3Config {
    let rest = url.strip_prefix("s3://").unwrap();
    let mut config: S3Config = rest.parse().unwrap();
    config.credentials = Some(Credentials {
        access_key_id: server::ACCESS_KEY.to_owned(),
        secret_access_key: server::SECRET_KEY.to_owned(),
        session_token: None,
    });
    config
}

/// Opens a prefix of the servers' bucket at a port.
pub(crate) fn open(port: u16, prefix: &str) -> Blobs {
    fsync_runtime::crypto::install();
    Blobs::bucket(&config_of(&url_at(port, prefix))).unwrap()
}

pub(crate) fn tenant() -> TenantName {
    "default".parse().unwrap()
}

/// Returns the configuration of a server with its journal in `dir` and its contents in a bucket.
pub(crate) fn server_config(dir: &std::path::Path, url: &str) -> Config {
    fsync_runtime::crypto::install();
    Config {
        blobs: BlobStore::S3(Box::new(config_of(url))),
        ..Config::local(dir)
    }
}

/// Returns a configuration with another bucket.
pub(crate) fn with_bucket(config: Config, bucket: S3Config) -> Config {
    let blobs = BlobStore::S3(Box::new(bucket));
    Config { blobs, ..config }
}

/// Starts a replica.
pub(crate) async fn replica(redis: RedisConfig, url: &str) -> Server {
    let config = Config {
        redis: Some(redis),
        ..server_config(std::path::Path::new("unused"), url)
    };
    Server::start(config).await.unwrap()
}
