//! The command line: flags and verbs of `fsync-server`, and how they become a [`Config`].

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use fsync_runtime::{LogArgs, duration};

use crate::config::{BlobStore, Config, ConfigError, Drain, Retention};
use crate::redis::RedisConfig;

mod access;
mod bucket;
mod network;
mod token;

use access::AccessArgs;
use network::NetworkArgs;
pub use token::{RevokeArgs, TokenArgs};

/// Drain time of a replica, in seconds.
const DRAIN_SECONDS: u64 = 45;

/// Keeps folders in step across machines: the service that agents connect to.
#[derive(Debug, Parser)]
#[command(name = "fsync-server", version)]
pub struct Cli {
    /// What to do; without a verb the server runs
    #[command(subcommand)]
    pub verb: Option<Verb>,
    /// Flags of the server
    #[command(flatten)]
    pub server: ServerArgs,
    /// Flags of the log
    #[command(flatten)]
    pub log: LogArgs,
}

/// Verbs beside running the server.
#[derive(Debug, Clone, Subcommand)]
pub enum Verb {
    /// Make a token for an agent, and print it
    Token(TokenArgs),
    /// Shut a token or all tokens of a subject out, on all replicas within 5 seconds
    Revoke(RevokeArgs),
    /// Collect garbage once, on the data directory of a server that does not run
    Gc {
        /// Only say what would go
        #[arg(long)]
        dry_run: bool,
        /// First take the journal's heads for the truth, although the blob store remembers others:
        /// contents that only those need may go
        #[arg(long)]
        accept_heads: bool,
    },
    /// Make a new journal that of the service whose contents --blobs s3:// holds, because that
    /// service's own journal was lost
    Adopt,
    /// Check that everything the trees need is here and true, on the data directory of a server
    /// that does not run
    Fsck {
        /// Forget places that are proven to be empty or rotten, so that agents are asked for what
        /// stood there
        #[arg(long)]
        repair: bool,
    },
}

/// Flags of the server.
#[derive(Debug, Clone, Args)]
pub struct ServerArgs {
    /// Where to listen; port 0 takes a free one
    #[arg(
        long,
        env = "FSYNC_LISTEN",
        default_value = "127.0.0.1:8484",
        value_name = "HOST:PORT"
    )]
    listen: String,
    /// Where journal and blobs are kept [default: $XDG_DATA_HOME/fsync-server or
    /// ~/.local/share/fsync-server]
    #[arg(long, env = "FSYNC_DATA_DIR", value_name = "DIR", global = true)]
    data_dir: Option<PathBuf>,
    /// Where contents are kept: file:///path, s3://BUCKET/PREFIX?endpoint=URL&region=NAME,
    /// redis: for the Redis of --redis (or a URL of another), or memory: [default: DATA_DIR/blobs]
    #[arg(long, env = "FSYNC_BLOBS", value_name = "URL", global = true)]
    blobs: Option<String>,
    /// Redis that this replica shares with others: redis://, redis-sentinel:// or redis-cluster://,
    /// rediss for TLS, with USER:PASSWORD@ if needed; --blobs must then be the same for all
    #[arg(
        long,
        env = "FSYNC_REDIS",
        hide_env_values = true,
        value_name = "URL",
        global = true
    )]
    redis: Option<String>,
    /// First part of all keys in Redis; another prefix is another service
    #[arg(
        long,
        env = "FSYNC_REDIS_PREFIX",
        default_value = "fsync",
        value_name = "TEXT",
        global = true
    )]
    redis_prefix: String,
    /// Certificates (PEM) that Redis's own must descend from [default: those of the system]
    #[arg(long, env = "FSYNC_REDIS_CA_FILE", value_name = "FILE", global = true)]
    redis_ca_file: Option<PathBuf>,
    /// Who may connect
    #[command(flatten)]
    access: AccessArgs,
    /// How they connect
    #[command(flatten)]
    network: NetworkArgs,
    /// Contents of revisions younger than this are kept
    #[arg(long, env = "FSYNC_RETAIN", default_value = "30d", value_parser = duration, global = true)]
    retain: Duration,
    /// Contents of the newest so many revisions of each tree are kept, however old
    #[arg(
        long,
        env = "FSYNC_RETAIN_REVISIONS",
        default_value_t = 100,
        global = true
    )]
    retain_revisions: usize,
    /// Nothing younger than this is collected
    #[arg(long, env = "FSYNC_GC_GRACE", default_value = "1d", value_parser = duration, global = true)]
    gc_grace: Duration,
    /// Time between two garbage collections; 0s switches them off
    #[arg(long, env = "FSYNC_GC_INTERVAL", default_value = "6h", value_parser = duration)]
    gc_interval: Duration,
    /// Where /livez, /readyz and /startupz are answered; not at all if not given
    #[arg(long, env = "FSYNC_ADMIN_LISTEN", value_name = "HOST:PORT")]
    admin_listen: Option<String>,
    /// Open the admin API for the controller, on the admin port, to whoever has the secret in this
    /// file; read again when it changes
    #[arg(long, env = "FSYNC_ADMIN_TOKEN_FILE", value_name = "FILE")]
    admin_token_file: Option<PathBuf>,
    /// Over how many seconds agents are sent to other replicas at the end; it is over as soon as
    /// nobody is left [default: 45 with --redis, else 0]
    #[arg(long, env = "FSYNC_DRAIN_SECONDS", value_name = "SECONDS")]
    drain_seconds: Option<u64>,
}

impl ServerArgs {
    /// Returns the validated configuration. Reads `XDG_DATA_HOME` and `HOME`.
    ///
    /// # Errors
    /// [`ConfigError`] that says which flag to change.
    pub fn to_config(&self) -> Result<Config, ConfigError> {
        let data_dir = self.data_dir.clone().or_else(default_data_dir);
        let data_dir = data_dir.ok_or(ConfigError::DataDir)?;
        let config = Config {
            listen: address("--listen", &self.listen)?,
            access: self.access.to_access()?,
            blobs: match &self.blobs {
                None => BlobStore::Directory(data_dir.join("blobs")),
                Some(url) => self.blob_store(url)?,
            },
            data_dir,
            redis: self.redis()?,
            retention: Retention {
                age: self.retain,
                revisions: self.retain_revisions,
                grace: self.gc_grace,
                interval: self.gc_interval,
            },
            drain: self.drain(),
            admin: match &self.admin_listen {
                Some(text) => Some(address("--admin-listen", text)?),
                None => None,
            },
            admin_token: self.admin_token_file.clone(),
            tls: self.network.to_tls()?,
            origins: self.network.to_origins()?,
        };
        config.check()
    }
}

impl ServerArgs {
    fn drain(&self) -> Drain {
        let usual = match self.redis {
            Some(_) => DRAIN_SECONDS,
            None => 0,
        };
        Drain {
            over: Duration::from_secs(self.drain_seconds.unwrap_or(usual)),
            ..Drain::default()
        }
    }

    fn redis(&self) -> Result<Option<RedisConfig>, ConfigError> {
        let at = |url| self.redis_at(url);
        self.redis.as_deref().map(at).transpose()
    }

    fn blob_store(&self, url: &str) -> Result<BlobStore, ConfigError> {
        if url == "redis:" {
            let same = self.redis()?.ok_or(ConfigError::NoRedis)?;
            return Ok(BlobStore::Redis(Box::new(same)));
        }
        if url.starts_with("redis") && url.contains("://") {
            return Ok(BlobStore::Redis(Box::new(self.redis_at(url)?)));
        }
        blob_store(url)
    }

    fn redis_at(&self, url: &str) -> Result<RedisConfig, ConfigError> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if self.redis_prefix.is_empty() || !self.redis_prefix.chars().all(is_plain) {
            return Err(ConfigError::RedisPrefix(self.redis_prefix.clone()));
        }
        Ok(RedisConfig {
            url: url.to_owned(),
            prefix: self.redis_prefix.clone(),
            ca_file: self.redis_ca_file.clone(),
        })
    }
}

fn default_data_dir() -> Option<PathBuf> {
    let dir = |name: &str| {
        std::env::var_os(name)
            .filter(|v| !v.is_empty())
            .map(PathBuf::from)
    };
    let base = dir("XDG_DATA_HOME").or_else(|| Some(dir("HOME")?.join(".local/share")))?;
    Some(base.join("fsync-server"))
}

fn address(flag: &'static str, text: &str) -> Result<SocketAddr, ConfigError> {
    let bad = || ConfigError::Listen(flag, text.to_owned());
    let mut found = text.to_socket_addrs().map_err(|_e| bad())?;
    found.next().ok_or_else(bad)
}

fn blob_store(url: &str) -> Result<BlobStore, ConfigError> {
    if matches!(url, "memory:" | "memory://") {
        return Ok(BlobStore::Memory);
    }
    if let Some(bucket) = url.strip_prefix("s3://") {
        return bucket::from_environment(bucket).map(|config| BlobStore::S3(Box::new(config)));
    }
    match url.strip_prefix("file://") {
        Some(path) if path.starts_with('/') => Ok(BlobStore::Directory(PathBuf::from(path))),
        _ => Err(ConfigError::Blobs(url.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Access;

    fn config(flags: &[&str]) -> Result<Config, ConfigError> {
        let mut args = vec!["fsync-server", "--data-dir", "/data"];
        args.extend(flags);
        Cli::parse_from(args).server.to_config()
    }

    #[test]
    fn the_defaults_listen_on_this_machine_only() {
        let config = config(&[]).unwrap();
        assert_eq!(config.listen.to_string(), "127.0.0.1:8484");
        assert_eq!(config.access, Access::Loopback);
        assert_eq!(config.blobs, BlobStore::Directory("/data/blobs".into()));
        assert_eq!(config.retention, Retention::default());
    }

    #[test]
    fn an_address_beyond_loopback_needs_the_insecure_flag() {
        let refused = config(&["--listen", "0.0.0.0:1"]).unwrap_err();
        assert!(refused.to_string().contains("--insecure-no-auth"));
        assert!(config(&["--listen", "0.0.0.0:1", "--insecure-no-auth"]).is_ok());
    }

    #[test]
    fn blob_urls_are_absolute_files_or_memory() {
        let blobs = |url| config(&["--blobs", url]).map(|c| c.blobs);
        assert_eq!(blobs("file:///x"), Ok(BlobStore::Directory("/x".into())));
        assert_eq!(blobs("memory:"), Ok(BlobStore::Memory));
        assert!(blobs("file://x").is_err());
        let secret = blobs("s3://key:secret@bucket").unwrap_err().to_string();
        assert!(
            secret.contains("AWS_ACCESS_KEY_ID") && !secret.contains("secret@"),
            "{secret}"
        );
    }

    #[test]
    fn replicas_are_drained_and_a_server_alone_is_not() {
        let over = |flags: &[&str]| config(flags).unwrap().drain.over.as_secs();
        let redis = ["--redis", "redis://127.0.0.1"];
        assert_eq!((over(&[]), over(&redis)), (0, DRAIN_SECONDS));
        assert_eq!(over(&["--drain-seconds", "7"]), 7);
        assert_eq!(over(&[&redis[..], &["--drain-seconds", "0"]].concat()), 0);
    }

    #[test]
    fn replicas_share_their_blobs() {
        let redis = ["--redis", "redis://127.0.0.1"];
        assert!(config(&redis).is_ok());
        let memory = [&redis[..], &["--blobs", "memory:"]].concat();
        assert_eq!(config(&memory), Err(ConfigError::Unshared));
        let prefix = [&redis[..], &["--redis-prefix", "{x}"]].concat();
        assert!(matches!(config(&prefix), Err(ConfigError::RedisPrefix(_))));
    }
}
