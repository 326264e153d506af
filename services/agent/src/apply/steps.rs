//! The visible steps, each re-checked at the last moment.
//!
//! A step first looks whether the path still is what its index row says, then renames once, then
//! looks at what it displaced: if a writer was faster, the step is taken back and reported stale;
//! nothing is lost either way.

macro_rules! attempt {
    ($outcome:expr) => {
        match $outcome {
            Ok(value) => value,
            Err(error) => return Ok(failed(error)),
        }
    };
}

macro_rules! expect {
    ($outcome:expr) => {
        match $outcome? {
            Ok(value) => value,
            Err(result) => return Ok(result),
        }
    };
}

mod apart;
mod dirs;

use fsync_core::exception::Exception;
use fsync_core::mutant::{self, Mutant};
use fsync_core::node::{Entry, FileEntry, Mtime};
use fsync_core::path::{Name, RelPath};
use fsync_core::plan::Step;
use fsync_runtime::fault::{self, Point};

use super::stage::Staged;
use super::{Applier, ApplyError, StepResult};
use crate::edits::Edits;
use crate::files::{FilesError, Meta, Place, Problem, Rename, StageKey, Stat};
use crate::scan::{self, Hashed};
use crate::state::{DirNo, Held, Row, Stamp, Trashed, Tx};

/// Slots of the trash that are tried when a name is taken.
const SLOT_TRIES: u32 = 16;

/// The transaction and the edits of a batch.
type Batch<'b, 't, 'a> = (&'b mut Tx<'t>, &'b mut Edits<'a>);
/// `Err` ends a step early with its result.
type Outcome<T> = Result<Result<T, StepResult>, ApplyError>;

/// Where a path is in the index.
struct Spot {
    dir: DirNo,
    name: Name,
}

/// Maps a failed call to what the driver must do about the step.
pub(super) fn failed(error: FilesError) -> StepResult {
    match error.problem {
        Problem::NotFound | Problem::Exists | Problem::NotEmpty => StepResult::Stale,
        Problem::Denied | Problem::NotStorable | Problem::Unsupported => {
            StepResult::Blocked(Exception::Blocked {
                reason: error.to_string(),
            })
        }
        Problem::NoSpace | Problem::Busy | Problem::ReadOnly | Problem::Io => {
            StepResult::Retry(error)
        }
    }
}

/// Returns whether what was taken off a path is what the plan was based on.
fn as_expected(row: &Row, taken: &Stat) -> bool {
    row.stamp.is_content(taken) || mutant::is_on(Mutant::NoSecondLook)
}

impl Applier<'_> {
    /// Runs one step.
    pub(super) fn step(
        &mut self,
        batch: &mut Batch<'_, '_, '_>,
        step: &Step,
        staged: Staged,
    ) -> Result<StepResult, ApplyError> {
        match (step, staged) {
            (_, Staged::Failed(result)) => Ok(result),
            (Step::Put { path, was, now }, Staged::At(key, stat)) => {
                let result = match was {
                    Some(was) => self.exchange(batch, path, (was, now), (&key, stat))?,
                    None => self.create(batch, path, now, (&key, stat))?,
                };
                if !matches!(result, StepResult::Done) {
                    self.unstage(&key)?;
                }
                Ok(result)
            }
            (Step::Put { .. }, Staged::Nothing) => Ok(StepResult::Unfetched),
            (Step::Move { from, to, was }, _) => self.rename(batch, (from, to), was),
            (Step::Remove { path, was }, _) => self.remove(batch, path, was),
            (Step::RemoveDir { path }, _) => self.remove_dir(batch, path),
            (Step::MakeDir { path }, _) => self.make_dir(batch, path),
            (Step::Meta { path, was, now }, _) => self.set_meta(batch, path, (was, now)),
        }
    }

    /// A small staged file that was not used is of no use; a large one is kept for the next try.
    fn unstage(&self, key: &StageKey) -> Result<(), ApplyError> {
        if key.is_large() {
            return Ok(());
        }
        match self.files.remove_file(Place::Stage(key)) {
            Err(error) if !error.is(Problem::NotFound) => Err(error.into()),
            _ => Ok(()),
        }
    }

    fn spot(tx: &Tx<'_>, path: &RelPath) -> Outcome<Spot> {
        let Some((parent, name)) = path.split_last() else {
            return Ok(Err(StepResult::Stale));
        };
        Ok(match tx.dir_at(&parent)? {
            Some(dir) => Ok(Spot { dir, name }),
            None => Err(StepResult::Stale),
        })
    }

    /// Checks that a file or link still is what the plan was based on.
    fn check(&self, tx: &Tx<'_>, path: &RelPath, was: &Entry) -> Outcome<(Spot, Row)> {
        let spot = match Self::spot(tx, path)? {
            Ok(spot) => spot,
            Err(result) => return Ok(Err(result)),
        };
        let stat = match self.files.stat(Place::Tree(path)) {
            Ok(stat) => stat,
            Err(error) => return Ok(Err(failed(error))),
        };
        let row = tx.row(spot.dir, &spot.name)?;
        let fits = |row: &Row| {
            mutant::is_on(Mutant::NoCheck)
                || row.entry().is_some_and(|entry| entry.is_same(was))
                    && stat.is_some_and(|stat| row.is_same_stamp(&stat))
                    && (!row.is_racy() || self.still_holds(path, row, was))
        };
        Ok(match row.filter(fits) {
            Some(row) => Ok((spot, row)),
            None => Err(StepResult::Stale),
        })
    }

    /// Reads a file whose row was recorded too soon after a change to be trusted.
    fn still_holds(&self, path: &RelPath, row: &Row, was: &Entry) -> bool {
        matches!(scan::read_again(self.files, Place::Tree(path), was), Hashed::Entry { entry, stat, .. }
            if entry.is_same(was) && row.is_same_stamp(&stat))
    }

    fn create(
        &mut self,
        batch: &mut Batch<'_, '_, '_>,
        path: &RelPath,
        now: &Entry,
        (key, staged): (&StageKey, Option<Stat>),
    ) -> Result<StepResult, ApplyError> {
        let spot = expect!(Self::spot(batch.0, path));
        let Some(staged) = attempt!(self.staged(key, staged)) else {
            return Ok(StepResult::Unfetched);
        };
        let (from, to) = (Place::Stage(key), Place::Tree(path));
        attempt!(fault::around(Point::Create, || {
            self.files.rename(from, to, Rename::NoReplace)
        }));
        self.placed(batch, (path, &spot), &staged, now)?;
        self.drop_assembly(batch.0, key)?;
        Ok(StepResult::Done)
    }

    /// Returns what a staged file is, `None` if it is gone.
    fn staged(&self, key: &StageKey, known: Option<Stat>) -> Result<Option<Stat>, FilesError> {
        match known {
            Some(stat) => Ok(Some(stat)),
            None => self.files.stat(Place::Stage(key)),
        }
    }

    fn exchange(
        &mut self,
        batch: &mut Batch<'_, '_, '_>,
        path: &RelPath,
        (was, now): (&Entry, &Entry),
        (key, staged): (&StageKey, Option<Stat>),
    ) -> Result<StepResult, ApplyError> {
        let (spot, row) = expect!(self.check(batch.0, path, was));
        let Some(staged) = attempt!(self.staged(key, staged)) else {
            return Ok(StepResult::Unfetched);
        };
        // After the exchange the user's inode stands in the stage: only keys of this kind survive a
        // crash, and only by now do intents tell our own content from a user's.
        self.next_key += 1;
        let swap = StageKey::exchange(self.next_key);
        let (stage, tree) = (Place::Stage(&swap), Place::Tree(path));
        attempt!(
            self.files
                .rename(Place::Stage(key), stage, Rename::NoReplace)
        );
        let exchanged = fault::around(Point::Exchange, || {
            self.files.rename(stage, tree, Rename::Exchange)
        });
        if let Err(error) = exchanged {
            self.files
                .rename(stage, Place::Stage(key), Rename::NoReplace)?;
            return Ok(failed(error));
        }
        self.drop_assembly(batch.0, key)?;
        let displaced = self.files.stat(stage)?;
        let Some(displaced) = displaced.filter(|stat| as_expected(&row, stat)) else {
            match self.files.rename(stage, tree, Rename::Exchange) {
                Err(error) if error.is(Problem::NotFound) => {
                    // Somebody removed ours, and with it, as he sees it, his own.
                    self.move_to_trash(stage, path)?;
                }
                taken_back => {
                    taken_back?;
                    self.clear_swap(path, &swap, &staged)?;
                }
            }
            return Ok(StepResult::Stale);
        };
        self.trash_noted(batch.0, (stage, path), &Trashed::new(*was, &displaced))?;
        self.placed(batch, (path, &spot), &staged, now)?;
        Ok(StepResult::Done)
    }

    /// After an exchange was taken back: removes our own file.
    ///
    /// Who wrote into it or renamed something over it while it stood at the path has his newest
    /// version in the stage now: it takes the path once more, and what he had there before, and
    /// replaced himself, goes to the trash.
    fn clear_swap(
        &mut self,
        path: &RelPath,
        key: &StageKey,
        staged: &Stat,
    ) -> Result<(), ApplyError> {
        let stage = Place::Stage(key);
        let Some(there) = self.files.stat(stage)? else {
            return Ok(());
        };
        if Stamp::from(staged).is_content(&there) {
            return Ok(self.files.remove_file(stage)?);
        }
        let tree = Place::Tree(path);
        match self.files.rename(stage, tree, Rename::Exchange) {
            // Nothing stands there any more.
            Err(error) if error.is(Problem::NotFound) => {
                return Ok(self.files.rename(stage, tree, Rename::NoReplace)?);
            }
            again => again?,
        }
        self.move_to_trash(stage, path)?;
        Ok(())
    }

    /// Records what was put at a path, as it was staged; [`Applier::settle`] looks what it is there.
    /// If a writer changes or replaces it first, the row does not fit the disk, and the next scan
    /// sees an edit.
    fn placed(
        &mut self,
        batch: &mut Batch<'_, '_, '_>,
        (path, spot): (&RelPath, &Spot),
        staged: &Stat,
        now: &Entry,
    ) -> Result<(), ApplyError> {
        let row = Row {
            stamp: Stamp::from(staged),
            recorded: staged.ctime,
            held: Held::Leaf(*now),
        };
        batch.0.put_row(spot.dir, &spot.name, &row)?;
        batch.1.set_both(path, Some(*now));
        self.unsettle(path);
        Ok(())
    }

    fn remove(
        &mut self,
        batch: &mut Batch<'_, '_, '_>,
        path: &RelPath,
        was: &Entry,
    ) -> Result<StepResult, ApplyError> {
        let (spot, row) = expect!(self.check(batch.0, path, was));
        let slot = attempt!(self.move_to_trash_raw(Place::Tree(path), path));
        let trash = Place::Trash(slot, path);
        let taken = self.files.stat(trash)?;
        let Some(taken) = taken.filter(|stat| as_expected(&row, stat)) else {
            // A writer was faster: give it back. If its path is taken by now, it is safe in the
            // trash.
            let back = self
                .files
                .rename(trash, Place::Tree(path), Rename::NoReplace);
            if let Err(error) = back
                && !error.is(Problem::Exists)
            {
                return Err(error.into());
            }
            return Ok(StepResult::Stale);
        };
        batch
            .0
            .set_trashed(slot, path, Some(&Trashed::new(*was, &taken)))?;
        self.sources.trashed(was, slot, path);
        batch.0.remove_row(spot.dir, &spot.name)?;
        batch.1.set_both(path, None);
        Ok(StepResult::Done)
    }

    /// Puts what stands at a place into the trash and notes it.
    fn trash_noted(
        &mut self,
        tx: &mut Tx<'_>,
        (at, path): (Place<'_>, &RelPath),
        trashed: &Trashed,
    ) -> Result<(), ApplyError> {
        if mutant::is_on(Mutant::NoTrash) {
            return Ok(self.files.remove_file(at)?);
        }
        let slot = self.move_to_trash(at, path)?;
        tx.set_trashed(slot, path, Some(trashed))?;
        self.sources.trashed(&trashed.entry, slot, path);
        Ok(())
    }

    fn move_to_trash(
        &mut self,
        at: Place<'_>,
        path: &RelPath,
    ) -> Result<crate::files::TrashSlot, ApplyError> {
        Ok(self.move_to_trash_raw(at, path)?)
    }

    fn move_to_trash_raw(
        &mut self,
        at: Place<'_>,
        path: &RelPath,
    ) -> Result<crate::files::TrashSlot, FilesError> {
        let mut tries = 0;
        loop {
            let to = Place::Trash(self.slot, path);
            let moved = fault::around(Point::Trash, || {
                self.files.rename(at, to, Rename::NoReplace)
            });
            match moved {
                Ok(()) => return Ok(self.slot),
                // The name is taken, or a file stands where a directory must: take a fresh slot.
                Err(error)
                    if tries < SLOT_TRIES
                        && (error.is(Problem::Exists)
                            || self.files.stat(at)?.is_some() && error.is(Problem::NotFound)) =>
                {
                    tries += 1;
                    self.slot.number += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn set_meta(
        &mut self,
        batch: &mut Batch<'_, '_, '_>,
        path: &RelPath,
        (was, now): (&FileEntry, &FileEntry),
    ) -> Result<StepResult, ApplyError> {
        let (spot, row) = expect!(self.check(batch.0, path, &Entry::File(*was)));
        let meta = Meta {
            exec: now.exec,
            mtime: Mtime(now.mtime.0),
            like: None,
        };
        let Some(before) = attempt!(self.files.stat(Place::Tree(path))) else {
            return Ok(StepResult::Stale);
        };
        let meta = Meta {
            like: Some(before.mode),
            ..meta
        };
        if before.nlink > 1 {
            return self.set_meta_apart(batch, path, (was, now), &meta);
        }
        attempt!(fault::around(Point::Meta, || {
            self.files.set_meta(Place::Tree(path), &meta)
        }));
        let stat = attempt!(self.files.stat(Place::Tree(path)));
        let is_ours = |stat: &Stat| row.stamp.is_inode(stat) && stat.size == row.stamp.size;
        let row = Row {
            stamp: stat.filter(is_ours).map_or(row.stamp, |s| Stamp::from(&s)),
            recorded: self.files.now(),
            held: Held::Leaf(Entry::File(*now)),
        };
        batch.0.put_row(spot.dir, &spot.name, &row)?;
        batch.1.set_both(path, Some(Entry::File(*now)));
        self.unsettle(path);
        Ok(StepResult::Done)
    }

    fn drop_assembly(&self, tx: &mut Tx<'_>, key: &StageKey) -> Result<(), ApplyError> {
        if key.is_large() {
            tx.set_resume(key.as_str(), None)?;
        }
        Ok(())
    }
}
