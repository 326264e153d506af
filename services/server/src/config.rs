//! The validated configuration: what the flags mean, checked once at start.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use fsync_core::admin::TreeRetention;

use crate::auth::{JwksUrlError, Secret, SecretError, Tokens};
use crate::blobs::s3::{S3Config, S3UrlError};
use crate::listen::tls::TlsFiles;
use crate::redis::RedisConfig;

/// Where contents are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BlobStore {
    /// A directory.
    Directory(PathBuf),
    /// Memory; ends with the process, and the journal with it.
    Memory,
    /// A bucket of S3-compatible storage.
    S3(Box<S3Config>),
    /// Redis, which must sync what it takes before it answers.
    Redis(Box<RedisConfig>),
}

/// Who may connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// Programs on this machine only.
    Loopback,
    /// Everybody who reaches the address, without any check.
    Anyone,
    /// Whoever has a token, to do what it allows.
    Tokens(Box<Tokens>),
}

/// How long what is kept, and when it is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Revisions younger than this keep their contents.
    pub age: Duration,
    /// The newest so many revisions of each tree keep their contents, however old.
    pub revisions: usize,
    /// Nothing younger than this is deleted.
    pub grace: Duration,
    /// Time between two collections; zero switches them off.
    pub interval: Duration,
}

impl Retention {
    /// Returns what holds for a tree whose policy says this.
    pub fn of_tree(self, policy: Option<TreeRetention>) -> Self {
        let policy = policy.unwrap_or_default();
        let revisions = policy.revisions.map(usize::try_from);
        Self {
            age: policy.age_seconds.map_or(self.age, Duration::from_secs),
            revisions: revisions.map_or(self.revisions, |count| count.unwrap_or(usize::MAX)),
            ..self
        }
    }
}

impl Default for Retention {
    fn default() -> Self {
        const HOUR: Duration = Duration::from_secs(60 * 60);
        Self {
            age: HOUR * 24 * 30,
            revisions: 100,
            grace: HOUR * 24,
            interval: HOUR * 6,
        }
    }
}

/// How a replica ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drain {
    /// Time for load balancers to notice that the replica is not ready any more.
    pub lead: Duration,
    /// Over how long sockets are sent away after that; zero sends all away at once, without the
    /// lead.
    pub over: Duration,
}

impl Default for Drain {
    fn default() -> Self {
        Self {
            lead: Duration::from_secs(5),
            over: Duration::ZERO,
        }
    }
}

/// The configuration of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Who may connect.
    pub access: Access,
    /// Where journal and blobs stand; not used with [`BlobStore::Memory`].
    pub data_dir: PathBuf,
    /// Where contents are kept.
    pub blobs: BlobStore,
    /// What several replicas share; without it this server is the only one.
    pub redis: Option<RedisConfig>,
    /// What is kept how long.
    pub retention: Retention,
    /// How sockets are sent away at the end.
    pub drain: Drain,
    /// Where questions about health are answered.
    pub admin: Option<SocketAddr>,
    /// The credential of the admin API; without it there is no such API.
    pub admin_token: Option<PathBuf>,
    /// Certificates, if it speaks TLS itself.
    pub tls: Option<TlsFiles>,
    /// Web pages that may ask.
    pub origins: Vec<Origin>,
}

/// Where a web page is from: `https://HOST[:PORT]`, as browsers say it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin(String);

impl Origin {
    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for Origin {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let bad = || ConfigError::Origin(text.to_owned());
        let host = text
            .strip_prefix("https://")
            .or_else(|| text.strip_prefix("http://"));
        let host = host.ok_or_else(bad)?;
        let is_plain =
            |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.:[]".contains(c);
        let is_good = !host.is_empty() && host.chars().all(is_plain);
        is_good.then(|| Self(text.to_owned())).ok_or_else(bad)
    }
}

/// A configuration that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Listening beyond this machine without authentication.
    #[error(
        "--listen {0} is reachable from other machines, and this server asks for no tokens: give --auth-hs256-file FILE \
         (`fsync-server token --new-key --key-file FILE` makes one) or --auth-jwks URL, listen on 127.0.0.1 (an SSH tunnel \
         reaches it there), or give --insecure-no-auth to let anybody read and write all trees"
    )]
    Open(SocketAddr),
    /// Contents in the Redis of `--redis`, and there is none.
    #[error("--blobs redis: keeps contents in the Redis that --redis names, and it names none")]
    NoRedis,
    /// Two ways to say who may connect.
    #[error(
        "--auth-hs256-file, --auth-jwks and --insecure-no-auth exclude one another: give one of them"
    )]
    Access,
    /// An origin that no browser says.
    #[error(
        "--cors-origin {0:?} is no origin: give https://HOST or https://HOST:PORT, in lower case, without a path; * is \
         not taken, because any page could then act with what its user lends it"
    )]
    Origin(String),
    /// A credential for a port that is not there.
    #[error(
        "--admin-token-file opens the admin API, which is on the port of --admin-listen: give that too"
    )]
    AdminToken,
    /// Half of what TLS needs.
    #[error(
        "--tls-cert-file and --tls-key-file belong together, and --tls-client-ca-file needs both"
    )]
    Tls,
    /// Whose tokens, and for whom, is not said.
    #[error(
        "--auth-jwks needs --auth-issuer and --auth-audience: without them the server would take tokens that the issuer \
         made for others"
    )]
    Audience,
    /// The secret cannot be used.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The issuer's address cannot be used.
    #[error(transparent)]
    Jwks(#[from] JwksUrlError),
    /// A blob store that does not exist.
    #[error(
        "--blobs {0:?} is no blob store: use file:///absolute/path, s3://BUCKET, redis: or memory:"
    )]
    Blobs(String),
    /// A bucket's URL that cannot be used; not repeated, it may hold what is secret.
    #[error(
        "--blobs s3:// cannot be used: {0}; as in s3://BUCKET/PREFIX?endpoint=https://HOST:PORT&region=NAME"
    )]
    S3(#[from] S3UrlError),
    /// A file of credentials that cannot be read.
    #[error(
        "the credentials in {path} cannot be read: {reason}; AWS_SHARED_CREDENTIALS_FILE names another file"
    )]
    Credentials {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
    /// Contents that other replicas cannot read.
    #[error(
        "--redis shares trees with other replicas, which cannot read --blobs memory: give --blobs s3://BUCKET or \
         file:///DIR, the same for all replicas"
    )]
    Unshared,
    /// Another collector.
    #[error(
        "a replica of this service collects garbage by itself, or did until a moment ago: nothing was changed; \
         with --dry-run it is said what would go"
    )]
    SharedGc,
    /// A prefix that would make keys of another shape.
    #[error("--redis-prefix {0:?} is no prefix: use letters, digits, '.', '_', '-'")]
    RedisPrefix(String),
    /// Neither a flag nor the environment says where data goes.
    #[error("neither --data-dir nor XDG_DATA_HOME nor HOME is set: give --data-dir DIR")]
    DataDir,
    /// The address cannot be understood.
    #[error("{0} {1:?} is not an address: use HOST:PORT, as in 127.0.0.1:8484")]
    Listen(&'static str, String),
}

impl Config {
    /// Makes the configuration of a server in memory on a free port of this machine: for tests and
    /// demos.
    pub fn memory() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            access: Access::Loopback,
            data_dir: PathBuf::new(),
            blobs: BlobStore::Memory,
            redis: None,
            retention: Retention::default(),
            drain: Drain::default(),
            admin: None,
            admin_token: None,
            tls: None,
            origins: Vec::new(),
        }
    }

    /// Makes the configuration of a server that keeps its data in `dir`, on a free port of this
    /// machine.
    pub fn local(dir: impl Into<PathBuf>) -> Self {
        let data_dir = dir.into();
        Self {
            blobs: BlobStore::Directory(data_dir.join("blobs")),
            data_dir,
            ..Self::memory()
        }
    }

    /// Checks what two settings say together.
    ///
    /// # Errors
    /// [`ConfigError::Open`], [`ConfigError::Unshared`].
    pub fn check(self) -> Result<Self, ConfigError> {
        if self.access == Access::Loopback && !self.listen.ip().is_loopback() {
            return Err(ConfigError::Open(self.listen));
        }
        if let Some(path) = &self.admin_token {
            // Read again at each request; wrong from the beginning is told at once.
            Secret::read(path)?;
            if self.admin.is_none() {
                return Err(ConfigError::AdminToken);
            }
        }
        if self.redis.is_some() && self.blobs == BlobStore::Memory {
            return Err(ConfigError::Unshared);
        }
        Ok(self)
    }
}
