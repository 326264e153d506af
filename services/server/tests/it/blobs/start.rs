//! What is refused at start, with what to do, and what a server finds in a bucket.

use std::path::Path;
use std::time::Duration;

use fsync_core::service::record::Loss;
use fsync_server::config::Retention;
use fsync_server::fsck::Problem;
use fsync_server::{Config, Server, app};

use super::noise;
use crate::agent::{Agent, Files};
use crate::redis::{RedisServer, config_of, with_prefix};
use crate::s3::{self, Harm, Kind, Proxy, S3Server, replica, server_config, url_at};

/// Returns why a server does not start.
async fn refused(config: Config) -> String {
    Server::start(config).await.unwrap_err().to_string()
}

fn files(seed: u32) -> Files {
    Files::from([
        ("small".to_owned(), b"small".to_vec()),
        ("big".to_owned(), noise(seed, 400 * 1024)),
    ])
}

/// Makes three revisions by a server with its journal in a directory.
async fn three_revisions(dir: &Path, url: &str) {
    let server = Server::start(server_config(dir, url)).await.unwrap();
    let agent = Agent::new(&server.url(), "docs", "laptop");
    let mut parents = Vec::new();
    for seed in 1..=3 {
        parents = vec![
            agent
                .commit(&files(seed), &parents)
                .await
                .unwrap()
                .head
                .revision,
        ];
    }
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn what_an_operator_must_change_is_said_at_start() {
    let server = S3Server::start(Kind::S3sFs).unwrap();
    let proxy = Proxy::start(server.port()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let at = |url: &str| server_config(dir.path(), url);

    let url = server.url("").replace(s3::BUCKET, "nowhere");
    let reason = refused(at(&url)).await;
    assert!(
        reason.contains("no such bucket") && reason.contains("s3://nowhere"),
        "{reason}"
    );

    let mut bad = s3::config_of(&server.url(""));
    bad.credentials.as_mut().unwrap().secret_access_key = "not the secret".to_owned();
    let reason = refused(s3::with_bucket(at(&server.url("")), bad)).await;
    assert!(
        reason.contains("AWS_SECRET_ACCESS_KEY") && !reason.contains("not the secret"),
        "{reason}"
    );

    for (code, what) in [
        ("RequestTimeTooSkewed", "clock"),
        ("AccessDenied", "s3:ListBucket"),
    ] {
        proxy.harm("GET", 1, Harm::Answer(403, code));
        let reason = refused(at(&url_at(proxy.port(), ""))).await;
        assert!(reason.contains(what) && reason.contains(code), "{reason}");
    }
}

#[tokio::test]
async fn a_store_that_nobody_answers_for_is_named() {
    let mut server = S3Server::start(Kind::S3sFs).unwrap();
    server.kill().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let reason = refused(server_config(dir.path(), &server.url("x"))).await;
    assert!(
        reason.contains("does not serve now") && reason.contains("s3://contents/x"),
        "{reason}"
    );
}

#[tokio::test]
async fn a_store_of_another_service_is_refused_until_it_is_adopted() {
    for kind in [Kind::S3sFs, Kind::Moto] {
        let server = S3Server::start(kind).unwrap();
        let dirs = [(); 3].map(|()| tempfile::tempdir().unwrap());
        let at = |n: usize, prefix: &str| server_config(dirs[n].path(), &server.url(prefix));
        three_revisions(dirs[0].path(), &server.url("a")).await;

        let reason = refused(at(1, "a")).await;
        assert!(
            reason.contains("this journal is new") && reason.contains("adopt"),
            "{reason}"
        );
        // It has not become anybody's by that, and a prefix of its own is accepted.
        three_revisions(dirs[1].path(), &server.url("b")).await;
        let reason = refused(at(1, "a")).await;
        assert!(
            reason.contains("this journal is that of service"),
            "{reason}"
        );
        let reason = app::adopt_once(&at(1, "a")).await.unwrap_err().to_string();
        assert!(
            reason.contains("this journal is that of service"),
            "{reason}"
        );

        let reason = app::adopt_once(&at(2, "c")).await.unwrap_err().to_string();
        assert!(reason.contains("belongs to no service"), "{reason}");
        app::adopt_once(&at(2, "a")).await.unwrap();
        let found = Server::start(at(2, "a")).await.unwrap();
        found.shutdown().await.unwrap();
        let report = app::check_once(&at(2, "a"), false).await.unwrap();
        assert_eq!(
            (report.packs, report.orphans, report.problems.len()),
            (3, 0, 0),
            "{report}"
        );
    }
}

#[tokio::test]
async fn two_services_of_one_redis_do_not_share_a_prefix() {
    let (redis, s3) = (
        RedisServer::start().unwrap(),
        S3Server::start(Kind::S3sFs).unwrap(),
    );
    let one = replica(config_of(&redis), &s3.url("")).await;
    let two = replica(config_of(&redis), &s3.url("")).await;
    let other = Config {
        redis: Some(with_prefix(&redis.url(), "other")),
        ..server_config(Path::new("unused"), &s3.url(""))
    };
    let reason = refused(other).await;
    assert!(reason.contains("this journal is new"), "{reason}");
    for server in [one, two] {
        server.shutdown().await.unwrap();
    }
}

#[tokio::test]
async fn a_new_replica_serves_what_others_put_into_the_bucket() {
    let (redis, s3) = (
        RedisServer::start().unwrap(),
        S3Server::start(Kind::Moto).unwrap(),
    );
    let one = replica(config_of(&redis), &s3.url("")).await;
    let agent = Agent::new(&one.url(), "docs", "laptop");
    let head = agent.commit(&files(1), &[]).await.unwrap().head;
    let two = replica(config_of(&redis), &s3.url("")).await;
    one.shutdown().await.unwrap();
    let agent = Agent::new(&two.url(), "docs", "desk");
    assert_eq!(agent.pull(None, head.revision).await.unwrap(), files(1));
    two.shutdown().await.unwrap();
}

#[tokio::test]
async fn fsck_and_gc_work_on_a_bucket() {
    let s3 = S3Server::start(Kind::S3sFs).unwrap();
    let dir = tempfile::tempdir().unwrap();
    three_revisions(dir.path(), &s3.url("p")).await;
    let config = Config {
        retention: Retention {
            age: Duration::ZERO,
            revisions: 1,
            grace: Duration::ZERO,
            interval: Duration::ZERO,
        },
        ..server_config(dir.path(), &s3.url("p"))
    };
    let report = app::check_once(&config, false).await.unwrap();
    assert_eq!(
        (report.revisions, report.packs, report.problems.len()),
        (1, 3, 0),
        "{report}"
    );

    let collected = app::collect_once(&config, false).await.unwrap();
    assert_eq!(collected.doomed_packs, 2, "{collected}");
    let collected = app::collect_once(&config, false).await.unwrap();
    assert_eq!(collected.deleted_packs, 2, "{collected}");
    // The head's own pack, and one with what it still needs of the others.
    let report = app::check_once(&config, false).await.unwrap();
    assert_eq!(
        (report.revisions, report.packs, &report.problems[..]),
        (1, 2, &[][..]),
        "{report}"
    );

    let packs = packs_in(&s3.files());
    assert_eq!(packs.len(), 2);
    let largest = packs
        .iter()
        .max_by_key(|path| path.metadata().unwrap().len());
    let path = largest.unwrap();
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).unwrap();
    let report = app::check_once(&config, false).await.unwrap();
    assert!(
        matches!(report.problems[..], [Problem::Bad(_, Loss::Object(..))]),
        "{report}"
    );
}

fn packs_in(dir: &Path) -> Vec<std::path::PathBuf> {
    let list = |dir: &Path| {
        std::fs::read_dir(dir)
            .unwrap()
            .map(|e| e.unwrap().path())
            .collect::<Vec<_>>()
    };
    let dirs = list(&dir.join("p/packs/default"));
    dirs.iter().flat_map(|dir| list(dir)).collect()
}
