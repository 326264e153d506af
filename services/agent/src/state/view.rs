//! Reading the state: the same methods over a snapshot and inside an update.

use std::ops::ControlFlow::{Break, Continue};
use std::sync::OnceLock;

use fsync_core::exception::Exception;
use fsync_core::id::{ObjectId, RevisionId};
use fsync_core::limits;
use fsync_core::node::Entry;
use fsync_core::path::{Name, RelPath};
use fsync_core::wire::{Epoch, Head, Seq};

use super::engine::{Part, ReadRows, Reading, Rows, WriteRows, Writing};
use super::records::decode_blocked;
use super::row::Fields;
use super::{DirNo, Intent, Result, Roots, Row, StateError, Trashed, key};
use crate::files::{Stat, TrashSlot};

/// The tables of the state, each opened when it is first needed: most readers and writers need one
/// or two.
pub struct View<S: Source> {
    source: S,
    tables: [OnceLock<S::Table>; Part::ALL.len()],
    /// Whether a table was opened to be written.
    pub(super) is_changed: bool,
}

/// The state at one moment.
pub type Snapshot = View<Reading>;
/// The state inside an update.
pub type Tx<'t> = View<&'t Writing<'t>>;

/// Where tables come from: a transaction.
pub trait Source {
    /// An open table.
    type Table: Rows;

    /// Opens a table.
    ///
    /// # Errors
    /// [`StateError`] of the database.
    fn table(&self, part: Part) -> Result<Self::Table>;
}

impl Tx<'_> {
    /// Makes all tables, so that readers find them.
    pub(super) fn make_tables(&self) -> Result<()> {
        Part::ALL
            .iter()
            .try_for_each(|part| self.table(*part).map(drop))
    }
}

impl Source for Reading {
    type Table = ReadRows;

    fn table(&self, part: Part) -> Result<ReadRows> {
        self.rows(part)
    }
}

impl<'t> Source for &'t Writing<'t> {
    type Table = WriteRows<'t>;

    fn table(&self, part: Part) -> Result<WriteRows<'t>> {
        self.rows(part)
    }
}

impl<S: Source> std::fmt::Debug for View<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("View").finish_non_exhaustive()
    }
}

impl<S: Source> View<S> {
    pub(super) fn new(source: S) -> Self {
        Self {
            source,
            tables: Default::default(),
            is_changed: false,
        }
    }

    /// Returns a table to read.
    pub(super) fn table(&self, part: Part) -> Result<&S::Table> {
        let cell = &self.tables[part as usize];
        if let Some(table) = cell.get() {
            return Ok(table);
        }
        let table = self.source.table(part)?;
        Ok(cell.get_or_init(|| table))
    }

    /// Returns a table to write.
    pub(super) fn table_mut(&mut self, part: Part) -> Result<&mut S::Table> {
        self.table(part)?;
        self.is_changed = true;
        let table = self.tables[part as usize].get_mut();
        table.ok_or(StateError::Damaged("table"))
    }
}

pub(super) fn row_key(dir: DirNo, name: &[u8]) -> Vec<u8> {
    [&dir.0.to_be_bytes(), name].concat()
}

pub(super) fn inode_key(dev: u64, ino: u64) -> Vec<u8> {
    [dev.to_be_bytes(), ino.to_be_bytes()].concat()
}

pub(super) fn trash_key(slot: TrashSlot, path: &RelPath) -> Vec<u8> {
    [slot.to_string().as_bytes(), b"/", path.as_bytes()].concat()
}

fn parse_path(bytes: &[u8]) -> Result<RelPath> {
    RelPath::parse(bytes).or(Err(StateError::Damaged("path")))
}

impl<S: Source> View<S> {
    /// Returns a value by its name.
    ///
    /// # Errors
    /// [`StateError`] of the database.
    pub fn value(&self, name: &str) -> Result<Option<Vec<u8>>> {
        get(self.table(Part::Meta)?, name.as_bytes())
    }

    /// Returns a counter by its name; 0 if it was never set.
    ///
    /// # Errors
    /// [`StateError`] of the database.
    pub fn number(&self, name: &str) -> Result<u64> {
        let value = self.value(name)?;
        Ok(value.and_then(|v| Fields(&v).u64()).unwrap_or(0))
    }

    /// Returns the base.
    ///
    /// # Errors
    /// [`StateError`] of the database.
    pub fn base(&self) -> Result<Option<Head>> {
        let Some(value) = self.value(key::BASE)? else {
            return Ok(None);
        };
        let mut fields = Fields(&value);
        let mut read = || {
            Some(Head {
                epoch: Epoch(fields.u64()?),
                seq: Seq(fields.u64()?),
                revision: RevisionId::from_bytes(*fields.id()?.as_bytes()),
            })
        };
        read().map(Some).ok_or(StateError::Damaged("base"))
    }

    /// Returns the roots of both trees.
    ///
    /// # Errors
    /// [`StateError`] of the database.
    pub fn roots(&self) -> Result<Roots> {
        let root = |name| {
            let value = self.value(name)?;
            let id = value.and_then(|v| ObjectId::from_slice(&v));
            id.ok_or(StateError::Damaged("root"))
        };
        Ok(Roots {
            synced: root(key::SYNCED)?,
            working: root(key::WORKING)?,
        })
    }

    /// Returns the number of files and links in the index.
    ///
    /// # Errors
    /// [`StateError`] of the database.
    pub fn tracked(&self) -> Result<u64> {
        self.number(key::TRACKED)
    }

    /// Returns the row of a name in a directory.
    ///
    /// # Errors
    /// [`StateError`] of the database.
    pub fn row(&self, dir: DirNo, name: &Name) -> Result<Option<Row>> {
        let key = row_key(dir, name.as_bytes());
        self.table(Part::Index)?
            .read(&key, Row::decode)?
            .transpose()
    }

    /// Returns the rows of a directory in order of names.
    ///
    /// # Errors
    /// [`StateError`] of the database.
    pub fn rows(&self, dir: DirNo) -> Result<Vec<(Name, Row)>> {
        let prefix = row_key(dir, b"");
        let mut rows = Vec::new();
        self.table(Part::Index)?.scan(&prefix, |key, value| {
            let Some(name) = key.strip_prefix(prefix.as_slice()) else {
                return Ok(Break(()));
            };
            let name = Name::new(name).or(Err(StateError::Damaged("name")))?;
            rows.push((name, Row::decode(value)?));
            Ok(Continue(()))
        })?;
        Ok(rows)
    }

    /// Returns the number of the directory at a path; `None` if the index has none there.
    ///
    /// # Errors
    /// [`StateError`] of the database.
    pub fn dir_at(&self, path: &RelPath) -> Result<Option<DirNo>> {
        let mut at = DirNo::ROOT;
        for name in path.names() {
            match self.row(at, &name)?.and_then(|row| row.dir()) {
                Some(dir) => at = dir,
                None => return Ok(None),
            }
        }
        Ok(Some(at))
    }

    /// Returns the row at a path; `None` for the root.
    ///
    /// # Errors
    /// [`StateError`] of the database.
    pub fn row_at(&self, path: &RelPath) -> Result<Option<Row>> {
        let Some((parent, name)) = path.split_last() else {
            return Ok(None);
        };
        match self.dir_at(&parent)? {
            Some(dir) => self.row(dir, &name),
            None => Ok(None),
        }
    }

    /// Returns the path of a directory; `None` if its number is not (or no longer) known.
    ///
    /// # Errors
    /// [`StateError`] of the database.
    pub fn path_of(&self, dir: DirNo) -> Result<Option<RelPath>> {
        let mut names = Vec::new();
        let mut at = dir;
        while at != DirNo::ROOT {
            let Some((parent, name)) = self.parent_of(at)? else {
                return Ok(None);
            };
            names.push(name);
            if names.len() > limits::PATH_DEPTH {
                return Err(StateError::Damaged("directory that stands in itself"));
            }
            at = parent;
        }
        let join = |path: RelPath, name: &Name| path.join(name);
        Ok(Some(names.iter().rev().fold(RelPath::root(), join)))
    }

    /// Returns the directory that holds a directory, and its name there.
    ///
    /// # Errors
    /// [`StateError`] of the database.
    pub fn parent_of(&self, dir: DirNo) -> Result<Option<(DirNo, Name)>> {
        let Some(value) = get(self.table(Part::Dirs)?, &dir.0.to_be_bytes())? else {
            return Ok(None);
        };
        let mut fields = Fields(&value);
        let parent = fields.u64().ok_or(StateError::Damaged("directory"))?;
        let name = Name::new(fields.0).or(Err(StateError::Damaged("directory")))?;
        Ok(Some((DirNo(parent), name)))
    }

    /// Returns the directory of the index that is this very inode, wherever it stood.
    ///
    /// # Errors
    /// [`StateError`] of the database.
    pub fn dir_of_inode(&self, stat: &Stat) -> Result<Option<(DirNo, Row)>> {
        let Some(value) = get(self.table(Part::Inodes)?, &inode_key(stat.dev, stat.ino))? else {
            return Ok(None);
        };
        let dir = Fields(&value).u64().map(DirNo);
        let dir = dir.ok_or(StateError::Damaged("inode"))?;
        let Some((parent, name)) = self.parent_of(dir)? else {
            return Ok(None);
        };
        let row = self.row(parent, &name)?;
        Ok(row
            .filter(|row| row.dir() == Some(dir) && row.stamp.is_inode(stat))
            .map(|row| (dir, row)))
    }

    /// Returns the exception at exactly this path.
    ///
    /// # Errors
    /// [`StateError`] of the database.
    pub fn exception(&self, path: &RelPath) -> Result<Option<Exception>> {
        get(self.table(Part::Exceptions)?, path.as_bytes())?
            .map(|json| read_exception(&json))
            .transpose()
    }

    /// Returns the exception that covers this path: at it or at a directory above it.
    ///
    /// # Errors
    /// [`StateError`] of the database.
    pub fn excepted(&self, path: &RelPath) -> Result<Option<(RelPath, Exception)>> {
        let mut at = Some(path.clone());
        while let Some(path) = at {
            if let Some(exception) = self.exception(&path)? {
                return Ok(Some((path, exception)));
            }
            at = path.parent();
        }
        Ok(None)
    }

    /// Returns whether there is any exception.
    ///
    /// # Errors
    /// [`StateError`] of the database.
    pub fn has_exceptions(&self) -> Result<bool> {
        Ok(!self.table(Part::Exceptions)?.is_empty()?)
    }

    /// Returns all exceptions at and below a directory, in order of their bytes.
    ///
    /// # Errors
    /// [`StateError`] of the database.
    pub fn exceptions_within(&self, dir: &RelPath) -> Result<Vec<(RelPath, Exception)>> {
        let mut found = Vec::new();
        let prefix = dir.as_bytes();
        self.table(Part::Exceptions)?.scan(prefix, |path, json| {
            // Between `a` and `a/b` other names sort, such as `a-b`.
            if !path.starts_with(prefix) {
                return Ok(Break(()));
            }
            let path = parse_path(path)?;
            if path.is_within(dir) {
                found.push((path, read_exception(json)?));
            }
            Ok(Continue(()))
        })?;
        Ok(found)
    }

    /// Returns the blocked paths, and what the synced tree had at each before.
    ///
    /// # Errors
    /// [`StateError`] of the database.
    pub fn blocked(&self) -> Result<Vec<(RelPath, Option<Entry>)>> {
        let mut found = Vec::new();
        self.table(Part::Blocked)?.scan(&[], |path, before| {
            found.push((parse_path(path)?, decode_blocked(before)?));
            Ok(Continue(()))
        })?;
        Ok(found)
    }

    /// Returns all intents.
    ///
    /// # Errors
    /// [`StateError`] of the database.
    pub fn intents(&self) -> Result<Vec<(RelPath, Intent)>> {
        let mut found = Vec::new();
        self.table(Part::Intents)?.scan(&[], |path, value| {
            found.push((parse_path(path)?, Intent::decode(value)?));
            Ok(Continue(()))
        })?;
        Ok(found)
    }

    /// Returns the intent at a path.
    ///
    /// # Errors
    /// [`StateError`] of the database.
    pub fn intent(&self, path: &RelPath) -> Result<Option<Intent>> {
        let intents = self.table(Part::Intents)?;
        intents.read(path.as_bytes(), Intent::decode)?.transpose()
    }

    /// Returns what the state knows of something in the trash.
    ///
    /// # Errors
    /// [`StateError`] of the database.
    pub fn trashed_at(&self, slot: TrashSlot, path: &RelPath) -> Result<Option<Trashed>> {
        let key = trash_key(slot, path);
        let trash = self.table(Part::Trash)?;
        trash.read(&key, Trashed::decode)?.transpose()
    }

    /// Returns what one slot of the trash holds.
    ///
    /// # Errors
    /// [`StateError`] of the database.
    pub fn trashed(&self, slot: TrashSlot) -> Result<Vec<(RelPath, Trashed)>> {
        let prefix = trash_key(slot, &RelPath::root());
        let mut found = Vec::new();
        self.table(Part::Trash)?.scan(&prefix, |key, value| {
            let Some(path) = key.strip_prefix(prefix.as_slice()) else {
                return Ok(Break(()));
            };
            found.push((parse_path(path)?, Trashed::decode(value)?));
            Ok(Continue(()))
        })?;
        Ok(found)
    }

    /// Returns the resume record of a staged file.
    ///
    /// # Errors
    /// [`StateError`] of the database.
    pub fn resume(&self, key: &str) -> Result<Option<Vec<u8>>> {
        get(self.table(Part::Resume)?, key.as_bytes())
    }

    /// Returns the stage keys that have a resume record.
    ///
    /// # Errors
    /// [`StateError`] of the database.
    pub fn resumable(&self) -> Result<Vec<String>> {
        let mut keys = Vec::new();
        self.table(Part::Resume)?.scan(&[], |key, _| {
            keys.push(String::from_utf8_lossy(key).into_owned());
            Ok(Continue(()))
        })?;
        Ok(keys)
    }
}

fn read_exception(json: &[u8]) -> Result<Exception> {
    serde_json::from_slice(json).or(Err(StateError::Damaged("exception")))
}

pub(super) fn get(table: &impl Rows, key: &[u8]) -> Result<Option<Vec<u8>>> {
    table.read(key, <[u8]>::to_vec)
}
