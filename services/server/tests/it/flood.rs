//! Floods: memory stays bounded, limits say what they are, and others go on.

use std::sync::Arc;
use std::time::Duration;

use fsync_core::wire::{ErrorBody, ErrorCode};
use serde_json::json;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::agent::{Agent, Files};
use crate::auth::{forge, key};

/// What a flood may leave behind, in KiB: caches that are full, and what the allocator keeps.
const GROWTH_KIB: u64 = 96 * 1024;
/// Requests at the same time.
const AT_ONCE: usize = 64;

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Asks once with each token; returns how many were let in.
async fn ask_with(url: &str, tokens: Vec<String>) -> usize {
    let (client, room) = (reqwest::Client::new(), Arc::new(Semaphore::new(AT_ONCE)));
    let mut asked = tokio::task::JoinSet::new();
    for token in tokens {
        let permit = Arc::clone(&room).acquire_owned().await.unwrap();
        let request = client.get(url).bearer_auth(token);
        asked.spawn(async move {
            let _permit = permit;
            request.send().await.unwrap().status().is_success()
        });
    }
    asked
        .join_all()
        .await
        .into_iter()
        .filter(|good| *good)
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_of_connections_and_tokens_leave_memory_bounded() {
    let key = key();
    let server = key.server().await;
    let url = format!("{}/v1/trees/default/docs/head", server.url());
    let victim = Agent::with_token(
        &server.url(),
        "default/docs",
        &key.token("default", &["docs:rw"]),
    );
    let tokens = |good: bool, count: usize| -> Vec<String> {
        let one = |n| {
            let mut claims = crate::auth::claims();
            claims["jti"] = json!(format!("{good}-{n}"));
            let token = forge::signed(&key, &claims);
            if good { token } else { format!("{token}A") }
        };
        (0..count).map(one).collect()
    };
    // What a first round makes once and for all does not count.
    ask_with(&url, tokens(true, 500)).await;
    let before = resident_kib();
    assert_eq!(ask_with(&url, tokens(false, 10_000)).await, 0);
    assert_eq!(ask_with(&url, tokens(true, 12_000)).await, 12_000);
    let mut silent = Vec::new();
    for _ in 0..1_000 {
        silent.push(TcpStream::connect(server.address()).await.unwrap());
    }
    victim
        .commit(&Files::from([("a".to_owned(), b"1".to_vec())]), &[])
        .await
        .unwrap();
    let grown = resident_kib().saturating_sub(before);
    assert!(grown < GROWTH_KIB, "{grown} KiB more");
    drop(silent);
    server.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_passes_a_limit_is_told_which_and_when_to_come_back() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let key = key();
    let server = key.server().await;
    let (greedy, other) = (
        key.token("default", &["docs:rw"]),
        key.token("default", &["docs:rw"]),
    );
    let announce = async |token: &str, bytes: u64| {
        let mut stream = TcpStream::connect(server.address()).await.unwrap();
        let request = format!(
            "POST /v1/trees/default/docs/have HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\
             content-length: {bytes}\r\nconnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer);
        drop(
            tokio::time::timeout(Duration::from_secs(20), read)
                .await
                .unwrap(),
        );
        String::from_utf8_lossy(&answer).into_owned()
    };
    let first = announce(&greedy, 4 << 30).await;
    assert!(first.starts_with("HTTP/1.1 413"), "{first}");
    let second = announce(&greedy, 1 << 30).await;
    assert!(second.starts_with("HTTP/1.1 429"), "{second}");
    assert!(second.to_lowercase().contains("retry-after: "), "{second}");
    let body = second.split("\r\n\r\n").nth(1).unwrap();
    let error: ErrorBody = serde_json::from_str(body).unwrap();
    assert_eq!(error.code, ErrorCode::RateLimited);
    assert!(
        error.message.contains("KiB of this token") && error.message.contains("262144"),
        "{}",
        error.message
    );
    assert!(error.retry_after_ms.is_some());
    // Another token has its own bucket, and small requests go on.
    let agent = Agent::with_token(&server.url(), "default/docs", &other);
    agent
        .commit(&Files::from([("a".to_owned(), b"1".to_vec())]), &[])
        .await
        .unwrap();
    let agent = Agent::with_token(&server.url(), "default/docs", &greedy);
    assert!(agent.head().await.is_some());
    server.shutdown().await.unwrap();
}
