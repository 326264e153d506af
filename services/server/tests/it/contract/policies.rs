//! Policies of trees, and what is counted for them.

use std::collections::BTreeSet;
use std::sync::Arc;

use fsync_core::admin::{Access, Policy, TreeRetention};
use fsync_core::rights::Right;
use fsync_core::service::record::Usage;
use fsync_server::journal::Journal;

use super::{chunk, commit, sweep, tree};

pub(super) async fn a_policy_stays_until_it_is_removed(journal: &dyn Journal) {
    let (docs, other) = (tree("docs"), tree("other"));
    let policy = Policy {
        retention: Some(TreeRetention {
            age_seconds: Some(60),
            revisions: None,
        }),
        quota_bytes: Some(1 << 40),
        access: vec![Access {
            subject: "anna@example.org".parse().unwrap(),
            right: Right::Write,
        }],
    };
    assert_eq!(journal.policy(docs.clone()).await.unwrap(), None);
    let set = journal.set_policy(docs.clone(), Some(policy.clone()));
    set.await.unwrap();
    assert_eq!(journal.policy(docs.clone()).await.unwrap(), Some(policy));
    assert_eq!(journal.policy(other).await.unwrap(), None);
    let replaced = journal.set_policy(docs.clone(), Some(Policy::default()));
    replaced.await.unwrap();
    let found = journal.policy(docs.clone()).await.unwrap();
    assert_eq!(found, Some(Policy::default()));
    journal.set_policy(docs.clone(), None).await.unwrap();
    journal.set_policy(docs.clone(), None).await.unwrap();
    assert_eq!(journal.policy(docs).await.unwrap(), None);
}

pub(super) async fn what_is_stored_for_a_tree_is_counted(journal: &dyn Journal) {
    let (docs, other) = (tree("docs"), tree("other"));
    let usage = async |key| journal.usage(key).await.unwrap();
    let of = |bytes, objects| Usage { bytes, objects };
    assert_eq!(usage(docs.clone()).await, of(0, 0));
    let (_, first) = commit(journal, &docs, (1, None), &["three", "four"]).await;
    assert_eq!(usage(docs.clone()).await, of(9, 2));
    // What is marked again counts once.
    let parent = (2, Some(first.revision));
    let (_, head) = commit(journal, &docs, parent, &["four", "fifteen"]).await;
    assert_eq!(usage(docs.clone()).await, of(16, 3));
    // What two trees share counts for both.
    commit(journal, &other, (3, None), &["four"]).await;
    assert_eq!(usage(other.clone()).await, of(4, 1));
    let live = Arc::new(BTreeSet::from([chunk("four").id]));
    let swept = journal.sweep_tree(docs.clone(), Some(head), live, sweep(150));
    assert_eq!(swept.await.unwrap(), Some(1));
    assert_eq!(usage(docs).await, of(11, 2));
    assert_eq!(usage(other).await, of(4, 1));
}
