//! The trash: what apply took away, kept for a while, looked at again before it goes.
//!
//! Guarantees: nothing is removed for good that was written to after it went to the trash; such a late write is reported
//! so that its content becomes a conflict copy. Nothing outside the trash is removed.
//! Does not: decide how long things are kept, or where a restored file goes.
//! Place: `apply` fills it; the sync thread expires it once a day and restores from it when the user asks.

use std::time::Duration;

use fsync_core::node::Entry;
use fsync_core::path::RelPath;

use crate::files::{Files, FilesError, Kind, Place, Problem, Rename, TrashSlot};
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

/// What an expiry did.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Expired {
    /// Files and links that were removed for good.
    pub removed: u64,
    /// What was written to after it went to the trash; it is still there.
    pub late: Vec<TrashItem>,
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

/// Finds what was written to after it went to the trash: a program still had it open.
///
/// # Errors
/// [`TrashError`] of the disk or the state.
pub fn late_writes(files: &dyn Files, state: &State) -> Result<Vec<TrashItem>, TrashError> {
    let mut late = Vec::new();
    for item in list(files, state)? {
        if is_late(files, state, &item)? {
            late.push(item);
        }
    }
    Ok(late)
}

/// Removes for good what is in the trash for longer than `keep`.
///
/// # Errors
/// [`TrashError`]; what was removed until then stays removed.
pub fn expire(files: &dyn Files, state: &State, keep: Duration) -> Result<Expired, TrashError> {
    let now_ms = files.now().max(0).cast_unsigned() / 1_000_000;
    let keep_ms = u64::try_from(keep.as_millis()).unwrap_or(u64::MAX);
    let mut expired = Expired::default();
    for slot in files.trash_slots()? {
        if slot.time_ms.saturating_add(keep_ms) > now_ms {
            continue;
        }
        let mut items = Vec::new();
        walk(files, state, slot, &mut items)?;
        for item in items {
            if is_late(files, state, &item)? {
                expired.late.push(item);
                continue;
            }
            files.remove_file(Place::Trash(slot, &item.path))?;
            forget(state, &item)?;
            expired.removed += 1;
        }
        remove_dirs(files, slot, &RelPath::root(), DEPTH)?;
    }
    Ok(expired)
}

/// Puts something back into the tree, where nothing may stand.
///
/// # Errors
/// [`TrashError`]; [`Problem::Exists`] if the path is taken, [`Problem::NotFound`] if its directory is missing.
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

fn is_late(files: &dyn Files, state: &State, item: &TrashItem) -> Result<bool, TrashError> {
    let Some(known) = state.snapshot()?.trashed_at(item.slot, &item.path)? else {
        return Ok(false);
    };
    let stat = files.stat(Place::Trash(item.slot, &item.path))?;
    Ok(stat.is_some_and(|stat| known.is_late_write(&stat)))
}

fn walk(
    files: &dyn Files,
    state: &State,
    slot: TrashSlot,
    items: &mut Vec<TrashItem>,
) -> Result<(), TrashError> {
    let snapshot = state.snapshot()?;
    let mut stack = vec![RelPath::root()];
    while let Some(dir) = stack.pop() {
        for found in files.list(Place::Trash(slot, &dir))? {
            let path = dir.join(&found.name);
            if found.stat.kind == Kind::Dir {
                stack.push(path);
                continue;
            }
            let entry = snapshot.trashed_at(slot, &path)?.map(|known| known.entry);
            items.push(TrashItem { slot, path, entry });
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
