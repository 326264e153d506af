//! Socket.IO: drives core's [`Hub`] over socketioxide, namespace `/fsync`, WebSocket and
//! long-polling; requests that wait for news ([`watch`]) are sockets of the hub as well.
//!
//! Guarantees: handlers are registered in the connect middleware, so that a fast client's first
//! event is not lost; an emit never waits; a full buffer makes refs coalesce, and a reader that
//! stays stuck is closed with a reason.
//! Does not: carry contents; frames are small JSON objects.
//! Tasks: `heads` looks up one subscribe, `ref` one head that no wake-up brought; `beacon` sleeps until the hub's next wake, `wants` takes
//! what the store misses, `expel` ends sockets whose token is not good any more, and forgets those that never came; all end at shutdown.
//! Place: the only file but `app.rs` that knows socketioxide.

mod guard;
mod heads;
mod seats;
mod watch;

use std::collections::HashMap;
use std::future::ready;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use fsync_core::label::{AgentName, TreeKey};
use fsync_core::limits;
use fsync_core::service::subscribe::{Effect, Frame, Hub, Input, SocketNo};
use fsync_core::trace::TraceContext;
use fsync_core::wire::{
    Bye, ByeCode, ErrorBody, ErrorCode, ErrorEvent, NAMESPACE, PROTOCOL_VERSION, Presence,
    RefEvent, Subscribe, event,
};
use fsync_runtime::{Shutdown, span, trace};
use serde::Serialize;
use serde_json::Value;
use socketioxide::SocketIo;
use socketioxide::extract::{SocketRef, TryData};
use socketioxide::handler::ConnectHandler;
use socketioxide::layer::SocketIoLayer;
use tokio::sync::Notify;
use tokio::sync::mpsc::Sender;
use tracing::{debug, info, warn};

use crate::auth::{AuthError, Identity};
use crate::bus::Bus;
use crate::clock;
use crate::metrics::metrics;
use crate::rates::{Checks, Passed};
use crate::store::Store;
use seats::{Seat, Seats};

/// Time between two pings.
const PING_INTERVAL: Duration = Duration::from_secs(25);
/// Time without an answer after which a socket is dead.
const PING_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a connection may take to say who it is.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Frames that wait in a socket's buffer before the hub holds back.
const BUFFER_FRAMES: usize = 64;
/// A stuck socket is looked at no more often than this.
const SHORTEST_SLEEP: Duration = Duration::from_millis(20);

/// All sockets of this replica.
#[derive(Debug, Clone)]
pub struct Sockets(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    next: AtomicU64,
    /// The replica ends.
    is_closing: AtomicBool,
    store: Store,
    bus: Arc<dyn Bus>,
    checks: Checks,
    seats: Seats,
    tasks: Shutdown,
    /// Wakes the beacon when something became due earlier.
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    hub: Hub,
    sockets: HashMap<SocketNo, Peer>,
}

/// One of the hub's sockets, and whose it is.
#[derive(Debug)]
struct Peer {
    listener: Listener,
    identity: Arc<Identity>,
    /// When it was let in.
    since: Instant,
    /// Counts as long as the socket is here.
    _seat: Seat,
}

/// Where the frames of one of the hub's sockets go.
#[derive(Debug)]
enum Listener {
    /// To a Socket.IO connection.
    Socket(SocketRef),
    /// To a request that waits for news.
    Watch(Sender<Frame>),
}

/// Why a socket is refused; its text is what the agent's user reads.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error(
        "protocol: this server speaks version {PROTOCOL_VERSION}, the agent version {0}: update the older one"
    )]
    Protocol(u32),
    #[error("unavailable: the server is shutting down: reconnect")]
    Ending,
    #[error("unauthorized: {0}")]
    Token(AuthError),
    #[error("unavailable: {0}")]
    NoKeys(AuthError),
    #[error("forbidden: the token is for another agent than {0}")]
    Agent(AgentName),
    #[error("rate_limited: {0}")]
    Limit(Passed),
    #[error(
        "malformed: the handshake's auth must be {{\"protocol\": number, \"agent\": name}}: {0}"
    )]
    Malformed(String),
}

impl Sockets {
    /// Makes the Socket.IO layer and what drives it.
    pub fn layer(
        store: Store,
        bus: Arc<dyn Bus>,
        checks: Checks,
        tasks: &Shutdown,
    ) -> (SocketIoLayer, Self) {
        let sockets = Self(Arc::new(Inner {
            state: Mutex::default(),
            next: AtomicU64::new(1),
            is_closing: AtomicBool::new(false),
            store,
            bus,
            checks,
            seats: Seats::default(),
            tasks: tasks.clone(),
            changed: Notify::new(),
        }));
        let frame = limits::FRAME_BYTES;
        let (layer, io) = SocketIo::builder()
            .ping_interval(PING_INTERVAL)
            .ping_timeout(PING_TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            .max_buffer_size(BUFFER_FRAMES)
            .max_payload(frame as u64)
            .ws_max_frame_size(frame)
            .ws_max_message_size(frame)
            .build_layer();
        let middle = sockets.clone();
        let admit = move |socket: SocketRef, TryData(auth): TryData<Value>| {
            let sockets = middle.clone();
            async move {
                sockets
                    .admit(&socket, auth.map_err(|e| e.to_string()))
                    .await
            }
        };
        io.ns(NAMESPACE, (async |_socket: SocketRef| {}).with(admit));
        drop(tasks.spawn("beacon", beacon(sockets.clone())));
        drop(tasks.spawn("wants", wants(sockets.clone())));
        drop(tasks.spawn("expel", guard::expel(sockets.clone())));
        (layer, sockets)
    }

    /// Tells the listeners of a tree of its new, durable head.
    pub fn moved(&self, mut event: RefEvent) {
        if !self.lock().hub.is_news(&event) {
            return self.input(Input::Moved(event));
        }
        let span = span!(
            "server.multicast",
            otel.kind = "consumer",
            fsync.seq = event.head.seq.0,
            fsync.revision = %event.head.revision,
        );
        trace::follow(&span, event.trace.as_ref().map(TraceContext::as_str));
        if event.trace.is_some() {
            event.trace = trace::context_of(&span).and_then(|context| context.parse().ok());
        }
        metrics().multicast();
        span.in_scope(|| self.input(Input::Moved(event)));
    }

    fn is_closing(&self) -> bool {
        self.0.is_closing.load(Ordering::Relaxed)
    }

    /// Takes no new socket from now on.
    pub fn close_door(&self) {
        self.0.is_closing.store(true, Ordering::Relaxed);
    }

    /// Returns the sockets that are connected.
    pub fn numbers(&self) -> Vec<SocketNo> {
        self.lock().sockets.keys().copied().collect()
    }

    /// Says goodbye to one.
    pub fn leave(&self, number: SocketNo, bye: Bye) {
        self.input(Input::Leave(number, bye));
    }

    /// Says goodbye to all.
    pub fn end(&self, bye: Bye) {
        self.input(Input::End(bye));
    }

    /// Returns how many sockets are connected.
    pub fn count(&self) -> usize {
        self.lock().hub.len()
    }

    /// Returns how many sockets and waiting requests listen to a tree.
    pub fn listeners(&self, tree: &TreeKey) -> usize {
        self.lock().hub.listeners(tree)
    }

    /// Checks a handshake and registers all handlers. Runs before the client learns that it is
    /// connected; nothing is made for one that is refused.
    async fn admit(&self, socket: &SocketRef, auth: Result<Value, String>) -> Result<(), Refused> {
        if self.is_closing() {
            return Err(Refused::Ending);
        }
        let (handshake, identity) = self.check(auth).await?;
        let seat = self.seat(&identity)?;
        let number = self.next_number();
        debug!(socket = number.0, agent = %handshake.agent, "agent connected");
        let listener = Listener::Socket(socket.clone());
        self.enter(number, listener, (Arc::clone(&identity), seat));
        self.register(socket, (number, identity), handshake.agent);
        Ok(())
    }

    fn next_number(&self) -> SocketNo {
        SocketNo(self.0.next.fetch_add(1, Ordering::Relaxed))
    }

    fn enter(&self, number: SocketNo, listener: Listener, (identity, seat): (Arc<Identity>, Seat)) {
        let peer = Peer {
            listener,
            identity,
            since: Instant::now(),
            _seat: seat,
        };
        self.lock().sockets.insert(number, peer);
        self.input(Input::Connected(number));
    }

    fn gone(&self, number: SocketNo) {
        self.lock().sockets.remove(&number);
        self.input(Input::Gone(number));
    }

    /// All is done before a handler returns its future: futures run as tasks, in any order, and an
    /// agent's last word counts.
    fn register(
        &self,
        socket: &SocketRef,
        (number, identity): (SocketNo, Arc<Identity>),
        agent: AgentName,
    ) {
        let sockets = self.clone();
        socket.on(event::SUBSCRIBE, move |TryData(request): TryData<Value>| {
            sockets.subscribe((number, &identity), request.map_err(|e| e.to_string()));
            ready(())
        });
        let sockets = self.clone();
        socket.on(event::PRESENCE, move |TryData(frame): TryData<Presence>| {
            sockets.presence(number, &agent, frame.map_err(|e| e.to_string()));
            ready(())
        });
        let sockets = self.clone();
        socket.on_disconnect(move || {
            let sockets = sockets.clone();
            async move {
                debug!(socket = number.0, "agent disconnected");
                sockets.gone(number);
            }
        });
    }

    /// Takes what an agent tells of itself, under its own name only.
    fn presence(&self, number: SocketNo, agent: &AgentName, frame: Result<Presence, String>) {
        match frame {
            Ok(presence) if presence.agent == *agent => {
                self.input(Input::Presence(number, presence));
            }
            Ok(_) => debug!(socket = number.0, "presence of another agent dropped"),
            Err(error) => debug!(socket = number.0, error, "malformed presence dropped"),
        }
    }

    fn subscribe(
        &self,
        (number, identity): (SocketNo, &Arc<Identity>),
        request: Result<Value, String>,
    ) {
        let id = request
            .as_ref()
            .ok()
            .and_then(|r| r.get("id"))
            .and_then(Value::as_u64);
        let request = request.and_then(|r| serde_json::from_value(r).map_err(|e| e.to_string()));
        let refused = match request {
            Err(reason) => ErrorBody {
                code: ErrorCode::Malformed,
                message: format!("subscribe is malformed: {reason}"),
                missing: Vec::new(),
                retry_after_ms: None,
            },
            Ok(request) if guard::may_by_token(identity, &request) => {
                return self.input(Input::Subscribe(number, request));
            }
            Ok(request) => return self.subscribe_by_policy((number, identity), request),
        };
        self.refuse(number, id, refused);
    }

    /// Lets a subscription in that the token alone does not allow, if policies do.
    fn subscribe_by_policy(
        &self,
        (number, identity): (SocketNo, &Arc<Identity>),
        request: Subscribe,
    ) {
        let (sockets, identity) = (self.clone(), Arc::clone(identity));
        let check = async move {
            match sockets.check_trees(&identity, &request).await {
                Ok(()) => sockets.input(Input::Subscribe(number, request)),
                Err(error) => sockets.refuse(number, Some(request.id), error.to_body()),
            }
        };
        drop(self.0.tasks.spawn("subscribe", check));
    }

    fn refuse(&self, number: SocketNo, id: Option<u64>, refused: ErrorBody) {
        let refused = ErrorEvent { id, error: refused };
        self.input(Input::HeadsLoaded(number, Err(refused)));
    }

    /// Feeds the hub and carries out what it wants; frames are offered at once, in order.
    fn input(&self, input: Input) {
        let mut state = self.lock();
        let before = state.hub.next_wake();
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            for effect in state.hub.handle(input, clock::now()) {
                if let Some(input) = self.carry_out(&mut state, effect) {
                    inputs.push(input);
                }
            }
        }
        metrics().coalesced(state.hub.take_coalesced());
        if state.hub.next_wake() < before || before.is_none() {
            self.0.changed.notify_one();
        }
    }

    fn carry_out(&self, state: &mut State, effect: Effect) -> Option<Input> {
        match effect {
            Effect::Send(number, frame) => {
                let is_taken = match &state.sockets.get(&number)?.listener {
                    Listener::Socket(socket) => offer(socket, &frame),
                    Listener::Watch(request) => watch::offer(request, &frame),
                };
                Some(match is_taken {
                    true => Input::Taken(number),
                    false => Input::Refused(number, frame),
                })
            }
            Effect::Close(number) => {
                let peer = state.sockets.remove(&number);
                if let Some(Listener::Socket(socket)) = peer.map(|peer| peer.listener) {
                    // One that is closed already is what we want.
                    drop(socket.disconnect());
                }
                None
            }
            Effect::LoadHeads(number, subscribe) => {
                let sockets = self.clone();
                let load = async move {
                    let answer = sockets.heads(subscribe).await;
                    sockets.input(Input::HeadsLoaded(number, answer));
                };
                drop(self.0.tasks.spawn("heads", load));
                None
            }
            Effect::Join(tree) => {
                self.0.bus.join(&tree);
                None
            }
            Effect::Leave(tree) => {
                self.0.bus.leave(&tree);
                None
            }
            Effect::LoadRef(tree) => {
                metrics().repaired(1);
                drop(self.0.tasks.spawn("ref", self.clone().tell(tree, None)));
                None
            }
            Effect::Renew(tree, head) => {
                warn!(%tree, "the journal went back: positions of the tree get another epoch");
                drop(
                    self.0
                        .tasks
                        .spawn("ref", self.clone().tell(tree, Some(head))),
                );
                None
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Offers a frame; `false` if the socket's buffer is full.
fn offer(socket: &SocketRef, frame: &Frame) -> bool {
    fn emit<T: Serialize>(socket: &SocketRef, name: &str, data: &T) -> bool {
        use socketioxide::{SendError, SocketError};
        match socket.emit(name, data) {
            Err(SendError::Socket(SocketError::InternalChannelFull)) => false,
            // A closed socket is reported by its disconnect handler; a frame that does not
            // serialise cannot be sent twice.
            Ok(()) | Err(_) => true,
        }
    }
    match frame {
        Frame::Heads(heads) => emit(socket, event::HEADS, heads),
        Frame::Ref(moved) => emit(socket, event::REF, moved),
        Frame::Presence(presence) => emit(socket, event::PRESENCE, presence),
        Frame::Want(want) => {
            info!(tree = %want.tree, objects = want.objects.len(), "asking an agent for lost objects");
            emit(socket, event::WANT, want)
        }
        Frame::Error(error) => emit(socket, event::ERROR, error),
        Frame::Bye(bye) => {
            if bye.code == ByeCode::Slow {
                metrics().slow();
            }
            info!(code = ?bye.code, "saying goodbye to a socket");
            emit(socket, event::BYE, bye)
        }
    }
}

/// Hands what the store misses to the hub.
async fn wants(sockets: Sockets) {
    let Some(mut wants) = sockets.0.store.wants() else {
        return;
    };
    loop {
        tokio::select! {
            want = wants.recv() => match want {
                Some(want) => sockets.input(Input::Lost(want)),
                None => return,
            },
            () = sockets.0.tasks.triggered() => return,
        }
    }
}

/// Sleeps until the hub wants to be woken.
async fn beacon(sockets: Sockets) {
    loop {
        let wake = sockets.lock().hub.next_wake();
        let sleep = async {
            match wake {
                Some(at) => {
                    let wait = Duration::from_millis(at.0.saturating_sub(clock::now().0));
                    tokio::time::sleep(wait.max(SHORTEST_SLEEP)).await;
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = sleep => sockets.input(Input::Tick),
            () = sockets.0.changed.notified() => {}
            () = sockets.0.tasks.triggered() => return,
        }
    }
}
