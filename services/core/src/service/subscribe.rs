//! Subscriptions: who hears of which tree, and what is still to be told to whom.
//!
//! Guarantees: a socket is registered before its heads are looked up, so no head falls between
//! answer and first wake-up; of several refs of one tree only the newest waits for a socket; what
//! waits is bounded by the socket's trees; a reader that takes nothing for [`SLOW_MS`] is closed
//! with a reason; of heads that come twice or late the newest is told once, so that several ways may
//! bring one; a head that contradicts what was told is put into another epoch, and a head that
//! vanished makes the tree's sockets start anew; a tree's sockets are asked for lost objects at most once in [`limits::WANT_MS`],
//! and what falls in between is forgotten: whoever misses an object asks again.
//! Does not: guarantee delivery. A wake-up only saves time; the beacon and the next subscribe carry
//! the truth.
//! Place: one [`Hub`] per replica; driven by the server's `socket.rs` and by the simulator.

use std::collections::{BTreeMap, BTreeSet};

use crate::label::{AgentName, TreeKey};
use crate::limits;
use crate::service::Now;
use crate::service::error::ServiceError;
use crate::service::presence::{Presences, Told};
use crate::wire::{
    Bye, ByeCode, ErrorEvent, Head, Heads, Presence, RefEvent, Subscribe, TreeHead, Want,
};

mod heads;

/// Time between two beacons of a socket, in milliseconds.
pub const BEACON_MS: u64 = 10_000;
/// Time after which a frame that was refused is offered again, in milliseconds.
pub const RETRY_MS: u64 = 100;
/// How long a socket may take nothing before it is closed, in milliseconds.
pub const SLOW_MS: u64 = 15_000;
/// Most answers that wait for one socket; more means that it asks and does not read.
const ANSWERS: usize = 8;
/// Trees in one beacon frame: keeps frames far below [`limits::FRAME_BYTES`].
const BEACON_TREES: usize = 128;
/// A reader closed for slowness comes back after this time, in milliseconds, plus jitter by its
/// number.
const SLOW_RETRY_MS: u64 = 1000;

/// One connection as its driver numbers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SocketNo(pub u64);

/// What a socket is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// Heads: an answer or a beacon.
    Heads(Heads),
    /// A new head.
    Ref(RefEvent),
    /// What another agent of a tree is doing.
    Presence(Presence),
    /// Objects that the service lost.
    Want(Want),
    /// A request failed.
    Error(ErrorEvent),
    /// The connection ends; close it after sending.
    Bye(Bye),
}

/// What happens.
#[derive(Debug)]
pub enum Input {
    /// A socket came.
    Connected(SocketNo),
    /// A socket went.
    Gone(SocketNo),
    /// A socket asks for heads and refs.
    Subscribe(SocketNo, Subscribe),
    /// Answer to [`Effect::LoadHeads`].
    HeadsLoaded(SocketNo, Result<Heads, ErrorEvent>),
    /// A tree has a new, durable head.
    Moved(RefEvent),
    /// The heads of trees as they were just read: finds what wake-ups did not bring.
    Truth(Vec<(TreeKey, Option<Head>)>),
    /// A socket's agent tells what it is doing.
    Presence(SocketNo, Presence),
    /// Objects of a tree are lost, and somebody needs them.
    Lost(Want),
    /// A frame could not be taken: the socket's buffer is full.
    Refused(SocketNo, Frame),
    /// A frame was taken.
    Taken(SocketNo),
    /// The time that [`Hub::next_wake`] named has come.
    Tick,
    /// The replica sends a socket away.
    Leave(SocketNo, Bye),
    /// The replica ends.
    End(Bye),
}

/// What the driver does next.
#[derive(Debug, PartialEq, Eq)]
pub enum Effect {
    /// Look up the heads for a subscribe, and whether its bases are in the lineage.
    LoadHeads(SocketNo, Subscribe),
    /// Offer a frame without waiting; come back with `Taken` or `Refused`.
    Send(SocketNo, Frame),
    /// Close the connection.
    Close(SocketNo),
    /// Hear of a tree's new heads from now on; comes before the `LoadHeads` that needs it.
    Join(TreeKey),
    /// Nobody here listens to a tree any more.
    Leave(TreeKey),
    /// Look up a tree's head and come back with `Moved`.
    LoadRef(TreeKey),
    /// A tree's head contradicts what agents were told: put it into another epoch, unless it is
    /// another by now, and come back with `Moved`.
    Renew(TreeKey, Head),
}

#[derive(Debug)]
struct Socket {
    trees: BTreeSet<TreeKey>,
    answers: Vec<Frame>,
    refs: BTreeMap<TreeKey, RefEvent>,
    presences: BTreeMap<(TreeKey, AgentName), Presence>,
    wants: BTreeMap<TreeKey, Want>,
    /// Since when nothing was taken.
    stuck_since: Option<Now>,
    beacon_at: Now,
}

/// All sockets of one replica.
#[derive(Debug, Default)]
pub struct Hub {
    sockets: BTreeMap<SocketNo, Socket>,
    listeners: BTreeMap<TreeKey, BTreeSet<SocketNo>>,
    /// Newest head of each tree somebody listens to.
    heads: BTreeMap<TreeKey, Head>,
    /// The head that the listeners of a tree were told last.
    told: BTreeMap<TreeKey, Head>,
    presences: Presences,
    /// When the listeners of a tree may be asked for lost objects again.
    want_at: BTreeMap<TreeKey, Now>,
    stuck: BTreeSet<SocketNo>,
    /// Refs that a newer one replaced before they were taken.
    coalesced: u64,
    retry_at: Option<Now>,
}

impl Hub {
    /// Takes one input and says what to do.
    pub fn handle(&mut self, input: Input, now: Now) -> Vec<Effect> {
        let mut effects = Vec::new();
        match input {
            Input::Connected(socket) => self.connect(socket, now),
            Input::Gone(socket) => self.remove(socket, &mut effects),
            Input::Subscribe(socket, subscribe) => self.subscribe(socket, subscribe, &mut effects),
            Input::HeadsLoaded(socket, answer) => {
                self.answer(socket, answer);
                self.flush(socket, &mut effects);
            }
            Input::Moved(event) => self.moved(&event, &mut effects),
            Input::Truth(heads) => {
                for (tree, head) in heads {
                    self.compare(tree, head, now, &mut effects);
                }
            }
            Input::Presence(socket, presence) => self.presences.set(socket, presence, now),
            Input::Lost(want) => self.lost(want, now, &mut effects),
            Input::Refused(socket, frame) => self.refused(socket, frame, now),
            Input::Taken(socket) => self.taken(socket),
            Input::Tick => self.tick(now, &mut effects),
            Input::Leave(socket, bye) => self.send_away(socket, bye, &mut effects),
            Input::End(bye) => self.end(&bye, &mut effects),
        }
        effects
    }

    /// Returns when [`Input::Tick`] is due next; `None` while there is nothing to wait for.
    pub fn next_wake(&self) -> Option<Now> {
        let beacon = self.sockets.values().map(|s| s.beacon_at).min();
        let others = self.retry_at.into_iter().chain(self.presences.next_wake());
        beacon.into_iter().chain(others).min()
    }

    /// Returns how many refs a newer one replaced since the last time.
    pub fn take_coalesced(&mut self) -> u64 {
        std::mem::take(&mut self.coalesced)
    }

    /// Returns how many sockets there are.
    pub fn len(&self) -> usize {
        self.sockets.len()
    }

    /// Returns how many sockets listen to a tree.
    pub fn listeners(&self, tree: &TreeKey) -> usize {
        self.listeners.get(tree).map_or(0, BTreeSet::len)
    }

    /// Returns whether there is no socket.
    pub fn is_empty(&self) -> bool {
        self.sockets.is_empty()
    }

    fn connect(&mut self, socket: SocketNo, now: Now) {
        let state = Socket {
            trees: BTreeSet::new(),
            answers: Vec::new(),
            refs: BTreeMap::new(),
            presences: BTreeMap::new(),
            wants: BTreeMap::new(),
            stuck_since: None,
            beacon_at: now.plus_ms(BEACON_MS),
        };
        self.sockets.insert(socket, state);
    }

    fn remove(&mut self, socket: SocketNo, effects: &mut Vec<Effect>) {
        self.stuck.remove(&socket);
        if let Some(state) = self.sockets.remove(&socket) {
            self.leave(socket, &state.trees, effects);
        }
    }

    fn leave(&mut self, socket: SocketNo, trees: &BTreeSet<TreeKey>, effects: &mut Vec<Effect>) {
        for tree in trees {
            let told = self.presences.leave(tree, socket);
            self.tell(told, effects);
            if let Some(listeners) = self.listeners.get_mut(tree) {
                listeners.remove(&socket);
                if listeners.is_empty() {
                    self.listeners.remove(tree);
                    self.heads.remove(tree);
                    self.told.remove(tree);
                    self.want_at.remove(tree);
                    effects.push(Effect::Leave(tree.clone()));
                }
            }
        }
    }

    fn subscribe(&mut self, socket: SocketNo, subscribe: Subscribe, effects: &mut Vec<Effect>) {
        let Some(state) = self.sockets.get_mut(&socket) else {
            return;
        };
        let count = subscribe.trees.len();
        if let Err(limit) = limits::check("trees of one socket", limits::SOCKET_TREES, count) {
            state.push_answer(Frame::Error(ErrorEvent {
                id: Some(subscribe.id),
                error: ServiceError::from(limit).to_body(),
            }));
            return self.flush(socket, effects);
        }
        let trees: BTreeSet<TreeKey> = subscribe.trees.iter().map(|c| c.tree.clone()).collect();
        let before = std::mem::replace(&mut state.trees, trees.clone());
        state.refs.retain(|tree, _| trees.contains(tree));
        state.wants.retain(|tree, _| trees.contains(tree));
        state.presences.retain(|(tree, _), _| trees.contains(tree));
        let left: BTreeSet<TreeKey> = before.difference(&trees).cloned().collect();
        self.leave(socket, &left, effects);
        for tree in trees {
            let others = self.presences.join(&tree, socket);
            let told = others.into_iter().map(|other| (socket, other)).collect();
            self.tell(told, effects);
            if !self.listeners.contains_key(&tree) {
                effects.push(Effect::Join(tree.clone()));
            }
            self.listeners.entry(tree).or_default().insert(socket);
        }
        effects.push(Effect::LoadHeads(socket, subscribe));
    }

    fn answer(&mut self, socket: SocketNo, answer: Result<Heads, ErrorEvent>) {
        let frame = match answer {
            Ok(heads) => {
                for tree in &heads.trees {
                    if let Some(head) = tree.head {
                        self.learn(&tree.tree, head);
                    }
                }
                Frame::Heads(heads)
            }
            Err(error) => Frame::Error(error),
        };
        if let Some(state) = self.sockets.get_mut(&socket) {
            state.push_answer(frame);
        }
    }

    /// Tells sockets of presences; of several of one agent only the newest waits.
    fn tell(&mut self, told: Vec<Told>, effects: &mut Vec<Effect>) {
        let mut sockets = BTreeSet::new();
        for (socket, presence) in told {
            if let Some(state) = self.sockets.get_mut(&socket) {
                let key = (presence.tree.clone(), presence.agent.clone());
                state.presences.insert(key, presence);
                sockets.insert(socket);
            }
        }
        for socket in sockets {
            self.flush(socket, effects);
        }
    }

    /// Asks the listeners of a tree for lost objects, unless they were asked just now.
    fn lost(&mut self, mut want: Want, now: Now, effects: &mut Vec<Effect>) {
        let Some(listeners) = self.listeners.get(&want.tree).cloned() else {
            return;
        };
        let is_too_soon = self.want_at.get(&want.tree).is_some_and(|at| now < *at);
        if is_too_soon || want.objects.is_empty() {
            return;
        }
        want.objects.truncate(limits::WANT_OBJECTS);
        let again_at = now.plus_ms(limits::WANT_MS);
        self.want_at.insert(want.tree.clone(), again_at);
        for socket in listeners {
            if let Some(state) = self.sockets.get_mut(&socket) {
                state.wants.insert(want.tree.clone(), want.clone());
            }
            self.flush(socket, effects);
        }
    }

    /// Offers all that waits, unless the socket is stuck: then the next tick does.
    fn flush(&mut self, socket: SocketNo, effects: &mut Vec<Effect>) {
        if self.stuck.contains(&socket) {
            return;
        }
        if let Some(state) = self.sockets.get_mut(&socket) {
            let refs = std::mem::take(&mut state.refs).into_values();
            let wants = std::mem::take(&mut state.wants).into_values();
            let presences = std::mem::take(&mut state.presences).into_values();
            let frames = std::mem::take(&mut state.answers).into_iter();
            let frames = frames
                .chain(refs.map(Frame::Ref))
                .chain(wants.map(Frame::Want))
                .chain(presences.map(Frame::Presence));
            effects.extend(frames.map(|frame| Effect::Send(socket, frame)));
        }
    }

    fn refused(&mut self, socket: SocketNo, frame: Frame, now: Now) {
        let Some(state) = self.sockets.get_mut(&socket) else {
            return;
        };
        match frame {
            Frame::Ref(event) => {
                // A newer one may wait already.
                state.refs.entry(event.tree.clone()).or_insert(event);
            }
            Frame::Presence(presence) => {
                let key = (presence.tree.clone(), presence.agent.clone());
                state.presences.entry(key).or_insert(presence);
            }
            Frame::Want(want) => {
                state.wants.entry(want.tree.clone()).or_insert(want);
            }
            // A beacon is only anti-entropy: the next one says more.
            Frame::Heads(Heads { id: None, .. }) => {}
            answer => state.push_answer(answer),
        }
        state.stuck_since.get_or_insert(now);
        self.stuck.insert(socket);
        self.retry_at.get_or_insert(now.plus_ms(RETRY_MS));
    }

    fn taken(&mut self, socket: SocketNo) {
        if let Some(state) = self.sockets.get_mut(&socket) {
            state.stuck_since = None;
        }
        self.stuck.remove(&socket);
    }

    fn tick(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if self.retry_at.is_some_and(|at| at <= now) {
            self.retry_at = None;
            for socket in std::mem::take(&mut self.stuck) {
                self.retry(socket, now, effects);
            }
        }
        let told = self.presences.tick(now);
        self.tell(told, effects);
        let due = |state: &&mut Socket| state.beacon_at <= now;
        let mut beacons = Vec::new();
        for (socket, state) in &mut self.sockets {
            if let Some(state) = Some(state).filter(due) {
                state.beacon_at = now.plus_ms(BEACON_MS);
                if state.stuck_since.is_none() {
                    beacons.push(*socket);
                }
            }
        }
        for socket in beacons {
            self.beacon(socket, effects);
        }
    }

    fn retry(&mut self, socket: SocketNo, now: Now, effects: &mut Vec<Effect>) {
        let Some(state) = self.sockets.get(&socket) else {
            return;
        };
        if state
            .stuck_since
            .is_some_and(|since| since.plus_ms(SLOW_MS) <= now)
        {
            let bye = Bye {
                code: ByeCode::Slow,
                reason: format!("nothing was read for {} s: reconnect", SLOW_MS / 1000),
                retry_after_ms: Some(SLOW_RETRY_MS + socket.0 % SLOW_RETRY_MS),
            };
            effects.push(Effect::Send(socket, Frame::Bye(bye)));
            effects.push(Effect::Close(socket));
            self.remove(socket, effects);
            return;
        }
        self.flush(socket, effects);
    }

    fn beacon(&self, socket: SocketNo, effects: &mut Vec<Effect>) {
        let Some(state) = self.sockets.get(&socket) else {
            return;
        };
        // A tree whose head is not known here is left out: no head would mean that it has none.
        let known = |tree: &TreeKey| {
            let head = self.heads.get(tree).copied()?;
            Some(TreeHead {
                tree: tree.clone(),
                head: Some(head),
                base_known: None,
            })
        };
        let trees: Vec<TreeHead> = state.trees.iter().filter_map(known).collect();
        for part in trees.chunks(BEACON_TREES) {
            let heads = Heads {
                id: None,
                trees: part.to_vec(),
            };
            effects.push(Effect::Send(socket, Frame::Heads(heads)));
        }
    }

    fn send_away(&mut self, socket: SocketNo, bye: Bye, effects: &mut Vec<Effect>) {
        if self.sockets.contains_key(&socket) {
            effects.push(Effect::Send(socket, Frame::Bye(bye)));
            self.remove(socket, effects);
            effects.push(Effect::Close(socket));
        }
    }

    fn end(&mut self, bye: &Bye, effects: &mut Vec<Effect>) {
        for socket in std::mem::take(&mut self.sockets).into_keys() {
            effects.push(Effect::Send(socket, Frame::Bye(bye.clone())));
            effects.push(Effect::Close(socket));
        }
        *self = Self::default();
    }
}

impl Socket {
    /// Keeps an answer; the oldest goes when the socket asks without reading.
    fn push_answer(&mut self, frame: Frame) {
        if self.answers.len() >= ANSWERS {
            self.answers.remove(0);
        }
        self.answers.push(frame);
    }
}
