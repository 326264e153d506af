//! Connecting to Redis at start, and what is refused then, with what to do.

use std::sync::Arc;
use std::time::Duration;

use fred::error::{Error, ErrorKind};
use fred::interfaces::ClientLike;
use fred::types::config::{Config, TlsConfig, TlsConnector};
use fred::types::{Builder, RespVersion};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use super::keys::Keys;
use super::{Inner, Redis, RedisConfig, RedisError, probe, settings};

/// How long the first connection may take, failing nodes of a Cluster or Sentinel included.
const START: Duration = Duration::from_secs(10);

/// Why a Redis cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RedisStartError {
    /// The URL makes no sense.
    #[error(
        "--redis is no Redis URL: {0}; use redis://[USER:PASSWORD@]HOST[:PORT][/DB], \
         redis-sentinel://HOST:26379?sentinelServiceName=NAME[&node=HOST:PORT], \
         redis-cluster://HOST:PORT[?node=HOST:PORT], and rediss instead of redis for TLS"
    )]
    Url(String),
    /// The file of certificates cannot be used.
    #[error("--redis-ca-file {path}: {reason}; give a file of PEM certificates")]
    Certificates {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Nobody answers.
    #[error(
        "Redis at {at} cannot be reached: {reason}; check that it runs there and that --redis names it \
         (rediss:// for TLS, redis-cluster:// for a Cluster)"
    )]
    Unreachable {
        /// Where.
        at: String,
        /// What was tried last.
        reason: String,
    },
    /// It wants another user or password.
    #[error(
        "Redis at {at} refuses the login: {reason}; give them in --redis, as in redis://USER:PASSWORD@HOST"
    )]
    Login {
        /// Where.
        at: String,
        /// Its words.
        reason: String,
    },
    /// Too old.
    #[error(
        "Redis at {at} is version {found}: fsync needs 7.0 or newer (or Valkey), for sharded publish"
    )]
    Version {
        /// Where.
        at: String,
        /// Its version.
        found: String,
    },
    /// It cannot be written.
    #[error(
        "Redis at {at} is a replica that cannot be written: give its master in --redis, or redis-sentinel:// to be \
         led to it"
    )]
    ReadOnly {
        /// Where.
        at: String,
    },
    /// It forgets keys when it is full.
    #[error(
        "Redis at {at} drops keys when it is full (maxmemory-policy {found}), and heads of trees with them: \
         set it to noeviction (CONFIG SET maxmemory-policy noeviction, and in redis.conf)"
    )]
    Eviction {
        /// Where.
        at: String,
        /// The policy.
        found: String,
    },
    /// Scripts cannot run.
    #[error(
        "Redis at {at} does not run our scripts: {reason}; allow the user EVAL, EVALSHA, SPUBLISH and SSUBSCRIBE on \
         its keys and channels (ACL SETUSER NAME ~{prefix}:* &{prefix}:* +@all)"
    )]
    Scripts {
        /// Where.
        at: String,
        /// Its words.
        reason: String,
        /// First part of our keys.
        prefix: String,
    },
}

impl RedisStartError {
    /// Makes the error for a further connection that cannot be made.
    pub(crate) fn unreachable(config: &RedisConfig, error: &RedisError) -> Self {
        Self::Unreachable {
            at: config.address(),
            reason: error.to_string(),
        }
    }
}

impl Redis {
    /// Connects and checks that this Redis keeps what it is given.
    ///
    /// # Errors
    /// [`RedisStartError`] that says what to change.
    pub async fn open(config: &RedisConfig) -> Result<Self, RedisStartError> {
        let mut builder = Builder::from_config(client_config(config)?);
        settings(&mut builder);
        let at = config.address();
        let started = |error: Error| start_error(&at, &error);
        let client = builder.build().map_err(started)?;
        let connected = tokio::time::timeout(START, client.init()).await;
        match connected {
            Ok(connected) => drop(connected.map_err(started)?),
            Err(_elapsed) => {
                return Err(RedisStartError::Unreachable {
                    at,
                    reason: format!("no answer within {START:?}"),
                });
            }
        }
        let keys = Keys::new(&config.prefix);
        let keeps_writes = probe::check(&client, &at).await?;
        let redis = Self(Arc::new(Inner {
            client,
            builder,
            keys,
            keeps_writes,
        }));
        probe::check_scripts(&redis, config).await?;
        Ok(redis)
    }
}

pub(super) fn start_error(at: &str, error: &Error) -> RedisStartError {
    let (at, reason) = (at.to_owned(), error.to_string());
    match error.kind() {
        ErrorKind::Auth => RedisStartError::Login { at, reason },
        ErrorKind::Url | ErrorKind::Config => RedisStartError::Url(reason),
        _ => RedisStartError::Unreachable { at, reason },
    }
}

/// Returns what a script's failure at start means.
pub(super) fn script_error(config: &RedisConfig, error: RedisError) -> RedisStartError {
    let at = config.address();
    match error {
        RedisError::Unreachable(reason) if !reason.starts_with("READONLY") => {
            RedisStartError::Unreachable { at, reason }
        }
        RedisError::Unreachable(reason)
        | RedisError::Full(reason)
        | RedisError::Refused(reason) => RedisStartError::Scripts {
            at,
            reason,
            prefix: config.prefix.clone(),
        },
    }
}

fn client_config(config: &RedisConfig) -> Result<Config, RedisStartError> {
    let scheme = config.url.split("://").next().unwrap_or_default();
    let kinds = ["", "-sentinel", "-cluster"];
    let is_known = |name: &str| {
        let rest = scheme.strip_prefix(name);
        rest.is_some_and(|rest| kinds.contains(&rest))
    };
    if !config.url.contains("://") || !(is_known("redis") || is_known("rediss")) {
        return Err(RedisStartError::Url(format!("{:?}", config.address())));
    }
    let mut client =
        Config::from_url(&config.url).map_err(|e| RedisStartError::Url(e.to_string()))?;
    client.version = RespVersion::RESP3;
    if let Some(path) = &config.ca_file {
        let failed = |reason: String| RedisStartError::Certificates {
            path: path.display().to_string(),
            reason,
        };
        let mut roots = RootCertStore::empty();
        let found = CertificateDer::pem_file_iter(path).map_err(|e| failed(e.to_string()))?;
        for certificate in found {
            let certificate = certificate.map_err(|e| failed(e.to_string()))?;
            roots.add(certificate).map_err(|e| failed(e.to_string()))?;
        }
        if roots.is_empty() {
            return Err(failed("it holds no certificate".to_owned()));
        }
        let tls = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        client.tls = Some(TlsConfig::from(TlsConnector::from(tls)));
    }
    Ok(client)
}
