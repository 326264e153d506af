//! A virtual agent: a real agent's network client with a tree in memory instead of a folder.
//!
//! It is connected by Socket.IO, pulls each newer head by HTTP (only the newest of several),
//! verifies it with the client's code, and commits the edits that it is told to make, one after
//! another, each over its own base; the server merges.
//!
//! Guarantees: at most one pull and one commit are under way; a commit whose answer was lost is
//! sent again as it was, which the service knows by its lineage.
//! Does not: decide when to edit.
//! Task: `agent`, started by [`start`], ended by the shutdown token; what it noted is its result.

mod requests;

use std::collections::VecDeque;
use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use fsync_agent::client::http::Delta;
use fsync_agent::client::socket::Config;
use fsync_agent::client::{Http, Socket, SocketEvent};
use fsync_core::id::{ObjectId, ObjectKind, RevisionId};
use fsync_core::label::AgentName;
use fsync_core::pack::Object;
use fsync_core::path::RelPath;
use fsync_core::revision::{Revision, Timestamp};
use fsync_core::wire::{CommitAnswer, CommitOutcome, Cursor, Head, RefEvent};
use fsync_runtime::Shutdown;
use tokio::sync::mpsc::Receiver;
use tokio::task::JoinHandle;

use super::diary::{Ack, Clock, Delivery, Diary, Edit, Micros, Outage};
use super::tally::Tally;
use super::tree::{self, Base, Made, Tree, Write};
use crate::random::Random;

/// What an agent is told.
#[derive(Debug, Clone, Copy)]
pub(super) enum Order {
    /// Edit your file.
    Edit {
        /// When that was meant to happen.
        intended: Micros,
    },
    /// Drop your socket and make a new one at once.
    Reconnect,
}

/// What all agents have in common.
#[derive(Debug)]
pub(super) struct Common {
    /// The clock.
    pub(super) clock: Clock,
    /// The counters.
    pub(super) tally: Tally,
    /// Bytes of a file's content.
    pub(super) payload_bytes: usize,
    /// The tasks of the run.
    pub(super) shutdown: Shutdown,
}

/// Who an agent is.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    /// Its number.
    pub(super) number: usize,
    /// Its name, and its file's.
    pub(super) name: AgentName,
    /// Where its file is.
    pub(super) path: RelPath,
    /// Its tree.
    pub(super) tree: Arc<Tree>,
    /// The way to its server.
    pub(super) config: Config,
    /// Seed of its contents.
    pub(super) seed: u64,
}

type Work<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A pull that ended: the head that was wanted, and what came.
type Pulled = (Head, Option<(Delta, Revision)>);
/// A commit that ended: what was made, and the answer unless it was given up.
type Pushed = (Made, Option<CommitAnswer>);

struct Agent {
    me: Identity,
    http: Http,
    common: Arc<Common>,
    socket: Socket,
    events: Option<Receiver<SocketEvent>>,
    /// The id of the last `subscribe`.
    subscription: u64,
    /// When the socket was started, until it has joined.
    started: Option<Micros>,
    is_connected: bool,
    /// The newest ref told of on this connection.
    told: Option<Head>,
    wanted: Option<Head>,
    /// Whether the base's nodes must be fetched as a whole.
    is_blank: bool,
    /// Own commits that became the head, since the pull that is under way began: the socket may
    /// have told of one before its answer came, and it is got once.
    owned: Vec<RevisionId>,
    waiting: VecDeque<Micros>,
    pull: Option<Work<Pulled>>,
    push: Option<Work<Pushed>>,
    random: Random,
    diary: Diary,
}

/// Starts an agent; it connects at once.
pub(super) fn start(
    me: Identity,
    common: &Arc<Common>,
    orders: Receiver<Order>,
) -> JoinHandle<Diary> {
    let (socket, events) = Socket::start(me.config.clone(), &common.shutdown);
    let agent = Agent {
        http: me.config.http.clone(),
        common: Arc::clone(common),
        socket,
        events: Some(events),
        subscription: 0,
        started: Some(common.clock.now()),
        is_connected: false,
        told: None,
        wanted: None,
        is_blank: false,
        owned: Vec::new(),
        waiting: VecDeque::new(),
        pull: None,
        push: None,
        random: Random::new(me.seed),
        diary: Diary {
            agent: me.number,
            ..Diary::default()
        },
        me,
    };
    common.shutdown.spawn("agent", agent.run(orders))
}

/// Waits for work, if there is any; cancel safe.
async fn ended<T>(work: &mut Option<Work<T>>) -> T {
    let Some(running) = work else {
        return pending().await;
    };
    let result = running.await;
    *work = None;
    result
}

async fn next_event(events: &mut Option<Receiver<SocketEvent>>) -> Option<SocketEvent> {
    match events {
        Some(events) => events.recv().await,
        None => pending().await,
    }
}

impl Agent {
    async fn run(mut self, mut orders: Receiver<Order>) -> Diary {
        let stop = self.common.shutdown.token();
        loop {
            self.begin();
            tokio::select! {
                () = stop.cancelled() => break,
                order = orders.recv() => match order {
                    Some(order) => self.obey(order),
                    None => break,
                },
                event = next_event(&mut self.events) => match event {
                    Some(event) => self.hear(event),
                    None => self.events = None,
                },
                pulled = ended(&mut self.pull) => self.pulled(pulled),
                pushed = ended(&mut self.push) => self.pushed(pushed),
            }
        }
        self.diary.unsent += self.waiting.len() as u64;
        self.diary.end = self.me.tree.base(self.me.number).map(|base| base.head);
        self.diary
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Edit { intended } => self.waiting.push_back(intended),
            Order::Reconnect => {
                self.lost();
                let config = self.me.config.clone();
                let (socket, events) = Socket::start(config, &self.common.shutdown);
                self.socket = socket;
                self.events = Some(events);
                self.started = Some(self.common.clock.now());
            }
        }
    }

    fn hear(&mut self, event: SocketEvent) {
        match event {
            SocketEvent::Connected => self.joined(),
            SocketEvent::Heads(heads) => {
                let is_answer = heads.id == Some(self.subscription);
                let key = self.me.tree.key.clone();
                for tree in heads.trees.into_iter().filter(|tree| tree.tree == key) {
                    self.want(tree.head);
                }
                if is_answer {
                    self.back();
                }
            }
            SocketEvent::Ref(event) => self.told(&event),
            SocketEvent::Disconnected { reason } => {
                self.common.tally.note(format!("disconnected: {reason}"));
                self.lost();
            }
            SocketEvent::Denied { reason } => {
                self.common.tally.note(format!("denied: {reason}"));
                self.lost();
            }
            SocketEvent::Failed(failed) => self.common.tally.note(failed.error.message),
            SocketEvent::Bye(bye) => self.common.tally.note(format!("bye: {}", bye.reason)),
            // Nothing was lost that an agent without a folder could bring again.
            SocketEvent::Want(_) | SocketEvent::Presence(_) => {}
        }
    }

    fn joined(&mut self) {
        let now = self.common.clock.now();
        if let Some(started) = self.started.take() {
            self.diary.handshakes.push(now.since(started));
        }
        self.told = None;
        self.subscription += 1;
        let cursor = Cursor {
            tree: self.me.tree.key.clone(),
            base: self.me.tree.base(self.me.number).map(|base| base.head),
        };
        if let Err(error) = self.socket.subscribe(self.subscription, vec![cursor]) {
            self.common.tally.note(error);
        }
    }

    /// The subscription was answered.
    fn back(&mut self) {
        if !self.is_connected {
            self.is_connected = true;
            self.common.tally.connected.add(1);
        }
        let now = self.common.clock.now();
        if let Some(outage) = self.diary.outages.last_mut() {
            outage.back.get_or_insert(now);
        }
    }

    /// The subscription is gone.
    fn lost(&mut self) {
        if !self.is_connected {
            return;
        }
        self.is_connected = false;
        self.common.tally.connected.take();
        let lost = self.common.clock.now();
        self.diary.outages.push(Outage { lost, back: None });
    }

    fn told(&mut self, event: &RefEvent) {
        if event.tree != self.me.tree.key {
            return;
        }
        let notices = &mut self.diary.notices;
        notices.refs += 1;
        if let Some(told) = self.told.filter(|told| told.epoch == event.head.epoch) {
            notices.repeated += u64::from(event.head.seq == told.seq);
            notices.backwards += u64::from(event.head.seq < told.seq);
        }
        self.told = Some(event.head);
        self.want(Some(event.head));
    }

    fn want(&mut self, head: Option<Head>) {
        let base = self.me.tree.base(self.me.number).map(|base| base.head);
        let newest = newer(self.wanted, base);
        if let Some(head) = head.filter(|head| newer(newest, Some(*head)) != newest) {
            self.wanted = Some(head);
        }
    }

    /// Begins what can begin.
    fn begin(&mut self) {
        let base = self.me.tree.base(self.me.number);
        if self.pull.is_none()
            && let Some(head) = self.wanted.take()
            && (self.is_blank || self.is_newer(&head))
        {
            self.owned.clear();
            let from = base
                .map(|base| base.head.revision)
                .filter(|_| !self.is_blank);
            let (http, common) = (self.http.clone(), Arc::clone(&self.common));
            self.pull = Some(Box::pin(requests::pull(http, common, from, head)));
        }
        if let (None, Some(base), false) = (&self.push, base, self.is_blank)
            && let Some(intended) = self.waiting.pop_front()
        {
            self.edit(&base, intended);
        }
    }

    fn edit(&mut self, base: &Base, intended: Micros) {
        let bytes = self.random.bytes(self.common.payload_bytes);
        let chunk = Object::new(ObjectKind::Chunk, bytes);
        let content = chunk.id;
        let write = Write {
            author: &self.me.name,
            path: &self.me.path,
            chunk,
            time: wall_clock(),
        };
        match self.me.tree.edit(base, write) {
            Ok(made) => self.send(made, intended, content),
            Err(error) => {
                // Its nodes were dropped with another agent's: fetch the tree anew, then edit.
                self.common.tally.note(error);
                self.waiting.push_front(intended);
                self.is_blank = true;
                self.wanted = newer(self.wanted, Some(base.head));
            }
        }
    }

    fn send(&mut self, made: Made, intended: Micros, content: ObjectId) {
        self.diary.edits.push(Edit {
            intended,
            sent: self.common.clock.now(),
            content,
            revision: made.revision,
            ack: None,
        });
        let (http, common) = (self.http.clone(), Arc::clone(&self.common));
        self.push = Some(Box::pin(async move {
            let answer = requests::push(http, common, made.pack.clone()).await;
            (made, answer)
        }));
    }

    fn pushed(&mut self, (made, answer): Pushed) {
        self.common.tally.settled.add(1);
        let Some(answer) = answer else {
            self.common.tally.given_up.add(1);
            return;
        };
        self.common.tally.acknowledged.add(1);
        let at = self.common.clock.now();
        let epoch = answer.head.epoch;
        if let Some(edit) = self.diary.edits.last_mut() {
            let seq = answer.seq;
            edit.ack = Some(Ack { at, epoch, seq });
        }
        // The base moves to what was acknowledged, never to the merge: that is pulled.
        let base = Base {
            head: Head {
                epoch,
                seq: answer.seq,
                revision: made.revision,
            },
            root: made.root,
        };
        if self.is_newer(&base.head) {
            if answer.outcome == CommitOutcome::Head {
                self.owned.push(made.revision);
                self.diary.deliveries.push(Delivery::of(&base.head, at));
            }
            self.me.tree.adopt(self.me.number, Some(base), made.nodes);
        }
        self.want(Some(answer.head));
    }

    fn pulled(&mut self, (head, came): Pulled) {
        let Some((delta, revision)) = came else {
            // It may be that another replica, or a later head, does better.
            return;
        };
        let nodes = match tree::decode(&delta.objects) {
            Ok(nodes) => nodes,
            Err(error) => return self.common.tally.note(format!("{error:#}")),
        };
        self.is_blank = false;
        let at = self.common.clock.now();
        let base = self.me.tree.base(self.me.number);
        let is_base = base.is_some_and(|base| base.head.revision == head.revision);
        if !is_base && !self.owned.contains(&head.revision) {
            let is_first = self.diary.deliveries.is_empty();
            self.common.tally.ready.add(u64::from(is_first));
            self.diary.deliveries.push(Delivery::of(&head, at));
        }
        self.common.tally.pulled.add(1);
        let bytes: usize = delta.objects.iter().map(|object| object.bytes.len()).sum();
        self.common.tally.got_bytes.add(bytes as u64);
        let root = revision.root;
        let base = self.is_newer(&head).then_some(Base { head, root });
        self.me.tree.adopt(self.me.number, base, nodes);
    }

    fn is_newer(&self, head: &Head) -> bool {
        let base = self.me.tree.base(self.me.number).map(|base| base.head);
        newer(base, Some(*head)) != base
    }
}

/// Returns the newer of two heads; of two epochs the second one's.
fn newer(one: Option<Head>, two: Option<Head>) -> Option<Head> {
    match (one, two) {
        (Some(one), Some(two)) if one.epoch == two.epoch && one.seq >= two.seq => Some(one),
        (one, None) => one,
        (_, two) => two,
    }
}

fn wall_clock() -> Timestamp {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let millis = now.map(|now| now.as_millis()).unwrap_or_default();
    Timestamp(u64::try_from(millis).unwrap_or(u64::MAX))
}
