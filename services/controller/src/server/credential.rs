//! The controller's own credential for the admin API: out of a file, which is read again, so that a
//! new one needs no restart.
//!
//! Guarantees: a file that cannot be read for a while leaves the last good credential in place; its
//! text is never shown.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use fsync_core::limits;

/// Time between two looks at the file.
const LOOK: Duration = Duration::from_secs(1);

/// Why there is no credential.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// The file cannot be read.
    #[error("the credential {path} (--admin-token-file) cannot be read: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file holds something else.
    #[error("{path} (--admin-token-file) does not hold one credential: a line without spaces")]
    Content {
        /// Which.
        path: PathBuf,
    },
}

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Hidden(String);

impl Hidden {
    /// Returns the text, to be sent.
    pub(super) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hidden")
    }
}

/// Where the credential comes from; clones share it.
#[derive(Debug, Clone)]
pub struct Credential(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    read: Mutex<Option<(Hidden, Instant)>>,
}

impl Credential {
    /// Takes a file, which may come later.
    pub fn file(path: &Path) -> Self {
        Self(Arc::new(Inner {
            path: path.to_path_buf(),
            read: Mutex::new(None),
        }))
    }

    /// Returns the credential of now.
    ///
    /// # Errors
    /// [`CredentialError`] if there was never a good one.
    pub fn current(&self) -> Result<Hidden, CredentialError> {
        self.at(Instant::now())
    }

    fn at(&self, now: Instant) -> Result<Hidden, CredentialError> {
        let mut kept = self.0.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((hidden, read)) = kept.as_ref()
            && now.saturating_duration_since(*read) < LOOK
        {
            return Ok(hidden.clone());
        }
        match (read(&self.0.path), kept.as_mut()) {
            (Ok(hidden), _) => {
                *kept = Some((hidden.clone(), now));
                Ok(hidden)
            }
            (Err(error), Some((hidden, at))) => {
                tracing::warn!(%error, "the last good credential is used");
                *at = now;
                Ok(hidden.clone())
            }
            (Err(error), None) => Err(error),
        }
    }
}

fn read(path: &Path) -> Result<Hidden, CredentialError> {
    let text = std::fs::read_to_string(path).map_err(|source| CredentialError::Io {
        path: path.to_path_buf(),
        source,
    })?;
    let text = text.trim();
    let is_good = (1..=limits::TOKEN_BYTES).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_good {
        return Err(CredentialError::Content {
            path: path.to_path_buf(),
        });
    }
    Ok(Hidden(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_credential_is_taken_and_a_bad_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let credential = Credential::file(&path);
        let mut now = Instant::now();
        let mut next = |text: Option<&str>| {
            match text {
                Some(text) => std::fs::write(&path, text).unwrap(),
                None => std::fs::remove_file(&path).unwrap(),
            }
            now += LOOK;
            credential.at(now).map(|hidden| hidden.expose().to_owned())
        };
        assert!(matches!(
            next(Some("two words")),
            Err(CredentialError::Content { .. })
        ));
        assert_eq!(next(Some("first\n")).unwrap(), "first");
        assert_eq!(next(Some("second")).unwrap(), "second");
        assert_eq!(next(Some("")).unwrap(), "second");
        assert_eq!(next(None).unwrap(), "second");
    }

    #[test]
    fn it_is_never_shown() {
        let hidden = Hidden("text".to_owned());
        assert_eq!(format!("{hidden:?}"), "Hidden");
    }
}
