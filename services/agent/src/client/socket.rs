//! The Socket.IO connection: a supervisor around rust_socketio that connects, watches, and connects
//! again for ever.
//!
//! Guarantees: no callback ever blocks or panics; when the bounded queue to the driver is full,
//! events are dropped and the connection is made anew, so that the next `subscribe` brings the
//! heads again; every wait has a deadline; the wait between attempts is 1 s growing to 5 s with
//! full jitter, or what the server's `bye` asks for.
//! Where WebSockets do not pass but HTTP does, it asks by HTTP ([`polling`]), and tries WebSockets
//! again now and then.
//! Does not: subscribe by itself. The driver does on [`SocketEvent::Connected`], and again when no
//! answer comes.
//! Task: `socket`, started by [`Socket::start`], ended by the shutdown token or by dropping the
//! [`Socket`]; what is in flight is lost, which costs latency only.
//!
//! rust_socketio 0.6 (the only file that names it) is used in its narrow reliable part: WebSocket
//! only, `reconnect` off (its back-off ends in a busy loop), JSON events only, no acks (it matches
//! them by random ids). It spawns its read loop itself; that ends with the connection. A close
//! frame of the peer ends that loop silently, so a quiet connection is probed: the server's beacon
//! comes every 10 s.

mod polling;
mod supervisor;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fsync_core::label::AgentName;
use fsync_core::wire::{
    Bye, Cursor, ErrorCode, ErrorEvent, Handshake, Heads, NAMESPACE, PROTOCOL_VERSION, Presence,
    RefEvent, Subscribe, Want, event,
};
use fsync_runtime::Shutdown;
use futures_util::FutureExt;
use rust_socketio::asynchronous::{Client, ClientBuilder};
use rust_socketio::{Event, Payload, TransportType};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::time::{Instant, timeout, timeout_at};
use tracing::warn;

use super::http::Http;
use super::server_url::ServerUrl;
use super::token::{Token, TokenSource};
use supervisor::Supervisor;

/// Longest wait for the transport, and again for the namespace.
const CONNECT: Duration = Duration::from_secs(10);
/// Longest wait for one frame to leave.
const SEND: Duration = Duration::from_secs(10);
/// Events that may wait for the driver; heads and refs are coalesced by the server, so more means a
/// stuck driver.
const EVENTS: usize = 64;
/// Frames that may wait for the connection.
const COMMANDS: usize = 16;

/// What a connection needs to know.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the server is.
    pub server: ServerUrl,
    /// Who connects.
    pub agent: AgentName,
    /// The bearer token.
    pub token: TokenSource,
    /// Certificates in PEM to trust beside the system's.
    pub ca_pem: Option<Vec<u8>>,
    /// The way to the same server where WebSockets do not pass.
    pub http: Http,
}

/// What the connection tells the driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SocketEvent {
    /// The namespace is joined: subscribe now.
    Connected,
    /// The connection is gone; it will be made again unless [`SocketEvent::Denied`] came.
    Disconnected {
        /// Why, for people.
        reason: String,
    },
    /// Current heads.
    Heads(Heads),
    /// A new head.
    Ref(RefEvent),
    /// The server asks for lost objects.
    Want(Want),
    /// What another agent of a tree is doing.
    Presence(Presence),
    /// A request failed.
    Failed(ErrorEvent),
    /// The server ends the connection.
    Bye(Bye),
    /// The server does not let this agent in; nothing more comes.
    Denied {
        /// Why, for people.
        reason: String,
    },
}

#[derive(Debug)]
enum Command {
    Subscribe(Subscribe),
    Presence(Presence),
}

/// The connection ended, or its queue is full: the frame was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the socket takes no frame now")]
pub struct NotTaken;

/// Handle of the connection; dropping it ends the connection.
#[derive(Debug)]
pub struct Socket {
    commands: Sender<Command>,
}

impl Socket {
    /// Starts the supervisor.
    pub fn start(config: Config, shutdown: &Shutdown) -> (Self, Receiver<SocketEvent>) {
        let (commands, command_queue) = mpsc::channel(COMMANDS);
        let (events, event_queue) = mpsc::channel(EVENTS);
        let supervisor = Supervisor::new(config, events, command_queue, shutdown.token());
        drop(shutdown.spawn("socket", supervisor.run()));
        (Self { commands }, event_queue)
    }

    /// Sends a `subscribe`; the answer comes as [`SocketEvent::Heads`] with the same id, or not at
    /// all.
    ///
    /// # Errors
    /// [`NotTaken`]: subscribe again on the next [`SocketEvent::Connected`].
    pub fn subscribe(&self, id: u64, trees: Vec<Cursor>) -> Result<(), NotTaken> {
        self.send(Command::Subscribe(Subscribe { id, trees }))
    }

    /// Tells the tree's other agents what this one is doing; may be lost.
    ///
    /// # Errors
    /// [`NotTaken`].
    pub fn presence(&self, presence: Presence) -> Result<(), NotTaken> {
        self.send(Command::Presence(presence))
    }

    fn send(&self, command: Command) -> Result<(), NotTaken> {
        self.commands.try_send(command).map_err(|_full| NotTaken)
    }
}

/// What a callback saw.
#[derive(Debug)]
enum Inbound {
    Connected,
    Closed,
    Error(String),
    Event(SocketEvent),
}

/// How a connection ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// Stop for good: shutdown, or the driver is gone.
    Stop,
    /// The server refuses this agent for good.
    Denied(String),
    /// Connect again, after the given wait or the usual one.
    Again(String, Option<Duration>),
}

/// One live connection.
struct Link {
    client: Client,
    inbound: Receiver<Inbound>,
    is_lagged: Arc<AtomicBool>,
    heard: Instant,
    is_probed: bool,
}

impl Link {
    async fn emit(&self, name: &str, frame: serde_json::Value) -> Option<End> {
        let again = |reason: String| Some(End::Again(reason, None));
        match timeout(SEND, self.client.emit(name, frame)).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => again(format!("cannot send: {error}")),
            Err(_elapsed) => again("a frame could not be sent in time".to_owned()),
        }
    }

    async fn close(&self) {
        // The connection may be gone already, then there is nobody to tell.
        drop(timeout(Duration::from_secs(1), self.client.disconnect()).await);
    }
}

/// Connects and joins the namespace.
async fn connect(config: &Config, token: Option<&Token>) -> Result<Link, End> {
    let again = |reason: String| End::Again(reason, None);
    let (sender, inbound) = mpsc::channel(EVENTS);
    let is_lagged = Arc::new(AtomicBool::new(false));
    let callbacks = Callbacks {
        sender,
        is_lagged: is_lagged.clone(),
    };
    let auth = serde_json::to_value(Handshake {
        protocol: PROTOCOL_VERSION,
        agent: config.agent.clone(),
        token: token.map(|token| token.expose().to_owned()),
    })
    .map_err(|e| again(e.to_string()))?;
    let mut builder = ClientBuilder::new(config.server.socket_path())
        .namespace(NAMESPACE)
        .transport_type(TransportType::Websocket)
        .reconnect(false)
        .auth(auth);
    // Reads all certificates of the system, which takes 100 ms: only where it is of use.
    if config.server.is_tls() {
        let tls = tls(config).map_err(|e| again(format!("cannot use the CA file: {e}")))?;
        builder = builder.tls_config(tls);
    }
    let deadline = Instant::now() + CONNECT;
    let client = timeout_at(deadline, callbacks.register(builder).connect())
        .await
        .map_err(|_elapsed| again("the server did not answer in time".to_owned()))?
        .map_err(|e| again(format!("cannot connect: {e}")))?;
    let mut link = Link {
        client,
        inbound,
        is_lagged,
        heard: Instant::now(),
        is_probed: false,
    };
    match joined(&mut link, deadline + CONNECT).await {
        Ok(()) => Ok(link),
        Err(end) => {
            link.close().await;
            Err(end)
        }
    }
}

fn tls(config: &Config) -> native_tls::Result<native_tls::TlsConnector> {
    let mut builder = native_tls::TlsConnector::builder();
    if let Some(pem) = &config.ca_pem {
        for certificate in native_tls::Certificate::stack_from_pem(pem)? {
            builder.add_root_certificate(certificate);
        }
    }
    builder.build()
}

/// Waits until the namespace is joined or refused.
async fn joined(link: &mut Link, deadline: Instant) -> Result<(), End> {
    let again = |reason: String| End::Again(reason, None);
    loop {
        match timeout_at(deadline, link.inbound.recv()).await {
            Ok(Some(Inbound::Connected)) => return Ok(()),
            Ok(Some(Inbound::Error(text))) => return Err(refusal(&text)),
            Ok(Some(Inbound::Event(SocketEvent::Bye(bye)))) if bye.code.is_terminal() => {
                return Err(End::Denied(bye.reason));
            }
            Ok(Some(Inbound::Event(_))) => {}
            Ok(None | Some(Inbound::Closed)) => {
                return Err(again("the server closed the connection".to_owned()));
            }
            Err(_elapsed) => return Err(again("the server did not let us in in time".to_owned())),
        }
    }
}

/// Sorts the text of an error before the namespace was joined: refused for good, or worth another
/// try.
///
/// A refusal is `{"message": "CODE: TEXT"}`, with the name of an [`ErrorCode`]. What is not
/// recognised is tried again: a draining server answers "Invalid namespace".
fn refusal(text: &str) -> End {
    #[derive(serde::Deserialize)]
    struct Refusal {
        message: String,
    }
    let json = text.find('{').map_or(text, |at| &text[at..]);
    let message = match serde_json::from_str::<Refusal>(json) {
        Ok(refusal) => refusal.message,
        Err(_transport) => text.to_owned(),
    };
    let message: String = message.chars().take(500).collect();
    let (name, reason) = message.split_once(": ").unwrap_or(("", &message));
    match serde_json::from_value(name.into()) {
        Ok(
            ErrorCode::Protocol
            | ErrorCode::NotFound
            | ErrorCode::Malformed
            | ErrorCode::Unauthorized
            | ErrorCode::Forbidden,
        ) => End::Denied(reason.to_owned()),
        _ => End::Again(message, None),
    }
}

/// The callbacks' end of the bounded queue.
#[derive(Clone)]
struct Callbacks {
    sender: Sender<Inbound>,
    is_lagged: Arc<AtomicBool>,
}

impl Callbacks {
    fn register(&self, builder: ClientBuilder) -> ClientBuilder {
        let builder = self.on(builder, Event::Connect, |_| Some(Inbound::Connected));
        let builder = self.on(builder, Event::Close, |_| Some(Inbound::Closed));
        // Transport errors and the server's `error` event arrive under one name.
        let builder = self.on(builder, Event::Error, |payload| {
            Some(match decode::<ErrorEvent>(payload) {
                Some(failed) => Inbound::Event(SocketEvent::Failed(failed)),
                None => Inbound::Error(text_of(payload)),
            })
        });
        let builder = self.on_json(builder, event::HEADS, SocketEvent::Heads);
        let builder = self.on_json(builder, event::REF, SocketEvent::Ref);
        let builder = self.on_json(builder, event::WANT, SocketEvent::Want);
        let builder = self.on_json(builder, event::PRESENCE, SocketEvent::Presence);
        self.on_json(builder, event::BYE, SocketEvent::Bye)
    }

    fn on_json<T: DeserializeOwned + 'static>(
        &self,
        builder: ClientBuilder,
        name: &'static str,
        wrap: fn(T) -> SocketEvent,
    ) -> ClientBuilder {
        self.on(builder, name.into(), move |payload| {
            let decoded = decode(payload).map(|frame| Inbound::Event(wrap(frame)));
            if decoded.is_none() {
                warn!(event = name, "malformed frame from the server dropped");
            }
            decoded
        })
    }

    fn on(
        &self,
        builder: ClientBuilder,
        event: Event,
        read: impl Fn(&Payload) -> Option<Inbound> + Send + Sync + 'static,
    ) -> ClientBuilder {
        let queue = self.clone();
        builder.on(event, move |payload, _client| {
            if let Some(inbound) = read(&payload) {
                queue.push(inbound);
            }
            async {}.boxed()
        })
    }

    fn push(&self, inbound: Inbound) {
        // A closed queue means that the link was given up; a full one that it must be.
        if self.sender.try_send(inbound).is_err() {
            self.is_lagged.store(true, Ordering::Release);
        }
    }
}

fn decode<T: DeserializeOwned>(payload: &Payload) -> Option<T> {
    match payload {
        Payload::Text(values) => T::deserialize(values.first()?).ok(),
        _ => None,
    }
}

fn text_of(payload: &Payload) -> String {
    let text = match payload {
        Payload::Text(values) => match values.first() {
            Some(serde_json::Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
            None => String::new(),
        },
        _ => String::new(),
    };
    text.chars().take(2000).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connect_error(message: &str) -> String {
        let json = serde_json::json!({ "message": message });
        format!("Received an ConnectError frame: {json}")
    }

    #[test]
    fn another_protocol_version_is_refused_for_good() {
        let text = connect_error("protocol: this server speaks 2");
        assert_eq!(refusal(&text), End::Denied("this server speaks 2".into()));
    }

    #[test]
    fn a_draining_server_and_a_broken_line_are_tried_again() {
        for message in ["Invalid namespace", "unavailable: stopping"] {
            let again = End::Again(message.into(), None);
            assert_eq!(refusal(&connect_error(message)), again);
        }
        let text = "EngineIO Error";
        assert_eq!(refusal(text), End::Again(text.into(), None));
    }

    #[test]
    fn hostile_frames_are_dropped() {
        let payload = Payload::Text(vec![serde_json::json!({"tree": 7})]);
        assert_eq!(decode::<RefEvent>(&payload), None);
        assert_eq!(decode::<Heads>(&Payload::Text(vec![])), None);
        assert_eq!(decode::<Heads>(&Payload::Binary(bytes::Bytes::new())), None);
    }

    #[test]
    fn a_full_queue_asks_for_a_new_connection() {
        let (sender, _inbound) = mpsc::channel(1);
        let callbacks = Callbacks {
            sender,
            is_lagged: Arc::default(),
        };
        callbacks.push(Inbound::Connected);
        assert!(!callbacks.is_lagged.load(Ordering::Acquire));
        callbacks.push(Inbound::Connected);
        assert!(callbacks.is_lagged.load(Ordering::Acquire));
    }
}
