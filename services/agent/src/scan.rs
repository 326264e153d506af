//! The scan: what on disk differs from the index becomes edits of the working tree.
//!
//! Guarantees: an unchanged file is never read. A delete is inferred only from knowledge: the path
//! has a row, no exception, and is gone. What cannot be read, is ignored or is no file keeps what
//! the synced tree has. A file that changes while it is read keeps its old entry and is reported
//! busy. A renamed directory is re-keyed, its files are looked at but not read. When an exception
//! ends, its path leaves the synced tree in the same transaction, so that it is merged without an
//! ancestor.
//! Does not: publish anything, or judge deletes (the driver holds them).
//! Place: the sync thread calls [`scan`]; threads list and hash, the calling thread alone writes
//! the state.
//!
//! ```text
//! jobs (directories, names, files to hash) -> workers -> bounded channel -> recorder: rows, edits, nodes
//! ```
//! Until a scan has returned, the working tree in the state may be half of it: publish only what a
//! scan returned.

mod hash;
mod record;
mod scope;
mod visit;
mod workers;

use fsync_core::exception::Exception;
use fsync_core::nodes::NodesError;
use fsync_core::path::RelPath;
use fsync_core::revision::MoveHint;

use crate::files::{Files, FilesError, Place, Problem, Stat};
use crate::state::{Durability, Roots, State, StateError, key};

pub use hash::{Hashed, as_kept, hash_file, hash_link, read_again};
pub(crate) use visit::is_only_excepted;

/// A root that lost all of more than this many files is taken for an unmounted or emptied one, not
/// for deletes.
const EMPTIED_FILES: u64 = 20;

/// What to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// The whole folder.
    Whole,
    /// These paths; a path that is new is always looked at with all below it.
    Paths(Vec<Look>),
}

/// One path to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// The path.
    pub path: RelPath,
    /// Whether to look at all below it too, when it is a directory.
    pub is_deep: bool,
}

/// Counts of a running or finished scan.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Files and links looked at.
    pub seen: u64,
    /// Files and links read.
    pub hashed: u64,
    /// Bytes read.
    pub hashed_bytes: u64,
}

/// What a scan found.
#[derive(Debug, Clone)]
pub struct ScanOutcome {
    /// Both trees after the scan.
    pub roots: Roots,
    /// Whether either of them changed.
    pub is_changed: bool,
    /// Tracked files and links that are gone; what moved with its directory is not counted.
    pub deletes: u64,
    /// Tracked files and links before the scan.
    pub tracked_before: u64,
    /// Renames, from a path before the scan to one after it.
    pub moves: Vec<MoveHint>,
    /// Files that changed while they were read: look again soon.
    pub busy: Vec<RelPath>,
    /// Exceptions that began or changed.
    pub began: Vec<(RelPath, Exception)>,
    /// Exceptions that ended.
    pub ended: Vec<RelPath>,
    /// What it cost.
    pub counts: Counts,
}

/// What is wrong with a folder's root; stops both directions until the user says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RootProblem {
    /// It is not there.
    #[error("the synced folder is missing")]
    Missing,
    /// Another directory or file system stands in its place.
    #[error("the synced folder was replaced by another directory or is not mounted")]
    Replaced,
    /// All its files are gone at once.
    #[error("the synced folder is empty, but held files before")]
    Emptied,
}

/// Why a scan ended early; what it recorded so far holds.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// The root is not what it was.
    #[error("{0}")]
    Root(RootProblem),
    /// The folder could not be read.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// The state could not be read or written.
    #[error(transparent)]
    State(#[from] StateError),
    /// The trees could not be read.
    #[error(transparent)]
    Nodes(#[from] NodesError),
}

/// Whether a root that lost all its files is a hold or, because the user approved it, meant so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RootCheck {
    /// It is an error.
    Hold,
    /// It is taken as it is.
    Accept,
}

/// Scans a part of the folder; calls `progress` now and then.
///
/// # Errors
/// [`ScanError`]; [`ScanError::Root`] before anything is recorded.
pub fn scan(
    files: &dyn Files,
    state: &State,
    scope: &Scope,
    check: RootCheck,
    progress: &mut dyn FnMut(&Counts),
) -> Result<ScanOutcome, ScanError> {
    check_root(files, state, scope, check)?;
    workers::run(files, state, scope, progress)
}

/// Looks whether the root is what it was; the first look remembers it.
///
/// # Errors
/// [`ScanError::Root`] with what is wrong.
pub fn check_root(
    files: &dyn Files,
    state: &State,
    scope: &Scope,
    check: RootCheck,
) -> Result<(), ScanError> {
    let stat = files.root().map_err(|error| match error.problem {
        Problem::NotFound => ScanError::Root(RootProblem::Missing),
        _ => error.into(),
    })?;
    let snapshot = state.snapshot()?;
    let identity = identity(&stat);
    let known = snapshot.value(key::ROOT)?;
    if known.as_deref() == Some(&identity) {
        let may_be_emptied = check == RootCheck::Hold && *scope == Scope::Whole;
        if may_be_emptied
            && snapshot.tracked()? > EMPTIED_FILES
            && files.list(Place::Tree(&RelPath::root()))?.is_empty()
        {
            return Err(ScanError::Root(RootProblem::Emptied));
        }
        return Ok(());
    }
    if known.is_some() {
        return Err(ScanError::Root(RootProblem::Replaced));
    }
    state.update(Durability::Lazy, |tx| {
        tx.set_value(key::ROOT, Some(&identity))
    })?;
    Ok(())
}

/// Takes the directory that stands where the folder was for the folder, durably; `false` if there is
/// none, or it is the folder.
///
/// # Errors
/// [`ScanError`] of the state.
pub fn adopt_root(files: &dyn Files, state: &State) -> Result<bool, ScanError> {
    let Ok(stat) = files.root() else {
        return Ok(false);
    };
    let identity = identity(&stat);
    if state.snapshot()?.value(key::ROOT)?.as_deref() == Some(&identity) {
        return Ok(false);
    }
    state.update(Durability::Durable, |tx| {
        tx.set_value(key::ROOT, Some(&identity))
    })?;
    Ok(true)
}

fn identity(stat: &Stat) -> Vec<u8> {
    let mut bytes = stat.dev.to_le_bytes().to_vec();
    bytes.extend_from_slice(&stat.ino.to_le_bytes());
    bytes.extend_from_slice(&stat.btime.unwrap_or(0).to_le_bytes());
    bytes
}
