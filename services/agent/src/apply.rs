//! The apply: runs the planner's steps on the folder, in batches that are durable before they are
//! visible.
//!
//! Guarantees: no clobber (a path is replaced only if the disk still has what the plan was based
//! on, checked right before and right after the exchange); no partial visibility (each path changes
//! by one rename); no user's inode is overwritten or unlinked (it goes to the trash); intents and
//! staged data are durable before the first visible step.
//! Does not: fetch contents, or decide what shall stand where.
//! Place: the sync thread makes an [`Applier`] per target and ends it with [`Applier::finish`];
//! [`recover()`] runs at start.
//!
//! ```text
//! per batch:  stage puts -> (staged data durable | intents durable) -> steps, each re-checked -> rows, both trees (lazy)
//! afterwards: directories durable -> intents cleared (durable)
//! ```

mod large;
mod recover;
mod stage;
mod steps;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use fsync_core::exception::Exception;
use fsync_core::id::{ObjectId, RevisionId};
use fsync_core::node::Entry;
use fsync_core::nodes::NodesError;
use fsync_core::path::RelPath;
use fsync_core::plan::{self, Step};
use fsync_core::tree;

use crate::edits::Edits;
use crate::files::{Files, FilesError, Place, StageKey, TrashSlot};
use crate::scan::ScanError;
use crate::state::{Durability, Intent, Standing, State, StateError, Tx};

pub use large::{Assembly, Missing, Part, Paused, discard};
pub use recover::{Recovered, recover};

/// Files that one batch puts at most: bounds what a crash leaves half done.
const BATCH_PUTS: usize = 256;
/// Bytes that one batch stages at most.
const BATCH_BYTES: u64 = 32 * 1024 * 1024;

/// Chunks that are at hand.
pub trait Contents {
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

/// A content that is on this disk.
#[derive(Debug, Clone)]
enum Source {
    Tree(RelPath),
    Trash(TrashSlot, RelPath),
}

impl Source {
    fn place(&self) -> Place<'_> {
        match self {
            Self::Tree(path) => Place::Tree(path),
            Self::Trash(slot, path) => Place::Trash(*slot, path),
        }
    }
}

/// Applies steps towards one target.
pub struct Applier<'a> {
    files: &'a dyn Files,
    state: &'a State,
    target: Target,
    slot: TrashSlot,
    next_key: u64,
    sources: HashMap<ObjectId, Source>,
    /// Paths whose intents are still there though both trees have them.
    applied: Vec<RelPath>,
    /// Rows that were recorded so soon after the change that a later change may not show.
    unsettled: Vec<RelPath>,
}

impl std::fmt::Debug for Applier<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Applier")
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}

impl<'a> Applier<'a> {
    /// Starts towards a target.
    pub fn new(files: &'a dyn Files, state: &'a State, target: Target) -> Self {
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
            sources: HashMap::new(),
            applied: Vec::new(),
            unsettled: Vec::new(),
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
        self.find_sources(steps, contents);
        let mut applied = Applied::default();
        let mut rest = steps;
        while !rest.is_empty() {
            let (batch, after) = rest.split_at(batch_length(rest));
            self.batch(batch, contents, &mut applied)?;
            rest = after;
        }
        Ok(applied)
    }

    fn batch(
        &mut self,
        steps: &[Step],
        contents: &dyn Contents,
        applied: &mut Applied,
    ) -> Result<(), ApplyError> {
        let staged = self.stage(steps, contents)?;
        self.make_durable(steps, &staged)?;
        let state = self.state;
        let mut staged = staged.into_iter();
        state.update::<_, ApplyError>(Durability::Lazy, |tx| {
            let mut edits = Edits::new(state, tx.roots()?);
            self.settle(tx)?;
            for step in steps {
                let staged = staged.next().unwrap_or(stage::Staged::Nothing);
                let result = self.step(&mut (tx, &mut edits), step, staged)?;
                if let StepResult::Blocked(exception) = &result {
                    self.block(tx, &mut edits, step, exception)?;
                }
                tracing::debug!(?step, ?result, "step");
                self.note(step, &result, applied);
                applied.results.push(result);
            }
            edits.write(tx)
        })
    }

    /// Makes the staged data and the intents durable at the same time.
    fn make_durable(&mut self, steps: &[Step], staged: &[stage::Staged]) -> Result<(), ApplyError> {
        let keys: Vec<StageKey> = staged.iter().filter_map(|s| s.key().cloned()).collect();
        let intents = self.intents(steps)?;
        let (files, state) = (self.files, self.state);
        let commit = || {
            state.update::<_, StateError>(Durability::Durable, |tx| {
                intents.iter().try_for_each(|(path, intent)| {
                    // What stood there before an earlier, not yet durable step is what a crash may
                    // bring back.
                    let earlier = tx.intent(path)?;
                    let expected = earlier.map_or(intent.expected, |earlier| earlier.expected);
                    tx.set_intent(
                        path,
                        Some(&Intent {
                            expected,
                            ..*intent
                        }),
                    )
                })
            })
        };
        if keys.is_empty() {
            commit()?;
        } else if files.threads() == 1 {
            files.sync_staged(&keys)?;
            commit()?;
        } else {
            std::thread::scope(|scope| -> Result<(), ApplyError> {
                let syncing = scope.spawn(|| files.sync_staged(&keys));
                commit()?;
                match syncing.join() {
                    Ok(synced) => Ok(synced?),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            })?;
        }
        self.applied.extend(intents.into_keys());
        Ok(())
    }

    fn intents(&self, steps: &[Step]) -> Result<BTreeMap<RelPath, Intent>, ApplyError> {
        let synced = self.state.snapshot()?.roots()?.synced;
        let moves = plan::moves_of(steps);
        let before = |path: &RelPath| {
            let path = plan::before(&moves, path.clone());
            tree::lookup(self.state, &synced, &path)
        };
        let mut intents = Intents {
            time: self.files.now(),
            revision: self.target.revision,
            noted: BTreeMap::new(),
        };
        let empty = Entry::Dir(tree::write_empty(
            &mut fsync_core::nodes::NewNodes::default(),
        ));
        for step in steps {
            let (path, was, now) = match step {
                Step::Move { from, to, was } => {
                    let (disk, synced) = (Some(*was), before(to)?);
                    intents.note(from, Standing { disk, synced }, Standing::default());
                    intents.note(to, Standing::default(), Standing { disk, synced });
                    continue;
                }
                Step::Remove { path, was } => (path, Some(*was), None),
                Step::RemoveDir { path } => (path, Some(empty), None),
                Step::MakeDir { path } => (path, None, Some(empty)),
                Step::Put { path, was, now } => (path, *was, Some(*now)),
                Step::Meta { path, was, now } => {
                    (path, Some(Entry::File(*was)), Some(Entry::File(*now)))
                }
            };
            let was = Standing {
                disk: was,
                synced: before(path)?,
            };
            intents.note(path, was, Standing::agreed(now));
        }
        Ok(intents.noted)
    }

    /// The path cannot be as the target has it: both trees carry the target's entry, the exception
    /// says why.
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
            tx.set_exception(path, Some(exception))?;
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

    /// Looks again at rows that were recorded too soon after their change; what is still the same
    /// now stays the same.
    fn settle(&mut self, tx: &mut Tx<'_>) -> Result<(), ApplyError> {
        for path in std::mem::take(&mut self.unsettled) {
            let Some((dir, name)) = path.split_last() else {
                continue;
            };
            let now = self.files.now();
            let Some(no) = tx.dir_at(&dir)? else {
                continue;
            };
            let Some(mut row) = tx.row(no, &name)? else {
                continue;
            };
            let stat = self.files.stat(Place::Tree(&path))?;
            row.recorded = now;
            if !row.is_racy() && stat.is_some_and(|stat| row.is_same_stamp(&stat)) {
                tx.put_row(no, &name, &row)?;
            }
        }
        Ok(())
    }

    /// Ends the apply: makes the folder's directories durable, then clears the intents.
    ///
    /// # Errors
    /// [`ApplyError`]; intents stay then and are sorted out by [`recover()`].
    pub fn finish(mut self) -> Result<(), ApplyError> {
        if self.applied.is_empty() {
            return Ok(());
        }
        let dirs: BTreeSet<RelPath> = self.applied.iter().filter_map(RelPath::parent).collect();
        let dirs: Vec<RelPath> = dirs.into_iter().collect();
        self.files.sync_dirs(&dirs)?;
        let state = self.state;
        state.update(Durability::Durable, |tx| {
            self.settle(tx)?;
            for path in &std::mem::take(&mut self.applied) {
                tx.set_intent(path, None)?;
            }
            Ok(())
        })
    }
}

/// The intents of a batch in the making: of several steps at one path the first says what was, the
/// last what shall be.
struct Intents {
    time: i64,
    revision: RevisionId,
    noted: BTreeMap<RelPath, Intent>,
}

impl Intents {
    fn note(&mut self, path: &RelPath, expected: Standing, target: Standing) {
        let (revision, time) = (self.revision, self.time);
        let intent = Intent {
            expected,
            target,
            revision,
            time,
        };
        self.noted
            .entry(path.clone())
            .and_modify(|earlier| earlier.target = target)
            .or_insert(intent);
    }
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
