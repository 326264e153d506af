//! What is looked at once, at start: version, role, eviction, durability, scripts.

use fred::clients::Client;
use fred::error::Error;
use fred::interfaces::{ClientLike, FredResult};
use fred::types::config::Server;
use fred::types::{ClusterHash, CustomCommand, Value};
use tracing::warn;

use super::open::{script_error, start_error};
use super::script::PROBE;
use super::{Redis, RedisConfig, RedisStartError};

/// Oldest version with sharded publish.
const OLDEST: u32 = 7;
const NO_EVICTION: &str = "noeviction";

/// Checks every master; returns whether all sync their append-only file before they answer.
pub(super) async fn check(client: &Client, at: &str) -> Result<bool, RedisStartError> {
    let failed = |error: Error| start_error(at, &error);
    let mut keeps_writes = true;
    for server in masters(client) {
        let info = ask(client, server.as_ref(), "INFO", &[])
            .await
            .map_err(failed)?;
        let info = info.as_string().unwrap_or_default();
        let at = || {
            server
                .as_ref()
                .map_or_else(|| at.to_owned(), ToString::to_string)
        };
        let version = field(&info, "redis_version");
        let major = version
            .split('.')
            .next()
            .and_then(|n| n.parse::<u32>().ok());
        if major.is_none_or(|major| major < OLDEST) {
            return Err(RedisStartError::Version {
                at: at(),
                found: version.to_owned(),
            });
        }
        if field(&info, "role") != "master" {
            return Err(RedisStartError::ReadOnly { at: at() });
        }
        let policy = field(&info, "maxmemory_policy");
        if policy != NO_EVICTION {
            return Err(RedisStartError::Eviction {
                at: at(),
                found: policy.to_owned(),
            });
        }
        keeps_writes &= field(&info, "aof_enabled") == "1"
            && is_synced(ask(client, server.as_ref(), "CONFIG", &["GET", "appendfsync"]).await);
    }
    if !keeps_writes {
        warn!(
            "Redis may forget its last writes when it ends: contents go to the blob store at once, and agents offer \
             lost heads again; `appendonly yes` and `appendfsync always` make it keep them"
        );
    }
    Ok(keeps_writes)
}

/// Runs a script that does what ours do.
pub(super) async fn check_scripts(
    redis: &Redis,
    config: &RedisConfig,
) -> Result<(), RedisStartError> {
    let probed = redis.run(&PROBE, vec![redis.keys().probe()], Vec::new());
    probed.await.map_err(|e| script_error(config, e))?;
    Ok(())
}

fn masters(client: &Client) -> Vec<Option<Server>> {
    match client.is_clustered() {
        true => client.active_connections().into_iter().map(Some).collect(),
        false => vec![None],
    }
}

async fn ask(
    client: &Client,
    server: Option<&Server>,
    command: &'static str,
    args: &[&str],
) -> FredResult<Value> {
    let command = CustomCommand::new_static(command, ClusterHash::Random, false);
    let args: Vec<Value> = args.iter().map(|arg| Value::from(*arg)).collect();
    match server {
        Some(server) => client.with_cluster_node(server).custom(command, args).await,
        None => client.custom(command, args).await,
    }
}

fn field<'a>(info: &'a str, name: &str) -> &'a str {
    let lines = info.lines().filter_map(|line| line.split_once(':'));
    let found = lines.into_iter().find(|(key, _)| *key == name);
    found.map_or("", |(_, value)| value.trim())
}

/// A server that does not tell, as managed ones do not, is taken for one that does not sync.
fn is_synced(answer: FredResult<Value>) -> bool {
    let Ok(answer) = answer else { return false };
    let words: Vec<String> = match answer {
        Value::Map(map) => map
            .inner()
            .into_values()
            .filter_map(Value::into_string)
            .collect(),
        other => other
            .into_array()
            .into_iter()
            .filter_map(Value::into_string)
            .collect(),
    };
    words.iter().any(|word| word == "always")
}
