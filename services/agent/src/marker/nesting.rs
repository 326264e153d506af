//! Refuses synced folders inside synced folders: each change would travel twice, and two agents
//! would fight.

use std::collections::VecDeque;
use std::fs;
use std::path::Path;

use fsync_core::path::MARKER_DIR;

use super::error::MarkerError;
use super::{CONFIG, read_config};

/// Directories looked into for inner synced folders at first contact; a bound on start-up time. A
/// folder made later inside this one is refused from its own side.
const MOST_DIRECTORIES: usize = 50_000;

/// Refuses a folder below another synced one.
pub(super) fn refuse_outer(dir: &Path) -> Result<(), MarkerError> {
    for outer in dir.ancestors().skip(1) {
        // A marker above that cannot be read is not ours to judge, and need not stop this folder.
        if let Ok(Some(config)) = read_config(outer) {
            return Err(MarkerError::InsideOther {
                dir: dir.to_owned(),
                outer: outer.to_owned(),
                tree: config.tree,
            });
        }
    }
    Ok(())
}

/// Refuses a folder with a synced one somewhere inside. Links are not followed, unreadable parts
/// are passed over.
pub(super) fn refuse_inner(dir: &Path) -> Result<(), MarkerError> {
    let mut queue = VecDeque::from([dir.to_owned()]);
    let mut left = MOST_DIRECTORIES;
    while let Some(at) = queue.pop_front() {
        let Ok(entries) = fs::read_dir(&at) else {
            continue;
        };
        for entry in entries.flatten() {
            if !entry.file_type().is_ok_and(|t| t.is_dir()) {
                continue;
            }
            let path = entry.path();
            if entry.file_name() == MARKER_DIR && path.join(CONFIG).exists() && at != dir {
                return Err(MarkerError::ContainsOther {
                    dir: dir.to_owned(),
                    inner: at,
                });
            }
            if left > 0 {
                left -= 1;
                queue.push_back(path);
            }
        }
    }
    Ok(())
}
