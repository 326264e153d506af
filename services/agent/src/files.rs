//! What the agent asks of a file system: one trait, two implementations (disk, simulated).
//!
//! Guarantees: every call names a [`Place`], which is below the synced root by construction; no
//! link is ever followed, in no component; no call overwrites or unlinks what stands in the tree
//! ([`Files::rename`] refuses or exchanges, [`Files::remove_file`] refuses tree places). Errors
//! carry the operation and the path.
//! Does not: know trees, hashes or rules, and keeps no state but open handles.
//! Place: `scan`, `apply` and `trash` call it; only `files/disk.rs` touches the system.

pub mod disk;
mod handle;

use std::fmt;

use fsync_core::id::ObjectId;
use fsync_core::node::Mtime;
use fsync_core::path::{Name, RelPath};

/// Result of a file system call.
pub type Result<T> = std::result::Result<T, FilesError>;

/// What stands at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// A regular file.
    File = 0,
    /// A directory.
    Dir = 1,
    /// A symbolic link.
    Symlink = 2,
    /// A socket, device or FIFO.
    Other = 3,
}

/// What the file system says of a place, without following links.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// What it is.
    pub kind: Kind,
    /// Device it is on.
    pub dev: u64,
    /// Inode number on that device.
    pub ino: u64,
    /// Length in bytes.
    pub size: u64,
    /// Modification time, ns since 1970.
    pub mtime: i64,
    /// Change time, ns since 1970.
    pub ctime: i64,
    /// Birth time, ns since 1970, where the file system has one.
    pub btime: Option<i64>,
    /// Permission bits.
    pub mode: u32,
    /// Number of hard links.
    pub nlink: u64,
}

impl Stat {
    /// Returns whether the owner may execute it.
    pub fn is_exec(&self) -> bool {
        self.mode & 0o100 != 0
    }

    /// Returns whether both are the same inode, as far as inode number and birth time tell.
    pub fn is_same_inode(&self, other: &Self) -> bool {
        self.kind == other.kind
            && (self.dev, self.ino, self.btime) == (other.dev, other.ino, other.btime)
    }

    /// Returns whether both are the same inode with the same content; a rename (which moves ctime)
    /// is no difference.
    pub fn is_same_content(&self, other: &Self) -> bool {
        self.is_same_inode(other) && (self.size, self.mtime) == (other.size, other.mtime)
    }
}

/// One name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The name.
    pub name: Name,
    /// What stands there.
    pub stat: Stat,
}

/// Name of a staged file.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StageKey(String);

impl StageKey {
    /// Returns the key of a small staged file; `number` is unique within a run.
    pub fn small(number: u64) -> Self {
        Self(format!("p-{number:x}"))
    }

    /// Returns the key under which the large content `id` is put together.
    pub fn large(id: &ObjectId) -> Self {
        Self(format!("l-{id}"))
    }

    /// Returns the key of a file that is about to be exchanged: after a crash a user's inode may
    /// stand there.
    pub fn exchange(number: u64) -> Self {
        Self(format!("x-{number:x}"))
    }

    /// Returns the key under which something of a user's stands for a moment, between two spellings
    /// of its name; `inode` is its number.
    pub fn respelled(inode: u64) -> Self {
        Self(format!("r-{inode:x}"))
    }

    /// Reads a key as a directory lists it; `None` for what no agent made.
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, rest) = text.split_once('-')?;
        let is_valid = matches!(kind, "p" | "l" | "x" | "r")
            && (1..=64).contains(&rest.len())
            && rest.bytes().all(|b| b.is_ascii_hexdigit());
        is_valid.then(|| Self(text.to_owned()))
    }

    /// Returns whether a user's inode may stand under this key.
    pub fn is_exchange(&self) -> bool {
        self.0.starts_with("x-")
    }

    /// Returns whether something of a user's stands under this key, on its way to another spelling
    /// of its name.
    pub fn is_respelled(&self) -> bool {
        self.0.starts_with("r-")
    }

    /// Returns whether a large content is put together under this key.
    pub fn is_large(&self) -> bool {
        self.0.starts_with("l-")
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// One directory of the trash: what one batch took away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrashSlot {
    /// When, in ms since 1970.
    pub time_ms: u64,
    /// Which one of that millisecond.
    pub number: u32,
}

impl TrashSlot {
    /// Reads `<time>-<number>`.
    pub fn parse(text: &str) -> Option<Self> {
        let (time, number) = text.split_once('-')?;
        Some(Self {
            time_ms: time.parse().ok()?,
            number: number.parse().ok()?,
        })
    }
}

impl fmt::Display for TrashSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.time_ms, self.number)
    }
}

/// Where something stands or shall stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place<'a> {
    /// In the synced folder.
    Tree(&'a RelPath),
    /// In the stage, `.fsync/stage`.
    Stage(&'a StageKey),
    /// In a slot of the trash, `.fsync/trash/<slot>`; the root path is the slot itself.
    Trash(TrashSlot, &'a RelPath),
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tree(path) => write!(f, "{path}"),
            Self::Stage(key) => write!(f, ".fsync/stage/{}", key.as_str()),
            Self::Trash(slot, path) => write!(f, ".fsync/trash/{slot}/{path}"),
        }
    }
}

/// Properties that are set on a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Meta {
    /// Whether it can be executed.
    pub exec: bool,
    /// Its modification time.
    pub mtime: Mtime,
    /// Permission bits to start from: those of the file that it replaces.
    pub like: Option<u32>,
}

/// How a rename treats what stands at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rename {
    /// Refuses with [`Problem::Exists`] if anything stands there.
    NoReplace,
    /// Swaps both.
    Exchange,
}

/// Class of an error, by what the caller must do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Problem {
    /// Nothing stands there, or a directory on the way is missing or no directory: look again.
    NotFound,
    /// Something stands there: look again.
    Exists,
    /// The directory is not empty: look what is in it.
    NotEmpty,
    /// The system refuses (permissions): tell the user.
    Denied,
    /// The whole file system is read-only: nothing can be done until it is not.
    ReadOnly,
    /// The disk or a quota is full: retry later.
    NoSpace,
    /// The file system cannot hold such a name, size or kind, or it lies on another device: tell
    /// the user.
    NotStorable,
    /// In use, or too many files are open: retry soon.
    Busy,
    /// The file system lacks the call.
    Unsupported,
    /// Anything else: tell the user, retry later.
    Io,
}

/// A file system call that did not work.
#[derive(Debug, thiserror::Error)]
#[error("cannot {op} {path}: {source}")]
pub struct FilesError {
    /// What was tried.
    pub op: &'static str,
    /// Where.
    pub path: String,
    /// What the caller must do.
    pub problem: Problem,
    /// The system's word.
    #[source]
    pub source: std::io::Error,
}

impl FilesError {
    /// Returns whether it is of class `problem`.
    pub fn is(&self, problem: Problem) -> bool {
        self.problem == problem
    }
}

/// A file that is open for reading.
pub trait Opened: Send {
    /// Returns what the file system says of the open file.
    ///
    /// # Errors
    /// [`FilesError`] of the system call.
    fn stat(&self) -> Result<Stat>;

    /// Reads at an offset; fewer bytes than asked for come at the file's end or a hole's, 0 only at
    /// the end.
    ///
    /// # Errors
    /// [`FilesError`] of the system call.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize>;

    /// Returns where the next data at or after `offset` begins, `None` if only a hole follows.
    /// Where holes are unknown this is `offset` itself.
    ///
    /// # Errors
    /// [`FilesError`] of the system call.
    fn next_data(&self, offset: u64) -> Result<Option<u64>>;
}

/// The file system of one synced folder.
pub trait Files: Send + Sync {
    /// Returns the time of the clock that stamps files, ns since 1970.
    fn now(&self) -> i64;

    /// Returns how many threads may call at once with gain. With 1 all calls are made by the
    /// caller's thread, in an order that only what they return decides.
    fn threads(&self) -> usize {
        usize::MAX
    }

    /// Returns how many bytes can still be written, as far as the system tells.
    fn free_bytes(&self) -> Option<u64> {
        None
    }

    /// Looks at the root afresh, by its path: tells whether it was replaced or unmounted.
    ///
    /// # Errors
    /// [`Problem::NotFound`] if it is gone.
    fn root(&self) -> Result<Stat>;

    /// Returns whether a file's exec bit is what it was set to.
    fn keeps_exec(&self) -> bool {
        true
    }

    /// Lists a directory in order of names. Names that no tree can hold (the marker directory) are
    /// left out.
    ///
    /// # Errors
    /// [`FilesError`]; `NotFound` also if it is no directory.
    fn list(&self, dir: Place<'_>) -> Result<Vec<Listed>>;

    /// Looks at a place; `None` if nothing stands there or the way to it is no directory.
    ///
    /// # Errors
    /// [`FilesError`] of the system call.
    fn stat(&self, at: Place<'_>) -> Result<Option<Stat>>;

    /// Looks at names in one directory of the tree; `None` for each where nothing stands.
    ///
    /// # Errors
    /// [`FilesError`] of the system call.
    fn stat_all(&self, dir: &RelPath, names: &[Name]) -> Result<Vec<Option<Stat>>> {
        let look = |name: &Name| self.stat(Place::Tree(&dir.join(name)));
        names.iter().map(look).collect()
    }

    /// Opens a regular file for reading; never blocks on a FIFO or device.
    ///
    /// # Errors
    /// [`FilesError`]; `NotFound` also if it is no regular file.
    fn open(&self, at: Place<'_>) -> Result<Box<dyn Opened>>;

    /// Reads the text of a symbolic link.
    ///
    /// # Errors
    /// [`FilesError`]; `NotFound` also if it is no link.
    fn read_link(&self, at: Place<'_>) -> Result<Vec<u8>>;

    /// Stages a whole small file; returns what it is then.
    ///
    /// # Errors
    /// [`FilesError`]; nothing of use is left then.
    fn stage(&self, key: &StageKey, bytes: &[u8], meta: &Meta) -> Result<Stat>;

    /// Stages a symbolic link.
    ///
    /// # Errors
    /// [`FilesError`] of the system call.
    fn stage_link(&self, key: &StageKey, target: &[u8]) -> Result<()>;

    /// Writes a range of a staged file, making the file if it is not there; what lies between is a
    /// hole.
    ///
    /// # Errors
    /// [`FilesError`] of the system call.
    fn stage_write(&self, key: &StageKey, offset: u64, bytes: &[u8]) -> Result<()>;

    /// Ends a staged file that was written in ranges: its length and properties.
    ///
    /// # Errors
    /// [`FilesError`] of the system call.
    fn stage_finish(&self, key: &StageKey, size: u64, meta: &Meta) -> Result<()>;

    /// Lists what is staged.
    ///
    /// # Errors
    /// [`FilesError`] of the system call.
    fn staged(&self) -> Result<Vec<StageKey>>;

    /// Makes staged files durable, names and contents.
    ///
    /// # Errors
    /// [`FilesError`]; none of them may be relied on then.
    fn sync_staged(&self, keys: &[StageKey]) -> Result<()>;

    /// Makes renames, creations and removals in these directories durable. One that is gone is
    /// passed over.
    ///
    /// # Errors
    /// [`FilesError`]; none of them may be relied on then.
    fn sync_dirs(&self, dirs: &[RelPath]) -> Result<()>;

    /// Renames a file, link or directory. Directories on the way must exist, but for trash places,
    /// where they are made.
    ///
    /// # Errors
    /// [`FilesError`]; nothing has changed then.
    fn rename(&self, from: Place<'_>, to: Place<'_>, how: Rename) -> Result<()>;

    /// Makes a directory.
    ///
    /// # Errors
    /// [`Problem::Exists`] if anything stands there.
    fn make_dir(&self, at: Place<'_>) -> Result<()>;

    /// Removes an empty directory.
    ///
    /// # Errors
    /// [`Problem::NotEmpty`] if anything is in it.
    fn remove_dir(&self, at: Place<'_>) -> Result<()>;

    /// Unlinks a file or link of the stage or the trash.
    ///
    /// # Errors
    /// [`Problem::Unsupported`] for a place in the tree: nothing there is ever unlinked.
    fn remove_file(&self, at: Place<'_>) -> Result<()>;

    /// Sets exec bit and modification time of a regular file.
    ///
    /// # Errors
    /// [`FilesError`]; the exec bit may be set already.
    fn set_meta(&self, at: Place<'_>, meta: &Meta) -> Result<()>;

    /// Lists the slots of the trash, oldest first.
    ///
    /// # Errors
    /// [`FilesError`] of the system call.
    fn trash_slots(&self) -> Result<Vec<TrashSlot>>;
}

/// Makes a directory of the tree and those on the way to it, where they are missing.
///
/// # Errors
/// [`FilesError`]; a file that stands in the way shows only when something is put below it.
pub fn make_dirs(files: &dyn Files, dir: &RelPath) -> Result<()> {
    let mut at = RelPath::root();
    for name in dir.names() {
        at = at.join(&name);
        make_dir(files, &at)?;
    }
    Ok(())
}

/// Makes a directory of the tree unless something stands there; returns whether it did.
///
/// # Errors
/// [`FilesError`] of the system call.
pub fn make_dir(files: &dyn Files, dir: &RelPath) -> Result<bool> {
    match files.make_dir(Place::Tree(dir)) {
        Ok(()) => Ok(true),
        Err(error) if error.is(Problem::Exists) => Ok(false),
        Err(error) => Err(error),
    }
}
