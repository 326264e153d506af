//! Applying what others changed: contents are fetched for a few batches ahead, each batch is made
//! durable, then visible.
//!
//! Memory is bounded: at most three batches of 4 MiB are in memory ([`batch`]), whatever the plan. What is on this disk anyway is not fetched: apply takes it from where it stands. What the
//! service has lost is left out ([`lost`]).

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::time::Duration;

use fsync_core::engine::{Compared, Failure, Input};
use fsync_core::id::{ObjectId, ObjectKind};
use fsync_core::nodes::NodesError;
use fsync_core::pack::Object;
use fsync_core::path::RelPath;
use fsync_core::plan::Step;

use super::{FetchRequest, Folder, FolderEffect, FolderError, NetFailure, Notice};
use crate::apply::{Applier, ApplyError, Contents, Open, StepResult, Target};
use crate::files::Problem;

mod batch;
mod large;
mod lost;
mod needs;
mod room;

use batch::Batch;
use lost::LostContents;
use needs::{content, displaced, has_links, size};

/// Small chunks that came with deltas and are kept for the apply that follows, in bytes.
const KEPT_BYTES: usize = 8 * 1024 * 1024;
/// Pause after the disk refused something that may pass, as a full disk.
const DISK_PAUSE: Duration = Duration::from_secs(2);
/// Pause after the service lacked contents.
const LOST_PAUSE: Duration = Duration::from_secs(2);

/// Contents at hand, by chunk.
#[derive(Debug, Default)]
struct Chunks(HashMap<ObjectId, Vec<u8>>);

impl Contents for Chunks {
    fn chunk(&self, id: &ObjectId) -> Option<Cow<'_, [u8]>> {
        self.0.get(id).map(|bytes| Cow::Borrowed(bytes.as_slice()))
    }
}

/// What is remembered about the apply under way.
#[derive(Debug, Default)]
pub(super) struct Pulling {
    kept: Chunks,
    kept_bytes: usize,
    applying: Option<Applying>,
    next_batch: u64,
    lost: LostContents,
    /// Why nothing can be put here, as the user was told.
    paused: Option<String>,
}

#[derive(Debug)]
struct Applying {
    target: Target,
    batches: VecDeque<Batch>,
    rescan: BTreeSet<RelPath>,
    total: u64,
    done: u64,
    bytes: u64,
    deletes: u64,
    trouble: Option<String>,
    /// What the batches so far left open.
    open: Open,
    lost: BTreeSet<RelPath>,
}

/// How far the batches could be applied.
enum Reached {
    /// The next one's contents are on their way, or were just asked for.
    Gap,
    /// The last one is done.
    End,
    /// These nodes must be fetched first.
    Unknown(Vec<(ObjectKind, ObjectId)>),
}

impl Pulling {
    /// Returns whether an apply is under way.
    pub(super) fn is_applying(&self) -> bool {
        self.applying.is_some()
    }

    /// Keeps small chunks that came with a delta.
    pub(super) fn keep_chunks(&mut self, objects: Vec<Object>) {
        for object in objects.into_iter().filter(|object| !object.kind.is_node()) {
            if self.kept_bytes + object.bytes.len() > KEPT_BYTES {
                return;
            }
            self.kept_bytes += object.bytes.len();
            self.kept.0.insert(object.id, object.bytes);
        }
    }

    fn forget(&mut self) {
        self.kept = Chunks::default();
        self.kept_bytes = 0;
        self.applying = None;
    }
}

impl Folder {
    /// Starts to carry out the compared steps.
    pub(super) fn apply(
        &mut self,
        out: &mut Vec<FolderEffect>,
    ) -> Result<Option<Input>, FolderError> {
        if let Err(error) = self.finish_applied() {
            return self.interrupted(error, out).map(Some);
        }
        let Some(ready) = self.compare.ready.take() else {
            return Ok(Some(Input::Applied { stale: Vec::new() }));
        };
        let Some(head) = ready.head else {
            return Ok(Some(Input::Applied { stale: Vec::new() }));
        };
        let steps = ready.comparison.steps;
        if let Err(NodesError::Missing(ids)) = has_links(&*self.parts.state, &steps) {
            return Ok(Some(self.needs_nodes_first(ids)));
        }
        let total = steps.len() as u64;
        let local: HashSet<ObjectId> = steps.iter().filter_map(displaced).collect();
        let batches = self.batches(steps, &local);
        self.pull.applying = Some(Applying {
            target: Target {
                revision: head.revision,
                root: ready.comparison.target,
            },
            batches,
            rescan: BTreeSet::new(),
            total,
            done: 0,
            bytes: 0,
            deletes: 0,
            trouble: None,
            open: Open::default(),
            lost: BTreeSet::new(),
        });
        self.go_on(out)
    }

    /// Takes the contents of one batch.
    pub(super) fn chunks(
        &mut self,
        number: u64,
        objects: Result<Vec<Object>, NetFailure>,
        out: &mut Vec<FolderEffect>,
    ) -> Result<Option<Input>, FolderError> {
        let Some(applying) = &mut self.pull.applying else {
            return Ok(None);
        };
        let is_asked = |batch: &Batch| batch.is_asked(number);
        let Some(at) = applying.batches.iter().position(is_asked) else {
            return Ok(None);
        };
        let objects = match objects {
            Ok(objects) => objects,
            Err(NetFailure::Missing(ids)) if applying.leave_out(at, &ids) => {
                return self.go_on(out);
            }
            Err(failure) => {
                if let Err(error) = self.finish_applied() {
                    return self.interrupted(error, out).map(Some);
                }
                self.pull.forget();
                return Ok(Some(chunks_failed(failure, out)));
            }
        };
        let Some(batch) = applying.batches.get_mut(at) else {
            return Ok(None);
        };
        if batch.large.is_none() {
            let chunks = objects.into_iter().map(|object| (object.id, object.bytes));
            batch.chunks = Some(Chunks(chunks.collect()));
            return self.go_on(out);
        }
        if let Err(error) = self.large_part(at, (number, objects), out)
            && let Some(error) = self.no_room(at, error)?
        {
            return self.interrupted(error, out).map(Some);
        }
        self.go_on(out)
    }

    /// Puts chunks into their large file and tells how far it is.
    fn large_part(
        &mut self,
        at: usize,
        (number, objects): (u64, Vec<Object>),
        out: &mut Vec<FolderEffect>,
    ) -> Result<(), ApplyError> {
        let Some(applying) = &mut self.pull.applying else {
            return Ok(());
        };
        let batch = applying.batches.get_mut(at);
        let Some(large) = batch.and_then(|batch| batch.large.as_mut()) else {
            return Ok(());
        };
        let bytes = objects.iter().map(|object| object.bytes.len() as u64);
        applying.bytes += bytes.sum::<u64>();
        large.take(&self.parts, number, objects)?;
        out.push(FolderEffect::Notice(Notice::Applying {
            done: applying.done,
            total: applying.total,
            bytes: applying.bytes,
        }));
        Ok(())
    }

    /// The disk failed under way, or the head's nodes break a rule: what was done is sorted out, the
    /// rest is compared again after a pause.
    fn interrupted(
        &mut self,
        error: ApplyError,
        out: &mut Vec<FolderEffect>,
    ) -> Result<Input, FolderError> {
        let may_pass = match &error {
            ApplyError::Files(_) => true,
            ApplyError::Nodes(error) => !matches!(error, NodesError::Store(_)),
            ApplyError::State(_) | ApplyError::Scan(_) => false,
        };
        if !may_pass {
            return Err(error.into());
        }
        crate::apply::recover(&*self.parts.files, &self.parts.state)?;
        let error = match error {
            ApplyError::Nodes(NodesError::Missing(ids)) => return Ok(self.needs_nodes_first(ids)),
            error => error,
        };
        if let (ApplyError::Nodes(error), Some(head)) = (&error, self.engine.head()) {
            // Only where a file's parts are put together does it show that they do not fit.
            self.refuse(head.revision, error, out);
        }
        let rescan = self.pull.applying.take().map(|applying| applying.rescan);
        self.pull.forget();
        if !matches!(error, ApplyError::Nodes(_)) {
            let text = format!("{error}; trying again");
            out.push(FolderEffect::Notice(Notice::Trouble(text)));
        }
        let stale = rescan.into_iter().flatten().collect();
        Ok(Input::ApplyInterrupted {
            stale,
            pause: DISK_PAUSE,
        })
    }

    /// Applies what can be applied now, and asks for what comes next.
    pub(super) fn go_on(
        &mut self,
        out: &mut Vec<FolderEffect>,
    ) -> Result<Option<Input>, FolderError> {
        let Some(applying) = &mut self.pull.applying else {
            return Ok(None);
        };
        let (parts, open) = (self.parts.clone(), std::mem::take(&mut applying.open));
        let mut applier = Applier::new(&*parts.files, &parts.state, applying.target, open);
        let reached = self.apply_batches(&mut applier, out).and_then(|reached| {
            match (&reached, &mut self.pull.applying) {
                (Reached::Gap, Some(applying)) => applying.open = applier.pause()?,
                _ => applier.finish()?,
            }
            Ok(reached)
        });
        match reached {
            Ok(Reached::Gap) => Ok(None),
            Ok(Reached::End) => Ok(Some(self.applied(out))),
            Ok(Reached::Unknown(ids)) => Ok(Some(self.needs_nodes_first(ids))),
            Err(FolderError::Apply(error)) => self.interrupted(error, out).map(Some),
            Err(error) => Err(error),
        }
    }

    /// Applies batches in order while their contents are here, and asks for the next ones.
    fn apply_batches(
        &mut self,
        applier: &mut Applier<'_>,
        out: &mut Vec<FolderEffect>,
    ) -> Result<Reached, FolderError> {
        loop {
            if self.pull.ask_ahead(out) {
                // What was asked for is on its way while the next batch is applied.
                out.push(FolderEffect::GoOn);
                return Ok(Reached::Gap);
            }
            let Some(applying) = &mut self.pull.applying else {
                return Ok(Reached::Gap);
            };
            let Some(batch) = applying.batches.front_mut() else {
                return Ok(Reached::End);
            };
            if !batch.wanted.is_empty() && batch.chunks.is_none() {
                return Ok(Reached::Gap);
            }
            if let Some(large) = &mut batch.large {
                match large.go_on(
                    &self.parts,
                    batch.steps.first(),
                    &mut self.pull.next_batch,
                    out,
                ) {
                    Ok(true) => {}
                    Ok(false) => return Ok(Reached::Gap),
                    Err(ApplyError::Nodes(NodesError::Missing(ids))) => {
                        return Ok(Reached::Unknown(ids));
                    }
                    Err(error) => match self.no_room(0, error)? {
                        None => continue,
                        Some(error) => return Err(error.into()),
                    },
                }
            }
            let Some(batch) = applying.batches.pop_front() else {
                return Ok(Reached::Gap);
            };
            self.apply_batch(applier, batch)?;
            if let Some(applying) = &self.pull.applying {
                let (done, total, bytes) = (applying.done, applying.total, applying.bytes);
                out.push(FolderEffect::Notice(Notice::Applying {
                    done,
                    total,
                    bytes,
                }));
            }
        }
    }

    /// Ends what the batches so far left open.
    fn finish_applied(&mut self) -> Result<(), ApplyError> {
        let Some(applying) = &mut self.pull.applying else {
            return Ok(());
        };
        let open = std::mem::take(&mut applying.open);
        let (files, state) = (&*self.parts.files, &self.parts.state);
        Applier::new(files, state, applying.target, open).finish()
    }

    /// Nodes that the steps need are not here, as parts of a large file's list: they are fetched
    /// first.
    fn needs_nodes_first(&mut self, ids: Vec<(ObjectKind, ObjectId)>) -> Input {
        self.pull.forget();
        self.compare.fetch = Some(FetchRequest::Nodes(ids));
        Input::Compared(Compared::NeedsFetch)
    }

    fn apply_batch(&mut self, applier: &mut Applier<'_>, batch: Batch) -> Result<(), FolderError> {
        let Some(applying) = &mut self.pull.applying else {
            return Ok(());
        };
        let mut chunks = batch.chunks.unwrap_or_default();
        for id in batch.steps.iter().filter_map(content) {
            if let Some(bytes) = self.pull.kept.0.get(&id) {
                chunks.0.entry(id).or_insert_with(|| bytes.clone());
            }
        }
        let span = self.traces.applying(batch.steps.len());
        let outcome = span.in_scope(|| applier.apply(&batch.steps, &chunks))?;
        applying.rescan.extend(outcome.rescan);
        let mut again = Vec::new();
        for (step, result) in batch.steps.into_iter().zip(outcome.results) {
            applying.done += 1;
            match result {
                StepResult::Done => {
                    applying.deletes += u64::from(matches!(step, Step::Remove { .. }));
                    applying.bytes += size(&step);
                }
                StepResult::Unfetched if !batch.is_repeat => again.push(step),
                StepResult::Unfetched => {
                    applying.rescan.insert(step.path().clone());
                }
                StepResult::Retry(error) => {
                    let text = room::text(step.path(), &error);
                    self.pull.paused = error.is(Problem::ReadOnly).then(|| text.clone());
                    applying.trouble = Some(text);
                }
                StepResult::Blocked(_) => self.blocked.note(),
                StepResult::Stale => {}
            }
        }
        if !again.is_empty() {
            self.repeat(again);
        }
        Ok(())
    }

    /// What was thought to be on this disk is not: it is fetched after all.
    fn repeat(&mut self, steps: Vec<Step>) {
        let mut batches = self.batches(steps, &HashSet::new());
        let Some(applying) = &mut self.pull.applying else {
            return;
        };
        while let Some(mut batch) = batches.pop_back() {
            batch.is_repeat = true;
            applying.done = applying.done.saturating_sub(batch.steps.len() as u64);
            applying.batches.push_front(batch);
        }
    }

    fn applied(&mut self, out: &mut Vec<FolderEffect>) -> Input {
        let Some(applying) = self.pull.applying.take() else {
            return Input::Applied { stale: Vec::new() };
        };
        self.pull.forget();
        self.holds.came_in(applying.deletes);
        out.push(FolderEffect::Notice(Notice::Applied {
            paths: applying.done,
        }));
        let stale: Vec<RelPath> = applying.rescan.into_iter().collect();
        let is_complete = self.pull.lost.tell(applying.lost, out);
        if applying.trouble.is_none() {
            self.pull.paused = None;
        }
        match applying.trouble {
            None if is_complete => Input::Applied { stale },
            None => Input::ApplyInterrupted {
                stale,
                pause: LOST_PAUSE,
            },
            Some(text) => {
                out.push(FolderEffect::Notice(Notice::Trouble(text)));
                Input::ApplyInterrupted {
                    stale,
                    pause: DISK_PAUSE,
                }
            }
        }
    }
}

fn chunks_failed(failure: NetFailure, out: &mut Vec<FolderEffect>) -> Input {
    Input::Failed(match failure {
        NetFailure::Retry(after) => Failure::Retry(after),
        NetFailure::Unreachable => Failure::Unreachable,
        NetFailure::Gone | NetFailure::BaseUnknown => Failure::Again,
        NetFailure::Missing(ids) => {
            out.push(FolderEffect::Notice(Notice::Trouble(format!(
                "the service has lost {} contents of the head; waiting until an agent that has them sends them",
                ids.len()
            ))));
            Failure::Retry(LOST_PAUSE)
        }
        NetFailure::Refused(reason) | NetFailure::ReadOnly(reason) => {
            out.push(FolderEffect::Notice(Notice::Trouble(reason)));
            Failure::Retry(LOST_PAUSE)
        }
    })
}
