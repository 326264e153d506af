//! Tables of what a `SyncTree` asks for.

use fsync_core::rights::Right;
use fsync_core::service::Now;
use fsync_core::wire::Head;
use serde_json::json;

use super::*;
use crate::condition;

fn spec(value: serde_json::Value) -> SyncTreeSpec {
    serde_json::from_value(value).unwrap()
}

fn tree(name: &str, second: i64, spec_of: serde_json::Value) -> SyncTree {
    let mut tree = SyncTree::new(name, spec(spec_of));
    tree.metadata.uid = Some(format!("uid-{name}"));
    tree.metadata.generation = Some(3);
    tree.metadata.creation_timestamp = Some(Time(Timestamp::from_second(second).unwrap()));
    tree
}

#[test]
fn a_name_alone_asks_for_nothing_more() {
    let wanted = wanted(&spec(json!({"name": "docs"}))).unwrap();
    assert_eq!(wanted.key, "docs".parse().unwrap());
    assert_eq!(wanted.policy, Policy::default());
}

#[test]
fn everything_reaches_the_policy() {
    let given = json!({
        "name": "docs", "tenant": "team",
        "retention": {"age": "90d", "revisions": 7},
        "quota": {"bytes": 1_000_000},
        "access": [{"subject": "ann", "rights": ["read", "write"]}],
    });
    let expected = Wanted {
        key: "team/docs".parse().unwrap(),
        policy: Policy {
            retention: Some(TreeRetention {
                age_seconds: Some(90 * 86_400),
                revisions: Some(7),
            }),
            quota_bytes: Some(1_000_000),
            access: vec![Access {
                subject: "ann".parse().unwrap(),
                right: Right::Write,
            }],
        },
    };
    assert_eq!(wanted(&spec(given)), Ok(expected));
}

#[test]
fn empty_parts_say_nothing() {
    let given = json!({"name": "docs", "retention": {}, "quota": {}});
    assert_eq!(wanted(&spec(given)).unwrap().policy, Policy::default());
}

#[test]
fn what_cannot_be_names_its_field() {
    let rows = [
        (json!({"name": "a/b"}), "spec.name: "),
        (json!({"name": "a", "tenant": ""}), "spec.tenant: "),
        (
            json!({"name": "a", "retention": {"age": "soon"}}),
            "spec.retention.age: ",
        ),
        (
            json!({"name": "a", "retention": {"revisions": 0}}),
            "spec.retention.revisions is 0",
        ),
        (
            json!({"name": "a", "quota": {"bytes": -1}}),
            "spec.quota.bytes is -1",
        ),
        (
            json!({"name": "a", "access": [{"subject": "a b", "rights": ["read"]}]}),
            "spec.access[0].subject: ",
        ),
        (
            json!({"name": "a", "access": [{"subject": "a", "rights": []}]}),
            "spec.access[0].rights ",
        ),
    ];
    for (given, field) in rows {
        let error = wanted(&spec(given)).unwrap_err().to_string();
        assert!(error.starts_with(field), "{error} is not about {field}");
    }
}

#[test]
fn only_the_oldest_object_of_a_tree_counts() {
    let first = tree("first", 10, json!({"name": "docs"}));
    let second = tree("second", 20, json!({"name": "docs", "tenant": "default"}));
    let third = tree("third", 20, json!({"name": "docs"}));
    let elsewhere = tree("elsewhere", 1, json!({"name": "docs", "tenant": "team"}));
    let all = [&third, &elsewhere, &second, &first];
    let elder_of = |one: &SyncTree| elder(one, all).map(ResourceExt::name_any);
    assert_eq!(elder_of(&first), None);
    assert_eq!(elder_of(&elsewhere), None);
    assert_eq!(elder_of(&second).as_deref(), Some("first"));
    assert_eq!(elder_of(&third).as_deref(), Some("first"));
    // Of two of one second, the uid decides: the same way on every replica.
    let two = [&third, &second];
    assert_eq!(elder(&second, two).map(ResourceExt::name_any), None);
    assert_eq!(
        elder(&third, two).map(ResourceExt::name_any).as_deref(),
        Some("second")
    );
    assert!(conflict(&first).message.contains("SyncTree first "));
}

#[test]
fn a_status_says_what_the_service_says() {
    let one = tree("docs", 10, json!({"name": "docs"}));
    let said = TreeStatus {
        head: Some(Head {
            epoch: fsync_core::wire::Epoch(5),
            seq: fsync_core::wire::Seq(7),
            revision: fsync_core::id::RevisionId::of(b"x"),
        }),
        changed_ms: Some(Now(1_767_225_600_123)),
        bytes: 1024,
        objects: u64::MAX,
        agents: 3,
        policy: None,
    };
    let finding = Finding::new(Reason::Applied, "fine");
    let status = status(
        &one,
        Some(&said),
        &finding,
        Timestamp::from_second(99).unwrap(),
    );
    assert_eq!(status.seq, Some(7));
    assert_eq!(status.head.as_deref().map(str::len), Some(64));
    assert_eq!(
        (status.bytes, status.objects, status.agents),
        (Some(1024), Some(i64::MAX), Some(3))
    );
    assert_eq!(
        status.last_change.unwrap().0.to_string(),
        "2026-01-01T00:00:00Z"
    );
    assert_eq!(status.observed_generation, Some(3));
    let ready = condition::ready(&status.conditions).unwrap();
    assert_eq!(
        (ready.status.as_str(), ready.reason.as_str()),
        ("True", "Applied")
    );
}

#[test]
fn while_the_service_says_nothing_the_last_numbers_stay() {
    let mut one = tree("docs", 10, json!({"name": "docs"}));
    one.status = Some(SyncTreeStatus {
        bytes: Some(5),
        seq: Some(2),
        ..SyncTreeStatus::default()
    });
    let finding = Finding::new(Reason::Unreachable, "no answer");
    let status = status(&one, None, &finding, Timestamp::from_second(99).unwrap());
    assert_eq!((status.bytes, status.seq), (Some(5), Some(2)));
    assert_eq!(
        condition::ready(&status.conditions).unwrap().status,
        "False"
    );
}
