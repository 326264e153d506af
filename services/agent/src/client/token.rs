//! The bearer token: out of a file, which is looked at again, so that a new token needs no restart.
//!
//! Guarantees: a file that others may read is refused; the token is never shown, not even by
//! `Debug`; a file that cannot be read for a while leaves the last good token in place.
//! Does not: check what a token says. The server does.

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use fsync_core::limits;

use super::server_url::ServerUrl;

/// Time between two looks at the file.
const LOOK: Duration = Duration::from_millis(500);
/// What others may not do with the file: anything.
const OTHERS: u32 = 0o077;

/// A token.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

impl Token {
    /// Takes the text of a file or of the user.
    ///
    /// # Errors
    /// What is wrong with it, without repeating it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let text = text.trim();
        if text.is_empty() {
            return Err("it is empty");
        }
        if text.len() > limits::TOKEN_BYTES {
            return Err("it is too long for a token");
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("a token is one line without spaces");
        }
        Ok(Self(text.to_owned()))
    }

    /// Returns the text, to be sent.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// Why a token's file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// It cannot be read or written.
    #[error("the token file {path} cannot be used: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Others may read it.
    #[error("the token file {path} may be read by others: chmod 600 {path}")]
    Open {
        /// Which.
        path: PathBuf,
    },
    /// It does not hold a token.
    #[error("the token file {path} does not hold one token: {reason}")]
    Content {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        reason: &'static str,
    },
    /// Nothing says where configuration goes.
    #[error("neither XDG_CONFIG_HOME nor HOME is an absolute path: give --token-file FILE")]
    NoHome,
}

/// When and how large a file was.
type Stamp = (i64, i64, u64, u64);

#[derive(Debug, Default)]
struct State {
    token: Option<Token>,
    stamp: Option<Stamp>,
    looked: Option<Instant>,
}

/// Where the token comes from; clones share it.
#[derive(Debug, Clone, Default)]
pub struct TokenSource(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    path: Option<PathBuf>,
    state: Mutex<State>,
}

impl TokenSource {
    /// Reads a file that must be there.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn file(path: &Path) -> Result<Self, TokenError> {
        let (token, stamp) = read(path)?;
        Ok(Self::over(path, Some((token, stamp))))
    }

    /// Reads a file that may come later: what `login` stores.
    ///
    /// # Errors
    /// [`TokenError`] for one that is there and cannot be used.
    pub fn stored(path: &Path) -> Result<Self, TokenError> {
        match read(path) {
            Ok(read) => Ok(Self::over(path, Some(read))),
            Err(TokenError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Ok(Self::over(path, None))
            }
            Err(error) => Err(error),
        }
    }

    fn over(path: &Path, read: Option<(Token, Stamp)>) -> Self {
        let (token, stamp) = read.unzip();
        let state = State {
            token,
            stamp,
            looked: Some(Instant::now()),
        };
        Self(Arc::new(Inner {
            path: Some(path.to_owned()),
            state: Mutex::new(state),
        }))
    }

    /// Returns the token of now.
    pub fn current(&self) -> Option<Token> {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = state.looked.is_none_or(|at| at.elapsed() >= LOOK);
        if let Some(path) = self.0.path.as_deref().filter(|_| is_due) {
            state.looked = Some(Instant::now());
            if stamp_of(path).is_some_and(|now| state.stamp != Some(now)) {
                match read(path) {
                    Ok((token, stamp)) => {
                        tracing::info!("the token was read again");
                        state.token = Some(token);
                        state.stamp = Some(stamp);
                    }
                    Err(error) => tracing::warn!(%error, "the token before stays in use"),
                }
            }
        }
        state.token.clone()
    }

    /// Waits for another token than `used`; `false` if none came in time.
    pub async fn changed(&self, used: Option<&Token>, patience: Duration) -> bool {
        let end = Instant::now() + patience;
        loop {
            if self.current().as_ref() != used {
                return true;
            }
            if self.0.path.is_none() || Instant::now() > end {
                return false;
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

fn stamp_of(path: &Path) -> Option<Stamp> {
    let about = fs::metadata(path).ok()?;
    Some((about.mtime(), about.mtime_nsec(), about.ino(), about.len()))
}

fn read(path: &Path) -> Result<(Token, Stamp), TokenError> {
    let io = |source| TokenError::Io {
        path: path.to_owned(),
        source,
    };
    let about = fs::metadata(path).map_err(io)?;
    // One of another owner, as containers get them, is that owner's business.
    let is_ours = about.uid() == rustix::process::getuid().as_raw();
    if is_ours && about.mode() & OTHERS != 0 {
        return Err(TokenError::Open {
            path: path.to_owned(),
        });
    }
    let content = |reason| TokenError::Content {
        path: path.to_owned(),
        reason,
    };
    if about.len() > 2 * limits::TOKEN_BYTES as u64 {
        return Err(content("it is too large"));
    }
    let text = fs::read_to_string(path).map_err(io)?;
    let token = Token::parse(&text).map_err(content)?;
    let stamp = (about.mtime(), about.mtime_nsec(), about.ino(), about.len());
    Ok((token, stamp))
}

/// Returns where `login` keeps the token for a server.
///
/// # Errors
/// [`TokenError::NoHome`].
pub fn stored_path(server: &ServerUrl) -> Result<PathBuf, TokenError> {
    let from_env = |name: &str| {
        let path = std::env::var_os(name).map(PathBuf::from);
        path.filter(|path| path.is_absolute())
    };
    let root = from_env("XDG_CONFIG_HOME")
        .or_else(|| Some(from_env("HOME")?.join(".config")))
        .ok_or(TokenError::NoHome)?;
    let name: String = server.to_string();
    let plain = |c: char| match c {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '.' | '-' => c,
        _ => '_',
    };
    let name: String = name.chars().map(plain).collect();
    Ok(root.join("fsync").join("tokens").join(name))
}

/// Stores a token where only the user can read it; replaces one before as a whole.
///
/// # Errors
/// [`TokenError::Io`].
pub fn store(path: &Path, token: &Token) -> Result<(), TokenError> {
    let io = |source| TokenError::Io {
        path: path.to_owned(),
        source,
    };
    let write = || {
        if let Some(dir) = path.parent() {
            let mut builder = fs::DirBuilder::new();
            std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
            builder.recursive(true).create(dir)?;
        }
        let mut new = path.as_os_str().to_owned();
        new.push(format!(".{}.new", std::process::id()));
        let new = PathBuf::from(new);
        let mut options = fs::OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let mut file = options.open(&new)?;
        writeln!(file, "{}", token.expose())?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    write().map_err(io)
}
