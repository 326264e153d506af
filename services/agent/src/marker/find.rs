//! Finds the synced folder that a verb is about.
//!
//! Guarantees: a folder whose directory is missing or was replaced, and has no marker therefore, is
//! found too: by its state. Does not: change anything.
//! Place: every verb but `sync`.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::{CONFIG, Config, MarkerError, STATE_OF, StateOf, read_config, read_json, state_root};

/// Finds the synced folder that `path` is or lies in; with `state_dir`, the one whose state that
/// is.
///
/// # Errors
/// [`MarkerError::NotSynced`] and what reading may meet.
pub fn find(path: &Path, state_dir: Option<&Path>) -> Result<(PathBuf, Config), MarkerError> {
    let missing = |error| MarkerError::of_dir(path, error);
    if let Some(state_dir) = state_dir {
        let found = of_state(state_dir)?;
        return found.ok_or_else(|| MarkerError::NoState {
            state_dir: state_dir.to_owned(),
        });
    }
    let (start, error) = match fs::canonicalize(path) {
        Ok(start) => (start, None),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let start = std::path::absolute(path).map_err(missing)?;
            (start, Some(error))
        }
        Err(error) => return Err(missing(error)),
    };
    for dir in start.ancestors() {
        if let Some(config) = read_config(dir)? {
            return Ok((dir.to_owned(), config));
        }
    }
    let without_marker = state_root().ok().and_then(|root| by_state(&root, &start));
    without_marker.ok_or_else(|| match error {
        Some(error) => missing(error),
        None => MarkerError::NotSynced { dir: start },
    })
}

/// Looks among the states below `root` for that of a folder that `path` is or lies in; the last
/// used one, if the folder had several in its time.
pub(super) fn by_state(root: &Path, path: &Path) -> Option<(PathBuf, Config)> {
    let states = fs::read_dir(root).ok()?.flatten();
    let found = states.filter_map(|state| {
        // One that cannot be read is another folder's trouble.
        let (dir, config) = of_state(&state.path()).ok()??;
        let used = fs::metadata(state.path().join(STATE_OF)).and_then(|meta| meta.modified());
        path.starts_with(&dir)
            .then_some((used.ok()?, (dir, config)))
    });
    let last = found.max_by_key(|(used, _)| *used);
    last.map(|(_, folder)| folder)
}

/// Returns the folder that a state belongs to.
fn of_state(state_dir: &Path) -> Result<Option<(PathBuf, Config)>, MarkerError> {
    let of: Option<StateOf> = read_json(&state_dir.join(STATE_OF))?;
    let config: Option<Config> = read_json(&state_dir.join(CONFIG))?;
    Ok(of.zip(config).map(|(of, config)| (of.dir, config)))
}
