//! `SyncTree`s.

use std::sync::Arc;
use std::time::Duration;

use fsync_controller::context::Context;
use fsync_controller::crd::SyncTree;
use fsync_controller::tree::{FINALIZER, Trees, look_at, reconcile};
use kube::core::DeserializeGuard;
use kube::runtime::controller::Action;
use kube::runtime::{reflector, watcher};
use serde_json::{Value, json};

use crate::admin::Admin;
use crate::api::{self, Calls};

const STATUS: &str = "PATCH synctrees/docs/status?force=true&fieldManager=fsync-controller";

fn tree(name: &str, second: u32, more: &Value) -> SyncTree {
    let mut value = json!({
        "apiVersion": "fsync.dev/v1alpha1", "kind": "SyncTree",
        "metadata": {
            "name": name, "namespace": "apps", "uid": format!("uid-{name}"), "generation": 1,
            "creationTimestamp": format!("2026-01-01T00:00:{second:02}Z"), "finalizers": [FINALIZER],
        },
        "spec": {"name": "docs", "quota": {"bytes": 1000}},
    });
    merge(&mut value, more);
    serde_json::from_value(value).unwrap()
}

fn merge(into: &mut Value, more: &Value) {
    for (key, value) in more.as_object().into_iter().flatten() {
        match into.get_mut(key) {
            Some(old) if old.is_object() && value.is_object() => merge(old, value),
            _ => into[key] = value.clone(),
        }
    }
}

fn gone() -> Value {
    json!({"metadata": {"deletionTimestamp": "2026-01-02T00:00:00Z"}})
}

fn trees(admin: &Admin, all: &[&SyncTree]) -> (Arc<Trees>, Calls) {
    let (client, calls) = api::start(|_| None);
    let (store, mut writer) = reflector::store();
    for one in all {
        let one = DeserializeGuard(Ok((*one).clone()));
        writer.apply_watcher_event(&watcher::Event::Apply(one));
    }
    let url = "http://fsync:8484".parse().unwrap();
    let context = Context::new(client, admin.server.clone(), url, "pod-1");
    let trees = Trees {
        context: Arc::new(context),
        all: store,
    };
    (Arc::new(trees), calls)
}

async fn knowing(policy: Value) -> Admin {
    Admin::start(move |line| match line {
        "GET trees/default/docs" => {
            let status =
                json!({"head": null, "bytes": 7, "objects": 2, "agents": 1, "policy": policy});
            (200, status)
        }
        _ => (204, Value::Null),
    })
    .await
}

fn ready(status: &Value) -> (&str, &str) {
    let one = &status["status"]["conditions"][0];
    (
        one["status"].as_str().unwrap(),
        one["reason"].as_str().unwrap(),
    )
}

#[tokio::test]
async fn a_new_object_is_kept_from_going_before_anything_else() {
    let admin = knowing(Value::Null).await;
    let new = tree("docs", 1, &json!({"metadata": {"finalizers": []}}));
    let (trees, calls) = trees(&admin, &[&new]);
    reconcile(Arc::new(new), trees).await.unwrap();
    assert_eq!(calls.lines(), ["PATCH synctrees/docs"]);
    assert_eq!(calls.body("PATCH")[1]["value"], json!([FINALIZER]));
    assert_eq!(admin.lines(), [""; 0]);
}

#[tokio::test]
async fn a_policy_that_differs_is_put_and_the_status_written_once() {
    let admin = knowing(Value::Null).await;
    let docs = tree("docs", 1, &json!({}));
    let (trees, calls) = trees(&admin, &[&docs]);
    reconcile(Arc::new(docs.clone()), Arc::clone(&trees))
        .await
        .unwrap();

    assert_eq!(
        admin.asked(),
        [
            ("GET trees/default/docs".to_owned(), Value::Null),
            (
                "PUT trees/default/docs/policy".to_owned(),
                json!({"quota_bytes": 1000})
            ),
        ]
    );
    assert_eq!(calls.lines(), [STATUS, "POST events"]);
    let status = calls.body(STATUS);
    assert_eq!(ready(&status), ("True", "Applied"));
    assert_eq!(status["status"]["bytes"], 7);
    assert_eq!(calls.body("POST events")["type"], "Normal");

    // The write of the status wakes the object up: nothing is asked again before its time.
    let again = reconcile(Arc::new(docs), trees).await.unwrap();
    assert_ne!(again, Action::await_change());
    assert_eq!((admin.lines().len(), calls.lines().len()), (2, 2));
}

#[tokio::test]
async fn what_is_in_step_is_left_alone() {
    let admin = knowing(json!({"quota_bytes": 1000})).await;
    let status = json!({"status": {
        "bytes": 7, "objects": 2, "agents": 1, "observedGeneration": 1,
        "conditions": [{
            "type": "Ready", "status": "True", "reason": "Applied", "observedGeneration": 1,
            "message": "the service holds this tree's policy", "lastTransitionTime": "2026-01-01T00:00:00Z",
        }],
    }});
    let docs = tree("docs", 1, &status);
    let (trees, calls) = trees(&admin, &[&docs]);
    let next = reconcile(Arc::new(docs), trees).await.unwrap();
    assert_eq!(next, Action::requeue(Duration::from_secs(10)));
    assert_eq!(admin.lines(), ["GET trees/default/docs"]);
    assert_eq!(calls.lines(), [""; 0]);
}

#[tokio::test]
async fn what_is_not_valid_gets_a_condition_and_an_event_and_reaches_no_server() {
    let admin = knowing(Value::Null).await;
    let docs = tree("docs", 1, &json!({"spec": {"name": "../etc"}}));
    let (trees, calls) = trees(&admin, &[&docs]);
    reconcile(Arc::new(docs), trees).await.unwrap();
    assert_eq!(admin.lines(), [""; 0]);
    assert_eq!(ready(&calls.body(STATUS)), ("False", "Invalid"));
    let event = calls.body("POST events");
    assert_eq!(
        (event["type"].as_str(), event["reason"].as_str()),
        (Some("Warning"), Some("Invalid"))
    );
    assert!(event["note"].as_str().unwrap().starts_with("spec.name: "));
}

#[tokio::test]
async fn the_younger_object_of_a_tree_does_nothing() {
    let admin = knowing(Value::Null).await;
    let (first, docs) = (tree("first", 1, &json!({})), tree("docs", 2, &json!({})));
    let (trees, calls) = trees(&admin, &[&first, &docs]);
    reconcile(Arc::new(docs), trees).await.unwrap();
    assert_eq!(admin.lines(), [""; 0]);
    assert_eq!(ready(&calls.body(STATUS)), ("False", "Conflict"));
}

#[tokio::test]
async fn a_server_that_is_away_is_a_condition_and_another_try() {
    let admin = Admin::nobody();
    let docs = tree("docs", 1, &json!({}));
    let (trees, calls) = trees(&admin, &[&docs]);
    let next = reconcile(Arc::new(docs), trees).await.unwrap();
    assert_ne!(next, Action::await_change());
    assert_eq!(ready(&calls.body(STATUS)), ("False", "Unreachable"));
}

#[tokio::test]
async fn each_refusal_has_its_reason() {
    let rows = [
        (401, Value::Null, "Unauthorized"),
        (
            403,
            json!({"code": "forbidden", "message": "not here"}),
            "Refused",
        ),
        (404, Value::Null, "Unsupported"),
        (
            503,
            json!({"code": "unavailable", "message": "starting"}),
            "Unreachable",
        ),
        (
            400,
            json!({"code": "malformed", "message": "unknown field"}),
            "Refused",
        ),
        (200, json!({"something": "else"}), "Unsupported"),
    ];
    for (status, body, reason) in rows {
        let admin = Admin::start(move |_| (status, body.clone())).await;
        let docs = tree("docs", 1, &json!({}));
        let (trees, calls) = trees(&admin, &[&docs]);
        reconcile(Arc::new(docs), trees).await.unwrap();
        assert_eq!(ready(&calls.body(STATUS)), ("False", reason), "{status}");
    }
}

#[tokio::test]
async fn an_end_takes_the_policy_and_leaves_the_tree() {
    let admin = knowing(Value::Null).await;
    let docs = tree("docs", 1, &gone());
    let (trees, calls) = trees(&admin, &[&docs]);
    reconcile(Arc::new(docs), trees).await.unwrap();
    assert_eq!(admin.lines(), ["DELETE trees/default/docs/policy"]);
    assert_eq!(calls.lines(), ["PATCH synctrees/docs"]);
    assert_eq!(calls.body("PATCH")[1]["op"], "remove");
}

#[tokio::test]
async fn an_end_waits_for_the_server() {
    let admin = Admin::start(|_| (503, Value::Null)).await;
    let docs = tree("docs", 1, &gone());
    let (trees, calls) = trees(&admin, &[&docs]);
    reconcile(Arc::new(docs), trees).await.unwrap_err();
    assert_eq!(admin.lines(), ["DELETE trees/default/docs/policy"]);
    assert_eq!(calls.lines(), [STATUS, "POST events"]);
    assert_eq!(ready(&calls.body(STATUS)), ("False", "Unreachable"));
}

#[tokio::test]
async fn the_end_of_the_younger_one_or_of_what_was_never_valid_asks_nobody() {
    let first = tree("first", 1, &json!({}));
    let younger = tree("docs", 2, &gone());
    let mut invalid = gone();
    merge(&mut invalid, &json!({"spec": {"name": "../etc"}}));
    let invalid = tree("docs", 3, &invalid);
    for one in [younger, invalid] {
        let admin = Admin::nobody();
        let (trees, calls) = trees(&admin, &[&first, &one]);
        reconcile(Arc::new(one), trees).await.unwrap();
        assert_eq!(calls.lines(), ["PATCH synctrees/docs"]);
    }
}

/// The kinds that are installed are newer than the controller: an object may say what it never
/// heard of.
#[tokio::test]
async fn what_cannot_be_read_gets_a_condition_once() {
    let admin = Admin::nobody();
    let object = json!({
        "apiVersion": "fsync.dev/v1alpha1", "kind": "SyncTree",
        "metadata": {"name": "docs", "namespace": "apps", "uid": "uid-docs", "generation": 1},
        "spec": {"name": "docs", "access": [{"subject": "ann", "rights": ["own"]}]},
    });
    let object: Arc<DeserializeGuard<SyncTree>> = Arc::new(serde_json::from_value(object).unwrap());
    let (trees, calls) = trees(&admin, &[]);
    look_at(Arc::clone(&object), Arc::clone(&trees))
        .await
        .unwrap();
    assert_eq!(calls.lines(), [STATUS, "POST events"]);
    assert_eq!(ready(&calls.body(STATUS)), ("False", "Invalid"));
    let note = calls.body("POST events")["note"].to_string();
    assert!(note.contains("own"), "{note}");
    look_at(object, trees).await.unwrap();
    assert_eq!(calls.lines().len(), 2);
}
