//! A rename that changes only the spelling, on a disk that takes both for one name, goes by way of
//! the stage. What a crash left there is a user's file or directory: it goes back to where it was,
//! and the rename is made again.

use fsync_core::path::RelPath;

use super::{Recovered, hash_staged, rescue};
use crate::apply::ApplyError;
use crate::files::{Files, Place, Problem, Rename, StageKey, Stat};
use crate::state::{Intent, State, Trashed};

/// Gives back what stands between two spellings. If its path is taken by now, a file goes to the
/// trash; a directory stays where it is until its path is free.
pub(super) fn give_back(
    files: &dyn Files,
    state: &State,
    intents: &[(RelPath, Intent)],
    recovered: &mut Recovered,
) -> Result<(), ApplyError> {
    for key in files.staged()? {
        let at = Place::Stage(&key);
        let Some(stat) = files.stat(at)?.filter(|_| key.is_respelled()) else {
            continue;
        };
        if let Some(path) = origin(state, intents, &stat)?
            && back(files, at, &path)?
        {
            recovered.given_back.push(path);
        } else if let Some((entry, stat)) = hash_staged(files, &key)? {
            let trashed = Trashed::new(entry, &stat);
            recovered
                .rescued
                .push(rescue(files, state, &key, &trashed)?);
        } else {
            tracing::error!(place = %at, "something of yours stands here and its path is taken");
        }
    }
    Ok(())
}

fn back(files: &dyn Files, at: Place<'_>, path: &RelPath) -> Result<bool, ApplyError> {
    match files.rename(at, Place::Tree(path), Rename::NoReplace) {
        Ok(()) => Ok(true),
        Err(error) if error.is(Problem::Exists) || error.is(Problem::NotStorable) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Returns the path that a rename was to take something away from: the one whose row has its inode.
fn origin(
    state: &State,
    intents: &[(RelPath, Intent)],
    stat: &Stat,
) -> Result<Option<RelPath>, ApplyError> {
    let snapshot = state.snapshot()?;
    for (path, intent) in intents {
        let leaves = intent.expected.disk.is_some() && intent.target.disk.is_none();
        let row = snapshot.row_at(path)?;
        if leaves && row.is_some_and(|row| row.stamp.is_inode(stat)) {
            return Ok(Some(path.clone()));
        }
    }
    Ok(None)
}

/// Returns whether a key is none of recovery's to clean.
pub(super) fn keeps(key: &StageKey) -> bool {
    key.is_respelled()
}
