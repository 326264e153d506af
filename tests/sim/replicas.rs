//! The replicas of a simulated world: what each of them does, and how they hear of one another.
//!
//! Guarantees: they share the ledger and nothing else. A wake-up between them may be lost, come
//! twice or late; what it did not bring is found by reading the heads now and then, as the real
//! ones do. What becomes of a commit may stay unknown to the replica that made it.

use std::collections::BTreeMap;

use fsync_agent::folder::{FolderInput, NetFailure};
use fsync_core::service::error::ServiceError;
use fsync_core::service::record::Ticket;
use fsync_core::service::subscribe::{self, Frame, SocketNo};
use fsync_core::wire::{CommitAnswer, Heads, RefEvent};

use super::check::check_made_up;
use super::event::Event;
use super::net::Request;
use super::server::{Server, Todo, Work};
use super::world::World;

/// Time between two looks of a replica at the heads, in ms.
const POLL_MS: u64 = 10_000;

/// One replica.
#[derive(Debug)]
pub struct Replica {
    /// What it runs.
    pub server: Server,
    /// Whether it runs.
    pub is_up: bool,
    /// Counts its lives: what belongs to an earlier one is dropped.
    pub life: u64,
    /// Who waits for which push; pushes that came twice are answered to nobody.
    pub tickets: BTreeMap<Ticket, (usize, u64)>,
    hub_tick_at: Option<u64>,
}

impl Replica {
    /// Starts one.
    pub fn new(server: Server) -> Self {
        Self {
            server,
            is_up: true,
            life: 0,
            tickets: BTreeMap::new(),
            hub_tick_at: None,
        }
    }
}

impl World {
    /// Returns the numbers of the replicas that run.
    pub(super) fn replicas_up(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.replicas.len()).filter(|number| self.replicas[*number].is_up)
    }

    /// Gives the hub of a replica an input.
    pub(super) fn hub_input(&mut self, replica: usize, input: subscribe::Input) {
        let now = self.server_now();
        let todo = self.replicas[replica].server.hub_input(input, now);
        self.todo(replica, todo);
    }

    /// Does what a replica asks for.
    pub(super) fn todo(&mut self, replica: usize, todo: Vec<Todo>) {
        for todo in todo {
            match todo {
                Todo::Work(work) => {
                    let life = self.replicas[replica].life;
                    self.within_ms(0, 6, Event::Work(replica, life, Box::new(work)));
                }
                Todo::Reply(ticket, answer) => {
                    let Some((at, life)) = self.replicas[replica].tickets.remove(&ticket) else {
                        continue;
                    };
                    self.reply(at, life, answer);
                }
                Todo::Hub(effect) => self.hub(replica, effect),
                Todo::Wake(event) => self.wake_others(replica, &event),
            }
        }
        self.plan_hub_tick(replica);
    }

    fn reply(&mut self, at: usize, life: u64, answer: Result<CommitAnswer, ServiceError>) {
        let line = match &answer {
            Ok(answer) => format!(
                "server: m{at} {:?} head {}",
                answer.outcome, answer.head.seq.0
            ),
            Err(error) => format!("server: m{at} refused: {error}"),
        };
        self.say(&line);
        let result = answer.map_err(|error| failure_of(&error));
        if let Err(NetFailure::Refused(reason)) = &result {
            self.broken
                .push(format!("the service refused a push of m{at}: {reason}"));
        }
        let request = Request::Push {
            revision: Vec::new(),
            objects: Vec::new(),
            upload: Vec::new(),
            is_double: false,
        };
        self.answer((at, life), &request, FolderInput::Pushed(result));
    }

    /// Tells the other replicas of a new head, as far as wake-ups arrive.
    fn wake_others(&mut self, replica: usize, event: &RefEvent) {
        for other in 0..self.replicas.len() {
            if other == replica || self.rng.chance(self.weather.loss) {
                continue;
            }
            let copies = 1 + u64::from(self.rng.chance(self.weather.doubles));
            for _ in 0..copies {
                let life = self.replicas[other].life;
                let wake = Event::Wake(other, life, Box::new(event.clone()));
                self.within_ms(0, self.weather.delay_ms, wake);
            }
        }
    }

    /// A wake-up reaches a replica.
    pub(super) fn wake(&mut self, replica: usize, life: u64, event: RefEvent) {
        if self.replicas[replica].life == life && self.replicas[replica].is_up {
            self.hub_input(replica, subscribe::Input::Moved(event));
        }
    }

    /// A replica reads the heads.
    pub(super) fn poll(&mut self, replica: usize, life: u64) {
        if self.replicas[replica].life != life {
            return;
        }
        let head = self.replicas[replica].server.head();
        let truth = vec![(self.tree.clone(), head)];
        self.hub_input(replica, subscribe::Input::Truth(truth));
        self.plan_poll(replica);
    }

    /// Lets a replica that is not alone read the heads some time later.
    pub(super) fn plan_poll(&mut self, replica: usize) {
        if self.replicas.len() > 1 {
            let life = self.replicas[replica].life;
            self.within_ms(POLL_MS, POLL_MS + 1_000, Event::Poll(replica, life));
        }
    }

    /// A replica's storage is done with something; perhaps nobody can say with what outcome.
    pub(super) fn work(&mut self, replica: usize, life: u64, work: Work) {
        if life != self.replicas[replica].life {
            return;
        }
        let now = self.server_now();
        let is_unknown = self.rng.chance(self.weather.loss / 3);
        let server = &mut self.replicas[replica].server;
        let todo = match is_unknown {
            true => server.work_blindly(work, now),
            false => server.work(work, now),
        };
        self.check_head();
        self.todo(replica, todo);
    }

    /// I8: the head only ever moves on.
    fn check_head(&mut self) {
        let Some(newest) = self.replicas[0]
            .server
            .log()
            .first()
            .map(|s| (s.seq.0, s.id))
        else {
            return;
        };
        if newest.0 < self.last_seq {
            let line = format!("the head went back from {} to {}", self.last_seq, newest.0);
            self.broken.push(line);
        }
        if newest.0 > self.last_seq {
            self.say(&format!("head {} is {}", newest.0, newest.1.short()));
            if self.hard.is_some()
                && let Err(wrong) = check_made_up(self)
            {
                self.broken.push(wrong);
            }
        }
        self.last_seq = newest.0;
    }

    fn hub(&mut self, replica: usize, effect: subscribe::Effect) {
        let server = &self.replicas[replica].server;
        match effect {
            subscribe::Effect::LoadHeads(socket, subscribe) => {
                let heads = server.heads(&subscribe);
                let input = subscribe::Input::HeadsLoaded(socket, Ok(heads));
                self.hub_input(replica, input);
            }
            subscribe::Effect::Send(socket, frame) => {
                let input = match self.rng.chance(self.weather.loss / 2) {
                    true => subscribe::Input::Refused(socket, frame),
                    false => {
                        self.deliver(socket, &frame);
                        subscribe::Input::Taken(socket)
                    }
                };
                self.hub_input(replica, input);
            }
            subscribe::Effect::LoadRef(_) => {
                if let Some(event) = server.newest() {
                    self.hub_input(replica, subscribe::Input::Moved(event));
                }
            }
            // Every wake-up of the one tree comes anyway, and its head never goes back.
            subscribe::Effect::Join(_) | subscribe::Effect::Leave(_) => {}
            subscribe::Effect::Renew(_, head) => {
                let line = format!("replica {replica} takes head {} for gone back", head.seq.0);
                self.broken.push(line);
            }
            subscribe::Effect::Close(socket) => {
                if let Some((at, _)) = self.sockets.get(&socket).copied() {
                    self.within_ms(0, 50, Event::Disconnect(at, socket));
                }
            }
        }
    }

    fn deliver(&mut self, socket: SocketNo, frame: &Frame) {
        let Some((at, _)) = self.sockets.get(&socket).copied() else {
            return;
        };
        if self.is_lost(at) {
            return self.say(&format!("a frame to m{at} is lost"));
        }
        let copies = 1 + u64::from(self.rng.chance(self.weather.doubles));
        for _ in 0..copies {
            for input in inputs_of(frame) {
                let event = Event::Head(at, socket, Box::new(input));
                self.within_ms(0, self.weather.delay_ms, event);
            }
        }
    }

    fn plan_hub_tick(&mut self, number: usize) {
        let Some(wake) = self.replicas[number].server.hub.next_wake() else {
            return;
        };
        let pause_ms = wake.0.saturating_sub(self.server_now().0).max(1);
        let at = self.now_ns() + pause_ms * 1_000_000;
        let replica = &mut self.replicas[number];
        if replica.hub_tick_at.is_none_or(|due| due > at) {
            replica.hub_tick_at = Some(at);
            let life = replica.life;
            self.after_ns(pause_ms * 1_000_000, Event::HubTick(number, life));
        }
    }

    pub(super) fn hub_tick(&mut self, number: usize, life: u64) {
        let replica = &mut self.replicas[number];
        if life == replica.life {
            replica.hub_tick_at = None;
            self.hub_input(number, subscribe::Input::Tick);
        }
    }

    /// A replica learns that a connection is gone.
    pub(super) fn gone(&mut self, socket: SocketNo) {
        if let Some((_, replica)) = self.sockets.remove(&socket)
            && self.replicas[replica].is_up
        {
            self.hub_input(replica, subscribe::Input::Gone(socket));
        }
    }

    /// A replica's process ends.
    pub(super) fn server_crash(&mut self, number: usize) {
        let replica = &mut self.replicas[number];
        if !replica.is_up {
            return;
        }
        replica.is_up = false;
        replica.life += 1;
        replica.hub_tick_at = None;
        replica.server.crash();
        let tickets = std::mem::take(&mut replica.tickets);
        self.say(&format!("replica {number} dies"));
        for (at, life) in tickets.into_values() {
            let input = FolderInput::Pushed(Err(NetFailure::Unreachable));
            self.fail_request(at, life, input);
        }
        let mine: Vec<(SocketNo, usize)> = self
            .sockets
            .iter()
            .filter(|(_, (_, replica))| *replica == number)
            .map(|(socket, (at, _))| (*socket, *at))
            .collect();
        for (socket, at) in mine {
            self.sockets.remove(&socket);
            self.within_ms(0, 1_000, Event::Disconnect(at, socket));
        }
        self.within_ms(100, 5_000, Event::ServerStart(number));
    }

    /// A replica's process starts.
    pub(super) fn server_start(&mut self, number: usize) {
        self.say(&format!("replica {number} starts"));
        self.replicas[number].is_up = true;
        self.plan_poll(number);
    }
}

fn inputs_of(frame: &Frame) -> Vec<FolderInput> {
    match frame {
        Frame::Heads(Heads { id, trees }) => {
            let input = |tree: &fsync_core::wire::TreeHead| FolderInput::Head {
                head: tree.head,
                base_known: tree.base_known,
                is_answer: id.is_some(),
            };
            trees.iter().map(input).collect()
        }
        Frame::Ref(event) => vec![FolderInput::Head {
            head: Some(event.head),
            base_known: None,
            is_answer: false,
        }],
        Frame::Presence(_) | Frame::Want(_) | Frame::Error(_) | Frame::Bye(_) => Vec::new(),
    }
}

fn failure_of(error: &ServiceError) -> NetFailure {
    match error {
        ServiceError::Missing(ids) => NetFailure::Missing(ids.clone()),
        ServiceError::BaseUnknown(_) => NetFailure::BaseUnknown,
        ServiceError::Unavailable { retry_after_ms, .. } => {
            NetFailure::Retry(std::time::Duration::from_millis(*retry_after_ms))
        }
        ServiceError::UploadUnknown(_) => NetFailure::Retry(std::time::Duration::ZERO),
        other => NetFailure::Refused(other.to_string()),
    }
}
