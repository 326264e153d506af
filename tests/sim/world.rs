//! The world: machines, a service, and everything that happens, in order of virtual time.
//!
//! Guarantees: one queue, one source of randomness; an event is a line in the log. Every request of
//! an agent is answered exactly once, if only by a failure; events of an agent's earlier life or an
//! earlier connection come to nothing.
//! Does not: decide how long to go on and what must hold then ([`super::run`], [`super::check`]).

use std::collections::BTreeMap;
use std::fmt::Write;

use fsync_agent::folder::{FolderEffect, FolderInput, HoldKind, NetFailure, Notice};
use fsync_core::label::TreeKey;
use fsync_core::service::Now;
use fsync_core::service::subscribe::SocketNo;

use super::audit::audit;
use super::event::{Event, Weather};
use super::hand::{Hand, Story};
use super::kept::Kept;
use super::log::Log;
use super::machine::{Machine, Ran, START_MS};
use super::replicas::Replica;
use super::rng::Rng;
use super::server::{Server, SharedLedger};
use super::tape::By;
use super::volume::{Clock, Crash, Volume};
use super::ways::Ways;

const MS: u64 = 1_000_000;
/// After so long without a word an agent takes its connection for broken.
const SILENCE: u64 = 35_000 * MS;
/// Longer lines are cut in the log.
const LINE_BYTES: usize = 400;

/// See the module's head.
#[derive(Debug)]
pub struct World {
    /// Decides everything but what users do.
    pub rng: Rng,
    /// All machines.
    pub machines: Vec<Machine>,
    /// The service.
    pub replicas: Vec<Replica>,
    /// The tree that all sync.
    pub tree: TreeKey,
    /// What users did.
    pub story: Story,
    /// How bad the world is now.
    pub weather: Weather,
    /// Until when users edit, in ns.
    pub edits_until: u64,
    /// Longest pause between a user's edits, in ms.
    pub pause_ms: u64,
    /// Decides over lost states and lines that are cut for long, in worlds that have them.
    pub hard: Option<Rng>,
    /// Whether one user only changes anything.
    pub is_lone: bool,
    /// What broke a promise on the way.
    pub broken: Vec<String>,
    /// The log.
    pub log: Log,
    /// The machine and the replica of each connection.
    pub(super) sockets: BTreeMap<SocketNo, (usize, usize)>,
    pub(super) next_socket: u64,
    pub(super) last_seq: u64,
    queue: BTreeMap<(u64, u64), Event>,
    next_event: u64,
    now_ns: u64,
    clock: Clock,
}

impl World {
    /// Makes a world of so many machines; their agents start within the first moments.
    ///
    /// # Panics
    /// Never: the tree's name is valid.
    pub fn new(seed: u64, (machines, replicas): (usize, u64), prints_log: bool) -> Self {
        let mut rng = Rng::new(seed);
        let clock = Clock::default();
        clock.set(virtual_ns(0));
        let story = Story::default();
        let tree: TreeKey = "sim".parse().expect("a valid name");
        let mut hard = hard_chance(seed);
        let is_lone = hard.as_mut().is_some_and(|rng| rng.chance(300));
        let machines = (0..machines)
            .map(|n| {
                Machine::new(
                    n,
                    clock.clone(),
                    &mut rng,
                    (story.clone(), Kept::of_seed(seed), Ways::of_seed(seed, n)),
                )
            })
            .collect();
        let mut machines: Vec<Machine> = machines;
        if hard.is_some() {
            machines.iter_mut().for_each(Machine::harden);
        }
        let ledger = SharedLedger::default();
        let replica = |n| Replica::new(Server::new(tree.clone(), ledger.clone(), n));
        let replicas = (0..replicas).map(replica).collect();
        let mut world = Self {
            rng,
            machines,
            replicas,
            tree,
            story,
            weather: Weather::default(),
            edits_until: 0,
            pause_ms: 1000,
            hard,
            is_lone,
            broken: Vec::new(),
            log: Log::new(prints_log),
            sockets: BTreeMap::new(),
            next_socket: 0,
            last_seq: 0,
            queue: BTreeMap::new(),
            next_event: 0,
            now_ns: 0,
            clock,
        };
        (0..world.replicas.len()).for_each(|replica| world.plan_poll(replica));
        world
    }

    /// Returns the time since the start, in ns.
    pub fn now_ns(&self) -> u64 {
        self.now_ns
    }

    /// Returns the service's time.
    pub fn server_now(&self) -> Now {
        Now(START_MS + self.now_ns / MS)
    }

    /// Lets something happen after a pause.
    pub fn after_ns(&mut self, pause_ns: u64, event: Event) {
        self.next_event += 1;
        self.queue
            .insert((self.now_ns + pause_ns, self.next_event), event);
    }

    /// Lets something happen after a pause between two bounds.
    pub fn within_ms(&mut self, low: u64, high: u64, event: Event) {
        let pause = self.rng.between(low * MS, high * MS);
        self.after_ns(pause, event);
    }

    /// Adds a line to the log.
    pub fn say(&mut self, line: &str) {
        self.log.add(self.now_ns, line);
    }

    /// Lets the next thing happen, unless it is later than `until`; says whether it did.
    pub fn step(&mut self, until: u64) -> bool {
        match self.queue.first_entry() {
            Some(first) if first.key().0 <= until => {
                let ((at, _), event) = first.remove_entry();
                self.now_ns = at;
                self.clock.set(virtual_ns(at));
                self.happen(event);
                self.gather_lines();
                true
            }
            _ => {
                self.now_ns = self.now_ns.max(until);
                self.clock.set(virtual_ns(self.now_ns));
                false
            }
        }
    }

    /// Returns whether nothing is on its way but what comes again and again.
    pub fn is_quiet(&self) -> bool {
        let is_idle = |event: &Event| {
            matches!(
                event,
                Event::Tick(..) | Event::HubTick(..) | Event::Poll(..)
            )
        };
        self.is_in_step() && self.queue.values().all(is_idle)
    }

    /// Returns whether all agents are done with the newest head.
    pub fn is_in_step(&self) -> bool {
        self.replicas.iter().all(|replica| replica.is_up)
            && self.machines.iter().all(|m| m.is_in_step(self.last_seq))
    }

    /// Takes what users and agents told into the log.
    fn gather_lines(&mut self) {
        let lines = std::mem::take(&mut self.story.told().lines);
        for line in lines {
            self.say(&line);
        }
        for at in 0..self.machines.len() {
            let lines = std::mem::take(&mut self.machines[at].files.volume().lines);
            for line in lines {
                self.say(&format!("m{at} {line}"));
            }
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::User(at) => self.user(at),
            Event::Watch(at, life) => self.watch(at, life),
            Event::Tick(at, life, wake) => {
                let machine = &self.machines[at];
                if machine.life == life && machine.wake == wake {
                    self.feed(at, FolderInput::Tick);
                }
            }
            Event::Input(at, life, input) => {
                if self.machines[at].life == life {
                    self.feed(at, *input);
                }
            }
            Event::Head(at, socket, input) => {
                if self.machines[at].socket == Some(socket) {
                    self.feed(at, *input);
                }
            }
            Event::Request(at, life, request) => self.request(at, life, *request),
            Event::Connect(at, life) => self.connect(at, life),
            Event::Disconnect(at, socket) => self.disconnect(at, socket),
            Event::Cut(at) => {
                if let Some(socket) = self.machines[at].socket {
                    self.disconnect(at, socket);
                }
            }
            Event::Away(at, length) => {
                self.machines[at].cut_off(self.now_ns + length);
                self.after_ns(0, Event::Cut(at));
            }
            Event::Silence(at) => {
                self.machines[at].cut_off(self.now_ns + SILENCE);
                self.after_ns(SILENCE, Event::Cut(at));
            }
            Event::Forget(at) => {
                if self.machines[at].folder.is_some() {
                    self.died(at);
                }
                self.say(&format!("m{at} forgets everything"));
                self.machines[at].forget();
            }
            Event::Crash(at) if self.machines[at].folder.is_some() => self.died(at),
            Event::Crash(_) => {}
            Event::Start(at) => self.start(at),
            Event::Work(replica, life, work) => self.work(replica, life, *work),
            Event::HubTick(replica, life) => self.hub_tick(replica, life),
            Event::Wake(replica, life, event) => self.wake(replica, life, *event),
            Event::Poll(replica, life) => self.poll(replica, life),
            Event::ServerCrash(replica) => self.server_crash(replica),
            Event::ServerStart(replica) => self.server_start(replica),
            Event::Approve(at, life) => {
                if self.machines[at].life == life {
                    for kind in [HoldKind::Root, HoldKind::DeletesOut, HoldKind::DeletesIn] {
                        self.feed(at, FolderInput::Approve(kind));
                    }
                }
            }
        }
    }

    fn user(&mut self, at: usize) {
        let acts = 1 + self.rng.below(3) / 2;
        self.with_hand(at, |hand, volume| (0..acts).for_each(|_| hand.act(volume)));
        if self.now_ns < self.edits_until {
            self.within_ms(1, self.pause_ms, Event::User(at));
        }
    }

    /// Lets the user of a machine do something.
    pub fn with_hand<T>(
        &mut self,
        at: usize,
        act: impl FnOnce(&mut Hand, &mut Volume) -> T,
    ) -> Option<T> {
        let done = {
            let mut volume = self.machines[at].files.volume();
            volume.hand.take().map(|mut hand| {
                volume.note_done(By::Agent);
                let done = act(&mut hand, &mut volume);
                volume.note_done(By::User);
                volume.hand = Some(hand);
                done
            })
        };
        self.look(at);
        done
    }

    /// Lets the watcher tell soon what it saw.
    fn look(&mut self, at: usize) {
        let machine = &mut self.machines[at];
        let has_changes = !machine.files.volume().changes.is_empty();
        if has_changes && !machine.is_watch_due && machine.folder.is_some() {
            machine.is_watch_due = true;
            let life = machine.life;
            self.within_ms(0, 15, Event::Watch(at, life));
        }
    }

    fn watch(&mut self, at: usize, life: u64) {
        let machine = &mut self.machines[at];
        if machine.life != life {
            return;
        }
        machine.is_watch_due = false;
        let changes = std::mem::take(&mut machine.files.volume().changes);
        if self.rng.chance(self.weather.overflows) {
            self.feed(at, FolderInput::Overflow);
        } else {
            self.feed(at, FolderInput::Changed(changes));
        }
    }

    /// Starts the agent of a machine.
    pub fn start(&mut self, at: usize) {
        if self.machines[at].folder.is_some() {
            return;
        }
        self.say(&format!("m{at} starts"));
        self.arm_crash(at);
        let ran = self.machines[at].start(self.now_ns);
        self.machines[at].is_watch_due = false;
        let life = self.machines[at].life;
        if self.ran(at, ran) {
            self.within_ms(1, 100, Event::Connect(at, life));
        }
    }

    /// Gives an agent an input and carries out what it wants.
    pub fn feed(&mut self, at: usize, input: FolderInput) {
        if self.machines[at].folder.is_none() {
            return;
        }
        self.say(&format!("m{at} <- {}", brief(&input)));
        self.arm_crash(at);
        let ran = self.machines[at].feed(input, self.now_ns);
        self.ran(at, ran);
    }

    fn arm_crash(&mut self, at: usize) {
        if self.rng.chance(self.weather.crashes) {
            let machine = &self.machines[at];
            let crash = Crash {
                calls: self.rng.below(40),
                kept: machine.kept.clone(),
                is_power_loss: self.rng.chance(700) && !self.is_lone,
            };
            machine.files.volume().crash = Some(crash);
        }
    }

    /// Takes what a step of an agent came to; says whether the agent goes on.
    fn ran(&mut self, at: usize, ran: Ran) -> bool {
        self.gather_lines();
        match ran {
            Ran::Effects(effects) => {
                self.look(at);
                for effect in effects {
                    self.carry_out(at, effect);
                }
                // What was handed out is on its way: an end right now must do no harm either, but that
                // the agent has forgotten what it sent.
                if self.rng.chance(self.weather.crashes / 4) && !self.is_lone {
                    self.died(at);
                    return false;
                }
                if let Err(wrong) = self.machines[at].check_head() {
                    self.broken.push(wrong);
                }
                self.audit(at);
                match self.machines[at].settle() {
                    Ran::Effects(_) => true,
                    other => self.ran(at, other),
                }
            }
            Ran::Died => {
                self.died(at);
                false
            }
            Ran::Failed(error) => {
                let line = format!("m{at} failed: {}: {error:?}", chain(&error));
                self.say(&line);
                let faults = self.machines[at].files.volume().faults;
                if faults.io == 0 {
                    self.broken.push(line);
                }
                self.died(at);
                false
            }
        }
    }

    /// Looks after each step of an agent whether its state fits: too slow for many seeds, so only
    /// where a log is read.
    fn audit(&mut self, at: usize) {
        if !self.log.is_printed() {
            return;
        }
        let audited = self.machines[at].folder.as_ref().map(audit);
        if let Some(Err(wrong)) = audited {
            self.broken.push(format!("I17 index: m{at}: {wrong}"));
        }
    }

    /// Ends an agent's process; it starts again later.
    fn died(&mut self, at: usize) {
        // What was sent, but is not durable, is forgotten with the power: in conflict with oneself.
        let is_power_loss = self.rng.chance(700) && !self.is_lone;
        self.say(&format!("m{at} dies"));
        if let Some(socket) = self.machines[at].socket.take() {
            self.gone(socket);
        }
        self.machines[at].kill(is_power_loss);
        self.within_ms(20, 4_000, Event::Start(at));
    }

    fn carry_out(&mut self, at: usize, effect: FolderEffect) {
        let life = self.machines[at].life;
        match effect {
            FolderEffect::WakeAt(moment) => {
                let machine = &mut self.machines[at];
                machine.wake += 1;
                let wake = machine.wake;
                let pause = (moment.0 * MS).saturating_sub(self.now_ns);
                self.after_ns(pause, Event::Tick(at, life, wake));
            }
            FolderEffect::GoOn => {
                let go_on = Event::Input(at, life, Box::new(FolderInput::GoOn));
                self.within_ms(0, 5, go_on);
            }
            // Nobody replaces a root here.
            FolderEffect::Flushed(_) | FolderEffect::Reopen => {}
            FolderEffect::Show(activity) => self.say(&format!("m{at} is {activity:?}")),
            FolderEffect::Notice(notice) => {
                self.say(&format!("m{at} notes {notice:?}"));
                if matches!(notice, Notice::Held { .. } | Notice::RootHeld { .. }) {
                    self.within_ms(100, 3_000, Event::Approve(at, life));
                }
            }
            request => self.send(at, request),
        }
    }

    /// Answers a request with a failure, sooner or later.
    pub(super) fn fail_request(&mut self, at: usize, life: u64, input: FolderInput) {
        self.within_ms(5, 3_000, Event::Input(at, life, Box::new(input)));
    }

    /// Returns a failure as a broken network gives it.
    pub(super) fn net_failure(&mut self) -> NetFailure {
        match self.rng.chance(500) {
            true => NetFailure::Unreachable,
            false => NetFailure::Retry(std::time::Duration::ZERO),
        }
    }
}

/// One world in four has hard faults.
fn hard_chance(seed: u64) -> Option<Rng> {
    let mut rng = Rng::new(seed ^ 0x4a4d);
    rng.chance(250).then_some(rng)
}

/// Returns virtual time as files are stamped with it.
fn virtual_ns(now_ns: u64) -> i64 {
    i64::try_from(START_MS * MS + now_ns).unwrap_or(i64::MAX)
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        line = format!("{line}: {error}");
        next = error.source();
    }
    line
}

/// Returns the beginning of what an input says; what follows is not even formatted.
fn brief(input: &FolderInput) -> String {
    let mut line = Beginning(String::new());
    // An error means that there is enough of it.
    let _enough = write!(line, "{input:?}").is_err();
    line.0
}

struct Beginning(String);

impl Write for Beginning {
    fn write_str(&mut self, part: &str) -> std::fmt::Result {
        self.0.push_str(part);
        match self.0.len() < LINE_BYTES {
            true => Ok(()),
            false => Err(std::fmt::Error),
        }
    }
}
