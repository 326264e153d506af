//! The agent's sync engine for one tree: a state machine without I/O.
//!
//! `handle(Input, now) -> Vec<Effect>`: the driver carries out effects and reports back by inputs.
//! At most one [`Effect`] that changes folder, state or service is under way at any time, so every
//! decision sees the outcome of the one before.
//!
//! ```text
//!   changes -> Scan -> Compare -+-> Fetch nodes -> Compare ...
//!   ref/heads ----------^       +-> Push   -> Compare ...
//!                               +-> Apply  -> Scan ...
//!                               +-> in step
//! ```
//!
//! Guarantees: an unsent revision is settled before anything else is pushed; nothing is applied
//! that was not compared with the folder as last scanned; a wake-up is only a reason to look, the
//! head's ref decides.
//! Does not: read folders, merge, or talk; the driver does, with core's pure functions. Retries are
//! bounded by back-off only: the engine never gives up.

pub mod changes;
pub mod deletes;
mod outcome;

use std::time::Duration;

use crate::clock::Moment;
use crate::mutant::{self, Mutant};
use crate::path::RelPath;
use crate::wire::Head;
use changes::{Change, Changes, Scope};

/// How long an answer to `subscribe` may take before it is asked for again.
const SUBSCRIBE_TIMEOUT: Duration = Duration::from_secs(5);
/// First and longest pause after a failure that may pass.
const RETRY_MIN: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(10);
/// How soon a watcher tells of a rename that a step came upon. Looked at alone, the old path is
/// gone, and an edit of it by others would stay there instead of following.
const RENAME_TOLD: Duration = Duration::from_millis(25);
/// So many applies and pushes in a row may find something stale before there is a pause.
const STALE_FREE: u32 = 3;
/// Pause before a path that changed while it was read is tried again.
const BUSY_RETRY: Duration = Duration::from_millis(100);

/// What the driver tells the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The folder is open; `has_pending` if an unsent revision was found.
    Started {
        /// Whether a revision was made and never acknowledged.
        has_pending: bool,
    },
    /// The connection to a server stands.
    Connected,
    /// It does not any more.
    Disconnected,
    /// A server told the tree's head, by `heads`, `ref` or an answer.
    Head {
        /// The head; `None` if the tree was never committed to.
        head: Option<Head>,
        /// Whether the agent's base is in its lineage, if the server said so.
        base_known: Option<bool>,
        /// Whether it answers a `subscribe`.
        is_answer: bool,
    },
    /// The watcher saw changes.
    Changed(Vec<Change>),
    /// The watcher lost changes, or rules changed: look at everything.
    Overflow,
    /// The scan ended; these paths were busy and are to be tried again.
    Scanned {
        /// Paths that changed while they were read.
        busy: Vec<RelPath>,
    },
    /// The comparison ended.
    Compared(Compared),
    /// The nodes or versions that a comparison asked for are here.
    Fetched,
    /// The unsent revision is acknowledged.
    Pushed {
        /// The head after it.
        head: Head,
    },
    /// The unsent revision cannot be completed any more: it was dropped.
    PushDropped,
    /// The revision could not be made as compared: these paths changed, scan them. Nothing was
    /// sent, or it was refused.
    PushImpossible {
        /// Paths to scan.
        stale: Vec<RelPath>,
    },
    /// The apply ended.
    Applied {
        /// Paths that were not as planned: scan them.
        stale: Vec<RelPath>,
    },
    /// The apply stopped because the disk refused something that may pass.
    ApplyInterrupted {
        /// Paths that were not as planned: scan them.
        stale: Vec<RelPath>,
        /// When to try again.
        pause: Duration,
    },
    /// The effect under way failed.
    Failed(Failure),
    /// The root cannot be trusted, or can again.
    Root {
        /// Whether it is as it was.
        is_sound: bool,
    },
    /// The user decided about a hold, or asked for something that changes exceptions.
    Decided {
        /// Paths that were excepted: what happened there meanwhile is not known.
        released: Vec<RelPath>,
    },
    /// The user waits until all is in step.
    Flush(u64),
    /// Time passed.
    Tick,
}

/// Outcome of a comparison, as far as the engine must know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compared {
    /// Folder and head are the same.
    InStep,
    /// Nodes or past versions must be fetched first.
    NeedsFetch,
    /// The folder has edits that the head lacks.
    NeedsPush {
        /// Steps are possible before that as well.
        can_apply: bool,
    },
    /// The head has edits that the folder lacks.
    NeedsApply,
    /// A burst of deletes goes on: compare again then.
    Wait(Moment),
    /// The server does not know the agent's base: it was dropped, compare again.
    BaseDropped,
}

/// Why an effect failed, by what is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// May pass: try again, not before this.
    Retry(Duration),
    /// The connection is gone: wait for the next one.
    Unreachable,
    /// Something changed under way: compare again at once.
    Again,
    /// The server does not know the agent's base.
    BaseLost,
}

/// What the driver shall do. All but the last three are answered by an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Scan and answer [`Input::Scanned`].
    Scan(Scope),
    /// Compare folder and this head and answer [`Input::Compared`].
    Compare(Option<Head>),
    /// Fetch what the comparison named and answer [`Input::Fetched`].
    Fetch,
    /// Make the compared edits a revision, keep it, send it; answer [`Input::Pushed`].
    Push,
    /// Send the kept revision again; answer [`Input::Pushed`] or [`Input::PushDropped`].
    Resend,
    /// Apply the compared steps and answer [`Input::Applied`].
    Apply,
    /// Ask the server for the head with the base as cursor.
    Subscribe,
    /// The server does not know the base: forget it and what was synced with it.
    DropBase,
    /// All is in step since this flush was asked for.
    Flushed(u64),
    /// The state to show has changed.
    Show(Activity),
    /// Give a [`Input::Tick`] at this moment; replaces an earlier one.
    WakeAt(Moment),
}

/// What the agent is doing, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activity {
    /// Folder and head are the same as far as is known.
    InStep,
    /// Something is under way.
    Syncing,
    /// There is no connection; edits are kept.
    Offline,
    /// The root is not as it was: both directions stand still.
    RootHeld,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Job {
    Scan,
    Compare,
    Fetch,
    Push,
    Apply,
}

#[derive(Debug, Clone, Copy)]
struct Flush {
    id: u64,
    has_scanned: bool,
    has_head: bool,
}

fn backoff(failures: u32) -> Duration {
    RETRY_MIN
        .saturating_mul(1 << failures.min(6))
        .min(RETRY_MAX)
}

/// See the module's head.
#[derive(Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one independent fact of the state machine"
)]
pub struct Engine {
    changes: Changes,
    job: Option<Job>,
    is_connected: bool,
    /// `None` until the server told it on this connection.
    head: Option<Option<Head>>,
    is_base_lost: bool,
    subscribe_by: Option<Moment>,
    has_pending: bool,
    is_compare_due: bool,
    compare_at: Option<Moment>,
    next: Option<Compared>,
    applied_last: bool,
    failures: u32,
    stale_rounds: u32,
    retry_at: Option<Moment>,
    is_root_held: bool,
    is_in_step: bool,
    flushes: Vec<Flush>,
    activity: Option<Activity>,
}

impl Engine {
    /// Takes one input and returns what is to be done.
    pub fn handle(&mut self, input: Input, now: Moment) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.take(input, now, &mut effects);
        self.go_on(now, &mut effects);
        self.tell(&mut effects);
        effects.extend(self.next_wake(now).map(Effect::WakeAt));
        effects
    }

    /// Returns what the agent is doing.
    pub fn activity(&self) -> Activity {
        if self.is_root_held {
            Activity::RootHeld
        } else if !self.is_connected {
            Activity::Offline
        } else if self.is_in_step && self.job.is_none() && self.changes.is_empty() {
            Activity::InStep
        } else {
            Activity::Syncing
        }
    }

    /// Returns the head as the server last told it.
    pub fn head(&self) -> Option<Head> {
        self.head.flatten()
    }

    fn take(&mut self, input: Input, now: Moment, effects: &mut Vec<Effect>) {
        match input {
            Input::Started { has_pending } => {
                self.has_pending = has_pending;
                self.changes.everything(now);
            }
            Input::Connected => self.connected(now, effects),
            Input::Disconnected => self.disconnected(),
            Input::Head {
                head,
                base_known,
                is_answer,
            } => {
                self.is_base_lost |= base_known == Some(false);
                self.observe(head, is_answer);
            }
            Input::Changed(changes) => changes.iter().for_each(|c| self.changes.add(c, now)),
            Input::Overflow if mutant::is_on(Mutant::DeafOverflow) => {}
            Input::Overflow => self.changes.everything(now),
            Input::Scanned { busy } => self.scanned(busy, now),
            Input::Compared(compared) => self.compared(compared, now),
            Input::Fetched => self.done(),
            Input::Pushed { head } => self.pushed(head),
            Input::PushDropped => self.push_dropped(),
            Input::PushImpossible { stale } => self.push_impossible(stale, now),
            Input::Applied { stale } => self.applied(stale, now),
            Input::ApplyInterrupted { stale, pause } => self.interrupted(stale, pause, now),
            Input::Failed(failure) => self.failed(failure, now),
            Input::Root { is_sound } => self.root(is_sound, now),
            Input::Decided { released } => {
                self.is_compare_due = true;
                self.look_at(released, now);
            }
            Input::Flush(id) => self.flush(id, now, effects),
            Input::Tick => {}
        }
    }

    fn connected(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        self.is_connected = true;
        self.head = None;
        self.failures = 0;
        self.retry_at = None;
        self.subscribe(now, effects);
    }

    fn disconnected(&mut self) {
        self.is_connected = false;
        self.head = None;
        self.subscribe_by = None;
        self.is_in_step = false;
    }

    fn subscribe(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        self.subscribe_by = Some(now.after(SUBSCRIBE_TIMEOUT));
        effects.push(Effect::Subscribe);
    }

    /// Believes a head if it is the connection's first one, of another epoch, or later in the same
    /// one.
    fn observe(&mut self, head: Option<Head>, is_answer: bool) {
        let is_news = match (self.head.flatten(), head) {
            (Some(old), Some(new)) => old.epoch != new.epoch || old.seq < new.seq,
            (None, new) => self.head.is_none() || new.is_some(),
            // On one connection a tree that had a head has one: the answer is older than what came
            // meanwhile.
            (Some(_), None) => false,
        };
        let is_news = is_news || mutant::is_on(Mutant::OldHead);
        if is_news {
            self.head = Some(head);
        }
        if is_answer {
            self.subscribe_by = None;
            self.flushes
                .iter_mut()
                .for_each(|flush| flush.has_head = true);
        }
        self.is_compare_due |= is_news || is_answer;
    }

    fn root(&mut self, is_sound: bool, now: Moment) {
        if is_sound && self.is_root_held {
            self.changes.everything(now);
        }
        self.is_root_held = !is_sound;
        if self.job == Some(Job::Scan) && !is_sound {
            self.job = None;
        }
    }

    fn flush(&mut self, id: u64, now: Moment, effects: &mut Vec<Effect>) {
        self.flushes.push(Flush {
            id,
            has_scanned: false,
            has_head: false,
        });
        self.changes.everything(now);
        self.is_in_step = false;
        if self.is_connected {
            self.subscribe(now, effects);
        }
    }

    /// Starts the next job if none is under way.
    fn go_on(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        if self.is_connected && self.subscribe_by.is_some_and(|by| by <= now) {
            self.subscribe(now, effects);
        }
        if self.job.is_some() || self.is_root_held {
            return;
        }
        if let Some(scope) = self.changes.take_due(now) {
            return self.start_scan(scope, effects);
        }
        if !self.is_connected || self.retry_at.is_some_and(|at| at > now) {
            return;
        }
        self.retry_at = None;
        let Some(head) = self.head else { return };
        if let Some((job, effect)) = self.next_job(head, now, effects) {
            self.job = Some(job);
            self.is_in_step = false;
            effects.push(effect);
        }
    }

    fn start_scan(&mut self, scope: Scope, effects: &mut Vec<Effect>) {
        if scope == Scope::Everything {
            self.flushes
                .iter_mut()
                .for_each(|flush| flush.has_scanned = true);
        }
        self.next = None;
        self.job = Some(Job::Scan);
        self.is_in_step = false;
        effects.push(Effect::Scan(scope));
    }

    fn next_job(
        &mut self,
        head: Option<Head>,
        now: Moment,
        effects: &mut Vec<Effect>,
    ) -> Option<(Job, Effect)> {
        if self.has_pending {
            self.next = None;
            return Some((Job::Push, Effect::Resend));
        }
        if std::mem::take(&mut self.is_base_lost) {
            self.next = None;
            self.is_compare_due = true;
            effects.push(Effect::DropBase);
        }
        if let Some(next) = self.next.take() {
            return Some(self.follow(next));
        }
        if self.compare_at.is_some_and(|at| at <= now) {
            self.is_compare_due = true;
        }
        if std::mem::take(&mut self.is_compare_due) {
            self.compare_at = None;
            return Some((Job::Compare, Effect::Compare(head)));
        }
        None
    }

    fn follow(&mut self, next: Compared) -> (Job, Effect) {
        match next {
            Compared::NeedsFetch => (Job::Fetch, Effect::Fetch),
            // Both directions wait: they take turns, so that neither starves.
            Compared::NeedsPush { can_apply } if can_apply && !self.applied_last => {
                (Job::Apply, Effect::Apply)
            }
            Compared::NeedsPush { .. } => {
                self.has_pending = true;
                (Job::Push, Effect::Push)
            }
            _ => (Job::Apply, Effect::Apply),
        }
    }

    fn tell(&mut self, effects: &mut Vec<Effect>) {
        let activity = self.activity();
        if activity == Activity::InStep {
            let (ready, waiting) = self
                .flushes
                .drain(..)
                .partition(|flush| flush.has_scanned && flush.has_head);
            self.flushes = waiting;
            let ready: Vec<Flush> = ready;
            effects.extend(ready.iter().map(|flush| Effect::Flushed(flush.id)));
        }
        if self.activity != Some(activity) {
            self.activity = Some(activity);
            effects.push(Effect::Show(activity));
        }
    }

    fn next_wake(&self, now: Moment) -> Option<Moment> {
        let is_idle = self.job.is_none() && !self.is_root_held;
        let scan = self.changes.next_due().filter(|_| is_idle);
        let is_online = is_idle && self.is_connected;
        let later = [self.retry_at, self.compare_at]
            .into_iter()
            .flatten()
            .filter(|_| is_online);
        let subscribe = self.subscribe_by.filter(|_| self.is_connected);
        scan.into_iter()
            .chain(later)
            .chain(subscribe)
            .min()
            .map(|at| at.max(now))
    }
}
