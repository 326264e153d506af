//! Tokens at the Socket.IO handshake, at each `subscribe`, and while a socket is open.

use std::time::{Duration, Instant};

use fsync_core::wire::{Bye, ByeCode, ErrorCode, ErrorEvent, PROTOCOL_VERSION};
use fsync_server::{Config, Server, app};
use serde_json::{Value, json};

use super::{PROMISED, claims, files, forge, key, now, revocation};
use crate::agent::Agent;
use crate::socket::{Socket, cursor};

fn auth(token: &str) -> Value {
    json!({"protocol": PROTOCOL_VERSION, "agent": "laptop", "token": token})
}

async fn joined(server: &Server, token: &str) -> Socket {
    let mut socket = Socket::connect(&server.url(), auth(token)).await;
    socket.next_raw("open").await;
    socket
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_without_a_good_token_is_refused_and_nothing_is_kept() {
    let key = key();
    let server = key.server().await;
    let mut expired = claims();
    expired["exp"] = json!(now() - 1);
    let mut of_desk = claims();
    of_desk["agent"] = json!("desk");
    let none = json!({"protocol": PROTOCOL_VERSION, "agent": "laptop"});
    for (name, auth, words) in [
        ("no token", none, "login"),
        (
            "null",
            json!({"protocol": PROTOCOL_VERSION, "agent": "laptop", "token": null}),
            "login",
        ),
        (
            "a number",
            json!({"protocol": PROTOCOL_VERSION, "agent": "laptop", "token": 7}),
            "malformed",
        ),
        ("nonsense", auth("nonsense"), "unauthorized"),
        ("huge", auth(&"a".repeat(20_000)), "20000 bytes"),
        ("expired", auth(&forge::signed(&key, &expired)), "expired"),
        (
            "another agent's",
            auth(&forge::signed(&key, &of_desk)),
            "forbidden",
        ),
    ] {
        let mut socket = Socket::connect(&server.url(), auth).await;
        let reason = socket.next_raw("error").await.to_string();
        assert!(reason.contains(words), "{name}: {reason}");
        assert_eq!(server.sockets(), 0, "{name}");
    }
    let _good = joined(&server, &key.token("default", &["docs:r"])).await;
    assert_eq!(server.sockets(), 1);
    server.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn refs_of_forbidden_trees_are_not_heard() {
    let key = key();
    let server = key.server().await;
    let owner = key.token("default", &["*:rw"]);
    let owner = Agent::with_token(&server.url(), "default/secret", &owner);
    owner.commit(&files(), &[]).await.unwrap();
    let mut socket = joined(&server, &key.token("default", &["docs:r"])).await;
    let mut told = Vec::new();
    for tree in ["secret", "none", "team/docs"] {
        let request = json!({"id": 1, "trees": [cursor("docs"), cursor(tree)]});
        socket.emit("subscribe", request).await;
        let error: ErrorEvent = socket.next("error").await;
        assert_eq!(error.error.code, ErrorCode::NotFound, "{tree}");
        let key = cursor(tree).tree.to_string();
        told.push(error.error.message.replace(&key, "TREE"));
    }
    // One that exists, one that does not, and another tenant's.
    assert!(told.iter().all(|text| *text == told[0]), "{told:?}");
    let heads = socket.subscribe(2, vec![cursor("docs")]).await;
    assert_eq!(heads.trees.len(), 1);
    server.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_token_ends_its_socket() {
    let key = key();
    let server = key.server().await;
    let (short, _) = key.order("default", &["docs:rw"], Duration::from_secs(3));
    let mut socket = joined(&server, &short).await;
    let mut other = joined(&server, &key.token("default", &["docs:rw"])).await;
    socket.subscribe(1, vec![cursor("docs")]).await;
    let started = Instant::now();
    let bye: Bye = socket.next("bye").await;
    assert!(started.elapsed() < Duration::from_secs(3) + PROMISED);
    assert_eq!((bye.code, bye.retry_after_ms), (ByeCode::Denied, None));
    assert!(bye.reason.contains("expired"), "{}", bye.reason);
    // Others are not affected.
    other.subscribe(1, vec![cursor("docs")]).await;
    server.shutdown().await.unwrap();
}

/// With a data directory the journal is open to the server alone: the verb leaves it a note.
#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_subject_is_sent_away_and_stays_out_after_a_restart() {
    let key = key();
    let dir = tempfile::tempdir().unwrap();
    let config = || key.guards(Config::local(dir.path()));
    let server = Server::start(config()).await.unwrap();
    let token = key.token("default", &["docs:rw"]);
    let mut socket = joined(&server, &token).await;
    socket.subscribe(1, vec![cursor("docs")]).await;
    app::revoke_once(&config(), revocation("subject:default/anna"))
        .await
        .unwrap();
    let started = Instant::now();
    let bye: Bye = socket.next("bye").await;
    assert!(started.elapsed() < PROMISED, "{:?}", started.elapsed());
    assert_eq!(bye.code, ByeCode::Denied);
    assert!(bye.reason.contains("revoked"), "{}", bye.reason);
    server.shutdown().await.unwrap();
    let server = Server::start(config()).await.unwrap();
    let mut socket = Socket::connect(&server.url(), auth(&token)).await;
    let reason = socket.next_raw("error").await.to_string();
    assert!(reason.contains("revoked"), "{reason}");
    // A token that is made later is good again.
    let mut later = claims();
    later["iat"] = json!(now() + 5);
    let _let_in = joined(&server, &forge::signed(&key, &later)).await;
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_server_that_does_not_run_can_be_told_too() {
    let key = key();
    let dir = tempfile::tempdir().unwrap();
    let config = || key.guards(Config::local(dir.path()));
    Server::start(config())
        .await
        .unwrap()
        .shutdown()
        .await
        .unwrap();
    let (token, id) = key.order("default", &["docs:rw"], Duration::from_secs(600));
    app::revoke_once(&config(), revocation(&format!("token:{id}")))
        .await
        .unwrap();
    let server = Server::start(config()).await.unwrap();
    let agent = Agent::with_token(&server.url(), "default/docs", &token);
    let refused = agent.commit(&files(), &[]).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::Unauthorized);
    server.shutdown().await.unwrap();
}

/// `POST watch` is a socket by other means: the same questions, the same answers.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_waits_for_news_needs_the_same_rights() {
    let key = key();
    let server = key.server().await;
    let url = format!("{}/v1/watch", server.url());
    let client = reqwest::Client::new();
    let ask = async |token: Option<&str>, tree: &str, wait_ms: u64| {
        let trees = json!([{"tree": tree}]);
        let mut request = client
            .post(&url)
            .json(&json!({"id": 1, "trees": trees, "wait_ms": wait_ms}));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let reads = key.token("default", &["docs:r"]);
    assert_eq!(ask(None, "default/docs", 0).await.0, 401);
    assert_eq!(ask(Some("nonsense"), "default/docs", 0).await.0, 401);
    assert_eq!(ask(Some(&reads), "default/docs", 0).await.0, 200);
    let (code, secret) = ask(Some(&reads), "default/secret", 0).await;
    let (other, foreign) = ask(Some(&reads), "team/docs", 0).await;
    assert_eq!((code, other), (404, 404));
    let same = secret.replace("default/secret", "TREE") == foreign.replace("team/docs", "TREE");
    assert!(same, "{secret} {foreign}");
    // One that waits is ended with its token.
    let (short, _) = key.order("default", &["docs:r"], Duration::from_secs(2));
    let started = Instant::now();
    let (code, text) = ask(Some(&short), "default/docs", 60_000).await;
    assert!(
        started.elapsed() < Duration::from_secs(2) + PROMISED,
        "{:?}",
        started.elapsed()
    );
    assert_eq!(code, 401, "{text}");
    assert!(text.contains("expired"), "{text}");
    server.shutdown().await.unwrap();
}
