//! Where the rows of a state are: a database file, or memory.
//!
//! Both keep the same rules, which `tests/disk/state.rs` shows: an update is atomic, a snapshot
//! stays as it was, a durable update makes earlier lazy ones durable.

use std::ops::ControlFlow;

use redb::{
    AccessGuard, Database, ReadOnlyTable, ReadTransaction, ReadableDatabase, ReadableTable,
    ReadableTableMetadata, Table, TableDefinition, WriteTransaction,
};

use super::memory::{Draft, DraftRows, Memory, Picture};
use super::{Durability, Result};

/// Bytes as redb's key and value type.
type Bytes = &'static [u8];

/// One table of the state; the number is its place among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Values by name.
    Meta,
    /// Nodes by id.
    Nodes,
    /// Rows by directory and name.
    Index,
    /// Where each directory is.
    Dirs,
    /// Directories by inode.
    Inodes,
    /// Exceptions by path.
    Exceptions,
    /// Intents by path.
    Intents,
    /// What the trash holds, by slot and path.
    Trash,
    /// Assemblies by stage key.
    Resume,
    /// What stood at blocked paths, by path.
    Blocked,
}

impl Part {
    /// All of them, in order of their numbers.
    pub(super) const ALL: [Self; 10] = [
        Self::Meta,
        Self::Nodes,
        Self::Index,
        Self::Dirs,
        Self::Inodes,
        Self::Exceptions,
        Self::Intents,
        Self::Trash,
        Self::Resume,
        Self::Blocked,
    ];

    fn definition(self) -> TableDefinition<'static, Bytes, Bytes> {
        TableDefinition::new(match self {
            Self::Meta => "meta",
            Self::Nodes => "nodes",
            Self::Index => "index",
            Self::Dirs => "dirs",
            Self::Inodes => "inodes",
            Self::Exceptions => "exceptions",
            Self::Intents => "intents",
            Self::Trash => "trash",
            Self::Resume => "resume",
            Self::Blocked => "blocked",
        })
    }
}

/// Rows in order of their keys.
pub trait Rows {
    /// Reads the value of a key.
    ///
    /// # Errors
    /// [`super::StateError`] of the database.
    fn read<R>(&self, key: &[u8], read: impl FnOnce(&[u8]) -> R) -> Result<Option<R>>;

    /// Shows rows from a key on, until told to stop.
    ///
    /// # Errors
    /// What `show` returns, or a [`super::StateError`] of the database.
    fn scan(
        &self,
        from: &[u8],
        show: impl FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>>,
    ) -> Result<()>;

    /// Returns the number of rows.
    ///
    /// # Errors
    /// [`super::StateError`] of the database.
    fn len(&self) -> Result<u64>;

    /// Returns whether there are no rows.
    ///
    /// # Errors
    /// [`super::StateError`] of the database.
    fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }
}

impl<T: ReadableTable<Bytes, Bytes>> Rows for T {
    fn read<R>(&self, key: &[u8], read: impl FnOnce(&[u8]) -> R) -> Result<Option<R>> {
        let found = self.get(key)?;
        Ok(found.as_ref().map(AccessGuard::value).map(read))
    }

    fn scan(
        &self,
        from: &[u8],
        mut show: impl FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        for item in self.range(from..)? {
            let (key, value) = item?;
            if show(key.value(), value.value())?.is_break() {
                break;
            }
        }
        Ok(())
    }

    fn len(&self) -> Result<u64> {
        Ok(ReadableTableMetadata::len(self)?)
    }
}

/// Where the rows are.
#[derive(Debug)]
pub(super) enum Engine {
    File(Database),
    Memory(Memory),
}

/// An update that has begun.
pub enum Writing<'e> {
    /// In a database.
    File(Box<WriteTransaction>),
    /// In memory.
    Memory(Box<Draft<'e>>),
}

/// The rows at one moment.
pub enum Reading {
    /// Of a database.
    File(ReadTransaction),
    /// In memory.
    Memory(Picture),
}

/// A table at one moment.
#[derive(Debug)]
pub enum ReadRows {
    /// Of a database.
    File(ReadOnlyTable<Bytes, Bytes>),
    /// In memory.
    Memory(super::memory::Kept),
}

/// A table inside an update.
#[derive(Debug)]
pub enum WriteRows<'t> {
    /// Of a database.
    File(Table<'t, Bytes, Bytes>),
    /// In memory.
    Memory(DraftRows<'t>),
}

impl std::fmt::Debug for Writing<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writing").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Reading {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reading").finish_non_exhaustive()
    }
}

impl Engine {
    /// Begins an update; another waits for its end.
    pub(super) fn write(&self) -> Result<Writing<'_>> {
        Ok(match self {
            Self::File(database) => Writing::File(Box::new(database.begin_write()?)),
            Self::Memory(memory) => Writing::Memory(Box::new(memory.write())),
        })
    }

    pub(super) fn read(&self) -> Result<Reading> {
        Ok(match self {
            Self::File(database) => Reading::File(database.begin_read()?),
            Self::Memory(memory) => Reading::Memory(memory.read()),
        })
    }
}

impl Writing<'_> {
    pub(super) fn rows(&self, part: Part) -> Result<WriteRows<'_>> {
        Ok(match self {
            Self::File(write) => WriteRows::File(write.open_table(part.definition())?),
            Self::Memory(draft) => WriteRows::Memory(draft.rows(part)),
        })
    }

    /// Ends the update: from now on it holds.
    pub(super) fn commit(self, durability: Durability) -> Result<()> {
        match self {
            Self::File(mut write) => {
                if durability == Durability::Lazy {
                    write.set_durability(redb::Durability::None)?;
                }
                Ok(write.commit()?)
            }
            Self::Memory(draft) => {
                draft.commit(durability);
                Ok(())
            }
        }
    }
}

impl Reading {
    pub(super) fn rows(&self, part: Part) -> Result<ReadRows> {
        Ok(match self {
            Self::File(read) => ReadRows::File(read.open_table(part.definition())?),
            Self::Memory(picture) => ReadRows::Memory(picture.rows(part)),
        })
    }
}

impl Rows for ReadRows {
    fn read<R>(&self, key: &[u8], read: impl FnOnce(&[u8]) -> R) -> Result<Option<R>> {
        match self {
            Self::File(table) => table.read(key, read),
            Self::Memory(kept) => Ok(kept.get(key).map(|value| read(value))),
        }
    }

    fn scan(
        &self,
        from: &[u8],
        mut show: impl FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        match self {
            Self::File(table) => table.scan(from, show),
            Self::Memory(kept) => {
                for (key, value) in kept.range(from.to_vec()..) {
                    if show(key, value)?.is_break() {
                        break;
                    }
                }
                Ok(())
            }
        }
    }

    fn len(&self) -> Result<u64> {
        match self {
            Self::File(table) => Rows::len(table),
            Self::Memory(kept) => Ok(kept.len() as u64),
        }
    }
}

impl Rows for WriteRows<'_> {
    fn read<R>(&self, key: &[u8], read: impl FnOnce(&[u8]) -> R) -> Result<Option<R>> {
        match self {
            Self::File(table) => table.read(key, read),
            Self::Memory(rows) => Ok(rows.read(key, read)),
        }
    }

    fn scan(
        &self,
        from: &[u8],
        show: impl FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        match self {
            Self::File(table) => table.scan(from, show),
            Self::Memory(rows) => rows.scan(from, show),
        }
    }

    fn len(&self) -> Result<u64> {
        match self {
            Self::File(table) => Rows::len(table),
            Self::Memory(rows) => {
                let mut count = 0;
                rows.scan(&[], |_, _| {
                    count += 1;
                    Ok(ControlFlow::Continue(()))
                })?;
                Ok(count)
            }
        }
    }
}

impl WriteRows<'_> {
    /// Sets or removes the value of a key.
    pub(super) fn put(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<()> {
        match (self, value) {
            (Self::File(table), Some(value)) => table.insert(key, value).map(drop)?,
            (Self::File(table), None) => table.remove(key).map(drop)?,
            (Self::Memory(rows), value) => rows.put(key, value),
        }
        Ok(())
    }
}
