//! The apply: runs the planner's steps on the folder, in batches that are durable before they are
//! visible.
//!
//! Guarantees: no clobber (a path is replaced only if the disk still has what the plan was based
//! on, checked right before and right after the exchange); no partial visibility (each path changes
//! by one rename); no user's inode is overwritten or unlinked (it goes to the trash); intents and
//! staged data are durable before the first visible step.
//! Does not: fetch contents, or decide what shall stand where.
//! Place: the sync thread makes an [`Applier`] when it can go on and ends it with
//! [`Applier::finish`], or with [`Applier::pause`] when more of the same plan is to come;
//! [`recover()`] runs at start.
//!
//! ```text
//! per batch:  stage puts -> staged data durable, intents durable -> steps, each re-checked -> rows, both trees
//! at once:    steps of one batch | staged data of the next made durable | puts of the one after it staged
//!             the intents of a batch are written with the rows and trees of the one before
//! afterwards: directories durable -> intents cleared (durable), once for several batches
//! ```

mod intents;
mod large;
mod recover;
mod settle;
mod stage;
mod steps;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use fsync_core::exception::Exception;
use fsync_core::id::{ObjectId, RevisionId};
use fsync_core::mutant::{self, Mutant};
use fsync_core::node::Entry;
use fsync_core::nodes::NodesError;
use fsync_core::path::RelPath;
use fsync_core::plan::Step;
use fsync_core::tree;
use fsync_runtime::fault::{self, Point};

use crate::edits::Edits;
use crate::files::{Files, FilesError, StageKey, TrashSlot};
use crate::scan::ScanError;
use crate::state::{Durability, State, StateError, Tx};
use stage::{Sources, Staged, Stager};

pub use large::{Assembly, Missing, Part, Paused, discard};
pub use recover::{Recovered, recover};

/// Files that one batch puts at most: bounds what a crash leaves half done.
const BATCH_PUTS: usize = 256;
/// Bytes that one batch stages at most.
const BATCH_BYTES: u64 = 32 * 1024 * 1024;

/// Chunks that are at hand.
pub trait Contents: Sync {
    /// Returns the bytes of a chunk, `None` if it is not at hand. They are verified before they are
    /// used.
    fn chunk(&self, id: &ObjectId) -> Option<Cow<'_, [u8]>>;
}

/// What the folder shall become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// The revision, noted in intents.
    pub revision: RevisionId,
    /// Its root; the nodes that the steps touch are in the state.
    pub root: ObjectId,
}

/// How a step ended.
#[derive(Debug)]
pub enum StepResult {
    /// Both trees have it now.
    Done,
    /// The disk is not what the plan was based on: scan the path and plan again.
    Stale,
    /// It cannot be put here; the path is excepted now and both trees carry the target's entry.
    Blocked(Exception),
    /// It could not be done now: no space, or the system is short of something.
    Retry(FilesError),
    /// Its content is not at hand.
    Unfetched,
}

/// What a batch of steps came to.
#[derive(Debug, Default)]
pub struct Applied {
    /// One result for each step, in order.
    pub results: Vec<StepResult>,
    /// Paths that must be scanned with all below: stale ones, changed rule files, directories that
    /// stood there already.
    pub rescan: BTreeSet<RelPath>,
}

impl Applied {
    /// Returns whether every step is done.
    pub fn is_complete(&self) -> bool {
        self.results.iter().all(|r| matches!(r, StepResult::Done))
    }
}

/// Why an apply ended early; [`recover()`] must run before the folder is looked at again.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The stage could not be made durable, or the folder's directories could not.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// The state could not be read or written.
    #[error(transparent)]
    State(#[from] StateError),
    /// A node of the target is missing or damaged.
    #[error(transparent)]
    Nodes(#[from] NodesError),
    /// A directory could not be looked through.
    #[error(transparent)]
    Scan(#[from] ScanError),
}

/// Applies steps towards one target.
pub struct Applier<'a> {
    files: &'a dyn Files,
    state: &'a State,
    target: Target,
    slot: TrashSlot,
    next_key: u64,
    sources: Arc<Sources>,
    open: Open,
}

/// What is visible and in both trees, and not durable yet.
#[derive(Debug, Default)]
pub struct Open {
    /// Paths whose intents are still there.
    applied: Vec<RelPath>,
    /// Rows that do not say yet what stands there, with the time when we had put it there: what
    /// changed after it is a user's.
    unsettled: Vec<(RelPath, i64)>,
}

impl std::fmt::Debug for Applier<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Applier")
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}

impl<'a> Applier<'a> {
    /// Starts towards a target, or goes on with what was left open.
    pub fn new(files: &'a dyn Files, state: &'a State, target: Target, open: Open) -> Self {
        let now = files.now().max(0).cast_unsigned();
        Self {
            files,
            state,
            target,
            slot: TrashSlot {
                time_ms: now / 1_000_000,
                number: 0,
            },
            // Unlike any key that an earlier applier of this process left.
            next_key: now,
            sources: Arc::default(),
            open,
        }
    }

    /// Runs steps, in the order of the plan. What is done when it returns is visible and in both
    /// trees.
    ///
    /// # Errors
    /// [`ApplyError`]; the steps may have been run in part, which [`recover()`] sorts out.
    pub fn apply(
        &mut self,
        steps: &[Step],
        contents: &dyn Contents,
    ) -> Result<Applied, ApplyError> {
        let stager = Stager::new(self, steps, contents);
        let batches = batches(steps);
        let batch = |number: usize| batches.get(number).copied().unwrap_or_default();
        let mut applied = Applied::default();
        let mut staged = stager.stage(self.take_keys(batch(0)), batch(0))?;
        let mut next = self.beside(&stager, &staged, batch(1), |applier| {
            applier.intend(batch(0))
        })?;
        for number in 0..batches.len() {
            let after_next = self.beside(&stager, &next, batch(number + 2), |applier| {
                let staged = std::mem::take(&mut staged);
                applier.run_steps((batch(number), staged), batch(number + 1), &mut applied)
            })?;
            staged = std::mem::replace(&mut next, after_next);
        }
        Ok(applied)
    }

    /// Returns the number of the first of as many keys as `steps` may need.
    fn take_keys(&mut self, steps: &[Step]) -> u64 {
        let first = self.next_key + 1;
        self.next_key += steps.len() as u64;
        first
    }

    /// Does `work` while the disk makes durable what is staged and another thread stages the puts
    /// of the batch after it.
    fn beside(
        &mut self,
        stager: &Stager<'_>,
        staged: &[Staged],
        after: &[Step],
        work: impl FnOnce(&mut Self) -> Result<(), ApplyError>,
    ) -> Result<Vec<Staged>, ApplyError> {
        let first = self.take_keys(after);
        let files = self.files;
        let keys: Vec<StageKey> = staged.iter().filter_map(|s| s.key().cloned()).collect();
        let sync = || match mutant::is_on(Mutant::NoStageSync) {
            true => Ok(()),
            false => fault::around(Point::StageSync, || files.sync_staged(&keys)),
        };
        let stage = || stager.stage(first, after);
        if files.threads() == 1 {
            if !keys.is_empty() {
                sync()?;
            }
            let staged = stage()?;
            return work(self).map(|()| staged);
        }
        std::thread::scope(|scope| {
            // No thread where there is nothing to do: a single save waits for each.
            let syncing = (!keys.is_empty()).then(|| scope.spawn(sync));
            let staging = (!after.is_empty()).then(|| scope.spawn(stage));
            let worked = work(self);
            let staged = staging.map_or_else(|| Ok(Vec::new()), joined);
            syncing.map_or_else(|| Ok(()), joined)?;
            worked?;
            staged
        })
    }

    /// Makes the intents of the first batch durable.
    fn intend(&mut self, steps: &[Step]) -> Result<(), ApplyError> {
        let state = self.state;
        let durability = match mutant::is_on(Mutant::LazyIntents) {
            true => Durability::Lazy,
            false => Durability::Durable,
        };
        fault::around(Point::Intents, || {
            state.update::<_, ApplyError>(durability, |tx| {
                let mut edits = Edits::new(state, tx.roots()?);
                self.write_intents(tx, &mut edits, steps)
            })
        })
    }

    /// Runs the steps of a batch whose intents and staged data are durable; with them the intents
    /// of the next one become durable.
    fn run_steps(
        &mut self,
        (steps, staged): (&[Step], Vec<Staged>),
        next: &[Step],
        applied: &mut Applied,
    ) -> Result<(), ApplyError> {
        let state = self.state;
        let durability = match next.is_empty() {
            true => Durability::Lazy,
            false => Durability::Durable,
        };
        let done = state.update::<_, ApplyError>(durability, |tx| {
            let mut edits = Edits::new(state, tx.roots()?);
            self.settle(tx)?;
            for (step, staged) in steps.iter().zip(staged) {
                let result = self.step(&mut (tx, &mut edits), step, staged)?;
                if let StepResult::Blocked(exception) = &result {
                    self.block(tx, &mut edits, step, exception)?;
                }
                tracing::debug!(?step, ?result, "step");
                self.note(step, &result, applied);
                applied.results.push(result);
            }
            self.write_intents(tx, &mut edits, next)?;
            let written = edits.write(tx);
            fault::before(Point::Rows);
            written
        });
        fault::after(Point::Rows);
        done
    }

    /// The path cannot be as the target has it: both trees carry the target's entry, the exception
    /// says why. What the synced tree had is kept for the next try.
    fn block(
        &mut self,
        tx: &mut Tx<'_>,
        edits: &mut Edits<'_>,
        step: &Step,
        exception: &Exception,
    ) -> Result<(), ApplyError> {
        let mut paths = vec![step.path()];
        if let Step::Move { from, .. } = step {
            paths.push(from);
        }
        for path in paths {
            let synced = match step {
                // The trees may have lost it already, to what is ignored in it.
                Step::RemoveDir { .. } => Some(Entry::Dir(edits.empty_dir())),
                _ => edits.lookup_synced(path)?,
            };
            tx.block(path, exception, synced.as_ref())?;
            edits.set_both(path, tree::lookup(self.state, &self.target.root, path)?);
        }
        Ok(())
    }

    fn note(&mut self, step: &Step, result: &StepResult, applied: &mut Applied) {
        let path = step.path();
        match result {
            StepResult::Done => {
                let is_rule_file = path
                    .split_last()
                    .is_some_and(|(_, name)| crate::rules::is_rule_file(&name));
                if is_rule_file {
                    applied.rescan.insert(path.parent().unwrap_or_default());
                }
            }
            StepResult::Stale => {
                applied.rescan.insert(path.clone());
                if let Step::Move { from, .. } = step {
                    applied.rescan.insert(from.clone());
                }
            }
            StepResult::Blocked(_) | StepResult::Retry(_) | StepResult::Unfetched => {}
        }
    }
}

fn joined<T>(thread: std::thread::ScopedJoinHandle<'_, T>) -> T {
    match thread.join() {
        Ok(value) => value,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Cuts steps into batches.
fn batches(steps: &[Step]) -> Vec<&[Step]> {
    let mut batches = Vec::new();
    let mut rest = steps;
    while !rest.is_empty() {
        let (batch, after) = rest.split_at(batch_length(rest));
        batches.push(batch);
        rest = after;
    }
    batches
}

/// Returns how many steps fit one batch.
fn batch_length(steps: &[Step]) -> usize {
    let mut bytes = 0u64;
    for (number, step) in steps.iter().enumerate() {
        if let Step::Put {
            now: Entry::File(file),
            ..
        } = step
        {
            // A large file is staged already.
            bytes = bytes.saturating_add(file.size.min(BATCH_BYTES / 8));
        }
        if number > 0 && (number >= BATCH_PUTS || bytes > BATCH_BYTES) {
            return number;
        }
    }
    steps.len()
}
