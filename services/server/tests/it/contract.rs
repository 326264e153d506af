//! The contract of every journal: one suite, run over all implementations.

use std::collections::BTreeSet;
use std::sync::Arc;

use fsync_core::id::{ObjectId, ObjectKind, RevisionId};
use fsync_core::label::{TenantName, TreeKey};
use fsync_core::nodes::NewNodes;
use fsync_core::pack::Object;
use fsync_core::revision::{Revision, Timestamp};
use fsync_core::service::Now;
use fsync_core::service::commit::Committed;
use fsync_core::service::facts::Questions;
use fsync_core::service::record::{
    CommitWrite, NewRevision, PackEntry, PackId, PackPlace, Payload, Place, UploadId,
};
use fsync_core::wire::{Epoch, Head, Seq};
use fsync_server::auth::Revocation;
use fsync_server::cluster::ClusterId;
use fsync_server::journal::memory::Memory;
use fsync_server::journal::redb::Redb;
use fsync_server::journal::redis::Shared;
use fsync_server::journal::{Journal, Lease, Sweep};
use fsync_server::redis::Redis;

use crate::redis::{RedisCluster, RedisServer, config_of, with_prefix};

mod loss;
mod packs;
mod policies;

use loss::{
    a_loss_makes_admissions_before_it_doubtful, a_lost_object_is_lacking_until_it_is_stored_again,
    a_lost_pack_takes_all_its_objects_and_no_others, a_sweep_keeps_what_is_lost_and_owed,
    an_object_that_stands_elsewhere_by_now_is_not_lost,
    lost_objects_are_told_of_to_their_tree_only_and_in_turn,
};
use packs::{inline_objects_move_to_packs, packs_are_doomed_then_forgotten};
use policies::{a_policy_stays_until_it_is_removed, what_is_stored_for_a_tree_is_counted};

/// Runs a check over every implementation.
macro_rules! contract {
    ($($name:ident),* $(,)?) => {
        mod memory {
            $(#[tokio::test] async fn $name() { super::$name(&super::Memory::default()).await; })*
        }
        mod redb {
            $(#[tokio::test] async fn $name() {
                let dir = tempfile::tempdir().unwrap();
                let journal = super::Redb::open(&dir.path().join("journal.redb")).unwrap();
                super::$name(&journal).await;
                super::Journal::close(&journal).await.unwrap();
            })*
        }
        mod redis {
            $(#[tokio::test] async fn $name() {
                let server = super::RedisServer::start().unwrap();
                let redis = super::Redis::open(&super::config_of(&server)).await.unwrap();
                let journal = super::Shared::new(redis);
                super::$name(&journal).await;
                super::Journal::close(&journal).await.unwrap();
            })*
        }
        /// All rows on one Cluster, each with keys of its own.
        #[tokio::test]
        async fn a_cluster_keeps_the_contract() {
            let cluster = RedisCluster::start().unwrap();
            $({
                println!("{}", stringify!($name));
                let config = with_prefix(&cluster.url(), stringify!($name));
                let journal = Shared::new(Redis::open(&config).await.unwrap());
                $name(&journal).await;
                journal.close().await.unwrap();
            })*
        }
    };
}

contract!(
    the_first_number_of_a_service_stays,
    who_is_shut_out_stays_out,
    a_new_tree_has_nothing,
    a_policy_stays_until_it_is_removed,
    what_is_stored_for_a_tree_is_counted,
    a_commit_moves_head_and_lineage,
    a_commit_on_another_head_changes_nothing,
    a_commit_that_comes_again_is_done_once,
    heads_are_read_in_the_order_asked,
    an_epoch_is_renewed_only_at_the_head_that_was_seen,
    objects_are_told_of_to_their_tree_only,
    a_session_holds_its_objects_until_it_ends,
    a_sweep_takes_what_is_dead_and_old_only,
    a_sweep_stops_if_the_head_moved,
    a_sweep_makes_admissions_before_it_doubtful,
    inline_objects_move_to_packs,
    packs_are_doomed_then_forgotten,
    a_lost_object_is_lacking_until_it_is_stored_again,
    a_lost_pack_takes_all_its_objects_and_no_others,
    an_object_that_stands_elsewhere_by_now_is_not_lost,
    a_loss_makes_admissions_before_it_doubtful,
    lost_objects_are_told_of_to_their_tree_only_and_in_turn,
    a_sweep_keeps_what_is_lost_and_owed,
    the_log_is_newest_first_in_pages,
    the_chain_after_a_revision_is_in_order,
);

async fn who_is_shut_out_stays_out(journal: &dyn Journal) {
    let revoke = |who: &str, since_ms| Revocation {
        who: who.parse().unwrap(),
        since_ms,
    };
    let before = journal.revocations(None).await.unwrap().unwrap();
    assert!(before.list.is_empty());
    let known = Some(before.version);
    assert_eq!(journal.revocations(known).await.unwrap(), None);
    assert!(journal.revoke(revoke("token:a:b/c", 5)).await.unwrap());
    assert!(
        journal
            .revoke(revoke("subject:team/anna@x", 6))
            .await
            .unwrap()
    );
    let after = journal.revocations(known).await.unwrap().unwrap();
    assert_ne!(after.version, before.version);
    // A second time counts from then on.
    assert!(
        journal
            .revoke(revoke("subject:team/anna@x", 9))
            .await
            .unwrap()
    );
    let last = journal
        .revocations(Some(after.version))
        .await
        .unwrap()
        .unwrap();
    let list: Vec<(String, u64)> = last
        .list
        .iter()
        .map(|(w, s)| (w.to_string(), s.0))
        .collect();
    let expected = [("token:a:b/c", 5), ("subject:team/anna@x", 9)];
    assert_eq!(list, expected.map(|(who, since)| (who.to_owned(), since)));
    assert_eq!(journal.revocations(Some(last.version)).await.unwrap(), None);
}

async fn the_first_number_of_a_service_stays(journal: &dyn Journal) {
    let (one, two) = (ClusterId(u128::MAX - 1), ClusterId(2));
    assert_eq!(journal.cluster().await.unwrap(), None);
    assert_eq!(journal.join(one).await.unwrap(), one);
    assert_eq!(journal.join(two).await.unwrap(), one);
    assert_eq!(journal.cluster().await.unwrap(), Some(one));
}

pub(crate) fn tree(name: &str) -> TreeKey {
    name.parse().unwrap()
}

fn tenant() -> TenantName {
    "default".parse().unwrap()
}

fn chunk(text: &str) -> Object {
    Object::new(ObjectKind::Chunk, text.as_bytes().to_vec())
}

pub(crate) fn revision(seq: u64, parent: Option<RevisionId>) -> (RevisionId, Revision) {
    let revision = Revision {
        root: ObjectId::of(ObjectKind::Directory, &seq.to_be_bytes()),
        parents: parent.into_iter().collect(),
        author: "laptop".parse().unwrap(),
        time: Timestamp(seq),
        is_approved: false,
        moves: Vec::new(),
    };
    (revision.encode().0, revision)
}

/// Marks an object complete.
fn mark(object: &Object) -> (ObjectId, u32) {
    (object.id, u32::try_from(object.bytes.len()).unwrap())
}

/// Commits one revision with inline chunks, all of them complete.
pub(crate) async fn commit(
    journal: &dyn Journal,
    key: &TreeKey,
    (seq, parent): (u64, Option<RevisionId>),
    texts: &[&str],
) -> (Committed, Head) {
    let (id, revision) = revision(seq, parent);
    let head = Head {
        epoch: Epoch(5),
        seq: Seq(seq),
        revision: id,
    };
    let objects: Vec<Object> = texts.iter().map(|text| chunk(text)).collect();
    let write = CommitWrite {
        expected: parent,
        generation: generation(journal, key).await,
        head,
        revisions: vec![NewRevision {
            seq: Seq(seq),
            id,
            bytes: revision.to_bytes(),
            trace: None,
        }],
        tickets: Vec::new(),
        made: NewNodes::default(),
        complete: objects.iter().map(mark).collect(),
        now: Now(seq * 100),
        trace: None,
    };
    let payload = Arc::new(Payload::Inline(objects));
    let done = journal
        .commit(key.clone(), Box::new(write), vec![payload])
        .await
        .unwrap();
    (done, head)
}

async fn generation(journal: &dyn Journal, key: &TreeKey) -> u64 {
    journal
        .ask(key.clone(), Questions::default())
        .await
        .unwrap()
        .generation
}

pub(crate) async fn head(journal: &dyn Journal, key: &TreeKey) -> Option<Head> {
    let questions = Questions {
        head: true,
        ..Questions::default()
    };
    let answers = journal.ask(key.clone(), questions).await.unwrap();
    answers.head.unwrap().map(|state| state.head)
}

/// Returns whether an object is complete for the tree, in the session, or neither.
async fn held(
    journal: &dyn Journal,
    key: &TreeKey,
    upload: Option<UploadId>,
    text: &str,
) -> Option<bool> {
    let id = chunk(text).id;
    let questions = Questions {
        held: BTreeSet::from([(upload, id)]),
        ..Questions::default()
    };
    let answers = journal.ask(key.clone(), questions).await.unwrap();
    let held = answers.held[0].1?;
    assert_eq!(
        (held.kind, held.bytes),
        (ObjectKind::Chunk, u32::try_from(text.len()).unwrap())
    );
    Some(held.is_complete)
}

fn sweep(cutoff: u64) -> Sweep {
    Sweep {
        cutoff: Now(cutoff),
        is_dry: false,
    }
}

fn lease(now: u64) -> Lease {
    Lease {
        now: Now(now),
        expires: Now(now + 1000),
    }
}

async fn a_new_tree_has_nothing(journal: &dyn Journal) {
    let key = tree("new");
    assert_eq!(head(journal, &key).await, None);
    assert_eq!(held(journal, &key, None, "a").await, None);
    assert_eq!(journal.log(key, None, 10).await.unwrap(), []);
    assert_eq!(journal.trees().await.unwrap(), []);
    assert_eq!(journal.inline(100).await.unwrap(), None);
}

async fn a_commit_moves_head_and_lineage(journal: &dyn Journal) {
    let key = tree("docs");
    let (done, first) = commit(journal, &key, (1, None), &["a"]).await;
    assert_eq!(done, Committed::Done);
    let (done, second) = commit(journal, &key, (2, Some(first.revision)), &["b"]).await;
    assert_eq!(done, Committed::Done);
    assert_eq!(head(journal, &key).await, Some(second));
    let ghost = RevisionId::of(b"ghost");
    let questions = Questions {
        revisions: BTreeSet::from([first.revision, ghost]),
        ..Questions::default()
    };
    let answers = journal.ask(key.clone(), questions).await.unwrap();
    for (id, stored) in answers.revisions {
        match stored {
            Some(stored) => assert_eq!(
                (id, stored.seq, stored.committed),
                (first.revision, Seq(1), Now(100))
            ),
            None => assert_eq!(id, ghost),
        }
    }
    assert_eq!(journal.trees().await.unwrap(), [key]);
}

async fn a_commit_on_another_head_changes_nothing(journal: &dyn Journal) {
    let key = tree("docs");
    let (_, first) = commit(journal, &key, (1, None), &["a"]).await;
    let (done, _) = commit(journal, &key, (2, None), &["b"]).await;
    assert_eq!(done, Committed::Conflict);
    assert_eq!(head(journal, &key).await, Some(first));
    assert_eq!(held(journal, &key, None, "b").await, None);
    let located = journal.locate(tenant(), vec![chunk("b").id]).await.unwrap();
    assert_eq!(located, [None]);
}

/// A caller that got no answer asks the head; this row is for journals that answer by themselves.
async fn a_commit_that_comes_again_is_done_once(journal: &dyn Journal) {
    let key = tree("docs");
    let (_, first) = commit(journal, &key, (1, None), &["a"]).await;
    commit(journal, &key, (1, None), &["a"]).await;
    assert_eq!(head(journal, &key).await, Some(first));
    assert_eq!(journal.log(key, None, 10).await.unwrap().len(), 1);
}

async fn heads_are_read_in_the_order_asked(journal: &dyn Journal) {
    let (docs, other) = (tree("docs"), tree("team/docs"));
    let (_, first) = commit(journal, &docs, (1, None), &[]).await;
    let (_, second) = commit(journal, &other, (1, None), &[]).await;
    let (_, second) = commit(journal, &other, (2, Some(second.revision)), &[]).await;
    let asked = vec![other, tree("new"), docs];
    let heads = journal.heads(asked).await.unwrap();
    assert_eq!(heads, [Some(second), None, Some(first)]);
    assert_eq!(journal.heads(Vec::new()).await.unwrap(), []);
}

async fn an_epoch_is_renewed_only_at_the_head_that_was_seen(journal: &dyn Journal) {
    let key = tree("docs");
    let (_, first) = commit(journal, &key, (1, None), &[]).await;
    let (_, second) = commit(journal, &key, (2, Some(first.revision)), &[]).await;
    let renew = |head| journal.renew(key.clone(), head, Epoch(77));
    assert!(!renew(first).await.unwrap());
    assert!(renew(second).await.unwrap());
    let renewed = Head {
        epoch: Epoch(77),
        ..second
    };
    assert_eq!(head(journal, &key).await, Some(renewed));
    assert!(!renew(second).await.unwrap(), "it is another head by now");
    let none = journal.renew(tree("new"), second, Epoch(77));
    assert!(!none.await.unwrap());
}

async fn objects_are_told_of_to_their_tree_only(journal: &dyn Journal) {
    let (one, two, other) = (tree("one"), tree("two"), tree("other/one"));
    commit(journal, &one, (1, None), &["a"]).await;
    assert_eq!(held(journal, &one, None, "a").await, Some(true));
    assert_eq!(held(journal, &two, None, "a").await, None);
    assert_eq!(held(journal, &other, None, "a").await, None);
    let id = chunk("a").id;
    let located = journal.locate(tenant(), vec![id]).await.unwrap();
    assert_eq!(
        located,
        [Some((ObjectKind::Chunk, Place::Inline(b"a".to_vec())))]
    );
    assert_eq!(
        journal.locate(other.tenant, vec![id]).await.unwrap(),
        [None]
    );
}

async fn a_session_holds_its_objects_until_it_ends(journal: &dyn Journal) {
    let (key, upload) = (tree("docs"), UploadId(9));
    let payload = || Payload::Inline(vec![chunk("a")]);
    assert!(
        !journal
            .touch_upload(key.clone(), upload, lease(0))
            .await
            .unwrap()
    );
    assert!(
        !journal
            .add_upload(key.clone(), upload, payload(), lease(0))
            .await
            .unwrap()
    );
    journal
        .open_upload(key.clone(), upload, lease(0))
        .await
        .unwrap();
    assert!(
        journal
            .add_upload(key.clone(), upload, payload(), lease(500))
            .await
            .unwrap()
    );
    assert_eq!(held(journal, &key, Some(upload), "a").await, Some(false));
    assert_eq!(held(journal, &key, None, "a").await, None);
    assert_eq!(held(journal, &tree("other"), Some(upload), "a").await, None);
    assert!(
        !journal
            .touch_upload(tree("other"), upload, lease(0))
            .await
            .unwrap()
    );
    assert_eq!(journal.pins(key.clone()).await.unwrap(), [chunk("a").id]);
    assert_eq!(journal.expire_uploads(Now(1400)).await.unwrap(), 0);
    let before = generation(journal, &key).await;
    assert_eq!(journal.expire_uploads(Now(1500)).await.unwrap(), 1);
    assert_ne!(generation(journal, &key).await, before);
    assert_eq!(held(journal, &key, Some(upload), "a").await, None);
    assert!(!journal.touch_upload(key, upload, lease(0)).await.unwrap());
}

async fn a_sweep_takes_what_is_dead_and_old_only(journal: &dyn Journal) {
    let key = tree("docs");
    let (_, first) = commit(journal, &key, (1, None), &["live", "dead"]).await;
    let (_, head) = commit(journal, &key, (2, Some(first.revision)), &["young"]).await;
    let live = Arc::new(BTreeSet::from([chunk("live").id]));
    let dry = Sweep {
        is_dry: true,
        ..sweep(200)
    };
    let swept = journal
        .sweep_tree(key.clone(), Some(head), Arc::clone(&live), dry)
        .await;
    assert_eq!(swept.unwrap(), Some(1));
    assert_eq!(held(journal, &key, None, "dead").await, Some(true));
    let swept = journal
        .sweep_tree(key.clone(), Some(head), live, sweep(200))
        .await;
    assert_eq!(swept.unwrap(), Some(1));
    assert_eq!(held(journal, &key, None, "dead").await, None);
    assert_eq!(held(journal, &key, None, "live").await, Some(true));
    assert_eq!(held(journal, &key, None, "young").await, Some(true));
    let (objects, _) = journal.sweep_objects(tenant(), sweep(200)).await.unwrap();
    assert_eq!(objects, 1);
    let ids = vec![chunk("dead").id, chunk("live").id];
    let located = journal.locate(tenant(), ids).await.unwrap();
    assert_eq!((located[0].is_some(), located[1].is_some()), (false, true));
    assert_eq!(
        journal.inline_bytes().await.unwrap(),
        "live".len() as u64 + "young".len() as u64
    );
}

async fn a_sweep_stops_if_the_head_moved(journal: &dyn Journal) {
    let key = tree("docs");
    let (_, first) = commit(journal, &key, (1, None), &["a"]).await;
    commit(journal, &key, (2, Some(first.revision)), &["b"]).await;
    let live = Arc::default();
    let swept = journal
        .sweep_tree(key.clone(), Some(first), live, sweep(1000))
        .await;
    assert_eq!(swept.unwrap(), None);
    assert_eq!(held(journal, &key, None, "a").await, Some(true));
}

async fn a_sweep_makes_admissions_before_it_doubtful(journal: &dyn Journal) {
    let key = tree("docs");
    let (_, first) = commit(journal, &key, (1, None), &["a"]).await;
    let relied_on = generation(journal, &key).await;
    let live = Arc::default();
    journal
        .sweep_tree(key.clone(), Some(first), live, sweep(1000))
        .await
        .unwrap();
    let (id, revision) = revision(2, Some(first.revision));
    let write = CommitWrite {
        expected: Some(first.revision),
        generation: relied_on,
        head: Head {
            epoch: Epoch(5),
            seq: Seq(2),
            revision: id,
        },
        revisions: vec![NewRevision {
            seq: Seq(2),
            id,
            bytes: revision.to_bytes(),
            trace: None,
        }],
        tickets: Vec::new(),
        made: NewNodes::default(),
        complete: Vec::new(),
        now: Now(200),
        trace: None,
    };
    let done = journal
        .commit(key, Box::new(write), Vec::new())
        .await
        .unwrap();
    assert_eq!(done, Committed::Conflict);
}

fn entry(text: &str, offset: u32) -> PackEntry {
    PackEntry {
        kind: ObjectKind::Chunk,
        id: chunk(text).id,
        offset,
        bytes: u32::try_from(text.len()).unwrap(),
    }
}

async fn five_revisions(journal: &dyn Journal, key: &TreeKey) {
    let mut parent = None;
    for seq in 1..=5 {
        parent = Some(commit(journal, key, (seq, parent), &[]).await.1.revision);
    }
}

async fn the_log_is_newest_first_in_pages(journal: &dyn Journal) {
    let key = tree("docs");
    five_revisions(journal, &key).await;
    let seqs = async |before: Option<u64>, limit| {
        let page = journal
            .log(key.clone(), before.map(Seq), limit)
            .await
            .unwrap();
        page.iter().map(|stored| stored.seq.0).collect::<Vec<_>>()
    };
    assert_eq!(seqs(None, 2).await, [5, 4]);
    assert_eq!(seqs(Some(4), 2).await, [3, 2]);
    assert_eq!(seqs(Some(2), 9).await, [1]);
    assert!(seqs(Some(1), 9).await.is_empty());
}

async fn the_chain_after_a_revision_is_in_order(journal: &dyn Journal) {
    let key = tree("docs");
    five_revisions(journal, &key).await;
    let questions = Questions {
        chain_after: Some(Seq(3)),
        ..Questions::default()
    };
    let (after, chain) = journal.ask(key, questions).await.unwrap().chain.unwrap();
    let seqs: Vec<u64> = chain.iter().map(|stored| stored.seq.0).collect();
    assert_eq!((after, seqs), (Seq(3), vec![4, 5]));
}
