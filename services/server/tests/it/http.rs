//! The HTTP surface from outside: a real server on a free port, real requests.

use crate::agent::{Agent, Files};
use fsync_core::id::{ObjectId, ObjectKind, RevisionId};
use fsync_core::node::{Content, Entry, FileEntry, Mtime, Node, Run};
use fsync_core::nodes::NewNodes;
use fsync_core::pack::{Object, PackWriter};
use fsync_core::path::Name;
use fsync_core::tree::{self, Entries};
use fsync_core::wire::{
    CommitOutcome, ErrorBody, ErrorCode, KnownAnswer, KnownRequest, ObjectsRequest, Version,
};
use fsync_server::{Config, Server};

fn files(list: &[(&str, &str)]) -> Files {
    list.iter()
        .map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec()))
        .collect()
}

async fn server() -> Server {
    Server::start(Config::memory()).await.unwrap()
}

#[tokio::test]
async fn a_server_says_what_it_is() {
    let server = server().await;
    let agent = Agent::new(&server.url(), "docs", "laptop");
    let version: Version = agent.get_json("/v1/version").await.unwrap();
    assert_eq!((version.service.as_str(), version.protocol), ("fsync", 1));
    let error = agent.get_json::<Version>("/nothing").await.unwrap_err();
    assert_eq!(error.code, ErrorCode::NotFound);
    assert!(error.message.contains("fsync server"), "{}", error.message);
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_commit_comes_back_as_a_delta() {
    let server = server().await;
    let agent = Agent::new(&server.url(), "docs", "laptop");
    let tree = files(&[("a", "one"), ("dir/b", "two"), ("dir/deep/c", "three")]);
    let first = agent.commit(&tree, &[]).await.unwrap();
    assert_eq!(first.outcome, CommitOutcome::Head);
    assert_eq!(first.head.seq.0, 1);
    assert_eq!(agent.head().await, Some(first.head));
    assert_eq!(agent.pull(None, first.head.revision).await.unwrap(), tree);
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_commit_brings_only_what_changed() {
    let server = server().await;
    let agent = Agent::new(&server.url(), "docs", "laptop");
    let mut tree = files(&[("a", "one"), ("dir/b", "two"), ("other/c", "three")]);
    let first = agent.commit(&tree, &[]).await.unwrap();
    tree.insert("dir/b".to_owned(), b"changed".to_vec());
    let second = agent.commit(&tree, &[first.head.revision]).await.unwrap();
    assert_eq!(
        (second.outcome, second.head.seq.0),
        (CommitOutcome::Head, 2)
    );
    let delta = agent
        .delta(Some(first.head.revision), second.head.revision)
        .await
        .unwrap();
    // The root, dir, and the chunk of b; then the revision.
    assert_eq!(delta.objects.len(), 3);
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_retry_is_done_however_late() {
    let server = server().await;
    let agent = Agent::new(&server.url(), "docs", "laptop");
    let first = agent.commit(&files(&[("a", "1")]), &[]).await.unwrap();
    let second = agent
        .commit(&files(&[("a", "2")]), &[first.head.revision])
        .await
        .unwrap();
    let late = agent.commit(&files(&[("a", "1")]), &[]).await.unwrap();
    assert_eq!(late.outcome, CommitOutcome::Done);
    assert_eq!((late.head, late.seq.0), (second.head, 1));
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn concurrent_commits_are_merged_by_the_server() {
    let server = server().await;
    let one = Agent::new(&server.url(), "docs", "one");
    let two = Agent::new(&server.url(), "docs", "two");
    let base = one
        .commit(&files(&[("a", "a")]), &[])
        .await
        .unwrap()
        .head
        .revision;
    one.commit(&files(&[("a", "a"), ("b", "b")]), &[base])
        .await
        .unwrap();
    let merged = two
        .commit(&files(&[("a", "a"), ("c", "c")]), &[base])
        .await
        .unwrap();
    assert_eq!(merged.outcome, CommitOutcome::Merged);
    assert_eq!((merged.seq.0, merged.head.seq.0), (3, 4));
    let all = files(&[("a", "a"), ("b", "b"), ("c", "c")]);
    assert_eq!(one.pull(None, merged.head.revision).await.unwrap(), all);
    assert_eq!(one.log().await.len(), 4);
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn many_commits_at_once_all_arrive() {
    let server = server().await;
    let first = Agent::new(&server.url(), "docs", "first");
    let base = first
        .commit(&files(&[("base", "x")]), &[])
        .await
        .unwrap()
        .head
        .revision;
    let commits = (0..24).map(|n| {
        let agent = Agent::new(&server.url(), "docs", &format!("agent-{n}"));
        let name = format!("file-{n}");
        async move {
            let tree = files(&[("base", "x"), (&name, &name)]);
            agent.commit(&tree, &[base]).await.unwrap()
        }
    });
    futures_util::future::join_all(commits).await;
    let head = first.head().await.unwrap();
    let tree = first.pull(None, head.revision).await.unwrap();
    assert_eq!(tree.len(), 25);
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_first_contact_without_base_is_a_union() {
    let server = server().await;
    let one = Agent::new(&server.url(), "docs", "one");
    let two = Agent::new(&server.url(), "docs", "two");
    one.commit(&files(&[("a", "a"), ("same", "s")]), &[])
        .await
        .unwrap();
    let merged = two
        .commit(&files(&[("b", "b"), ("same", "s")]), &[])
        .await
        .unwrap();
    let all = files(&[("a", "a"), ("b", "b"), ("same", "s")]);
    assert_eq!(two.pull(None, merged.head.revision).await.unwrap(), all);
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn what_is_missing_is_named_at_once() {
    let server = server().await;
    let agent = Agent::new(&server.url(), "docs", "laptop");
    let (revision, objects) = agent.revision(&files(&[("a", "1"), ("b", "2")]), &[]);
    let nodes: Vec<Object> = objects.into_iter().filter(|o| o.kind.is_node()).collect();
    let error = agent.push(&revision, &nodes, None).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::Missing);
    assert_eq!(error.missing.len(), 2);
    assert_eq!(agent.head().await, None);
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn an_unknown_parent_is_base_unknown() {
    let server = server().await;
    let agent = Agent::new(&server.url(), "docs", "laptop");
    let ghost = RevisionId::of(b"ghost");
    let error = agent
        .commit(&files(&[("a", "1")]), &[ghost])
        .await
        .unwrap_err();
    assert_eq!(error.code, ErrorCode::BaseUnknown);
    let head = agent
        .commit(&files(&[("a", "1")]), &[])
        .await
        .unwrap()
        .head
        .revision;
    let error = agent.delta(Some(ghost), head).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::BaseUnknown);
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn an_upload_session_gathers_objects_for_a_commit() {
    let server = server().await;
    let agent = Agent::new(&server.url(), "docs", "laptop");
    let (revision, objects) = agent.revision(&files(&[("a", "1"), ("d/b", "2")]), &[]);
    let upload = agent.open_upload().await;
    let ids: Vec<ObjectId> = objects.iter().map(|o| o.id).collect();
    assert_eq!(agent.have(&ids, Some(upload)).await.len(), ids.len());
    agent.put(upload, &objects).await.unwrap();
    assert_eq!(agent.have(&ids, Some(upload)).await, []);
    assert_eq!(agent.have(&ids, None).await.len(), ids.len());
    let answer = agent.push(&revision, &[], Some(upload)).await.unwrap();
    assert_eq!(answer.outcome, CommitOutcome::Head);
    assert_eq!(agent.have(&ids, None).await, []);
    let other = Agent::new(&server.url(), "other", "laptop");
    let error = other.put(upload, &objects).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::UploadUnknown);
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn knowing_a_hash_gives_no_access() {
    let server = server().await;
    let one = Agent::new(&server.url(), "one", "laptop");
    let two = Agent::new(&server.url(), "two", "laptop");
    one.commit(&files(&[("secret", "secret")]), &[])
        .await
        .unwrap();
    let secret = ObjectId::of(ObjectKind::Chunk, b"secret");
    assert_eq!(one.objects(&[secret]).await.unwrap().len(), 1);
    assert_eq!(
        two.objects(&[secret]).await.unwrap_err().code,
        ErrorCode::NotFound
    );
    assert_eq!(two.have(&[secret], None).await, [secret]);
    // Naming it in a tree of one's own gives nothing either.
    let (revision, objects) = two.revision(&files(&[("mine", "secret")]), &[]);
    let nodes: Vec<Object> = objects.into_iter().filter(|o| o.kind.is_node()).collect();
    assert_eq!(
        two.push(&revision, &nodes, None).await.unwrap_err().code,
        ErrorCode::Missing
    );
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn hostile_bodies_are_refused_with_a_reason() {
    let server = server().await;
    let agent = Agent::new(&server.url(), "docs", "laptop");
    let code = |result: Result<(), ErrorBody>| result.unwrap_err().code;
    assert_eq!(
        code(agent.post_raw("commits", b"x".to_vec()).await),
        ErrorCode::Malformed
    );
    assert_eq!(
        code(agent.post_raw("commits", PackWriter::new().finish()).await),
        ErrorCode::Malformed
    );
    let mut lie = PackWriter::new();
    lie.push(
        ObjectKind::Chunk,
        &ObjectId::of(ObjectKind::Chunk, b"a"),
        b"b",
    );
    assert_eq!(
        code(agent.post_raw("commits", lie.finish()).await),
        ErrorCode::HashMismatch
    );
    let huge = vec![0; fsync_core::limits::PACK_BODY_BYTES + 1];
    assert_eq!(
        code(agent.post_raw("commits", huge).await),
        ErrorCode::TooLarge
    );
    assert_eq!(
        code(agent.post_raw("objects", b"{".to_vec()).await),
        ErrorCode::Malformed
    );
    let many = ObjectsRequest {
        ids: vec![ObjectId::of(ObjectKind::Chunk, b"a"); 16 * 1024 + 1],
        upload: None,
    };
    let many = serde_json::to_vec(&many).unwrap();
    assert_eq!(
        code(agent.post_raw("objects", many).await),
        ErrorCode::TooLarge
    );
    let bad = Agent::new(&server.url(), "..", "laptop");
    assert_eq!(
        code(bad.post_raw("objects", b"{}".to_vec()).await),
        ErrorCode::NotFound
    );
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_link_that_names_a_directory_hides_nothing_from_admission() {
    let name = |text: &str| Name::new(text.as_bytes()).unwrap();
    let nowhere = ObjectId::of(ObjectKind::Directory, b"nowhere");
    // Whichever stands first: the directory must be looked into, and lacks what is in it.
    for names in [["a", "b"], ["b", "a"]] {
        let mut new = NewNodes::default();
        let inside = Entries::from([(name("d"), Entry::Dir(nowhere))]);
        let dir = tree::write_dir(&inside, &mut new);
        let [link, real] = names.map(name);
        let both = Entries::from([(link, Entry::Symlink(dir)), (real, Entry::Dir(dir))]);
        let root = tree::write_dir(&both, &mut new);
        let refused = refusal(root, &new).await;
        assert!(refused.contains("is not a"), "{refused}");
    }
}

/// Pushes a tree made of these nodes and returns why it was refused.
async fn refusal(root: ObjectId, new: &NewNodes) -> String {
    let server = server().await;
    let agent = Agent::new(&server.url(), "docs", "laptop");
    let (mut revision, _) = agent.revision(&files(&[]), &[]);
    revision.root = root;
    let object = |(kind, id, bytes): (ObjectKind, ObjectId, &[u8])| Object {
        kind,
        id,
        bytes: bytes.to_vec(),
    };
    let objects: Vec<Object> = new.iter().map(object).collect();
    let error = agent.push(&revision, &objects, None).await.unwrap_err();
    assert_eq!(agent.head().await, None);
    server.shutdown().await.unwrap();
    error.message
}

#[tokio::test]
async fn a_tree_is_as_deep_as_its_deepest_place() {
    let name = |text: &str| Name::new(text.as_bytes()).unwrap();
    let mut new = NewNodes::default();
    let chain = |bottom: ObjectId, new: &mut NewNodes| {
        (0..300).fold(bottom, |dir, _| {
            tree::write_dir(&Entries::from([(name("d"), Entry::Dir(dir))]), new)
        })
    };
    let empty = tree::write_empty(&mut new);
    let lower = chain(empty, &mut new);
    let upper = chain(lower, &mut new);
    // Whichever is looked at first.
    for names in [["a", "b"], ["b", "a"]] {
        let [shallow, deep] = names.map(name);
        let both = Entries::from([(shallow, Entry::Dir(lower)), (deep, Entry::Dir(upper))]);
        let root = tree::write_dir(&both, &mut new);
        let refused = refusal(root, &new).await;
        assert!(refused.contains("path depth"), "{refused}");
    }
}

#[tokio::test]
async fn a_list_that_names_parts_again_and_again_is_looked_at_once() {
    let name = |text: &str| Name::new(text.as_bytes()).unwrap();
    let mut new = NewNodes::default();
    let nowhere = ObjectId::of(ObjectKind::Chunk, b"nowhere");
    let bytes = 20_000;
    let chunk = Run::Chunk { id: nowhere, bytes };
    let mut list = (new.insert(Node::FileLeaf(vec![chunk])), bytes);
    // 300^5 places of one chunk.
    for height in 1..=5 {
        let parts = vec![list; 300];
        list = (new.insert(Node::FileInner(height, parts)), list.1 * 300);
    }
    let file = FileEntry {
        content: Content::List(list.0),
        size: list.1,
        exec: false,
        mtime: Mtime(1),
    };
    let root = tree::write_dir(&Entries::from([(name("f"), Entry::File(file))]), &mut new);
    let refused = refusal(root, &new).await;
    assert!(
        refused.contains("missing") || refused.contains("not here"),
        "{refused}"
    );
}

#[tokio::test]
async fn earlier_versions_of_a_path_are_known() {
    let server = server().await;
    let agent = Agent::new(&server.url(), "docs", "laptop");
    let first = agent
        .commit(&files(&[("d/a", "old")]), &[])
        .await
        .unwrap()
        .head
        .revision;
    agent
        .commit(&files(&[("d/a", "new")]), &[first])
        .await
        .unwrap();
    let hex = |path: &str| path.bytes().map(|b| format!("{b:02x}")).collect::<String>();
    let chunk = |text: &str| ObjectId::of(ObjectKind::Chunk, text.as_bytes());
    let request = KnownRequest {
        versions: vec![
            (hex("d/a"), chunk("old")),
            (hex("d/a"), chunk("new")),
            (hex("d/a"), chunk("never")),
            (hex("a"), chunk("old")),
        ],
    };
    let answer: KnownAnswer = agent.post_json("known", &request).await.unwrap();
    assert_eq!(answer.known, [true, true, false, false]);
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut tree = files(&[("a", "one"), ("d/b", "two")]);
    tree.insert("large".to_owned(), vec![7; 300 * 1024]);
    let head = {
        let server = Server::start(Config::local(dir.path())).await.unwrap();
        let agent = Agent::new(&server.url(), "docs", "laptop");
        let head = agent.commit(&tree, &[]).await.unwrap().head;
        server.shutdown().await.unwrap();
        head
    };
    let server = Server::start(Config::local(dir.path())).await.unwrap();
    let agent = Agent::new(&server.url(), "docs", "laptop");
    assert_eq!(agent.head().await, Some(head));
    assert_eq!(agent.pull(None, head.revision).await.unwrap(), tree);
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_first_start_that_was_cut_off_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    // A power loss may leave any part of what was not durable yet.
    std::fs::write(dir.path().join("journal.new"), b"redb, but not all of it").unwrap();
    let server = Server::start(Config::local(dir.path())).await.unwrap();
    let agent = Agent::new(&server.url(), "docs", "laptop");
    agent.commit(&files(&[("a", "one")]), &[]).await.unwrap();
    server.shutdown().await.unwrap();
    assert!(!dir.path().join("journal.new").exists());
    assert!(dir.path().join("journal.redb").exists());
}

#[tokio::test]
async fn a_data_directory_has_one_server() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(Config::local(dir.path())).await.unwrap();
    let second = Server::start(Config::local(dir.path())).await.unwrap_err();
    assert!(second.to_string().contains("in use"), "{second}");
    server.shutdown().await.unwrap();
}
