//! A journal that lost or forgot something makes nobody delete what it forgot.

use std::path::Path;
use std::time::{Duration, Instant};

use fsync_core::id::RevisionId;
use fsync_server::config::{BlobStore, Retention};
use fsync_server::{Config, Server, app};

use crate::agent::{Agent, Files};
use crate::redis::{RedisServer, config_of};

/// Everything but the head is garbage at once.
fn eager(config: Config) -> Config {
    Config {
        retention: Retention {
            age: Duration::ZERO,
            revisions: 1,
            grace: Duration::ZERO,
            interval: Duration::ZERO,
        },
        ..config
    }
}

/// Two replicas' worth of configuration: a Redis, and a directory of contents.
fn shared(redis: &RedisServer, dir: &Path) -> Config {
    eager(Config {
        redis: Some(config_of(redis)),
        blobs: BlobStore::Directory(dir.join("blobs")),
        ..Config::local(dir)
    })
}

/// Returns files whose contents are too many for the journal itself.
fn files(seed: u8) -> Files {
    let byte = |n: u32| {
        (n ^ u32::from(seed) << 20)
            .wrapping_mul(2_654_435_761)
            .to_be_bytes()[0]
    };
    Files::from([("big".to_owned(), (0..600 * 1024).map(byte).collect())])
}

fn packs(dir: &Path) -> usize {
    let count = |dir: &Path| std::fs::read_dir(dir).map_or(0, Iterator::count);
    let shards = std::fs::read_dir(dir.join("blobs/packs/default"));
    shards.map_or(0, |shards| shards.map(|s| count(&s.unwrap().path())).sum())
}

fn remembered(dir: &Path, tree: &str) -> String {
    std::fs::read_to_string(dir.join("blobs/checkpoints/default").join(tree)).unwrap_or_default()
}

/// Collects as often as it takes to delete what was doomed before.
async fn collect(config: &Config) -> usize {
    let mut refused = 0;
    for _ in 0..3 {
        let done = app::collect_once(config, false).await.unwrap();
        refused = done.refused_tenants;
    }
    refused
}

#[tokio::test]
async fn heads_are_remembered_beside_the_contents() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(Config::local(dir.path())).await.unwrap();
    let agent = Agent::new(&server.url(), "docs", "laptop");
    let first = agent.commit(&files(1), &[]).await.unwrap().head.revision;
    let second = agent
        .commit(&files(2), &[first])
        .await
        .unwrap()
        .head
        .revision;
    server.shutdown().await.unwrap();
    let text = remembered(dir.path(), "docs");
    assert!(text.contains(&second.to_string()), "{text}");
}

#[tokio::test]
async fn an_older_journal_that_was_put_back_deletes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let config = eager(Config::local(dir.path()));
    let journal = dir.path().join("journal.redb");
    let server = Server::start(config.clone()).await.unwrap();
    let agent = Agent::new(&server.url(), "docs", "laptop");
    let first = agent.commit(&files(1), &[]).await.unwrap().head.revision;
    server.shutdown().await.unwrap();
    std::fs::copy(&journal, dir.path().join("backup")).unwrap();
    let server = Server::start(config.clone()).await.unwrap();
    let agent = Agent::new(&server.url(), "docs", "laptop");
    let second = agent
        .commit(&files(2), &[first])
        .await
        .unwrap()
        .head
        .revision;
    server.shutdown().await.unwrap();

    std::fs::copy(dir.path().join("backup"), &journal).unwrap();
    let before = packs(dir.path());
    // Somebody who knows nothing of the second revision goes on: that must not make it forgotten.
    let server = Server::start(config.clone()).await.unwrap();
    let other = Agent::new(&server.url(), "docs", "desk");
    other.commit(&files(3), &[first]).await.unwrap();
    server.shutdown().await.unwrap();
    assert!(remembered(dir.path(), "docs").contains(&second.to_string()));
    assert_eq!(collect(&config).await, 1);
    assert!(packs(dir.path()) >= before);

    // The operator says that the journal is right.
    assert_eq!(app::accept_once(&config).await.unwrap(), 1);
    assert_eq!(collect(&config).await, 0);
    assert!(packs(dir.path()) < before + 1);
}

#[tokio::test]
async fn a_redis_that_was_emptied_deletes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let redis = RedisServer::start().unwrap();
    let config = shared(&redis, dir.path());
    let server = Server::start(config.clone()).await.unwrap();
    let (docs, notes) = (
        Agent::new(&server.url(), "docs", "laptop"),
        Agent::new(&server.url(), "notes", "laptop"),
    );
    let first = docs.commit(&files(1), &[]).await.unwrap().head.revision;
    docs.commit(&files(2), &[first]).await.unwrap();
    notes.commit(&files(3), &[]).await.unwrap();
    server.shutdown().await.unwrap();
    let before = packs(dir.path());
    redis.command(&["FLUSHALL"]).unwrap();

    // Only one tree's agent comes back, and with an older version.
    let server = Server::start(config.clone()).await.unwrap();
    let docs = Agent::new(&server.url(), "docs", "laptop");
    docs.commit(&files(1), &[]).await.unwrap();
    server.shutdown().await.unwrap();
    assert_eq!(collect(&config).await, 1);
    assert!(
        packs(dir.path()) >= before,
        "{} of {before}",
        packs(dir.path())
    );
}

#[tokio::test]
async fn one_replica_collects_and_two_at_once_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let redis = RedisServer::start().unwrap();
    let config = shared(&redis, dir.path());
    let server = Server::start(config.clone()).await.unwrap();
    let agent = Agent::new(&server.url(), "docs", "laptop");
    let mut head = agent.commit(&files(0), &[]).await.unwrap().head.revision;
    for seed in 1..6 {
        // While two collect and the next revision comes.
        let (next, parents) = (files(seed), [head]);
        let (one, two, commit) = tokio::join!(
            app::collect_once(&config, false),
            app::collect_once(&config, false),
            agent.commit(&next, &parents),
        );
        assert!(one.is_ok() || two.is_ok(), "{one:?} {two:?}");
        head = commit.unwrap().head.revision;
        assert_eq!(agent.pull(None, head).await.unwrap(), next);
    }
    let before = packs(dir.path());
    assert_eq!(collect(&config).await, 0);
    assert!(packs(dir.path()) < before, "nothing was collected");
    assert_eq!(agent.pull(None, head).await.unwrap(), files(5));
    server.shutdown().await.unwrap();
}

/// Waits until a head is remembered.
async fn until_remembered(dir: &Path, revision: RevisionId) {
    let end = Instant::now() + Duration::from_secs(30);
    while !remembered(dir, "docs").contains(&revision.to_string()) {
        assert!(Instant::now() < end, "{revision} is not remembered");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn what_another_replica_remembered_is_not_forgotten_by_one_that_does_not_know() {
    let dir = tempfile::tempdir().unwrap();
    let mut redis = RedisServer::start_with(&["--save", "", "--appendonly", "no"]).unwrap();
    let config = shared(&redis, dir.path());
    let one = Server::start(config.clone()).await.unwrap();
    let two = Server::start(config.clone()).await.unwrap();
    let (at_one, at_two) = (
        Agent::new(&one.url(), "docs", "laptop"),
        Agent::new(&two.url(), "docs", "desk"),
    );
    let first = at_one.commit(&files(1), &[]).await.unwrap().head.revision;
    until_remembered(dir.path(), first).await;
    redis.command(&["SAVE"]).unwrap();
    let second = at_two.commit(&files(2), &[first]).await.unwrap();
    let second = second.head.revision;
    until_remembered(dir.path(), second).await;

    // Redis goes back to what it saved; the replica that remembers the first head goes on.
    redis.kill().unwrap();
    redis.start_again().unwrap();
    let end = Instant::now() + Duration::from_secs(30);
    let third = loop {
        match at_one.commit(&files(3), &[first]).await {
            Ok(answer) => break answer.head.revision,
            Err(error) => assert!(Instant::now() < end, "{error:?}"),
        }
    };
    one.shutdown().await.unwrap();
    two.shutdown().await.unwrap();
    let text = remembered(dir.path(), "docs");
    assert!(text.contains(&second.to_string()), "{text}, not {third}");
    assert_eq!(collect(&config).await, 1);
}
