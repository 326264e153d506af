//! Redis as the server is given it: fixtures, and what is refused at start.

use fsync_server::redis::{Redis, RedisConfig};

#[expect(unreachable_pub, reason = "it is public where it is at home")]
#[path = "../../../../tests/redis.rs"]
mod server;

pub(crate) use server::{RedisCluster, RedisSentinel, RedisServer};

/// Returns a port of this machine that nobody uses.
pub(crate) fn free_port() -> u16 {
    server::free_port().unwrap()
}

/// Returns how to reach a server.
pub(crate) fn config_of(server: &RedisServer) -> RedisConfig {
    at(&server.url())
}

fn at(url: &str) -> RedisConfig {
    with_prefix(url, "fsync")
}

/// Returns how to reach a part of a server that nobody else uses.
pub(crate) fn with_prefix(url: &str, prefix: &str) -> RedisConfig {
    RedisConfig {
        url: url.to_owned(),
        prefix: prefix.to_owned(),
        ca_file: None,
    }
}

/// Returns why a Redis is refused.
async fn refused(url: &str) -> String {
    Redis::open(&at(url)).await.unwrap_err().to_string()
}

#[tokio::test]
async fn a_redis_that_is_not_there_is_refused_by_name() {
    let port = server::free_port().unwrap();
    let reason = refused(&format!("redis://:secret@127.0.0.1:{port}")).await;
    assert!(reason.contains("cannot be reached"), "{reason}");
    assert!(reason.contains(&format!("127.0.0.1:{port}")), "{reason}");
    assert!(!reason.contains("secret"), "{reason}");
}

#[tokio::test]
async fn what_is_no_redis_url_is_refused_with_examples() {
    for url in [
        "localhost",
        "http://localhost",
        "redis:6379",
        "redis-sentinel://localhost",
    ] {
        let reason = refused(url).await;
        assert!(reason.contains("sentinelServiceName"), "{url}: {reason}");
    }
}

#[tokio::test]
async fn a_redis_that_drops_keys_is_refused() {
    let server = RedisServer::start_with(&["--save", "", "--maxmemory-policy", "allkeys-lru"]);
    let server = server.unwrap();
    let reason = refused(&server.url()).await;
    assert!(
        reason.contains("allkeys-lru") && reason.contains("noeviction"),
        "{reason}"
    );
    server
        .command(&["CONFIG", "SET", "maxmemory-policy", "noeviction"])
        .unwrap();
    Redis::open(&config_of(&server)).await.unwrap();
}

#[tokio::test]
async fn a_user_who_may_not_run_scripts_is_refused() {
    let server = RedisServer::start().unwrap();
    let rules = "ACL SETUSER fsync on >pass ~fsync:* &fsync:* +@all -@scripting";
    let words: Vec<&str> = rules.split(' ').collect();
    server.command(&words).unwrap();
    let url = format!("redis://fsync:pass@127.0.0.1:{}", server.port());
    let reason = refused(&url).await;
    assert!(
        reason.contains("scripts") && reason.contains("ACL SETUSER"),
        "{reason}"
    );
    server
        .command(&["ACL", "SETUSER", "fsync", "+@scripting"])
        .unwrap();
    Redis::open(&at(&url)).await.unwrap();
}

#[tokio::test]
async fn a_wrong_password_is_refused_without_repeating_it() {
    let server = RedisServer::start().unwrap();
    server
        .command(&["ACL", "SETUSER", "me", "on", ">right", "+@all", "~*", "&*"])
        .unwrap();
    let reason = refused(&format!("redis://me:wrong@127.0.0.1:{}", server.port())).await;
    assert!(reason.contains("login"), "{reason}");
    assert!(!reason.contains("wrong@"), "{reason}");
}

#[tokio::test]
async fn a_read_only_replica_is_refused() {
    let master = RedisServer::start().unwrap();
    let port = master.port().to_string();
    let replica = RedisServer::start_with(&["--save", "", "--replicaof", "127.0.0.1", &port]);
    let reason = refused(&replica.unwrap().url()).await;
    assert!(reason.contains("master"), "{reason}");
}

#[tokio::test]
async fn tls_is_spoken_with_a_server_whose_certificate_is_trusted() {
    fsync_runtime::crypto::install();
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let (certificate, key) = (path("certificate.pem"), path("key.pem"));
    let made = std::process::Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
        ])
        .args([
            "-nodes",
            "-subj",
            "/CN=redis",
            "-addext",
            "subjectAltName=IP:127.0.0.1",
        ])
        .args([
            "-addext",
            "basicConstraints=critical,CA:FALSE",
            "-days",
            "2",
        ])
        .args(["-keyout", &key, "-out", &certificate])
        .output()
        .unwrap();
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    let port = server::free_port().unwrap().to_string();
    let tls = ["--tls-cert-file", &certificate, "--tls-key-file", &key];
    let more = [
        "--tls-ca-cert-file",
        &certificate,
        "--tls-auth-clients",
        "no",
    ];
    let flags = [&["--save", "", "--tls-port", &port], &tls[..], &more[..]].concat();
    let _server = RedisServer::start_with(&flags).unwrap();
    let url = format!("rediss://127.0.0.1:{port}");
    let trusting = RedisConfig {
        ca_file: Some(certificate.into()),
        ..at(&url)
    };
    Redis::open(&trusting).await.unwrap();
    let reason = refused(&url).await;
    assert!(reason.contains("cannot be reached"), "{reason}");
    let reason = refused(&format!("redis://127.0.0.1:{port}")).await;
    assert!(reason.contains("rediss"), "{reason}");
}
