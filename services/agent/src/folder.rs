//! One synced folder: drives the engine, carries out what it decides on disk and state, and hands
//! out what needs a network.
//!
//! Guarantees: everything local (scan, compare, apply) runs inside [`Folder::handle`], one after
//! the other, so each step sees the outcome of the one before; the state says at every moment what
//! is safe where. The same code runs in the agent and in the simulator.
//! Does not: talk, wait, read clocks or start threads (scan and apply do, for their own work).
//! Place: `run.rs` owns one per folder on its sync thread; `core::engine` decides, `scan` and
//! `apply` do.

mod blocked;
mod compare;
mod head;
mod hold;
mod message;
mod pull;
mod push;
mod read_only;
mod status;
pub mod verify;

use std::sync::Arc;

use fsync_core::cbor::DecodeError;
use fsync_core::clock::Moment;
use fsync_core::engine::{Activity, Effect, Engine, Input};
use fsync_core::id::ObjectId;
use fsync_core::label::AgentName;
use fsync_core::mutant::{self, Mutant};
use fsync_core::nodes::{NewNodes, NodesError};
use fsync_core::path::RelPath;
use fsync_core::revision::{MoveHint, Timestamp};
use fsync_core::tree;
use fsync_runtime::fault::{self, Point};

use crate::apply::ApplyError;
use crate::files::Files;
use crate::scan::{RootCheck, RootProblem, ScanError};
use crate::state::{State, StateError};
use crate::trace::Traces;

pub use hold::HoldKind;
pub use message::{
    FetchAnswer, FetchRequest, FolderEffect, FolderInput, NetFailure, Notice, PushRequest,
    SourceItem,
};
pub use push::read_item;
pub use status::{Copy, FolderStatus, Survey, survey};

/// What a folder is made of.
#[derive(Clone)]
pub struct Parts {
    /// Its file system.
    pub files: Arc<dyn Files>,
    /// What is remembered of it.
    pub state: Arc<State>,
    /// Who syncs it.
    pub agent: AgentName,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts")
            .field("agent", &self.agent)
            .finish_non_exhaustive()
    }
}

/// Why a folder cannot go on: its state or disk failed. The caller closes it and may open it again.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// The state.
    #[error(transparent)]
    State(#[from] StateError),
    /// A scan.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// An apply.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// A node breaks a rule.
    #[error("the tree is damaged")]
    Nodes(#[from] NodesError),
    /// The service sent something that does not decode.
    #[error("the service sent a damaged revision")]
    Decode(#[from] DecodeError),
    /// The folder's own record does not decode.
    #[error("the agent's state holds a damaged {0}; remove the state file to rebuild it")]
    Damaged(&'static str),
}

/// See the module's head.
#[derive(Debug)]
pub struct Folder {
    parts: Parts,
    engine: Engine,
    root_check: RootCheck,
    root_problem: Option<RootProblem>,
    /// When the root is looked at again while it is held.
    root_look: Option<Moment>,
    empty: ObjectId,
    head: head::HeadCache,
    compare: compare::Stash,
    local_moves: Vec<MoveHint>,
    push: push::Pushing,
    pull: pull::Pulling,
    holds: hold::Holds,
    blocked: blocked::Blocked,
    traces: Traces,
    /// Where the user gives up what is kept back, once nothing is under way.
    reverts: Vec<RelPath>,
    is_durable: bool,
}

/// The moment of an input: on the clock that never jumps, and on the one for people.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// For waiting.
    pub moment: Moment,
    /// For names and revisions.
    pub time: Timestamp,
}

impl Folder {
    /// Opens a folder: settles what a crash left, and starts the first scan.
    ///
    /// # Errors
    /// [`FolderError`] of state or disk.
    pub fn open(parts: Parts, now: Now) -> Result<(Self, Vec<FolderEffect>), FolderError> {
        let mut new = NewNodes::default();
        let empty = tree::write_empty(&mut new);
        crate::apply::recover(&*parts.files, &parts.state)?;
        let has_pending = push::load(&parts.state)?.is_some();
        let mut folder = Self {
            root_check: RootCheck::Hold,
            root_problem: None,
            root_look: None,
            head: head::HeadCache::load(&parts.state)?,
            compare: compare::Stash::default(),
            local_moves: Vec::new(),
            push: push::Pushing::default(),
            pull: pull::Pulling::default(),
            holds: hold::Holds::default(),
            blocked: blocked::Blocked::default(),
            traces: Traces::default(),
            reverts: Vec::new(),
            engine: Engine::default(),
            is_durable: true,
            empty,
            parts,
        };
        folder.unblock_all()?;
        let mut out = Vec::new();
        out.extend(folder.tell_held()?);
        folder.run(Input::Started { has_pending }, now, &mut out)?;
        Ok((folder, out))
    }

    /// Takes one input, does all that can be done here, and returns what the world has to do.
    ///
    /// # Errors
    /// [`FolderError`]: close the folder; nothing is lost.
    pub fn handle(
        &mut self,
        input: FolderInput,
        now: Now,
    ) -> Result<Vec<FolderEffect>, FolderError> {
        let mut out = Vec::new();
        if self.is_root_back(now) {
            self.run(Input::Root { is_sound: true }, now, &mut out)?;
        }
        if let Some(decided) = self.unblock(&input, now)? {
            self.run(decided, now, &mut out)?;
        }
        let input = match input {
            FolderInput::Connected => Some(Input::Connected),
            FolderInput::Disconnected => Some(Input::Disconnected),
            FolderInput::Head {
                head,
                base_known,
                is_answer,
            } => Some(Input::Head {
                head,
                base_known,
                is_answer,
            }),
            FolderInput::Changed(changes) => {
                self.traces.detected(changes.len());
                Some(Input::Changed(changes))
            }
            FolderInput::Overflow => Some(Input::Overflow),
            FolderInput::Fetched(answer) => Some(self.fetched(answer, &mut out)?),
            FolderInput::Pushed(answer) => self.pushed(answer, now, &mut out)?,
            FolderInput::Chunks { batch, objects } => self.chunks(batch, objects, &mut out)?,
            FolderInput::Flush(id) => Some(Input::Flush(id)),
            FolderInput::Approve(kind) => Some(self.approve(kind, &mut out)?),
            FolderInput::Reject(kind) => Some(self.reject(kind)?),
            FolderInput::Revert(path) => {
                self.reverts.push(path);
                None
            }
            FolderInput::GoOn => self.go_on(&mut out)?,
            FolderInput::Tick => Some(Input::Tick),
        };
        if let Some(input) = input {
            self.run(input, now, &mut out)?;
        }
        if let Some(reverted) = self.revert_if_idle()? {
            self.run(reverted, now, &mut out)?;
        }
        Ok(out)
    }

    /// Makes durable what may wait until the effects of the last input were handed out.
    ///
    /// # Errors
    /// [`FolderError::State`].
    pub fn settle(&mut self) -> Result<(), FolderError> {
        let was_durable = std::mem::replace(&mut self.is_durable, true);
        if !was_durable && !mutant::is_on(Mutant::NoSettle) {
            fault::around(Point::Settle, || self.parts.state.make_durable())?;
        }
        Ok(())
    }

    /// Returns the engine, for its activity and head.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Returns what the folder is made of.
    pub fn parts(&self) -> &Parts {
        &self.parts
    }

    /// Returns the traces that it works on.
    pub fn traces(&mut self) -> &mut Traces {
        &mut self.traces
    }

    /// Feeds the engine and does what it decides until it waits for the world.
    fn run(
        &mut self,
        input: Input,
        now: Now,
        out: &mut Vec<FolderEffect>,
    ) -> Result<(), FolderError> {
        let mut inputs = vec![input];
        let mut wake = None;
        while let Some(input) = inputs.pop() {
            for effect in self.engine.handle(input, now.moment) {
                match effect {
                    Effect::WakeAt(at) => wake = Some(at),
                    effect => {
                        inputs.extend(self.carry_out(effect, now, out)?);
                        inputs.extend(self.blocked.take_released());
                    }
                }
            }
        }
        if self.root_problem.is_some() {
            let look = *self
                .root_look
                .get_or_insert_with(|| now.moment.after(hold::ROOT_LOOK));
            wake = Some(wake.map_or(look, |wake: Moment| wake.min(look)));
        }
        if let Some(look) = self.blocked.wake(now.moment) {
            wake = Some(wake.map_or(look, |wake: Moment| wake.min(look)));
        }
        out.extend(wake.map(FolderEffect::WakeAt));
        Ok(())
    }

    fn carry_out(
        &mut self,
        effect: Effect,
        now: Now,
        out: &mut Vec<FolderEffect>,
    ) -> Result<Option<Input>, FolderError> {
        tracing::debug!(agent = %self.parts.agent, ?effect, "engine");
        Ok(match effect {
            Effect::Scan(scope) => Some(self.scan(scope, out)?),
            Effect::Compare(head) => Some(Input::Compared(self.compare(head, now, out)?)),
            Effect::Fetch => {
                out.extend(self.compare.fetch.clone().map(FolderEffect::Fetch));
                None
            }
            Effect::Push => self.push(now, out)?,
            Effect::Resend => self.resend(out)?,
            Effect::Apply => self.apply(out)?,
            Effect::Subscribe => {
                let base = self.parts.state.snapshot()?.base()?;
                out.push(FolderEffect::Subscribe { base });
                None
            }
            Effect::DropBase => {
                self.drop_base()?;
                None
            }
            Effect::Flushed(id) => {
                out.push(FolderEffect::Flushed(id));
                None
            }
            Effect::Show(activity) => {
                if activity == Activity::InStep {
                    self.traces.settled();
                }
                out.push(FolderEffect::Show(activity));
                None
            }
            Effect::WakeAt(at) => {
                out.push(FolderEffect::WakeAt(at));
                None
            }
        })
    }
}
