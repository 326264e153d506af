//! Who may do what, from outside: tokens at a real server, good and bad ones.

use std::time::Duration;

use fsync_server::auth::{Audience, Issuer, Order, Revocation, Secret, Tokens, mint};
use fsync_server::config::Access;
use fsync_server::{Config, Server};
use serde_json::{Value, json};

use crate::agent::{Agent, Files};

pub(crate) mod forge;
mod issuer;
mod rights;
mod sockets;
mod verbs;

/// What a revocation or an expiry may take to count.
const PROMISED: Duration = Duration::from_secs(5);

/// A key and its file.
pub(crate) struct Key {
    secret: Secret,
    pub(crate) text: String,
    pub(crate) path: std::path::PathBuf,
    _dir: tempfile::TempDir,
}

pub(crate) fn key() -> Key {
    use std::os::unix::fs::PermissionsExt;
    fsync_runtime::crypto::install();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key");
    let text = Secret::make().unwrap();
    std::fs::write(&path, &text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    Key {
        secret: Secret::read(&path).unwrap(),
        text,
        path,
        _dir: dir,
    }
}

impl Key {
    /// Returns the configuration of a server that takes this key's tokens.
    pub(crate) fn guards(&self, config: Config) -> Config {
        let tokens = Tokens {
            issuer: Issuer::Secrets(vec![self.secret.clone()]),
            audience: Audience::default(),
        };
        Config {
            access: Access::Tokens(Box::new(tokens)),
            ..config
        }
    }

    pub(crate) async fn server(&self) -> Server {
        Server::start(self.guards(Config::memory())).await.unwrap()
    }

    /// Makes a token as the verb does.
    pub(crate) fn token(&self, tenant: &str, trees: &[&str]) -> String {
        self.order(tenant, trees, Duration::from_secs(600)).0
    }

    fn order(&self, tenant: &str, trees: &[&str], ttl: Duration) -> (String, String) {
        let order = Order {
            subject: "anna".parse().unwrap(),
            tenant: tenant.parse().unwrap(),
            grants: trees.iter().map(|text| text.parse().unwrap()).collect(),
            agent: None,
            ttl,
            audience: Audience::default(),
        };
        let minted = mint(&self.secret, order).unwrap();
        (minted.text, minted.id.to_string())
    }
}

fn files() -> Files {
    Files::from([("a".to_owned(), b"1".to_vec())])
}

fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.unwrap().as_secs()
}

/// Claims that are good at a server with the defaults.
pub(crate) fn claims() -> Value {
    json!({
        "iss": "fsync", "aud": "fsync", "sub": "anna", "jti": "1", "iat": now(), "exp": now() + 600,
        "tenant": "default", "trees": ["docs:rw"],
    })
}

fn revocation(who: &str) -> Revocation {
    let millis = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Revocation {
        who: who.parse().unwrap(),
        since_ms: u64::try_from(millis.unwrap().as_millis()).unwrap(),
    }
}

#[tokio::test]
async fn a_token_of_the_verb_opens_its_trees() {
    let key = key();
    let server = key.server().await;
    let agent = Agent::with_token(
        &server.url(),
        "default/docs",
        &key.token("default", &["docs:rw"]),
    );
    let head = agent.commit(&files(), &[]).await.unwrap().head;
    assert_eq!(agent.pull(None, head.revision).await.unwrap(), files());
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_token_for_one_agent_makes_no_history_of_another() {
    let key = key();
    let server = key.server().await;
    let mut claims = claims();
    claims["agent"] = json!("desk");
    let token = forge::signed(&key, &claims);
    let agent = Agent::with_token(&server.url(), "default/docs", &token);
    // The fixture's agent is called laptop.
    let refused = agent.commit(&files(), &[]).await.unwrap_err();
    assert_eq!(refused.code, fsync_core::wire::ErrorCode::Forbidden);
    assert!(refused.message.contains("laptop"), "{}", refused.message);
    assert_eq!(agent.head().await, None);
    server.shutdown().await.unwrap();
}

/// A replica that Redis does not let read the list must not start with an empty one; with it every
/// replica counts a revocation within the promise.
#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_counts_on_every_replica() {
    use crate::redis::{RedisServer, config_of};
    let (redis, key) = (RedisServer::start().unwrap(), key());
    let dir = tempfile::tempdir().unwrap();
    let config = || Config {
        redis: Some(config_of(&redis)),
        ..key.guards(Config::local(dir.path()))
    };
    let one = Server::start(config()).await.unwrap();
    let two = Server::start(config()).await.unwrap();
    let (token, id) = key.order("default", &["docs:rw"], Duration::from_secs(600));
    let other = key.token("default", &["docs:rw"]);
    let agents = [&one, &two].map(|s| Agent::with_token(&s.url(), "default/docs", &token));
    for agent in &agents {
        assert!(
            agent
                .get_json::<Value>("/v1/trees/default/docs/head")
                .await
                .is_ok()
        );
    }
    let revoked = revocation(&format!("token:{id}"));
    fsync_server::app::revoke_once(&config(), revoked)
        .await
        .unwrap();
    let since = std::time::Instant::now();
    for agent in &agents {
        while agent
            .get_json::<Value>("/v1/trees/default/docs/head")
            .await
            .is_ok()
        {
            assert!(since.elapsed() < PROMISED, "still let in");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let refused = agent
            .get_json::<Value>("/v1/trees/default/docs/head")
            .await
            .unwrap_err();
        assert!(refused.message.contains("revoked"), "{}", refused.message);
    }
    let agent = Agent::with_token(&two.url(), "default/docs", &other);
    assert!(
        agent
            .get_json::<Value>("/v1/trees/default/docs/head")
            .await
            .is_ok()
    );
    one.shutdown().await.unwrap();
    two.shutdown().await.unwrap();
}
