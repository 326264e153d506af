//! Verifying: reads every file and looks whether disk, index, trees and head tell the same.
//!
//! Guarantees: changes nothing, on the disk or in the state. What was changed and not looked at yet
//! is no finding: the agent is about to take it for the edit that it is.
//! Memory: one file's read buffer and at most [`LISTED`] findings.
//! Place: a blocking thread of `run`, for the verb `verify`; the folder goes on meanwhile.

use fsync_core::exception::Exception;
use fsync_core::node::Entry;
use fsync_core::path::RelPath;
use fsync_core::tree;

use super::{Folder, FolderError, Parts};
use crate::files::{FilesError, Place, Stat};
use crate::scan::{self, Hashed};
use crate::state::{Row, Snapshot};

/// Findings that are listed; the rest is counted.
pub const LISTED: usize = 1000;

/// Something that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// The content is another one, though nothing says that the file was written: the disk has
    /// damaged it, or something wrote behind the file system's back.
    Rotten,
    /// The disk does not give the content any more.
    Unreadable(String),
    /// The index does not tell of the path what the tree tells.
    Index,
    /// The folder is said to be in step with the head, and is not.
    Head,
}

/// What verifying found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verified {
    /// Files and links that were read and are right.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Paths that changed and were not looked at by the agent yet.
    pub waiting: u64,
    /// Paths that are known not to be on this disk as the head has them.
    pub excepted: u64,
    /// Findings in order of paths; the root's is about the whole folder.
    pub findings: Vec<(RelPath, Finding)>,
    /// Findings in all.
    pub found: u64,
}

impl Verified {
    fn add(&mut self, path: &RelPath, finding: Finding) {
        self.found += 1;
        if self.findings.len() < LISTED {
            self.findings.push((path.clone(), finding));
        }
    }
}

/// What one path turned out to be.
enum Seen {
    Right(u64),
    Waiting,
    Excepted,
    Wrong(Finding),
}

impl Folder {
    /// Returns whether the folder, which is said to be in step, is what the head says.
    ///
    /// # Errors
    /// [`FolderError`] of the state.
    pub fn is_at_head(&self) -> Result<bool, FolderError> {
        let snapshot = self.parts.state.snapshot()?;
        let known = self.engine.head().and_then(|head| self.head.get(&head));
        let Some(known) = known else { return Ok(true) };
        Ok(snapshot.roots()?.synced == known.root || snapshot.has_exceptions()?)
    }
}

/// Reads all files of the folder and compares; `is_stopped` is asked before each.
///
/// # Errors
/// [`FolderError`] of the state or the root.
pub fn verify(parts: &Parts, is_stopped: &dyn Fn() -> bool) -> Result<Verified, FolderError> {
    let mut verified = Verified::default();
    let mut failed = None;
    let working = parts.state.snapshot()?.roots()?.working;
    tree::walk(&*parts.state, &working, &mut |path, entry| {
        if failed.is_some() || is_stopped() {
            return;
        }
        match look(parts, path, entry) {
            Ok(Seen::Right(bytes)) => {
                verified.files += u64::from(!matches!(entry, Entry::Dir(_)));
                verified.bytes += bytes;
            }
            Ok(Seen::Waiting) => verified.waiting += 1,
            Ok(Seen::Excepted) => verified.excepted += 1,
            Ok(Seen::Wrong(finding)) => verified.add(path, finding),
            Err(error) => failed = Some(error),
        }
    })?;
    match failed {
        Some(error) => Err(error),
        None => Ok(verified),
    }
}

fn look(parts: &Parts, path: &RelPath, entry: &Entry) -> Result<Seen, FolderError> {
    // A fresh one each time: one that is held for long keeps the database from reusing space.
    let snapshot = parts.state.snapshot()?;
    if snapshot.excepted(path)?.is_some() {
        return Ok(Seen::Excepted);
    }
    let row = snapshot.row_at(path)?;
    let fits = |entry: &Entry| match (entry, &row) {
        (Entry::Dir(_), Some(row)) => row.dir().is_some(),
        (entry, Some(row)) => row.entry().is_some_and(|there| there.is_same(entry)),
        (_, None) => false,
    };
    if !fits(entry) {
        return index(parts, &snapshot, path, &fits);
    }
    let stat = match parts.files.stat(Place::Tree(path)) {
        Ok(stat) => stat,
        Err(error) => return Ok(unreadable(&error)),
    };
    Ok(match (row, stat) {
        (Some(row), Some(stat)) if row.dir().is_some() => match row.stamp.is_inode(&stat) {
            true => Seen::Right(0),
            false => Seen::Waiting,
        },
        (Some(row), Some(stat)) if row.is_same_stamp(&stat) => content(parts, path, &row, &stat),
        _ => Seen::Waiting,
    })
}

/// The tree that is walked may be an older one by now: only what holds in one moment counts.
fn index(
    parts: &Parts,
    snapshot: &Snapshot,
    path: &RelPath,
    fits: &dyn Fn(&Entry) -> bool,
) -> Result<Seen, FolderError> {
    let working = snapshot.roots()?.working;
    let now = tree::lookup(&*parts.state, &working, path)?;
    Ok(match now {
        Some(entry) if !fits(&entry) => Seen::Wrong(Finding::Index),
        _ => Seen::Waiting,
    })
}

fn content(parts: &Parts, path: &RelPath, row: &Row, stat: &Stat) -> Seen {
    let Some(was) = row.entry() else {
        return Seen::Waiting;
    };
    match scan::read_again(&*parts.files, Place::Tree(path), was) {
        Hashed::Entry { entry, .. } if was.is_same(&entry) => Seen::Right(stat.size),
        // Written while it was read, or so soon after it was last read that its times do not tell.
        Hashed::Entry { stat: after, .. } if after != *stat || row.is_racy() => Seen::Waiting,
        Hashed::Entry { .. } => Seen::Wrong(Finding::Rotten),
        Hashed::Excepted(Exception::Unreadable { reason }) => {
            Seen::Wrong(Finding::Unreadable(reason))
        }
        Hashed::Busy | Hashed::Gone | Hashed::Excepted(_) => Seen::Waiting,
    }
}

fn unreadable(error: &FilesError) -> Seen {
    Seen::Wrong(Finding::Unreadable(error.source.to_string()))
}
