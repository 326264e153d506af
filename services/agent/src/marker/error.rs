//! Why a folder cannot be synced; each message says what, where, why and what to do.

use std::io;
use std::path::{Path, PathBuf};

use fsync_core::label::TreeKey;

/// Why a folder cannot be opened or found.
#[derive(Debug, thiserror::Error)]
pub enum MarkerError {
    /// There is no such folder.
    #[error("the folder {} does not exist; create it first (mkdir -p), or check the path", .dir.display())]
    Missing {
        /// The path as given.
        dir: PathBuf,
    },
    /// It is a file or something else.
    #[error("{} is not a folder; give the folder that is to be synced", .dir.display())]
    NotADirectory {
        /// The path as given.
        dir: PathBuf,
    },
    /// Its marker is a link, or no directory.
    #[error(
        "{} is not a directory of its own, and the agent keeps what it knows of the folder there; remove it",
        .marker.display()
    )]
    NoOwnMarker {
        /// The marker's path.
        marker: PathBuf,
    },
    /// It may not be read.
    #[error("the folder {} cannot be read ({source}); give this user read and write access to it", .dir.display())]
    Unreadable {
        /// The path as given.
        dir: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Another agent runs for it.
    #[error(
        "the folder {} is already synced by a running agent; see `fsync-agent status {}`, or stop that agent first",
        .dir.display(), .dir.display()
    )]
    AlreadySynced {
        /// The folder.
        dir: PathBuf,
    },
    /// Its state directory is used by an agent of another folder.
    #[error(
        "the state directory {} is in use by another running agent; give {} one of its own with --state-dir",
        .state_dir.display(), .dir.display()
    )]
    StateInUse {
        /// The folder.
        dir: PathBuf,
        /// The state directory.
        state_dir: PathBuf,
    },
    /// The state directory holds the state of another folder.
    #[error(
        "the state directory {} holds the state of {}; give another --state-dir",
        .state_dir.display(), .other.display()
    )]
    StateOfOther {
        /// The state directory.
        state_dir: PathBuf,
        /// The folder that it belongs to.
        other: PathBuf,
    },
    /// The state directory would be synced itself.
    #[error(
        "the state directory {} lies inside the synced folder {}; give one outside of it with --state-dir",
        .state_dir.display(), .dir.display()
    )]
    StateInside {
        /// The folder.
        dir: PathBuf,
        /// The state directory.
        state_dir: PathBuf,
    },
    /// The folder lies inside another synced folder.
    #[error(
        "the folder {} lies inside {}, which is synced already with tree {tree}; sync that one alone, or move this folder out of it",
        .dir.display(), .outer.display()
    )]
    InsideOther {
        /// The folder.
        dir: PathBuf,
        /// The synced folder around it.
        outer: PathBuf,
        /// Its tree.
        tree: TreeKey,
    },
    /// The folder contains another synced folder.
    #[error(
        "the folder {} contains {}, which is synced already; move that folder out, or remove its {}/.fsync to give its sync up",
        .dir.display(), .inner.display(), .inner.display()
    )]
    ContainsOther {
        /// The folder.
        dir: PathBuf,
        /// The synced folder inside.
        inner: PathBuf,
    },
    /// The folder belongs to another tree.
    #[error(
        "the folder {} is in step with tree {synced}, not {wished}; use --tree {synced}, or remove {}/.fsync to start anew with {wished}",
        .dir.display(), .dir.display()
    )]
    OtherTree {
        /// The folder.
        dir: PathBuf,
        /// Its tree.
        synced: TreeKey,
        /// The tree asked for.
        wished: TreeKey,
    },
    /// The folder is not synced.
    #[error(
        "{} is not in a synced folder (there is no .fsync in it or above it); start with `fsync-agent sync {} --server URL --tree NAME`",
        .dir.display(), .dir.display()
    )]
    NotSynced {
        /// The folder.
        dir: PathBuf,
    },
    /// A directory that took the place of a folder is another synced folder.
    #[error(
        "what stands at {} now is a synced folder of its own, and stays that; put the old one back, or \
         sync this one from its place with its own tree and --state-dir",
        .dir.display()
    )]
    OtherFolder {
        /// The directory.
        dir: PathBuf,
    },
    /// The directory given as a folder's state is none.
    #[error("{} is not the state directory of a synced folder; leave --state-dir out", .state_dir.display())]
    NoState {
        /// The directory.
        state_dir: PathBuf,
    },
    /// A file of the agent's own does not parse.
    #[error(
        "{} cannot be understood: {reason}; remove {} and start again, no synced file gets lost",
        .path.display(), .path.display()
    )]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// There is no place for the state.
    #[error(
        "neither XDG_STATE_HOME nor HOME is an absolute path; say where the state shall live with --state-dir"
    )]
    NoHome,
    /// A file of the agent's own cannot be read or written.
    #[error("cannot use {}: {source}; check that the disk has room and that this user may write there", .path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

impl MarkerError {
    /// Sorts an error of looking at the folder itself.
    pub(super) fn of_dir(dir: &Path, source: io::Error) -> Self {
        let dir = dir.to_owned();
        match source.kind() {
            io::ErrorKind::NotFound => Self::Missing { dir },
            io::ErrorKind::NotADirectory => Self::NotADirectory { dir },
            _ => Self::Unreadable { dir, source },
        }
    }
}
