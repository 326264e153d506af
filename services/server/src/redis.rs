//! Redis as journal and bus use it: connection, scripts, errors by what the caller must do.
//!
//! Guarantees: every call ends within [`COMMAND`] by an answer or an error; connections that broke
//! or hang are made anew for ever; what waits for a connection is bounded; scripts go by their hash
//! and are loaded where a server does not know them, so that a failover or a new node of a Cluster
//! costs one more round trip.
//! Does not: say whether a call that failed was carried out. Scripts may therefore run twice.
//! Place: with `redis/`, `journal/redis.rs` and `bus/redis.rs` the only code that knows fred.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::vec;

use bytes::Bytes;
use fred::clients::{Client, SubscriberClient};
use fred::error::{Error, ErrorKind};
use fred::interfaces::{ClientLike, LuaInterface};
use fred::types::config::{
    ConnectionConfig, PerformanceConfig, ReconnectPolicy, UnresponsiveConfig,
};
use fred::types::{Builder, ClusterHash, CustomCommand, Key, Value};

pub(crate) mod keys;
mod open;
mod probe;
pub(crate) mod script;
pub(crate) mod wake;

use keys::Keys;
pub use open::RedisStartError;
use script::Script;

/// Longest wait for an answer, so that a request ends long before its caller gives up.
const COMMAND: Duration = Duration::from_secs(5);
/// A connection whose oldest question is older than this is made anew.
const UNRESPONSIVE: Duration = Duration::from_secs(4);
/// How often that is looked at.
const UNRESPONSIVE_LOOK: Duration = Duration::from_secs(1);
/// Longest wait for one connection.
const CONNECT: Duration = Duration::from_secs(3);
/// Shortest and longest pause before a connection is made anew, and jitter, in milliseconds.
const RECONNECT_MIN_MS: u32 = 50;
const RECONNECT_MAX_MS: u32 = 2000;
const RECONNECT_JITTER_MS: u32 = 100;
/// Commands that may wait for a connection; more are refused, so that memory stays bounded.
const WAITING_COMMANDS: usize = 16_384;
/// Messages that may wait for the bus; fred's default of 32 loses most of a burst.
const WAITING_MESSAGES: usize = 65_536;

/// Which Redis, and what is ours in it.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisConfig {
    /// `redis://`, `rediss://`, `redis-sentinel://` or `redis-cluster://` and so on; may hold a
    /// password.
    pub url: String,
    /// First part of every key; another prefix is another service.
    pub prefix: String,
    /// Certificates that the server's own must descend from; else those of the system.
    pub ca_file: Option<PathBuf>,
}

impl RedisConfig {
    /// Returns the address without what is secret.
    pub fn address(&self) -> String {
        let (scheme, rest) = self.url.split_once("://").unwrap_or(("", &self.url));
        let rest = rest.split(['?', '/']).next().unwrap_or_default();
        let host = rest.rsplit('@').next().unwrap_or_default();
        format!("{scheme}://{host}")
    }
}

impl fmt::Debug for RedisConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisConfig")
            .field("address", &self.address())
            .field("prefix", &self.prefix)
            .field("ca_file", &self.ca_file)
            .finish()
    }
}

/// Why Redis did not answer as it should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RedisError {
    /// No answer came, or the server cannot serve for now; whether it did what was asked is not
    /// known. Ask again.
    #[error("Redis does not answer: {0}")]
    Unreachable(String),
    /// It has no memory left; nothing was changed.
    #[error("Redis is full: {0}")]
    Full(String),
    /// It refused, or answered something that nobody understands.
    #[error("Redis refused: {0}")]
    Refused(String),
}

/// Answers by which a server says that it cannot serve now and may later.
const PASSING: &[&str] = &[
    "READONLY",
    "LOADING",
    "CLUSTERDOWN",
    "MASTERDOWN",
    "TRYAGAIN",
    "MISCONF",
    "NOREPLICAS",
    "BUSY",
    "MOVED",
    "ASK",
    "UNBLOCKED",
];

impl From<Error> for RedisError {
    fn from(error: Error) -> Self {
        let text = error.details();
        let code = text.split([' ', ':']).next().unwrap_or_default();
        // A script hands on the error of the command that failed in it, behind its own words.
        let is = |word: &str| code == word || text.contains(&format!("-{word} "));
        if is("OOM") {
            return Self::Full(text.to_owned());
        }
        let is_passing = PASSING.iter().any(|word| is(word));
        match error.kind() {
            ErrorKind::IO
            | ErrorKind::Timeout
            | ErrorKind::Canceled
            | ErrorKind::Routing
            | ErrorKind::Cluster
            | ErrorKind::Sentinel
            | ErrorKind::Tls
            | ErrorKind::Backpressure => Self::Unreachable(text.to_owned()),
            _ if is_passing
                || text.starts_with("Client is not")
                || text.starts_with("Failed to send") =>
            {
                Self::Unreachable(text.to_owned())
            }
            _ => Self::Refused(text.to_owned()),
        }
    }
}

/// A connection to Redis; clones share it.
#[derive(Debug, Clone)]
pub struct Redis(Arc<Inner>);

struct Inner {
    client: Client,
    builder: Builder,
    keys: Keys,
    keeps_writes: bool,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The builder holds the password.
        f.debug_struct("Redis").field("keys", &self.keys).finish()
    }
}

fn settings(builder: &mut Builder) {
    builder
        .with_performance_config(|config: &mut PerformanceConfig| {
            config.default_command_timeout = COMMAND;
            config.broadcast_channel_capacity = WAITING_MESSAGES;
        })
        .with_connection_config(|config: &mut ConnectionConfig| {
            config.connection_timeout = CONNECT;
            config.internal_command_timeout = CONNECT;
            config.max_command_buffer_len = WAITING_COMMANDS;
            config.reconnect_on_auth_error = true;
            config.tcp.nodelay = Some(true);
            config.unresponsive = UnresponsiveConfig {
                max_timeout: Some(UNRESPONSIVE),
                interval: UNRESPONSIVE_LOOK,
            };
        });
    let mut policy = ReconnectPolicy::new_exponential(0, RECONNECT_MIN_MS, RECONNECT_MAX_MS, 2);
    policy.set_jitter(RECONNECT_JITTER_MS);
    builder.set_policy(policy);
}

impl Redis {
    pub(crate) fn keys(&self) -> &Keys {
        &self.0.keys
    }

    /// Returns whether what Redis acknowledged survives the loss of power: its append-only file is
    /// synced before each answer.
    pub(crate) fn keeps_writes(&self) -> bool {
        self.0.keeps_writes
    }

    /// Runs a command whose first argument is a key.
    pub(crate) async fn call(
        &self,
        command: &'static str,
        key: String,
        args: Vec<Bytes>,
    ) -> Result<Value, RedisError> {
        let command = CustomCommand::new_static(command, ClusterHash::FirstKey, false);
        let mut all = Vec::with_capacity(args.len() + 1);
        all.push(Value::from(key));
        all.extend(args.into_iter().map(Value::Bytes));
        Ok(self.0.client.custom(command, all).await?)
    }

    /// Runs a script.
    pub(crate) async fn run(
        &self,
        script: &Script,
        keys: Vec<String>,
        args: Vec<Bytes>,
    ) -> Result<Value, RedisError> {
        let client = &self.0.client;
        let keys: Vec<Key> = keys.into_iter().map(Key::from).collect();
        let args: Vec<Value> = args.into_iter().map(Value::Bytes).collect();
        let run = client.evalsha(script.hash.as_str(), keys.clone(), args.clone());
        match run.await {
            Err(error) if error.details().starts_with("NOSCRIPT") => {
                Ok(client.eval(script.text, keys, args).await?)
            }
            result => Ok(result?),
        }
    }

    /// Makes a client for subscriptions, not connected yet.
    pub(crate) fn subscriber(&self) -> Result<SubscriberClient, RedisError> {
        Ok(self.0.builder.build_subscriber_client()?)
    }

    /// Closes the connection; later calls fail.
    pub(crate) async fn close(&self) {
        // One that is broken is closed already.
        drop(self.0.client.quit().await);
    }
}

/// Returns the elements of an array; anything else is one element.
pub(crate) fn list(value: Value) -> Vec<Value> {
    match value {
        Value::Null => Vec::new(),
        value => value.into_array(),
    }
}

/// Returns the elements of a list two by two; what a map holds comes so too.
pub(crate) fn pairs(value: Value) -> impl Iterator<Item = (Value, Value)> {
    let flat = match value {
        Value::Map(map) => {
            let pairs = map.inner().into_iter();
            pairs
                .flat_map(|(key, value)| [Value::Bytes(key.into_bytes()), value])
                .collect()
        }
        other => list(other),
    };
    Pairs(flat.into_iter())
}

struct Pairs(vec::IntoIter<Value>);

impl Iterator for Pairs {
    type Item = (Value, Value);

    fn next(&mut self) -> Option<Self::Item> {
        Some((self.0.next()?, self.0.next()?))
    }
}

/// Returns bytes; `None` for nothing.
pub(crate) fn bytes(value: Value) -> Option<Bytes> {
    value.into_bytes()
}

/// Returns a number, also one in decimal digits.
pub(crate) fn number(value: &Value) -> Option<u64> {
    match value {
        Value::Integer(number) => u64::try_from(*number).ok(),
        // A map's keys are bytes.
        other => std::str::from_utf8(other.as_bytes()?).ok()?.parse().ok(),
    }
}

/// Returns whether a script said yes.
pub(crate) fn is_yes(value: &Value) -> bool {
    matches!(value, Value::Integer(1))
}

/// Writes a number as Redis reads it.
pub(crate) fn decimal(number: u64) -> Bytes {
    Bytes::from(number.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_apart_by_what_to_do() {
        let of = |kind, text: &'static str| RedisError::from(Error::new(kind, text));
        let full = "OOM command not allowed when used memory > 'maxmemory'.";
        assert!(matches!(of(ErrorKind::Unknown, full), RedisError::Full(_)));
        let gone = of(ErrorKind::IO, "connection reset");
        assert!(matches!(gone, RedisError::Unreachable(_)));
        let replica = of(
            ErrorKind::Unknown,
            "READONLY You can't write against a read only replica.",
        );
        assert!(matches!(replica, RedisError::Unreachable(_)));
        let wrong = of(
            ErrorKind::InvalidArgument,
            "WRONGTYPE Operation against a key",
        );
        assert!(matches!(wrong, RedisError::Refused(_)));
    }

    #[test]
    fn a_password_is_never_shown() {
        let config = RedisConfig {
            url: "rediss-sentinel://me:se@cret@host:26379/0?sentinelPassword=secret".to_owned(),
            prefix: "fsync".to_owned(),
            ca_file: None,
        };
        assert_eq!(config.address(), "rediss-sentinel://host:26379");
        assert!(!format!("{config:?}").contains("cret"));
    }
}
