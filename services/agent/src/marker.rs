//! The marker: `.fsync/config.json` inside a synced folder, which says what the folder is and where
//! its state lives.
//!
//! Guarantees: one agent per folder and one folder per state directory, by locks that end with the
//! process; a folder inside another synced folder, or around one, is refused before anything is
//! written; a copied or moved folder is told from the original. Does not: look at the user's files.
//! Place: `sync` opens a folder here first; every other verb finds its folder here.
//!
//! ```text
//! DIR/.fsync/config.json   what, where (this file)      STATE/folder.json   which DIR it belongs to
//! DIR/.fsync/lock          one agent per folder         STATE/lock          one folder per state directory
//! DIR/.fsync/stage, trash  see apply                    STATE/config.json   as in the marker
//!                                                       STATE/state.redb, STATE/control.sock
//! ```

pub mod error;
mod find;
pub mod lock;
mod nesting;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fsync_core::label::{AgentName, TreeKey};
use fsync_core::path::MARKER_DIR;
use fsync_runtime::fault::{self, Point};
use serde::{Deserialize, Serialize};

use crate::client::ServerUrl;
use crate::client::backoff::jitter;
use crate::control::status::shell_quoted;
pub use error::MarkerError;
pub use find::find;
use lock::Lock;

const CONFIG: &str = "config.json";
const STATE_OF: &str = "folder.json";
const LOCK: &str = "lock";
const CONTROL: &str = "control.sock";
const VERSION: u32 = 1;
/// Letters of the folder's id that end a default agent name.
const NAME_SUFFIX: usize = 4;

/// What `config.json` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// Version of this file.
    pub version: u32,
    /// Random id of this folder on this machine: 16 hex digits.
    pub folder: String,
    /// The tree it is in step with.
    pub tree: TreeKey,
    /// The server, as last given.
    pub server: ServerUrl,
    /// The agent's name.
    pub agent: AgentName,
    /// Where its state lives.
    pub state_dir: PathBuf,
    /// Where its token is, if that was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    /// Certificates to trust beside the system's, if given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
}

/// What `sync` was asked for.
#[derive(Debug, Clone)]
pub struct Wish {
    /// The folder.
    pub dir: PathBuf,
    /// The tree.
    pub tree: TreeKey,
    /// The server.
    pub server: ServerUrl,
    /// The agent's name, if given.
    pub agent: Option<AgentName>,
    /// The state directory, if given.
    pub state_dir: Option<PathBuf>,
    /// The token's file, if given.
    pub token_file: Option<PathBuf>,
    /// The file of certificates, if given.
    pub ca_file: Option<PathBuf>,
}

/// A synced folder that this process holds the locks of.
#[derive(Debug)]
pub struct Claim {
    /// The folder, absolute and without links.
    pub dir: PathBuf,
    /// What it is.
    pub config: Config,
    _folder_lock: Lock,
    state_lock: Arc<Lock>,
}

impl Config {
    /// Returns the path of the control socket.
    pub fn control_path(&self) -> PathBuf {
        self.state_dir.join(CONTROL)
    }
}

impl Claim {
    /// Opens a folder for syncing: checks every rule, makes the marker if there is none, takes both
    /// locks.
    ///
    /// # Errors
    /// [`MarkerError`]; nothing was changed unless it names a write that failed.
    pub fn take(wish: &Wish) -> Result<Self, MarkerError> {
        let dir = usable_dir(&wish.dir)?;
        let known = read_config(&dir)?;
        nesting::refuse_outer(&dir)?;
        if known.is_none() {
            nesting::refuse_inner(&dir)?;
        }
        let marker = dir.join(MARKER_DIR);
        make_dir(&marker)?;
        let folder_lock = lock_or(&marker, || MarkerError::AlreadySynced { dir: dir.clone() })?;
        let config = settle(&dir, known, wish)?;
        make_dir(&config.state_dir)?;
        let state_lock = lock_or(&config.state_dir, || MarkerError::StateInUse {
            dir: dir.clone(),
            state_dir: config.state_dir.clone(),
        })?;
        write_json(
            &config.state_dir.join(STATE_OF),
            &StateOf::of(&dir, &config),
        )?;
        // Beside the state too: a directory that was replaced has no marker.
        write_json(&config.state_dir.join(CONFIG), &config)?;
        write_json(&marker.join(CONFIG), &config)?;
        Ok(Self {
            dir,
            config,
            _folder_lock: folder_lock,
            state_lock: Arc::new(state_lock),
        })
    }

    /// Returns the flag by which verbs find the folder if its directory has no marker, with a space
    /// before it; empty if they find it without.
    pub fn state_flag(&self) -> String {
        let state_dir = &self.config.state_dir;
        match default_state_dir(&self.config.folder) {
            Ok(default) if default == *state_dir => String::new(),
            _ => format!(
                " --state-dir {}",
                shell_quoted(&state_dir.to_string_lossy())
            ),
        }
    }

    /// Opens the directory that stands where the folder was: the same folder as far as tree, agent
    /// and state go.
    ///
    /// # Errors
    /// As [`Claim::take`]; a directory that is a synced folder of its own stays that.
    pub fn renew(&self) -> Result<Self, MarkerError> {
        let dir = usable_dir(&self.dir)?;
        if read_config(&dir)?.is_some_and(|known| known.folder != self.config.folder) {
            return Err(MarkerError::OtherFolder { dir });
        }
        nesting::refuse_outer(&dir)?;
        nesting::refuse_inner(&dir)?;
        let marker = dir.join(MARKER_DIR);
        make_dir(&marker)?;
        let folder_lock = lock_or(&marker, || MarkerError::AlreadySynced { dir: dir.clone() })?;
        write_json(&marker.join(CONFIG), &self.config)?;
        Ok(Self {
            dir,
            config: self.config.clone(),
            _folder_lock: folder_lock,
            state_lock: Arc::clone(&self.state_lock),
        })
    }
}

/// Which folder a state directory belongs to.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct StateOf {
    folder: String,
    tree: TreeKey,
    dir: PathBuf,
}

impl StateOf {
    fn of(dir: &Path, config: &Config) -> Self {
        Self {
            folder: config.folder.clone(),
            tree: config.tree.clone(),
            dir: dir.to_owned(),
        }
    }
}

/// Makes the folder's configuration out of what it was and what is wished.
fn settle(dir: &Path, known: Option<Config>, wish: &Wish) -> Result<Config, MarkerError> {
    let known = match known {
        Some(known) if is_copy(dir, &known)? => None,
        known => known,
    };
    let Some(known) = known else {
        return fresh(dir, wish);
    };
    if known.tree != wish.tree {
        return Err(MarkerError::OtherTree {
            dir: dir.to_owned(),
            synced: known.tree,
            wished: wish.tree.clone(),
        });
    }
    let state_dir = match &wish.state_dir {
        Some(wished) => own_state_dir(dir, wished, &known.folder)?,
        None => known.state_dir,
    };
    Ok(Config {
        server: wish.server.clone(),
        agent: wish.agent.clone().unwrap_or(known.agent),
        state_dir,
        token_file: absolute(wish.token_file.as_deref()),
        ca_file: absolute(wish.ca_file.as_deref()),
        ..known
    })
}

fn fresh(dir: &Path, wish: &Wish) -> Result<Config, MarkerError> {
    let folder = format!("{:016x}", jitter());
    let state_dir = match &wish.state_dir {
        Some(wished) => own_state_dir(dir, wished, &folder)?,
        None => own_state_dir(dir, &default_state_dir(&folder)?, &folder)?,
    };
    let agent = wish
        .agent
        .clone()
        .unwrap_or_else(|| default_agent(&host_name(), &folder));
    Ok(Config {
        version: VERSION,
        folder,
        tree: wish.tree.clone(),
        server: wish.server.clone(),
        agent,
        state_dir,
        token_file: absolute(wish.token_file.as_deref()),
        ca_file: absolute(wish.ca_file.as_deref()),
    })
}

/// Verbs are run from anywhere.
fn absolute(path: Option<&Path>) -> Option<PathBuf> {
    path.and_then(|path| std::path::absolute(path).ok())
}

/// Returns whether `dir` was copied, marker and all, from a folder that still exists.
fn is_copy(dir: &Path, known: &Config) -> Result<bool, MarkerError> {
    let of: Option<StateOf> = read_json(&known.state_dir.join(STATE_OF))?;
    let Some(of) = of else {
        return Ok(false);
    };
    if of.dir == dir {
        return Ok(false);
    }
    let original = read_config(&of.dir).unwrap_or(None);
    Ok(original.is_some_and(|c| c.folder == known.folder))
}

/// Checks that a given state directory is free or this folder's, and is not inside the folder.
fn own_state_dir(dir: &Path, wished: &Path, folder: &str) -> Result<PathBuf, MarkerError> {
    let io = |source| MarkerError::Io {
        path: wished.to_owned(),
        source,
    };
    // Looked at before it is made, so that a refusal leaves nothing behind: the nearest part that
    // exists tells.
    let wished = std::path::absolute(wished).map_err(io)?;
    let existing = wished.ancestors().find_map(|p| {
        let real = fs::canonicalize(p).ok()?;
        Some(real.join(wished.strip_prefix(p).ok()?))
    });
    let state_dir = existing.unwrap_or(wished);
    if state_dir.starts_with(dir) {
        return Err(MarkerError::StateInside {
            dir: dir.to_owned(),
            state_dir,
        });
    }
    let of: Option<StateOf> = read_json(&state_dir.join(STATE_OF))?;
    match of {
        Some(of) if of.folder != folder && of.dir != dir => Err(MarkerError::StateOfOther {
            state_dir,
            other: of.dir,
        }),
        _ => Ok(state_dir),
    }
}

fn default_state_dir(folder: &str) -> Result<PathBuf, MarkerError> {
    Ok(state_root()?.join(folder))
}

/// Returns where states are kept that were not given a place of their own.
fn state_root() -> Result<PathBuf, MarkerError> {
    let from_env = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|p| p.is_absolute())
    };
    let root = from_env("XDG_STATE_HOME")
        .or_else(|| from_env("HOME").map(|home| home.join(".local/state")))
        .ok_or(MarkerError::NoHome)?;
    Ok(root.join("fsync"))
}

fn host_name() -> String {
    ["/proc/sys/kernel/hostname", "/etc/hostname"]
        .into_iter()
        .find_map(|path| fs::read_to_string(path).ok())
        .or_else(|| std::env::var("HOSTNAME").ok())
        .map_or_else(|| "agent".to_owned(), |name| name.trim().to_owned())
}

/// Returns the host's short name and a few characters of the folder's id.
fn default_agent(host: &str, folder: &str) -> AgentName {
    let short = host.split('.').next().unwrap_or_default();
    let short: String = short.chars().take(40).collect();
    AgentName::from_lossy(&format!("{short}-{}", &folder[..NAME_SUFFIX]))
}

fn usable_dir(dir: &Path) -> Result<PathBuf, MarkerError> {
    let real = fs::canonicalize(dir).map_err(|e| MarkerError::of_dir(dir, e))?;
    let meta = fs::metadata(&real).map_err(|e| MarkerError::of_dir(dir, e))?;
    if !meta.is_dir() {
        return Err(MarkerError::NotADirectory {
            dir: dir.to_owned(),
        });
    }
    fs::read_dir(&real).map_err(|e| MarkerError::of_dir(dir, e))?;
    // Through a link the locks and the configuration would be written elsewhere.
    let marker = real.join(MARKER_DIR);
    match fs::symlink_metadata(&marker) {
        Ok(meta) if !meta.is_dir() => Err(MarkerError::NoOwnMarker { marker }),
        _ => Ok(real),
    }
}

fn lock_or(dir: &Path, taken: impl FnOnce() -> MarkerError) -> Result<Lock, MarkerError> {
    let path = dir.join(LOCK);
    Lock::take(&path)
        .map_err(|source| MarkerError::Io { path, source })?
        .ok_or_else(taken)
}

/// Returns the configuration in `dir`'s marker; `None` without one.
fn read_config(dir: &Path) -> Result<Option<Config>, MarkerError> {
    let path = dir.join(MARKER_DIR).join(CONFIG);
    let config: Option<Config> = read_json(&path)?;
    match config {
        Some(config) if config.version != VERSION => Err(MarkerError::Malformed {
            path,
            reason: format!("version {}, this agent knows {VERSION}", config.version),
        }),
        config => Ok(config),
    }
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>, MarkerError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if is_absent(&e) => return Ok(None),
        Err(source) => {
            return Err(MarkerError::Io {
                path: path.to_owned(),
                source,
            });
        }
    };
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|e| MarkerError::Malformed {
            path: path.to_owned(),
            reason: e.to_string(),
        })
}

fn is_absent(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
    )
}

/// Replaces a file as a whole, so that a crash leaves the old or the new one.
fn write_json(path: &Path, value: &impl Serialize) -> Result<(), MarkerError> {
    let io = |source| MarkerError::Io {
        path: path.to_owned(),
        source,
    };
    let mut bytes = serde_json::to_vec_pretty(value).map_err(|e| io(e.into()))?;
    bytes.push(b'\n');
    if fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    let new = path.with_extension("new");
    let written = fs::File::create(&new).and_then(|mut file| {
        std::io::Write::write_all(&mut file, &bytes)?;
        file.sync_all()
    });
    let replace = || written.and_then(|()| fs::rename(&new, path));
    fault::around(Point::Marker, replace).map_err(io)
}

/// Makes a directory that only its owner can enter.
fn make_dir(path: &Path) -> Result<(), MarkerError> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| MarkerError::Io {
            path: path.to_owned(),
            source,
        })
}

#[cfg(test)]
mod tests;
