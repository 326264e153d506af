//! The admin API, as the controller asks it.

use std::net::SocketAddr;
use std::time::Duration;

use fsync_core::admin::{self, IssuedToken, Policy, TreeStatus};
use fsync_core::label::TreeKey;
use fsync_core::wire::{ErrorBody, ErrorCode};
use fsync_server::{Config, Server};
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use crate::agent::{Agent, Files};
use crate::auth::{Key, key};

/// What a change of a policy may take to count.
const PROMISED: Duration = Duration::from_secs(5);

/// A server with an admin API, and its credential.
struct Site {
    server: Server,
    admin: SocketAddr,
    credential: Key,
    tokens: Key,
}

impl Site {
    async fn start() -> Self {
        let (credential, tokens) = (key(), key());
        let config = Config {
            admin: Some(([127, 0, 0, 1], 0).into()),
            admin_token: Some(credential.path.clone()),
            ..Config::memory()
        };
        let server = Server::start(tokens.guards(config)).await.unwrap();
        let admin = server.admin().unwrap();
        Self {
            server,
            admin,
            credential,
            tokens,
        }
    }

    fn ask(&self, method: Method, path: &str, credential: &str) -> RequestBuilder {
        let request = Client::new().request(method, format!("http://{}{path}", self.admin));
        request.bearer_auth(credential)
    }

    async fn say(&self, method: Method, path: &str, body: Value) -> StatusCode {
        let request = self.ask(method, path, &self.credential.text).json(&body);
        request.send().await.unwrap().status()
    }

    async fn set_policy(&self, tree: &str, policy: Value) -> StatusCode {
        let path = admin::policy_path(&tree.parse().unwrap());
        self.say(Method::PUT, &path, policy).await
    }

    async fn status(&self, tree: &str) -> TreeStatus {
        let tree: TreeKey = tree.parse().unwrap();
        let path = admin::tree_path(&tree);
        let request = self.ask(Method::GET, &path, &self.credential.text);
        request.send().await.unwrap().json().await.unwrap()
    }

    async fn token(&self, order: Value) -> Result<IssuedToken, ErrorBody> {
        let request = self.ask(Method::POST, admin::TOKENS, &self.credential.text);
        let answer = request.json(&order).send().await.unwrap();
        match answer.status().is_success() {
            true => Ok(answer.json().await.unwrap()),
            false => Err(answer.json().await.unwrap()),
        }
    }

    fn agent(&self, tree: &str, token: &str) -> Agent {
        let tree: TreeKey = tree.parse().unwrap();
        Agent::with_token(&self.server.url(), &tree.to_string(), token)
    }
}

fn files(text: &str) -> Files {
    Files::from([("a".to_owned(), text.as_bytes().to_vec())])
}

/// Asks until an answer has this status.
async fn until(status: StatusCode, ask: impl AsyncFn() -> StatusCode) {
    let end = tokio::time::Instant::now() + PROMISED;
    loop {
        let found = ask().await;
        if found == status {
            return;
        }
        assert!(tokio::time::Instant::now() < end, "still {found}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_let_in_without_the_credential() {
    let site = Site::start().await;
    let tree = "/admin/v1/trees/default/docs";
    let policy = format!("{tree}/policy");
    let paths = [
        (Method::GET, tree),
        (Method::PUT, &policy),
        (Method::DELETE, &policy),
        (Method::POST, admin::TOKENS),
        (Method::POST, admin::REVOKE),
        (Method::POST, admin::GC),
        (Method::GET, "/admin/v1/nothing"),
    ];
    let agent_token = site.tokens.token("default", &["*:admin"]);
    for (method, path) in paths {
        for wrong in ["", "x", &agent_token, &site.credential.text[1..]] {
            let answer = site.ask(method.clone(), path, wrong).send().await.unwrap();
            let status = answer.status();
            let error: ErrorBody = answer.json().await.unwrap();
            assert_eq!(
                (status, error.code),
                (StatusCode::UNAUTHORIZED, ErrorCode::Unauthorized),
                "{method} {path} with {wrong:?}"
            );
        }
    }
    // Nor is it where agents ask.
    let url = format!("{}{tree}", site.server.url());
    let answer = Client::new().get(url).bearer_auth(&site.credential.text);
    assert_eq!(answer.send().await.unwrap().status(), StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_credential_counts_at_once() {
    let site = Site::start().await;
    let other = key();
    std::fs::write(&site.credential.path, &other.text).unwrap();
    let old = site.ask(Method::POST, admin::GC, &site.credential.text);
    assert_eq!(old.send().await.unwrap().status(), StatusCode::UNAUTHORIZED);
    let new = site.ask(Method::POST, admin::GC, &other.text);
    assert_eq!(new.send().await.unwrap().status(), StatusCode::ACCEPTED);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_says_what_is_stored_and_who_listens() {
    let site = Site::start().await;
    assert_eq!(site.status("docs").await, TreeStatus::default());
    let agent = site.agent("docs", &site.tokens.token("default", &["docs:rw"]));
    let answer = agent.commit(&files("12345"), &[]).await.unwrap();
    let status = site.status("docs").await;
    assert_eq!(status.head, Some(answer.head));
    assert!(status.changed_ms.is_some());
    assert_eq!(status.objects, 2, "a directory and a chunk");
    assert!(status.bytes > 5, "{status:?}");
    assert_eq!(status.agents, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_made_and_shut_out() {
    let site = Site::start().await;
    let order =
        json!({"subject": "edge-7", "tenant": "team", "trees": ["docs:rw"], "ttl_seconds": 60});
    let made = site.token(order).await.unwrap();
    assert_eq!(made.expires_ms.0 - made.issued_ms.0, 60_000);
    let agent = site.agent("team/docs", &made.token);
    agent.commit(&files("1"), &[]).await.unwrap();
    let revoked = site.say(Method::POST, admin::REVOKE, json!({"id": made.id}));
    assert_eq!(revoked.await, StatusCode::NO_CONTENT);
    until(StatusCode::UNAUTHORIZED, async || agent.head_status().await).await;

    let wrong = [
        json!({"subject": "a b", "tenant": "team", "trees": ["docs:rw"], "ttl_seconds": 60}),
        json!({"subject": "a", "tenant": "team", "trees": [], "ttl_seconds": 60}),
        json!({"subject": "a", "tenant": "team", "trees": ["other/docs:rw"], "ttl_seconds": 60}),
        json!({"subject": "a", "tenant": "team", "trees": ["docs:rw"], "ttl_seconds": 0}),
        json!({"subject": "a", "tenant": "team", "trees": ["docs:rw"], "ttl_seconds": 1, "more": 1}),
    ];
    for order in wrong {
        let refused = site.token(order.clone()).await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::Malformed, "{order}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_gives_rights_beside_the_token() {
    let site = Site::start().await;
    let owner = site.agent("docs", &site.tokens.token("default", &["docs:rw"]));
    owner.commit(&files("1"), &[]).await.unwrap();
    // The subject of these tokens is anna.
    let anna = site.agent("docs", &site.tokens.token("default", &["other:rw"]));
    assert_eq!(anna.head_status().await, StatusCode::NOT_FOUND);
    let read = json!({"access": [{"subject": "anna", "right": "read"}]});
    assert_eq!(site.set_policy("docs", read).await, StatusCode::NO_CONTENT);
    until(StatusCode::OK, async || anna.head_status().await).await;
    let refused = anna.commit(&files("2"), &[]).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::Forbidden);
    // Another tenant's anna is somebody else.
    let other = site.agent("docs", &site.tokens.token("team", &["*:admin"]));
    assert_eq!(other.head_status().await, StatusCode::NOT_FOUND);
    let path = admin::policy_path(&"docs".parse().unwrap());
    let removed = site.say(Method::DELETE, &path, Value::Null).await;
    assert_eq!(removed, StatusCode::NO_CONTENT);
    until(StatusCode::NOT_FOUND, async || anna.head_status().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_refuses_contents_and_takes_removals() {
    let site = Site::start().await;
    let agent = site.agent("docs", &site.tokens.token("default", &["docs:rw"]));
    let first = agent
        .commit(&files("12345"), &[])
        .await
        .unwrap()
        .head
        .revision;
    let quota = site.status("docs").await.bytes + 3;
    let set = site.set_policy("docs", json!({ "quota_bytes": quota }));
    assert_eq!(set.await, StatusCode::NO_CONTENT);
    let more = files("more than there is room for");
    let refused = agent.commit(&more, &[first]).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::StoreFull);
    assert!(refused.message.contains(&quota.to_string()), "{refused:?}");
    let emptied = agent.commit(&Files::new(), &[first]).await.unwrap();
    assert_eq!(site.status("docs").await.head, Some(emptied.head));
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_that_break_a_rule_are_refused() {
    let site = Site::start().await;
    let many: Vec<Value> = (0..300)
        .map(|n| json!({"subject": format!("s{n}"), "right": "read"}))
        .collect();
    let wrong = [
        (json!({"quota": 1}), StatusCode::BAD_REQUEST),
        (json!({"quota_bytes": -1}), StatusCode::BAD_REQUEST),
        (
            json!({"access": [{"subject": "a b", "right": "read"}]}),
            StatusCode::BAD_REQUEST,
        ),
        (
            json!({"access": [{"subject": "a", "right": "own"}]}),
            StatusCode::BAD_REQUEST,
        ),
        (json!({ "access": many }), StatusCode::PAYLOAD_TOO_LARGE),
    ];
    for (policy, status) in wrong {
        assert_eq!(
            site.set_policy("docs", policy.clone()).await,
            status,
            "{policy}"
        );
    }
    assert_eq!(site.status("docs").await.policy, None);
    let good = Policy::default();
    let set = site.set_policy("docs", serde_json::to_value(&good).unwrap());
    assert_eq!(set.await, StatusCode::NO_CONTENT);
    assert_eq!(site.status("docs").await.policy, Some(good));
}
