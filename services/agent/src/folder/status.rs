//! What a folder tells of itself, for `status`.

use fsync_core::conflict;
use fsync_core::exception::Exception;
use fsync_core::node::Entry;
use fsync_core::path::RelPath;
use fsync_core::plan::{self, Skip};
use fsync_core::tree;
use fsync_core::wire::Head;

use super::hold::{self, HoldKind};
use super::{Folder, FolderError};
use crate::state::State;

/// How a folder stands.
#[derive(Debug, Clone, Default)]
pub struct FolderStatus {
    /// The base.
    pub base: Option<Head>,
    /// Files and links in the folder.
    pub files: u64,
    /// Paths that differ from the synced tree or wait to be acknowledged.
    pub unsent: u64,
    /// All exceptions.
    pub exceptions: Vec<(RelPath, Exception)>,
    /// Deletes of this folder that are held.
    pub held_out: u64,
    /// Deletes of others that are held.
    pub held_in: u64,
    /// What is wrong with the root.
    pub root_problem: Option<String>,
    /// Why the head cannot be applied, for people.
    pub stuck: Option<String>,
}

/// What only a walk of the tree tells.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Survey {
    /// Bytes of its files.
    pub bytes: u64,
    /// Conflict copies in it.
    pub conflicts: u64,
}

/// Walks the tree as last scanned. Any thread may: the folder goes on meanwhile.
///
/// # Errors
/// [`FolderError`] of the state.
pub fn survey(state: &State) -> Result<Survey, FolderError> {
    let working = state.snapshot()?.roots()?.working;
    let mut survey = Survey::default();
    tree::walk(state, &working, &mut |path, entry| {
        if let Entry::File(file) = entry {
            survey.bytes += file.size;
        }
        survey.conflicts += u64::from(is_copy(path));
    })?;
    Ok(survey)
}

fn is_copy(path: &RelPath) -> bool {
    path.split_last()
        .is_some_and(|(_, name)| conflict::is_conflict_copy(&name))
}

/// A conflict copy in the folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    /// Where it stands.
    pub path: RelPath,
    /// What it is.
    pub entry: Entry,
}

impl Folder {
    /// Returns how the folder stands; costs what is unsent and excepted.
    ///
    /// # Errors
    /// [`FolderError`] of the state.
    pub fn status(&self) -> Result<FolderStatus, FolderError> {
        let state = &*self.parts.state;
        let snapshot = state.snapshot()?;
        let roots = snapshot.roots()?;
        let exceptions = snapshot.exceptions_within(&RelPath::root())?;
        let mut status = FolderStatus {
            base: snapshot.base()?,
            files: snapshot.tracked()?,
            root_problem: self.root_problem.map(|problem| problem.to_string()),
            stuck: self.stuck(),
            ..FolderStatus::default()
        };
        let skip: Skip = exceptions.iter().map(|(path, _)| path.clone()).collect();
        let steps = plan::plan(
            state,
            (&roots.synced, &roots.working),
            &self.local_moves,
            &skip,
        )?;
        status.unsent = steps.len() as u64;
        for (path, _) in exceptions
            .iter()
            .filter(|(_, exception)| *exception == Exception::Held)
        {
            match hold::side(&snapshot, path)? {
                HoldKind::DeletesIn => status.held_in += 1,
                HoldKind::DeletesOut | HoldKind::Root => status.held_out += 1,
            }
        }
        status.exceptions = exceptions;
        Ok(status)
    }

    /// Returns why the head cannot be applied, for people: the disk is read-only, or what the
    /// service has lost of it, or which rule it breaks.
    pub fn stuck(&self) -> Option<String> {
        let paused = self.pull.paused();
        paused
            .or_else(|| self.pull.lost())
            .or_else(|| self.unusable())
    }

    /// Returns the conflict copies in the folder; walks the tree.
    ///
    /// # Errors
    /// [`FolderError`] of the state.
    pub fn conflict_copies(&self) -> Result<Vec<Copy>, FolderError> {
        let state = &*self.parts.state;
        let working = state.snapshot()?.roots()?.working;
        let mut copies = Vec::new();
        tree::walk(state, &working, &mut |path, entry| {
            if is_copy(path) {
                copies.push(Copy {
                    path: path.clone(),
                    entry: *entry,
                });
            }
        })?;
        Ok(copies)
    }
}
