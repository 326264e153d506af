//! The Socket.IO surface from outside, through the client that agents use.

use std::time::Duration;

use fsync_core::wire::{
    Bye, ByeCode, Cursor, ErrorCode, ErrorEvent, Heads, PROTOCOL_VERSION, RefEvent, Subscribe,
};
use fsync_server::{Config, Server};
use futures_util::FutureExt;
use rust_socketio::asynchronous::{Client, ClientBuilder};
use rust_socketio::{Event, Payload, TransportType};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::mpsc::{self, Receiver};
use tokio::time::timeout;

use crate::agent::{Agent, Files};

/// Longest wait for anything; far beyond what is normal.
const DEADLINE: Duration = Duration::from_secs(20);

/// The name that the client gives to `Event::Connect`.
const CONNECTED: &str = "open";

pub(crate) struct Socket {
    client: Client,
    events: Receiver<(String, Value)>,
}

impl Socket {
    pub(crate) async fn connect(url: &str, auth: Value) -> Self {
        let (sender, events) = mpsc::channel(64);
        let on_any = move |event: Event, payload: Payload, _: Client| {
            let sender = sender.clone();
            async move {
                let value = match payload {
                    Payload::Text(mut values) if !values.is_empty() => values.remove(0),
                    _ => Value::Null,
                };
                let name = String::from(event);
                drop(sender.send((name, value)).await);
            }
            .boxed()
        };
        let error = on_any.clone();
        let client = ClientBuilder::new(url)
            .namespace("/fsync")
            .transport_type(TransportType::Websocket)
            .reconnect(false)
            .auth(auth)
            .on(Event::Connect, {
                let on_any = on_any.clone();
                move |payload, client| on_any(Event::Connect, payload, client)
            })
            .on(Event::Error, move |payload, client| {
                error(Event::Error, payload, client)
            })
            .on_any(on_any)
            .connect()
            .await
            .unwrap();
        Self { client, events }
    }

    pub(crate) async fn joined(url: &str) -> Self {
        Self::joined_as(url, "laptop").await
    }

    async fn joined_as(url: &str, agent: &str) -> Self {
        let auth = json!({"protocol": PROTOCOL_VERSION, "agent": agent});
        let mut socket = Self::connect(url, auth).await;
        socket.next_raw(CONNECTED).await;
        socket
    }

    pub(crate) async fn emit(&self, name: &str, data: Value) {
        self.client.emit(name, data).await.unwrap();
    }

    /// Ends the connection.
    pub(crate) async fn leave(self) {
        self.client.disconnect().await.unwrap();
    }

    /// Returns the next event of this name; others are passed over.
    pub(crate) async fn next_raw(&mut self, name: &str) -> Value {
        loop {
            let event = timeout(DEADLINE, self.events.recv()).await;
            let (got, value) = event.unwrap_or_else(|_| panic!("no {name} came")).unwrap();
            if got == name {
                return value;
            }
        }
    }

    pub(crate) async fn next<T: DeserializeOwned>(&mut self, name: &str) -> T {
        let value = self.next_raw(name).await;
        serde_json::from_value(value.clone()).unwrap_or_else(|e| panic!("{name} {value}: {e}"))
    }

    pub(crate) async fn subscribe(&mut self, id: u64, cursors: Vec<Cursor>) -> Heads {
        let request = Subscribe { id, trees: cursors };
        let request = serde_json::to_value(request).unwrap();
        self.client.emit("subscribe", request).await.unwrap();
        self.next("heads").await
    }
}

pub(crate) fn cursor(tree: &str) -> Cursor {
    Cursor {
        tree: tree.parse().unwrap(),
        base: None,
    }
}

fn one_file(text: &str) -> Files {
    Files::from([("a".to_owned(), text.as_bytes().to_vec())])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_hears_of_every_new_head() {
    let server = Server::start(Config::memory()).await.unwrap();
    let agent = Agent::new(&server.url(), "docs", "laptop");
    let mut socket = Socket::joined(&server.url()).await;
    let heads = socket.subscribe(7, vec![cursor("docs")]).await;
    assert_eq!((heads.id, heads.trees.len()), (Some(7), 1));
    assert_eq!(
        (heads.trees[0].head, heads.trees[0].base_known),
        (None, None)
    );
    let head = agent.commit(&one_file("1"), &[]).await.unwrap().head;
    let moved: RefEvent = socket.next("ref").await;
    assert_eq!(
        (moved.tree.to_string().as_str(), moved.head),
        ("default/docs", head)
    );
    assert_eq!(moved.author.as_str(), "laptop");
    let known = Cursor {
        base: Some(head),
        ..cursor("docs")
    };
    let heads = socket.subscribe(8, vec![known]).await;
    assert_eq!(heads.trees[0].head, Some(head));
    assert_eq!(heads.trees[0].base_known, Some(true));
    server.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_word_of_an_agent_counts() {
    let server = Server::start(Config::memory()).await.unwrap();
    let mut laptop = Socket::joined(&server.url()).await;
    laptop.subscribe(1, vec![cursor("docs")]).await;
    for round in 0..5 {
        let name = format!("desk-{round}");
        let desk = Socket::joined_as(&server.url(), &name).await;
        let trees = json!({"id": 1, "trees": [{"tree": "default/docs"}]});
        desk.client.emit("subscribe", trees).await.unwrap();
        for state in ["syncing", "in-step"].repeat(20) {
            let told = json!({"tree": "default/docs", "agent": name, "state": state});
            desk.client.emit("presence", told).await.unwrap();
        }
        let heard = laptop.next_raw("presence").await;
        assert_eq!(heard["agent"], name.as_str());
        assert_eq!(heard["state"], "in-step");
        desk.client.disconnect().await.unwrap();
        assert_eq!(laptop.next_raw("presence").await["state"], "offline");
    }
    server.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn other_trees_are_not_heard_of() {
    let server = Server::start(Config::memory()).await.unwrap();
    let mut socket = Socket::joined(&server.url()).await;
    socket.subscribe(1, vec![cursor("mine")]).await;
    let other = Agent::new(&server.url(), "other", "laptop");
    other.commit(&one_file("1"), &[]).await.unwrap();
    let mine = Agent::new(&server.url(), "mine", "laptop");
    let head = mine.commit(&one_file("1"), &[]).await.unwrap().head;
    let moved: RefEvent = socket.next("ref").await;
    assert_eq!(moved.head, head);
    server.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn another_protocol_version_is_refused_with_a_reason() {
    let server = Server::start(Config::memory()).await.unwrap();
    let auth = json!({"protocol": 99, "agent": "laptop"});
    let mut socket = Socket::connect(&server.url(), auth).await;
    let reason = socket.next_raw("error").await.to_string();
    assert!(
        reason.contains("version 1") && reason.contains("99"),
        "{reason}"
    );
    server.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_and_excessive_subscribes_are_answered_with_an_error() {
    let server = Server::start(Config::memory()).await.unwrap();
    let mut socket = Socket::joined(&server.url()).await;
    let request = json!({"id": 3, "trees": [{"tree": "../x"}]});
    socket.client.emit("subscribe", request).await.unwrap();
    let error: ErrorEvent = socket.next("error").await;
    assert_eq!(
        (error.id, error.error.code),
        (Some(3), ErrorCode::Malformed)
    );
    let many: Vec<Value> = (0..300).map(|n| json!({"tree": format!("t{n}")})).collect();
    let request = json!({"id": 4, "trees": many});
    socket.client.emit("subscribe", request).await.unwrap();
    let error: ErrorEvent = socket.next("error").await;
    assert_eq!((error.id, error.error.code), (Some(4), ErrorCode::TooLarge));
    server.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_ends_says_bye() {
    let server = Server::start(Config::memory()).await.unwrap();
    let mut socket = Socket::joined(&server.url()).await;
    socket.subscribe(1, vec![cursor("docs")]).await;
    server.shutdown().await.unwrap();
    let bye: Bye = socket.next("bye").await;
    assert_eq!(bye.code, ByeCode::Shutdown);
    assert!(bye.retry_after_ms.is_some());
}
