//! An API server of the tests: answers by rules, and notes what it was asked.

use std::sync::{Arc, Mutex};

use http::{Request, Response};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tower_test::mock;

/// One request: method and path with query, and its body.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Call {
    pub(crate) line: String,
    pub(crate) body: Value,
}

/// Status and body of what is answered.
pub(crate) type Answer = (u16, Value);

/// What it was asked so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Calls(Arc<Mutex<Vec<Call>>>);

impl Calls {
    /// Returns the first words of all requests: method, and the last parts of the path.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.all().into_iter().map(|call| call.line).collect()
    }

    pub(crate) fn all(&self) -> Vec<Call> {
        self.0.lock().unwrap().clone()
    }

    /// Returns the body of the only request that begins so.
    pub(crate) fn body(&self, line: &str) -> Value {
        let all = self.all();
        let found: Vec<_> = all
            .iter()
            .filter(|call| call.line.starts_with(line))
            .collect();
        assert_eq!(found.len(), 1, "{line} in {all:#?}");
        found[0].body.clone()
    }
}

/// Starts one; `rules` answers what is not plain, `None` is the request's own body again.
pub(crate) fn start(
    rules: impl Fn(&str) -> Option<Answer> + Send + Sync + 'static,
) -> (Client, Calls) {
    let (service, mut handle) = mock::pair::<Request<Body>, Response<Body>>();
    let calls = Calls::default();
    let noted = calls.clone();
    tokio::spawn(async move {
        while let Some((request, answer)) = handle.next_request().await {
            let (head, body) = request.into_parts();
            let body = body.collect_bytes().await.unwrap();
            let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
            let line = short(&format!("{} {}", head.method, head.uri));
            let (status, said) = rules(&line).unwrap_or((200, whole(&body)));
            noted.0.lock().unwrap().push(Call { line, body });
            let said = Body::from(serde_json::to_vec(&said).unwrap());
            answer.send_response(Response::builder().status(status).body(said).unwrap());
        }
    });
    (Client::new(service, "apps"), calls)
}

/// An answer that says why not, as Kubernetes does.
pub(crate) fn no(status: u16, reason: &str) -> Option<Answer> {
    let body = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": status,
                      "reason": reason, "message": reason});
    Some((status, body))
}

/// Leaves out what is the same in all lines.
fn short(line: &str) -> String {
    let groups = [
        "/apis/fsync.dev/v1alpha1",
        "/api/v1",
        "/apis/events.k8s.io/v1",
    ];
    let line = groups
        .iter()
        .fold(line.to_owned(), |line, group| line.replace(group, ""));
    line.replace("/namespaces/apps/", "")
        .replace("?&", "?")
        .trim_end_matches('?')
        .to_owned()
}

/// Makes an object of what was sent, as far as a client needs one.
fn whole(body: &Value) -> Value {
    let is_whole = body.get("kind").is_some() && body.get("status").is_none();
    if is_whole && body["apiVersion"] != "fsync.dev/v1alpha1" {
        return body.clone();
    }
    json!({
        "apiVersion": "fsync.dev/v1alpha1", "kind": "Any", "metadata": {"name": "any"},
        "spec": {"name": "any", "subject": "any", "trees": []},
    })
}
