//! `AgentToken`s.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use fsync_controller::context::Context;
use fsync_controller::crd::AgentToken;
use fsync_controller::token::{FINALIZER, desired, reconcile};
use k8s_openapi::api::core::v1::Secret;
use kube::runtime::controller::Action;
use serde_json::{Value, json};

use crate::admin::Admin;
use crate::api::{self, Answer, Calls};

const STATUS: &str = "PATCH agenttokens/ci/status?force=true&fieldManager=fsync-controller";
const WRITE: &str = "PATCH secrets/ci?force=true&fieldManager=fsync-controller";
const TEXT: &str = "text-that-nobody-may-see";
const HOUR: u64 = 3600;

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

fn token(status: &Value, subject: &str) -> AgentToken {
    let value = json!({
        "apiVersion": "fsync.dev/v1alpha1", "kind": "AgentToken",
        "metadata": {"name": "ci", "namespace": "apps", "uid": "uid-ci", "generation": 1, "finalizers": [FINALIZER]},
        "spec": {"subject": subject, "trees": [{"name": "docs", "rights": ["read"]}], "ttl": "3h"},
        "status": status,
    });
    serde_json::from_value(value).unwrap()
}

/// Returns the Secret of an object whose token ends in so many seconds.
fn secret(token: &AgentToken, id: &str, left: u64) -> Secret {
    let wanted = desired::wanted("ci", &token.spec).unwrap();
    let issued = json!({
        "token": format!("old-{TEXT}"), "id": id,
        "issued_ms": (now() + left - 3 * HOUR) * 1000, "expires_ms": (now() + left) * 1000,
    });
    let issued = serde_json::from_value(issued).unwrap();
    let mut secret = desired::secret(
        token,
        &wanted,
        &issued,
        &"http://fsync:8484".parse().unwrap(),
    );
    secret.metadata.uid = Some("uid-secret".to_owned());
    secret
}

/// Returns the status that belongs to it.
fn status_of(secret: &Secret) -> Value {
    let held = desired::held(secret).unwrap();
    json!({
        "secretName": "ci", "tokenId": held.id, "order": held.mark, "observedGeneration": 1,
        "issuedAt": held.issued.to_string(), "expiresAt": held.expires.to_string(),
        "conditions": [{
            "type": "Ready", "status": "True", "reason": "Issued", "observedGeneration": 1,
            "message": "Secret ci holds a good token", "lastTransitionTime": "2026-01-01T00:00:00Z",
        }],
    })
}

async fn minting() -> Admin {
    Admin::start(|line| match line {
        "POST tokens" => {
            let (from, to) = (now() * 1000, (now() + 3 * HOUR) * 1000);
            (
                200,
                json!({"token": TEXT, "id": "new", "issued_ms": from, "expires_ms": to}),
            )
        }
        _ => (204, Value::Null),
    })
    .await
}

fn context(admin: &Admin, secret: Option<Secret>, create: Option<Answer>) -> (Arc<Context>, Calls) {
    let secret = secret.map(|secret| serde_json::to_value(secret).unwrap());
    let (client, calls) = api::start(move |line| match (line, &secret) {
        ("GET secrets/ci", Some(secret)) => Some((200, secret.clone())),
        ("GET secrets/ci", None) => api::no(404, "NotFound"),
        (line, _) if line.starts_with("POST secrets") => create.clone(),
        (line, Some(secret)) if line.starts_with("DELETE secrets") => Some((200, secret.clone())),
        _ => None,
    });
    let url = "http://fsync:8484".parse().unwrap();
    let context = Context::new(client, admin.server.clone(), url, "pod-1");
    (Arc::new(context), calls)
}

fn last_status(calls: &Calls) -> Value {
    let all = calls.all();
    let last = all.iter().rfind(|call| call.line == STATUS).unwrap();
    last.body["status"].clone()
}

fn ready(status: &Value) -> (&str, &str) {
    let one = &status["conditions"][0];
    (
        one["status"].as_str().unwrap(),
        one["reason"].as_str().unwrap(),
    )
}

fn revoked(admin: &Admin) -> Vec<String> {
    let asked = admin.asked().into_iter();
    let revokes = asked.filter(|(line, _)| line == "POST tokens/revoke");
    revokes
        .map(|(_, body)| body["id"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn a_token_is_ordered_and_stands_in_the_secret_alone() {
    let admin = minting().await;
    let ci = token(&json!({}), "ci");
    let (context, calls) = context(&admin, None, None);
    let next = reconcile(Arc::new(ci), context).await.unwrap();
    assert_eq!(next, Action::requeue(Duration::from_secs(30)));

    let order =
        json!({"subject": "ci", "tenant": "default", "trees": ["docs:r"], "ttl_seconds": 3 * HOUR});
    assert_eq!(admin.asked(), [("POST tokens".to_owned(), order)]);
    let create = "POST secrets?fieldManager=fsync-controller";
    assert_eq!(
        calls.lines(),
        ["GET secrets/ci", create, STATUS, "POST events"]
    );
    let secret = calls.body(create);
    let text = |key: &str| {
        BASE64_STANDARD
            .decode(secret["data"][key].as_str().unwrap())
            .unwrap()
    };
    assert_eq!(text("token"), TEXT.as_bytes());
    assert_eq!(text("server"), b"http://fsync:8484");
    assert_eq!(secret["metadata"]["ownerReferences"][0]["uid"], "uid-ci");
    let status = last_status(&calls);
    assert_eq!(ready(&status), ("True", "Issued"));
    assert_eq!(
        (&status["tokenId"], &status["secretName"]),
        (&json!("new"), &json!("ci"))
    );
    let others = calls.all().into_iter().filter(|call| call.line != create);
    assert!(
        others
            .into_iter()
            .all(|call| !call.body.to_string().contains(TEXT))
    );
}

#[tokio::test]
async fn a_good_secret_is_left_alone() {
    let admin = minting().await;
    let ci = token(&json!({}), "ci");
    let good = secret(&ci, "old", 2 * HOUR);
    let ci = token(&status_of(&good), "ci");
    let (context, calls) = context(&admin, Some(good), None);
    reconcile(Arc::new(ci), context).await.unwrap();
    assert_eq!(admin.lines(), [""; 0]);
    assert_eq!(calls.lines(), ["GET secrets/ci"]);
}

#[tokio::test]
async fn a_secret_of_somebody_else_is_never_written() {
    let admin = minting().await;
    let other = Secret {
        metadata: kube::api::ObjectMeta {
            name: Some("ci".to_owned()),
            uid: Some("uid-other".to_owned()),
            ..Default::default()
        },
        ..Secret::default()
    };
    let (context, calls) = context(&admin, Some(other), None);
    reconcile(Arc::new(token(&json!({}), "ci")), context)
        .await
        .unwrap();
    assert_eq!(admin.lines(), [""; 0]);
    assert_eq!(calls.lines(), ["GET secrets/ci", STATUS, "POST events"]);
    assert_eq!(ready(&last_status(&calls)), ("False", "SecretTaken"));
    assert_eq!(calls.body("POST events")["type"], "Warning");
}

#[tokio::test]
async fn a_secret_that_appears_meanwhile_is_not_written_and_the_token_revoked() {
    let admin = minting().await;
    let (context, calls) = context(&admin, None, api::no(409, "AlreadyExists"));
    reconcile(Arc::new(token(&json!({}), "ci")), context)
        .await
        .unwrap();
    assert_eq!(revoked(&admin), ["new"]);
    assert_eq!(ready(&last_status(&calls)), ("False", "SecretTaken"));
}

#[tokio::test]
async fn a_secret_that_may_not_be_written_leaves_no_token_behind() {
    for (status, expected) in [(403, vec!["new"]), (500, vec![])] {
        let admin = minting().await;
        let (context, calls) = context(&admin, None, api::no(status, "No"));
        let result = reconcile(Arc::new(token(&json!({}), "ci")), context).await;
        assert!(result.is_err(), "{status}");
        assert_eq!(revoked(&admin), expected, "{status}");
        assert_eq!(calls.lines().len(), 2);
    }
}

#[tokio::test]
async fn another_spec_makes_another_token_and_revokes_the_old_ones() {
    let admin = minting().await;
    let before = token(&json!({}), "before");
    let old = secret(&before, "old", 2 * HOUR);
    let mut status = status_of(&old);
    let end = desired::held(&old).unwrap().expires.to_string();
    status["earlier"] = json!([
        {"id": "older", "expiresAt": end},
        {"id": "ended", "expiresAt": "2020-01-01T00:00:00Z"},
    ]);
    let (context, calls) = context(&admin, Some(old), None);
    reconcile(Arc::new(token(&status, "after")), context)
        .await
        .unwrap();
    assert_eq!(calls.lines(), ["GET secrets/ci", WRITE, STATUS]);
    assert_eq!(revoked(&admin), ["older", "old"]);
    let status = last_status(&calls);
    assert_eq!(
        (&status["tokenId"], &status["earlier"]),
        (&json!("new"), &Value::Null)
    );
}

#[tokio::test]
async fn a_token_whose_end_is_near_is_replaced_and_runs_out() {
    let admin = minting().await;
    let ci = token(&json!({}), "ci");
    let old = secret(&ci, "old", HOUR / 2);
    let ci = token(&status_of(&old), "ci");
    let (context, calls) = context(&admin, Some(old), None);
    reconcile(Arc::new(ci), context).await.unwrap();
    assert_eq!(calls.lines(), ["GET secrets/ci", WRITE, STATUS]);
    assert_eq!(admin.lines(), ["POST tokens"]);
    let status = last_status(&calls);
    assert_eq!(status["earlier"][0]["id"], "old");
}

/// The controller ended after it wrote a Secret and before it wrote the status, and then the spec
/// changed: the token in the Secret is known from there.
#[tokio::test]
async fn a_token_that_no_status_names_is_not_forgotten() {
    let admin = minting().await;
    let before = token(&json!({}), "before");
    let unnamed = secret(&before, "unnamed", 2 * HOUR);
    let (context, calls) = context(&admin, Some(unnamed), None);
    reconcile(Arc::new(token(&json!({}), "after")), context)
        .await
        .unwrap();
    assert_eq!(
        calls.lines(),
        ["GET secrets/ci", STATUS, WRITE, STATUS, "POST events"]
    );
    assert_eq!(revoked(&admin), ["unnamed"]);
}

#[tokio::test]
async fn a_server_that_makes_no_tokens_is_a_condition() {
    let body = json!({"code": "malformed", "message": "there is no key to sign with"});
    let admin = Admin::start(move |_| (400, body.clone())).await;
    let (context, calls) = context(&admin, None, None);
    reconcile(Arc::new(token(&json!({}), "ci")), context)
        .await
        .unwrap();
    let status = last_status(&calls);
    assert_eq!(ready(&status), ("False", "Refused"));
    let message = status["conditions"][0]["message"].as_str().unwrap();
    assert!(message.contains("no key to sign with"), "{message}");
}

#[tokio::test]
async fn an_end_revokes_all_tokens_and_takes_the_secret() {
    let admin = minting().await;
    let ci = token(&json!({}), "ci");
    let old = secret(&ci, "old", 2 * HOUR);
    let mut status = status_of(&old);
    let end = desired::held(&old).unwrap().expires.to_string();
    status["earlier"] = json!([{"id": "older", "expiresAt": end}]);
    let mut ci = token(&status, "ci");
    ci.metadata.deletion_timestamp =
        Some(serde_json::from_value(json!("2026-01-02T00:00:00Z")).unwrap());
    let (context, calls) = context(&admin, Some(old), None);
    reconcile(Arc::new(ci), context).await.unwrap();
    assert_eq!(revoked(&admin), ["older", "old", "old"]);
    assert_eq!(
        calls.lines(),
        [
            "GET secrets/ci",
            "DELETE secrets/ci",
            "PATCH agenttokens/ci"
        ]
    );
    assert_eq!(calls.body("DELETE")["preconditions"]["uid"], "uid-secret");
}

#[tokio::test]
async fn an_end_waits_for_the_server() {
    let admin = Admin::nobody();
    let ci = token(&json!({}), "ci");
    let old = secret(&ci, "old", 2 * HOUR);
    let mut ci = token(&status_of(&old), "ci");
    ci.metadata.deletion_timestamp =
        Some(serde_json::from_value(json!("2026-01-02T00:00:00Z")).unwrap());
    let (context, calls) = context(&admin, Some(old), None);
    reconcile(Arc::new(ci), context).await.unwrap_err();
    assert_eq!(calls.lines(), [STATUS, "POST events"]);
    assert_eq!(ready(&last_status(&calls)), ("False", "Unreachable"));
}
