//! What the agent remembers of one folder: an embedded database outside the folder.
//!
//! Guarantees: [`State::update`] is atomic; a [`Durability::Durable`] one has also made every
//! earlier lazy one durable when it returns. A corrupt file is moved aside, never read around: all
//! but pending changes can be rebuilt from disk and head. Memory is bounded: a database cache of 8
//! MiB and decoded nodes of at most 2 MiB.
//! Does not: touch the folder.
//! Place: the sync thread owns it; `scan`, `apply`, `trash` and the folder driver write through it.
//!
//! ```text
//! meta        name                -> value
//! nodes       id                  -> kind u8 | bytes
//! index       dir no u64 | name   -> Row             what stood on disk when it was last looked at
//! dirs        dir no u64          -> parent no u64 | name
//! inodes      dev u64 | ino u64   -> dir no u64      directories only: finds renamed ones
//! exceptions  path                -> Exception, JSON
//! intents     path                -> Intent
//! trash       slot text / path    -> Trashed
//! resume      stage key           -> bytes of the assembly
//! blocked     path                -> entry           what the synced tree had before
//! ```

mod engine;
mod memory;
mod nodes;
mod records;
mod row;
mod tx;
mod view;

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use fsync_core::cbor::DecodeError;
use fsync_core::id::ObjectId;
use fsync_core::nodes::{NewNodes, NodesError};
use fsync_core::tree;
use redb::{Database, StorageBackend};

pub use memory::Memory;
pub use nodes::Sweep;
pub use records::{Intent, Standing, Trashed};
pub use row::{DirNo, Held, Row, Stamp};
pub use view::{Snapshot, Source, Tx, View};

use crate::files::disk;
use engine::{Engine, Part, Rows};
use nodes::Cache;

/// Memory that the database may use for its cache, in bytes.
const CACHE_BYTES: usize = 8 * 1024 * 1024;
/// Layout of the tables; a database of another one is moved aside and rebuilt.
const LAYOUT: &[u8] = b"2";

/// Names of values in the meta table. Values of the folder driver are kept under names of its own.
pub mod key {
    /// Layout of the tables.
    pub const LAYOUT: &str = "layout";
    /// The base: epoch, seq, ref.
    pub const BASE: &str = "base";
    /// Root of the synced tree.
    pub const SYNCED: &str = "synced";
    /// Root of the folder as last scanned.
    pub const WORKING: &str = "working";
    /// Device, inode and birth time of the folder's root.
    pub const ROOT: &str = "root";
    /// Next number for a directory.
    pub const NEXT_DIR: &str = "next-dir";
    /// Files and links in the index.
    pub const TRACKED: &str = "tracked";
    /// Nodes that were left by the last sweep.
    pub const SWEPT: &str = "swept";
}

/// Whether an update must survive a power loss when it returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// It, and all before it, survive.
    Durable,
    /// It survives once a later durable one returned.
    Lazy,
}

/// Why the state could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Another process has the state open.
    #[error("the state {} is in use: another agent syncs this folder; stop it first", .0.display())]
    InUse(PathBuf),
    /// The file cannot be opened or made.
    #[error("cannot open the state {}; check the directory's permissions and space", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<redb::Error>,
    },
    /// The database failed: its disk is full or broken.
    #[error("the agent's state could not be read or written; check space and health of its disk")]
    Database(#[source] Box<redb::Error>),
    /// A record does not decode: the state must be rebuilt.
    #[error("the agent's state holds a damaged {0}; remove the state file to rebuild it")]
    Damaged(&'static str),
    /// A node in the state is missing or damaged.
    #[error("the agent's trees could not be read")]
    Nodes(#[from] NodesError),
}

impl From<DecodeError> for StateError {
    fn from(_: DecodeError) -> Self {
        Self::Damaged("node")
    }
}

macro_rules! from_redb {
    ($($error:ident),*) => {$(
        impl From<redb::$error> for StateError {
            fn from(error: redb::$error) -> Self {
                Self::Database(Box::new(error.into()))
            }
        }
    )*};
}
from_redb!(
    DatabaseError,
    TransactionError,
    TableError,
    StorageError,
    CommitError,
    SetDurabilityError
);

/// Result of a state access.
pub type Result<T> = std::result::Result<T, StateError>;

/// The two trees of a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Roots {
    /// What disk and service are known to agree on.
    pub synced: ObjectId,
    /// The folder as last scanned; excepted paths as in `synced`.
    pub working: ObjectId,
}

/// The state of one folder.
#[derive(Debug)]
pub struct State {
    engine: Engine,
    /// Counts lazy updates.
    lazy: AtomicU64,
    /// How many of them are known to be durable.
    settled: AtomicU64,
    cache: Mutex<Cache>,
}

/// An opened state.
#[derive(Debug)]
pub struct OpenedState {
    /// The state.
    pub state: State,
    /// Where a corrupt one was moved to; the state is empty then and must be rebuilt.
    pub moved_aside: Option<PathBuf>,
}

impl State {
    /// Opens or makes the state at `path`; moves a corrupt file aside.
    ///
    /// # Errors
    /// [`StateError::InUse`] or [`StateError::Open`].
    pub fn open(path: &Path) -> Result<OpenedState> {
        match Self::open_file(path) {
            Err(error) if is_corrupt(&error) => {
                let moved = disk::move_aside(path).map_err(|e| StateError::Open {
                    path: path.to_owned(),
                    source: Box::new(redb::Error::Io(e.source)),
                })?;
                Ok(OpenedState {
                    state: Self::open_file(path)?,
                    moved_aside: Some(moved),
                })
            }
            opened => Ok(OpenedState {
                state: opened?,
                moved_aside: None,
            }),
        }
    }

    fn open_file(path: &Path) -> Result<Self> {
        let opened = Database::builder().set_cache_size(CACHE_BYTES).create(path);
        let database = opened.map_err(|error| match error {
            redb::DatabaseError::DatabaseAlreadyOpen => StateError::InUse(path.to_owned()),
            other => StateError::Open {
                path: path.to_owned(),
                source: Box::new(other.into()),
            },
        })?;
        Self::prepare(Engine::File(database))
    }

    /// Opens or makes the state in a storage of the caller's, as the simulator does.
    ///
    /// # Errors
    /// [`StateError`] of the database.
    pub fn open_with(backend: impl StorageBackend) -> Result<Self> {
        let database = Database::builder()
            .set_cache_size(CACHE_BYTES)
            .create_with_backend(backend)?;
        Self::prepare(Engine::File(database))
    }

    /// Opens or makes the state in memory, as the simulator does.
    ///
    /// # Errors
    /// [`StateError::Damaged`] if it was made by another version.
    pub fn open_in(memory: Memory) -> Result<Self> {
        Self::prepare(Engine::Memory(memory))
    }

    fn prepare(engine: Engine) -> Result<Self> {
        let state = Self {
            engine,
            lazy: AtomicU64::new(0),
            settled: AtomicU64::new(0),
            cache: Mutex::default(),
        };
        state.update(Durability::Durable, |tx| {
            match tx.value(key::LAYOUT)? {
                Some(layout) if layout != LAYOUT => return Err(StateError::Damaged("layout")),
                Some(_) => return Ok(()),
                None => tx.make_tables()?,
            }
            tx.set_value(key::LAYOUT, Some(LAYOUT))?;
            let mut new = NewNodes::default();
            let empty = tree::write_empty(&mut new);
            tx.put_nodes(&new)?;
            tx.set_roots(&Roots {
                synced: empty,
                working: empty,
            })
        })?;
        Ok(state)
    }

    /// Runs `change` in one transaction: all of it holds, or on an error nothing of it. One that
    /// changes nothing costs no commit.
    ///
    /// # Errors
    /// What `change` returns, or a [`StateError`] of the database.
    pub fn update<T, E: From<StateError>>(
        &self,
        durability: Durability,
        change: impl FnOnce(&mut Tx<'_>) -> std::result::Result<T, E>,
    ) -> std::result::Result<T, E> {
        let writing = self.engine.write()?;
        let mut tx = Tx::new(&writing);
        let value = change(&mut tx)?;
        let is_changed = tx.is_changed;
        drop(tx);
        if !is_changed && (durability == Durability::Lazy || !self.is_behind()) {
            return Ok(value);
        }
        // Counted while the transaction keeps other updates out.
        let seen = match durability {
            Durability::Lazy => {
                self.lazy.fetch_add(1, Ordering::Relaxed);
                0
            }
            Durability::Durable => self.lazy.load(Ordering::Relaxed),
        };
        writing.commit(durability)?;
        self.settled.fetch_max(seen, Ordering::Relaxed);
        Ok(value)
    }

    fn is_behind(&self) -> bool {
        self.settled.load(Ordering::Relaxed) < self.lazy.load(Ordering::Relaxed)
    }

    /// Returns the state as it is now; later updates do not show in it.
    ///
    /// # Errors
    /// [`StateError`] of the database.
    pub fn snapshot(&self) -> Result<Snapshot> {
        Ok(Snapshot::new(self.engine.read()?))
    }

    /// Makes all earlier lazy updates durable.
    ///
    /// # Errors
    /// [`StateError`] of the database.
    pub fn make_durable(&self) -> Result<()> {
        if !self.is_behind() {
            return Ok(());
        }
        self.update(Durability::Durable, |_| Ok(()))
    }

    /// Returns how many nodes the state holds.
    ///
    /// # Errors
    /// [`StateError`] of the database.
    pub fn node_count(&self) -> Result<u64> {
        self.snapshot()?.table(Part::Nodes)?.len()
    }
}

fn is_corrupt(error: &StateError) -> bool {
    use std::io::ErrorKind::{InvalidData, UnexpectedEof};
    let (StateError::Open { source, .. } | StateError::Database(source)) = error else {
        return matches!(error, StateError::Damaged(_) | StateError::Nodes(_));
    };
    match &**source {
        redb::Error::Corrupted(_)
        | redb::Error::UpgradeRequired(_)
        | redb::Error::RepairAborted => true,
        redb::Error::Io(error) => matches!(error.kind(), InvalidData | UnexpectedEof),
        _ => false,
    }
}
