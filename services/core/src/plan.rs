//! The planner: which steps turn a folder as it is into the tree as it shall be.

use crate::node::{Entry, FileEntry};
use crate::path::RelPath;

/// One step of an apply. Steps are in a safe order: run them one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Rename a file, link or directory; `to` is free.
    Move {
        /// Where it stands.
        from: RelPath,
        /// Where it goes.
        to: RelPath,
        /// What it is, as the folder has it.
        was: Entry,
    },
    /// Move a file or link to the trash.
    Remove {
        /// Where it stands.
        path: RelPath,
        /// What stands there.
        was: Entry,
    },
    /// Remove a directory that is empty by now.
    RemoveDir {
        /// Where it stands.
        path: RelPath,
    },
    /// Make a directory; nothing stands there by now.
    MakeDir {
        /// Where.
        path: RelPath,
    },
    /// Put a file or link where nothing or another file or link stands.
    Put {
        /// Where.
        path: RelPath,
        /// What stands there.
        was: Option<Entry>,
        /// What shall stand there.
        now: Entry,
    },
    /// Change exec bit or modification time of a file whose content stays.
    Meta {
        /// Where.
        path: RelPath,
        /// As it is.
        was: FileEntry,
        /// As it shall be.
        now: FileEntry,
    },
}

impl Step {
    /// Returns the path that the step changes (for a move, where it goes).
    pub fn path(&self) -> &RelPath {
        match self {
            Self::Move { to: path, .. }
            | Self::Remove { path, .. }
            | Self::RemoveDir { path }
            | Self::MakeDir { path }
            | Self::Put { path, .. }
            | Self::Meta { path, .. } => path,
        }
    }
}
