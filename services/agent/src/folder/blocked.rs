//! Paths where the head's entry could not be put: tried again when that may have become possible.
//!
//! An apply that the disk refuses (no permission, a name that it cannot hold, ignored files in a
//! directory) leaves an exception, and both trees carry the head's entry there. The exception ends
//! when the directory of the path was touched, when the head has something else there, at a start,
//! an overflow or a flush, and every now and then. Then the trees say again what the path has,
//! so that the head's entry is one more thing to apply. What cannot be read is looked at as often.

use std::sync::Arc;
use std::time::Duration;

use fsync_core::clock::Moment;
use fsync_core::engine::Input;
use fsync_core::engine::changes::Change;
use fsync_core::exception::Exception;
use fsync_core::id::ObjectId;
use fsync_core::node::Entry;
use fsync_core::nodes::NewNodes;
use fsync_core::path::RelPath;
use fsync_core::tree;

use super::{Folder, FolderError, FolderInput, Now};
use crate::edits::Edits;
use crate::state::{Durability, StateError, Tx};

/// Pause before blocked paths are tried again.
const PAUSE_MIN: Duration = Duration::from_secs(60);
/// Longest pause; each is twice the one before, unless something else led to a try in between.
const PAUSE_MAX: Duration = Duration::from_secs(960);

/// When blocked paths are tried again.
#[derive(Debug)]
pub(super) struct Blocked {
    /// An apply was refused, or something could not be read, since the time was last set.
    is_new: bool,
    /// There may be blocked paths.
    may_be: bool,
    pause: Duration,
    /// How much longer the next pause is: twice, if the time alone made the last try.
    factor: u32,
    look: Option<Moment>,
    /// Paths to be scanned because they are no longer blocked.
    released: Vec<RelPath>,
}

impl Default for Blocked {
    fn default() -> Self {
        Self {
            is_new: false,
            may_be: true,
            pause: Duration::ZERO,
            factor: 1,
            look: None,
            released: Vec::new(),
        }
    }
}

impl Blocked {
    /// Something is refused that may be possible later.
    pub(super) fn note(&mut self) {
        (self.is_new, self.may_be) = (true, true);
    }

    /// Returns what a comparison found to be no longer blocked.
    pub(super) fn take_released(&mut self) -> Option<Input> {
        let released = std::mem::take(&mut self.released);
        (!released.is_empty()).then_some(Input::Decided { released })
    }

    /// Returns when blocked paths are tried again; sets the time if there are new ones.
    pub(super) fn wake(&mut self, now: Moment) -> Option<Moment> {
        if std::mem::take(&mut self.is_new) && self.look.is_none() {
            let factor = std::mem::replace(&mut self.factor, 1);
            self.pause = self
                .pause
                .saturating_mul(factor)
                .clamp(PAUSE_MIN, PAUSE_MAX);
            self.look = Some(now.after(self.pause));
        }
        self.look
    }
}

impl Folder {
    /// Ends what an input or the time says to try again.
    pub(super) fn unblock(
        &mut self,
        input: &FolderInput,
        now: Now,
    ) -> Result<Option<Input>, FolderError> {
        if !self.blocked.may_be {
            return Ok(None);
        }
        let is_due = self.blocked.look.is_some_and(|at| at <= now.moment);
        let is_asked = match input {
            FolderInput::Overflow | FolderInput::Flush(_) => true,
            FolderInput::Changed(changes) => {
                let blocked = self.parts.state.snapshot()?.blocked()?;
                blocked.iter().any(|(path, _)| touches(changes, path))
            }
            _ => false,
        };
        if !is_due && !is_asked {
            return Ok(None);
        }
        self.blocked.factor = if is_asked { 1 } else { 2 };
        let released = self.unblock_all()?;
        Ok((!released.is_empty()).then_some(Input::Decided { released }))
    }

    /// Tries everything again.
    pub(super) fn unblock_all(&mut self) -> Result<Vec<RelPath>, FolderError> {
        let mut found = self.unblock_where(|_| true)?;
        let is_unreadable =
            |(path, why)| matches!(why, Exception::Unreadable { .. }).then_some(path);
        let all = self
            .parts
            .state
            .snapshot()?
            .exceptions_within(&RelPath::root())?;
        // A scan finds out whether they can be read by now.
        let unreadable: Vec<RelPath> = all.into_iter().filter_map(is_unreadable).collect();
        self.blocked.look = None;
        self.blocked.is_new = !unreadable.is_empty();
        found.extend(unreadable);
        if found.is_empty() {
            (self.blocked.may_be, self.blocked.pause) = (false, Duration::ZERO);
        }
        Ok(found)
    }

    /// Ends the exceptions of paths where this head has something else than what was refused; says
    /// whether there were any, which are to be scanned then.
    pub(super) fn unblock_changed(&mut self, head_root: &ObjectId) -> Result<bool, FolderError> {
        if !self.blocked.may_be {
            return Ok(false);
        }
        let state = Arc::clone(&self.parts.state);
        let snapshot = state.snapshot()?;
        let working = snapshot.roots()?.working;
        let mut changed = Vec::new();
        for (path, _) in snapshot.blocked()? {
            let refused = tree::lookup(&*state, &working, &path)?;
            if tree::lookup(&*state, head_root, &path)? != refused {
                changed.push(path);
            }
        }
        drop(snapshot);
        self.blocked.released = self.unblock_where(|path| changed.contains(path))?;
        Ok(!self.blocked.released.is_empty())
    }

    /// Ends the exceptions of the blocked paths that `choose` names; returns them.
    fn unblock_where(
        &mut self,
        mut choose: impl FnMut(&RelPath) -> bool,
    ) -> Result<Vec<RelPath>, FolderError> {
        let state = Arc::clone(&self.parts.state);
        let mut blocked = state.snapshot()?.blocked()?;
        blocked.retain(|(path, _)| choose(path));
        if blocked.is_empty() {
            return Ok(Vec::new());
        }
        tracing::debug!(?blocked, "blocked paths are tried again");
        state.update::<_, FolderError>(Durability::Lazy, |tx| {
            let mut edits = Edits::new(&state, tx.roots()?);
            for (path, synced) in &blocked {
                tx.set_exception(path, None)?;
                put_back(tx, &mut edits, path, *synced)?;
            }
            edits.write(tx)
        })?;
        self.is_durable = false;
        Ok(blocked.into_iter().map(|(path, _)| path).collect())
    }

    /// Returns the directories that blocked paths had: their nodes must be kept.
    pub(super) fn blocked_roots(&self) -> Result<Vec<ObjectId>, StateError> {
        let blocked = self.parts.state.snapshot()?.blocked()?;
        let entries = blocked.into_iter().filter_map(|(_, synced)| synced);
        Ok(entries.filter_map(|entry| entry.as_dir()).collect())
    }
}

/// Lets both trees say again what is at a path: the synced one what it had, where it still has the
/// directory; the working one what the index has, with what else is excepted there as it was synced.
fn put_back(
    tx: &Tx<'_>,
    edits: &mut Edits<'_>,
    path: &RelPath,
    synced: Option<Entry>,
) -> Result<(), FolderError> {
    let dir = path.parent().unwrap_or_default();
    let has_dir = edits.lookup_synced(&dir)?;
    if dir.is_root() || has_dir.is_some_and(|entry| entry.as_dir().is_some()) {
        edits.set_synced(path, synced);
    }
    // Directories that are gone stood in the working tree for the sake of what was excepted in them.
    let at = unindexed(tx, path)?.unwrap_or_else(|| path.clone());
    let mut new = NewNodes::default();
    let there = tx.indexed(&at, &mut new)?;
    edits.absorb(new);
    edits.set_working(&at, there);
    for (path, why) in tx.exceptions_within(&at)? {
        // A held delete is one of this folder: the working tree does not have the path.
        if why != Exception::Held {
            edits.restore(&path)?;
        }
    }
    Ok(())
}

/// Returns the first path on the way to this one, itself included, that the index does not have.
fn unindexed(tx: &Tx<'_>, path: &RelPath) -> Result<Option<RelPath>, StateError> {
    let mut at = RelPath::root();
    for name in path.names() {
        at = at.join(&name);
        if tx.row_at(&at)?.is_none() {
            return Ok(Some(at));
        }
    }
    Ok(None)
}

/// Whether a change is one of the directory that holds the path: its permissions, perhaps.
fn touches(changes: &[Change], path: &RelPath) -> bool {
    path.parent()
        .is_some_and(|dir| changes.iter().any(|change| change.path == dir))
}
