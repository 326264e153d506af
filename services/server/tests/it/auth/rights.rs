//! Every route, with every right, from every tenant.

use fsync_core::wire::{ErrorBody, ErrorCode};
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::json;

use super::{files, key};
use crate::agent::Agent;

/// What a route needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Needs {
    Read,
    Write,
}

const ROUTES: [(Needs, &str, &str); 9] = [
    (Needs::Read, "GET", "head"),
    (Needs::Read, "GET", "log"),
    (Needs::Read, "GET", "delta?to=REVISION"),
    (Needs::Read, "POST", "objects"),
    (Needs::Read, "POST", "have"),
    (Needs::Read, "POST", "known"),
    (Needs::Write, "POST", "commits"),
    (Needs::Write, "POST", "uploads"),
    (Needs::Write, "PUT", "uploads/7"),
];

/// A request that a route takes, but for the right.
fn request(base: &str, (_, method, path): (Needs, &str, &str), revision: &str) -> RequestBuilder {
    let path = path.replace("REVISION", revision);
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let request = Client::new().request(method, format!("{base}/{path}"));
    match path.as_str() {
        "objects" | "have" => request.json(&json!({"ids": []})),
        "known" => request.json(&json!({"versions": []})),
        "uploads" => request.json(&json!({"agent": "laptop"})),
        _ => request,
    }
}

/// Returns the status and, if it is an error, its code and its words.
async fn answer(request: RequestBuilder) -> (StatusCode, Option<(ErrorCode, String)>) {
    let answer = request.send().await.unwrap();
    let status = answer.status();
    if status.is_success() {
        return (status, None);
    }
    let error: ErrorBody = answer.json().await.unwrap();
    (status, Some((error.code, error.message)))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_asks_for_its_right() {
    let key = key();
    let server = key.server().await;
    let owner = key.token("team", &["*:admin"]);
    let owner = Agent::with_token(&server.url(), "team/docs", &owner);
    let revision = owner
        .commit(&files(), &[])
        .await
        .unwrap()
        .head
        .revision
        .to_string();
    let base = format!("{}/v1/trees/team/docs", server.url());
    // What the token is, and the strongest need that it meets.
    let callers = [
        (None, ("nobody", None)),
        (Some(("team", "docs:r")), ("reader", Some(Needs::Read))),
        (Some(("team", "docs:rw")), ("writer", Some(Needs::Write))),
        (Some(("team", "docs:admin")), ("admin", Some(Needs::Write))),
        (Some(("team", "do*:rw")), ("by pattern", Some(Needs::Write))),
        (Some(("team", "*:r")), ("reader of all", Some(Needs::Read))),
        (Some(("team", "docs2:rw")), ("of another tree", None)),
        (Some(("default", "*:admin")), ("of another tenant", None)),
        (
            Some(("tea", "*:admin")),
            ("of a tenant that begins alike", None),
        ),
    ];
    for (token, (who, may)) in callers {
        let token = token.map(|(tenant, tree)| key.token(tenant, &[tree]));
        for route in ROUTES {
            let mut request = request(&base, route, &revision);
            if let Some(token) = &token {
                request = request.bearer_auth(token);
            }
            let (status, error) = answer(request).await;
            let code = error.map(|(code, _)| code);
            let case = format!("{who} {} {}: {status} {code:?}", route.1, route.2);
            match (may, route.0) {
                _ if token.is_none() => assert_eq!(code, Some(ErrorCode::Unauthorized), "{case}"),
                (None, _) => assert_eq!(code, Some(ErrorCode::NotFound), "{case}"),
                (Some(Needs::Read), Needs::Write) => {
                    assert_eq!(code, Some(ErrorCode::Forbidden), "{case}");
                }
                // What is wrong with these requests is not the right.
                (Some(_), Needs::Write) => {
                    let may_fail = [
                        None,
                        Some(ErrorCode::Malformed),
                        Some(ErrorCode::UploadUnknown),
                    ];
                    assert!(may_fail.contains(&code), "{case}");
                }
                (Some(_), Needs::Read) => assert_eq!(code, None, "{case}"),
            }
        }
    }
    server.shutdown().await.unwrap();
}

/// Neither words nor codes tell a stranger whether a tree, a revision or an object exists.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_forbidden_looks_as_if_it_were_not_there() {
    let key = key();
    let server = key.server().await;
    let owner = key.token("team", &["*:admin"]);
    let owner = Agent::with_token(&server.url(), "team/docs", &owner);
    let revision = owner
        .commit(&files(), &[])
        .await
        .unwrap()
        .head
        .revision
        .to_string();
    let stranger = key.token("team", &["mine:rw"]);
    for route in ROUTES {
        let ask = async |tree: &str| {
            let base = format!("{}/v1/trees/team/{tree}", server.url());
            let asked = answer(request(&base, route, &revision).bearer_auth(&stranger)).await;
            let words = asked
                .1
                .map(|(code, text)| (code, text.replace(tree, "TREE")));
            (asked.0, words)
        };
        let (there, not_there) = (ask("docs").await, ask("none").await);
        assert_eq!(there, not_there, "{} {}", route.1, route.2);
        assert_eq!(there.0, StatusCode::NOT_FOUND);
    }
    server.shutdown().await.unwrap();
}

/// A hash is no capability: one tenant's and one tree's objects are not another's, even of one
/// token.
#[tokio::test(flavor = "multi_thread")]
async fn a_hash_that_is_known_opens_nothing() {
    let key = key();
    let server = key.server().await;
    let owner = Agent::with_token(&server.url(), "team/docs", &key.token("team", &["*:rw"]));
    let (_, objects) = owner.revision(&files(), &[]);
    owner.commit(&files(), &[]).await.unwrap();
    let ids: Vec<_> = objects.iter().map(|object| object.id).collect();
    for (tenant, tree) in [("team", "team/other"), ("default", "default/docs")] {
        let token = key.token(tenant, &["*:admin"]);
        let other = Agent::with_token(&server.url(), tree, &token);
        assert_eq!(other.have(&ids, None).await, ids, "{tree}");
        let refused = other.objects(&ids).await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::NotFound, "{tree}");
    }
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn what_is_no_tree_needs_no_token_and_tells_nothing() {
    let key = key();
    let server = key.server().await;
    for (path, status) in [("/v1/version", 200), ("/v1/other", 404), ("/", 404)] {
        let answer = reqwest::get(format!("{}{path}", server.url()))
            .await
            .unwrap();
        assert_eq!(answer.status().as_u16(), status, "{path}");
        assert!(answer.headers().get("server").is_none(), "{path}");
        let text = answer.text().await.unwrap();
        assert!(!text.contains(env!("CARGO_PKG_VERSION")), "{path}: {text}");
    }
    server.shutdown().await.unwrap();
}
