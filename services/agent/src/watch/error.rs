//! Why changes cannot be watched.

use std::path::{Path, PathBuf};

/// Why changes cannot be watched.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The system has no watch left; the message names what to raise.
    #[error(
        "the system's limit of watched directories is reached at {}; raise it with \
         `sudo sysctl fs.inotify.max_user_watches=1048576` (and fs.inotify.max_user_instances=1024)",
        .0.display()
    )]
    Limit(PathBuf),
    /// The system refused otherwise.
    #[error("cannot watch {}", path.display())]
    Refused {
        /// The directory.
        path: PathBuf,
        /// The system's word.
        #[source]
        source: notify::Error,
    },
}

/// Sorts what notify says of a path.
pub(super) fn refused(path: &Path, source: notify::Error) -> WatchError {
    match source.kind {
        notify::ErrorKind::MaxFilesWatch => WatchError::Limit(path.to_owned()),
        _ => WatchError::Refused {
            path: path.to_owned(),
            source,
        },
    }
}
