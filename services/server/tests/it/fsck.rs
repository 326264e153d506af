//! `fsck`: what is whole is called whole, and each kind of harm is named.

use std::path::{Path, PathBuf};

use fsync_core::service::record::Loss;
use fsync_server::fsck::{Problem, Report};
use fsync_server::{Config, Server, app};

use crate::agent::{Agent, Files};

/// Makes a server's data with three revisions: contents in packs, and in the journal itself.
async fn stores(dir: &Path) {
    let server = Server::start(Config::local(dir)).await.unwrap();
    let agent = Agent::new(&server.url(), "docs", "laptop");
    let mut files = Files::from([("small".to_owned(), b"small".to_vec())]);
    let mut parents = Vec::new();
    for seed in 1..=3_u32 {
        let byte = |n: u32| (n ^ (seed << 24)).wrapping_mul(2_654_435_761).to_be_bytes()[0];
        files.insert("big".to_owned(), (0..400 * 1024).map(byte).collect());
        parents = vec![agent.commit(&files, &parents).await.unwrap().head.revision];
    }
    server.shutdown().await.unwrap();
}

fn packs(dir: &Path) -> Vec<PathBuf> {
    let list = |dir: PathBuf| std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path());
    list(dir.join("blobs/packs/default"))
        .flat_map(list)
        .collect()
}

async fn check(dir: &Path, repairs: bool) -> Report {
    app::check_once(&Config::local(dir), repairs).await.unwrap()
}

#[tokio::test]
async fn sound_stores_have_no_problems() {
    let dir = tempfile::tempdir().unwrap();
    stores(dir.path()).await;
    let report = check(dir.path(), true).await;
    assert_eq!(report.problems, []);
    assert_eq!((report.trees, report.revisions, report.packs), (1, 3, 3));
    assert!(report.bytes > 3 * 400 * 1024, "{report}");
    assert_eq!((report.orphans, report.repaired), (0, 0));
}

#[tokio::test]
async fn stores_without_anything_are_sound() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(Config::local(dir.path())).await.unwrap();
    server.shutdown().await.unwrap();
    let report = check(dir.path(), false).await;
    assert_eq!(report, Report::default());
}

#[tokio::test]
async fn a_directory_without_stores_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config::local(dir.path().join("mistyped"));
    for refused in [
        app::check_once(&config, true).await.map(drop),
        app::collect_once(&config, false).await.map(drop),
    ] {
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains("mistyped"), "{refused}");
    }
    assert!(!config.data_dir.exists());
}

#[tokio::test]
async fn rotten_contents_are_named_and_a_repair_makes_agents_be_asked() {
    let dir = tempfile::tempdir().unwrap();
    stores(dir.path()).await;
    let pack = &packs(dir.path())[0];
    let mut bytes = std::fs::read(pack).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(pack, bytes).unwrap();

    let report = check(dir.path(), false).await;
    assert!(
        matches!(report.problems[..], [Problem::Bad(_, Loss::Object(..))]),
        "{:?}",
        report.problems
    );
    // Without a repair nothing has changed.
    assert_eq!(check(dir.path(), false).await, report);
    let repaired = check(dir.path(), true).await;
    assert_eq!((repaired.repaired, repaired.problems.len()), (1, 1));
    let after = check(dir.path(), false).await;
    assert!(
        matches!(after.problems[..], [Problem::Lost(..)]),
        "{:?}",
        after.problems
    );
}

#[tokio::test]
async fn a_pack_that_is_gone_is_named_once() {
    let dir = tempfile::tempdir().unwrap();
    stores(dir.path()).await;
    std::fs::remove_file(&packs(dir.path())[0]).unwrap();
    let report = check(dir.path(), false).await;
    assert!(
        matches!(report.problems[..], [Problem::Bad(_, Loss::Pack(_))]),
        "{:?}",
        report.problems
    );
}

#[tokio::test]
async fn a_footer_that_is_harmed_and_a_pack_without_index_are_named() {
    let dir = tempfile::tempdir().unwrap();
    stores(dir.path()).await;
    let pack = &packs(dir.path())[0];
    let whole = std::fs::read(pack).unwrap();
    let stray = pack.with_file_name("00000000000000000000000000000007");
    std::fs::write(stray, &whole).unwrap();
    std::fs::write(pack, &whole[..whole.len() - 1]).unwrap();
    let report = check(dir.path(), false).await;
    assert!(
        matches!(report.problems[..], [Problem::Footer(..)]),
        "{:?}",
        report.problems
    );
    assert_eq!(report.orphans, 1);
}
