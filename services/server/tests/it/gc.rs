//! Garbage collection and packing over real stores.

use std::path::Path;
use std::time::Duration;

use fsync_core::wire::ErrorCode;
use fsync_server::config::Retention;
use fsync_server::{Config, Server, app};

use crate::agent::{Agent, Files};

/// Keeps the head only, without any grace.
fn head_only(dir: &Path) -> Config {
    Config {
        retention: Retention {
            age: Duration::ZERO,
            revisions: 1,
            grace: Duration::ZERO,
            interval: Duration::ZERO,
        },
        ..Config::local(dir)
    }
}

/// Returns bytes that no chunk of them repeats: too many for the journal itself.
fn large(seed: u32) -> Vec<u8> {
    let byte = |n: u32| (n ^ seed).wrapping_mul(2_654_435_761).to_be_bytes()[0];
    (0..400 * 1024).map(byte).collect()
}

fn packs(dir: &Path) -> usize {
    let count = |dir: &Path| std::fs::read_dir(dir).map_or(0, Iterator::count);
    let shards = std::fs::read_dir(dir.join("blobs/packs/default"));
    shards.map_or(0, |shards| {
        shards.map(|shard| count(&shard.unwrap().path())).sum()
    })
}

#[tokio::test]
async fn old_contents_go_and_the_head_stays() {
    let dir = tempfile::tempdir().unwrap();
    let config = head_only(dir.path());
    let mut files = Files::from([("keep".to_owned(), b"keep".to_vec())]);
    files.insert("big".to_owned(), large(1 << 24));
    let server = Server::start(config.clone()).await.unwrap();
    let agent = Agent::new(&server.url(), "docs", "laptop");
    let first = agent.commit(&files, &[]).await.unwrap().head.revision;
    files.insert("big".to_owned(), large(2 << 24));
    let second = agent.commit(&files, &[first]).await.unwrap().head.revision;
    server.shutdown().await.unwrap();
    assert_eq!(packs(dir.path()), 2);

    let dry = app::collect_once(&config, true).await.unwrap();
    assert_eq!((dry.trees, dry.kept_revisions), (1, 1));
    assert_eq!(packs(dir.path()), 2);
    let done = app::collect_once(&config, false).await.unwrap();
    assert!(done.objects > 0 && done.doomed_packs > 0, "{done}");
    // The first collection dooms, a later one deletes.
    app::collect_once(&config, false).await.unwrap();

    let server = Server::start(config).await.unwrap();
    let agent = Agent::new(&server.url(), "docs", "laptop");
    assert_eq!(agent.pull(None, second).await.unwrap(), files);
    let gone = agent.delta(Some(first), second).await.unwrap_err();
    assert_eq!(gone.code, ErrorCode::BaseUnknown);
    // Lineage is never dropped.
    assert_eq!(agent.log().await.len(), 2);
    let again = agent.commit(&Files::new(), &[second]).await.unwrap();
    assert_eq!(again.head.seq.0, 3);
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn small_commits_gather_in_packs() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(Config::local(dir.path())).await.unwrap();
    let agent = Agent::new(&server.url(), "docs", "laptop");
    let mut files = Files::new();
    let mut parents = Vec::new();
    for n in 0..60_u8 {
        files.insert(format!("file-{n}"), vec![n; 200 * 1024]);
        // A file of a repeated byte is one chunk four times; make the chunks differ.
        if let Some(bytes) = files.get_mut(&format!("file-{n}")) {
            for (at, part) in bytes.chunks_mut(64 * 1024).enumerate() {
                part[0] = u8::try_from(at).unwrap();
            }
        }
        parents = vec![agent.commit(&files, &parents).await.unwrap().head.revision];
    }
    let head = parents[0];
    server.shutdown().await.unwrap();
    assert!(packs(dir.path()) >= 1, "nothing was packed");
    let server = Server::start(Config::local(dir.path())).await.unwrap();
    let agent = Agent::new(&server.url(), "docs", "laptop");
    assert_eq!(agent.pull(None, head).await.unwrap(), files);
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_lost_journal_does_not_lose_the_index_of_packs() {
    let dir = tempfile::tempdir().unwrap();
    let mut files = Files::new();
    files.insert("big".to_owned(), large(3 << 24));
    let server = Server::start(Config::local(dir.path())).await.unwrap();
    let agent = Agent::new(&server.url(), "docs", "laptop");
    agent.commit(&files, &[]).await.unwrap();
    server.shutdown().await.unwrap();
    std::fs::remove_file(dir.path().join("journal.redb")).unwrap();
    let server = Server::start(Config::local(dir.path())).await.unwrap();
    let agent = Agent::new(&server.url(), "docs", "laptop");
    assert_eq!(agent.head().await, None);
    // The agent offers its tree again; no second pack of the same objects is read from.
    let head = agent.commit(&files, &[]).await.unwrap().head.revision;
    assert_eq!(agent.pull(None, head).await.unwrap(), files);
    server.shutdown().await.unwrap();
}
