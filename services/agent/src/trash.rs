//! The trash: what apply took away, kept for a while, looked at again before it goes.
//!
//! Guarantees: nothing is removed for good that was written to after it went to the trash; such a
//! late writer's content becomes a conflict copy in the folder. Nothing outside the trash is
//! removed.
//! Does not: decide how long things are kept, or when it is looked through.
//! Place: `apply` fills it; `run/trash.rs` sweeps it.

use std::time::Duration;

use fsync_core::conflict;
use fsync_core::label::AgentName;
use fsync_core::node::Entry;
use fsync_core::path::RelPath;
use fsync_core::revision::Timestamp;

use crate::files::{Files, FilesError, Kind, Place, Problem, Rename, Stat, TrashSlot, make_dirs};
use crate::progress::Amount;
use crate::scan::{Hashed, hash_file};
use crate::state::{Durability, State, StateError};

/// How long things stay in the trash unless the user says otherwise.
pub const KEEP: Duration = Duration::from_secs(30 * 24 * 3600);
/// Deepest directories that are walked.
const DEPTH: usize = fsync_core::limits::PATH_DEPTH + 2;

/// Something in the trash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrashItem {
    /// Its slot: when it was taken away.
    pub slot: TrashSlot,
    /// Where it stood.
    pub path: RelPath,
    /// What it was in the tree; `None` if the state does not know it.
    pub entry: Option<Entry>,
}

/// A late writer's content that is back in the folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rescued {
    /// Where it stood before it was taken away.
    pub path: RelPath,
    /// The conflict copy that holds it now.
    pub copy: RelPath,
}

/// Why the trash could not be worked on.
#[derive(Debug, thiserror::Error)]
pub enum TrashError {
    /// The disk refused.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// The state could not be read or written.
    #[error(transparent)]
    State(#[from] StateError),
}

/// Lists all that is in the trash, oldest first.
///
/// # Errors
/// [`TrashError`] of the disk or the state.
pub fn list(files: &dyn Files, state: &State) -> Result<Vec<TrashItem>, TrashError> {
    let mut items = Vec::new();
    for slot in files.trash_slots()? {
        walk(files, state, slot, &mut items)?;
    }
    Ok(items)
}

/// Returns how much is in the trash; costs what is in it.
///
/// # Errors
/// [`FilesError`] of the disk.
pub fn usage(files: &dyn Files) -> Result<Amount, FilesError> {
    let mut usage = Amount::default();
    for slot in files.trash_slots()? {
        each(files, slot, &mut |_, stat| {
            usage.items += 1;
            usage.bytes += stat.size;
        })?;
    }
    Ok(usage)
}

/// Looks through the trash: rescues what was written to late, removes for good what is too old.
#[derive(Clone, Copy)]
pub struct Sweep<'a> {
    /// The folder's file system.
    pub files: &'a dyn Files,
    /// What is remembered of the folder.
    pub state: &'a State,
    /// Who names the conflict copies.
    pub agent: &'a AgentName,
    /// How long things are kept.
    pub keep: Duration,
    /// What went to the trash less than this ago is left alone: an apply may still be at it.
    pub settle: Duration,
}

impl std::fmt::Debug for Sweep<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sweep")
            .field("keep", &self.keep)
            .finish_non_exhaustive()
    }
}

impl Sweep<'_> {
    /// Sweeps until the end or until `is_stopped`; returns how many files and links were removed
    /// for good. Tells each rescue. A slot that cannot be worked on is logged and left to the next
    /// sweep.
    ///
    /// # Errors
    /// [`TrashError`] if the trash cannot be listed.
    pub fn run(
        &self,
        is_stopped: &dyn Fn() -> bool,
        told: &mut dyn FnMut(Rescued),
    ) -> Result<u64, TrashError> {
        let mut removed = 0;
        for slot in self.files.trash_slots()? {
            if is_stopped() {
                break;
            }
            if !self.is_older(slot, self.settle) {
                continue;
            }
            match self.slot(slot, told) {
                Ok(count) => removed += count,
                Err(error) => {
                    tracing::warn!(%slot, %error, "a part of the trash was left as it is");
                }
            }
        }
        Ok(removed)
    }

    fn is_older(&self, slot: TrashSlot, age: Duration) -> bool {
        let now_ms = self.files.now().max(0).cast_unsigned() / 1_000_000;
        let age_ms = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        slot.time_ms.saturating_add(age_ms) <= now_ms
    }

    fn slot(&self, slot: TrashSlot, told: &mut dyn FnMut(Rescued)) -> Result<u64, TrashError> {
        let is_due = self.is_older(slot, self.keep);
        let mut items = Vec::new();
        walk(self.files, self.state, slot, &mut items)?;
        let (mut removed, mut gone) = (0, 0);
        for item in items {
            if is_late(self.files, self.state, &item)? {
                if let Some(copy) = self.rescue(&item)? {
                    gone += 1;
                    let path = item.path;
                    told(Rescued { path, copy });
                }
            } else if is_due {
                self.files.remove_file(Place::Trash(slot, &item.path))?;
                forget(self.state, &item)?;
                removed += 1;
            }
        }
        if is_due || gone > 0 {
            remove_dirs(self.files, slot, &RelPath::root(), DEPTH)?;
        }
        Ok(removed)
    }

    /// Moves a late writer's file beside where it stood, under a name of a conflict copy; the
    /// watcher sees it there. `None` while it is being written: it stays in the trash until the
    /// next sweep.
    fn rescue(&self, item: &TrashItem) -> Result<Option<RelPath>, TrashError> {
        let from = Place::Trash(item.slot, &item.path);
        let Some((dir, name)) = item.path.split_last() else {
            return Ok(None);
        };
        let Hashed::Entry {
            entry: Entry::File(file),
            stat,
            ..
        } = hash_file(self.files, from)
        else {
            return Ok(None);
        };
        make_dirs(self.files, &dir)?;
        let time = Timestamp(stat.mtime.max(0).cast_unsigned() / 1_000_000);
        for name in conflict::candidates(&name, self.agent, time, &file.content.id()) {
            let to = dir.join(&name);
            match self.files.rename(from, Place::Tree(&to), Rename::NoReplace) {
                Err(error) if error.is(Problem::Exists) => {}
                Err(error) => return Err(error.into()),
                Ok(()) => {
                    forget(self.state, item)?;
                    return Ok(Some(to));
                }
            }
        }
        Ok(None)
    }
}

/// Puts something back into the tree, where nothing may stand.
///
/// # Errors
/// [`TrashError`]; [`Problem::Exists`] if the path is taken, [`Problem::NotFound`] if its directory
/// is missing.
pub fn restore(
    files: &dyn Files,
    state: &State,
    item: &TrashItem,
    to: &RelPath,
) -> Result<(), TrashError> {
    let from = Place::Trash(item.slot, &item.path);
    files.rename(from, Place::Tree(to), Rename::NoReplace)?;
    forget(state, item)
}

fn forget(state: &State, item: &TrashItem) -> Result<(), TrashError> {
    state.update(Durability::Lazy, |tx| {
        tx.set_trashed(item.slot, &item.path, None)?;
        Ok(())
    })
}

/// What the state does not know is compared with the time at which it was taken away.
fn is_late(files: &dyn Files, state: &State, item: &TrashItem) -> Result<bool, TrashError> {
    let stat = files.stat(Place::Trash(item.slot, &item.path))?;
    let Some(stat) = stat.filter(|stat| stat.kind == Kind::File) else {
        return Ok(false);
    };
    let known = state.snapshot()?.trashed_at(item.slot, &item.path)?;
    Ok(known.map_or_else(
        || stat.mtime.max(0).cast_unsigned() / 1_000_000 > item.slot.time_ms,
        |known| known.is_late_write(&stat),
    ))
}

fn walk(
    files: &dyn Files,
    state: &State,
    slot: TrashSlot,
    items: &mut Vec<TrashItem>,
) -> Result<(), TrashError> {
    let snapshot = state.snapshot()?;
    let mut found = Vec::new();
    each(files, slot, &mut |path, _| found.push(path))?;
    for path in found {
        let entry = snapshot.trashed_at(slot, &path)?.map(|known| known.entry);
        items.push(TrashItem { slot, path, entry });
    }
    Ok(())
}

/// Visits all that one slot holds but directories.
fn each(
    files: &dyn Files,
    slot: TrashSlot,
    visit: &mut dyn FnMut(RelPath, &Stat),
) -> Result<(), FilesError> {
    let mut stack = vec![RelPath::root()];
    while let Some(dir) = stack.pop() {
        for found in files.list(Place::Trash(slot, &dir))? {
            let path = dir.join(&found.name);
            match found.stat.kind {
                Kind::Dir => stack.push(path),
                _ => visit(path, &found.stat),
            }
        }
    }
    Ok(())
}

fn remove_dirs(
    files: &dyn Files,
    slot: TrashSlot,
    dir: &RelPath,
    depth: usize,
) -> Result<(), FilesError> {
    if depth == 0 {
        return Ok(());
    }
    for found in files.list(Place::Trash(slot, dir))? {
        if found.stat.kind == Kind::Dir {
            remove_dirs(files, slot, &dir.join(&found.name), depth - 1)?;
        }
    }
    match files.remove_dir(Place::Trash(slot, dir)) {
        // Late writes are left in it.
        Err(error) if error.is(Problem::NotEmpty) => Ok(()),
        done => done,
    }
}
