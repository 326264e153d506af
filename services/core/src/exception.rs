//! Exceptions: paths that the synced tree knows not to be on this disk as the head has them, and
//! why.
//!
//! An excepted path (and all below it) is carried into the agent's revisions with the head's entry
//! and is left alone by apply: unknown is untouched. When an exception ends, the path is merged
//! without an ancestor.

use serde::{Deserialize, Serialize};

/// Why a path is excepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Exception {
    /// The head's version cannot be put here: the reason says what stands in the way.
    Blocked {
        /// What, for people.
        reason: String,
    },
    /// An ignore rule hides it.
    Ignored,
    /// It cannot be read.
    Unreadable {
        /// The system's word for why.
        reason: String,
    },
    /// Its content is not here yet.
    Unfetched,
    /// It is nothing that a tree can hold (socket, device, FIFO).
    Skipped {
        /// What it is, for people.
        what: String,
    },
    /// Its delete waits for the user.
    Held,
    /// It was changed here, and the token only allows to read: it is not sent.
    ReadOnly,
    /// It stands on this disk only: an old version of a path that the head deleted.
    LocalOnly,
}

impl Exception {
    /// Returns whether a scan alone can end it (the others end by the user's or the head's doing).
    pub fn is_seen_by_scan(&self) -> bool {
        matches!(
            self,
            Self::Ignored | Self::Unreadable { .. } | Self::Skipped { .. }
        )
    }
}
