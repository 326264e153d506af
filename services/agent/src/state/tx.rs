//! Writing the state, inside an update.

use fsync_core::exception::Exception;
use fsync_core::id::{ObjectId, ObjectKind};
use fsync_core::node::Entry;
use fsync_core::nodes::NewNodes;
use fsync_core::path::{Name, RelPath};
use fsync_core::tree::{self, Entries};
use fsync_core::wire::Head;

use super::engine::{Part, Rows};
use super::records::encode_blocked;
use super::view::{inode_key, row_key, trash_key};
use super::{DirNo, Held, Intent, Result, Roots, Row, Stamp, StateError, Trashed, Tx, key};
use crate::files::TrashSlot;

impl Tx<'_> {
    /// Writes or removes a row of a table; one that is as wished already is left alone.
    fn set(&mut self, part: Part, key: &[u8], value: Option<&[u8]>) -> Result<()> {
        let rows = self.table(part)?;
        if rows
            .read(key, |there| Some(there) == value)?
            .unwrap_or(value.is_none())
        {
            return Ok(());
        }
        self.table_mut(part)?.put(key, value)
    }

    /// Sets or removes a value by its name.
    ///
    /// # Errors
    /// [`StateError`] of the database.
    pub fn set_value(&mut self, name: &str, value: Option<&[u8]>) -> Result<()> {
        self.set(Part::Meta, name.as_bytes(), value)
    }

    /// Sets a counter.
    ///
    /// # Errors
    /// [`StateError`] of the database.
    pub fn set_number(&mut self, name: &str, value: u64) -> Result<()> {
        self.set_value(name, Some(&value.to_le_bytes()))
    }

    /// Sets or removes the base.
    ///
    /// # Errors
    /// [`StateError`] of the database.
    pub fn set_base(&mut self, base: Option<&Head>) -> Result<()> {
        let bytes = base.map(|head| {
            let mut bytes = head.epoch.0.to_le_bytes().to_vec();
            bytes.extend_from_slice(&head.seq.0.to_le_bytes());
            bytes.extend_from_slice(head.revision.as_bytes());
            bytes
        });
        self.set_value(key::BASE, bytes.as_deref())
    }

    /// Sets the roots of both trees; their nodes must be in the state.
    ///
    /// # Errors
    /// [`StateError`] of the database.
    pub fn set_roots(&mut self, roots: &Roots) -> Result<()> {
        self.set_value(key::SYNCED, Some(roots.synced.as_bytes()))?;
        self.set_value(key::WORKING, Some(roots.working.as_bytes()))
    }

    /// Adds nodes that a function made.
    ///
    /// # Errors
    /// [`StateError`] of the database.
    pub fn put_nodes(&mut self, new: &NewNodes) -> Result<()> {
        new.iter()
            .try_for_each(|(kind, id, bytes)| self.put_node(kind, &id, bytes))
    }

    /// Adds one node, whose bytes the caller has verified against its id.
    ///
    /// # Errors
    /// [`StateError`] of the database.
    pub fn put_node(&mut self, kind: ObjectKind, id: &ObjectId, bytes: &[u8]) -> Result<()> {
        let mut value = Vec::with_capacity(1 + bytes.len());
        value.push(kind as u8);
        value.extend_from_slice(bytes);
        self.set(Part::Nodes, id.as_bytes(), Some(&value))
    }

    pub(super) fn remove_node(&mut self, id: &ObjectId) -> Result<()> {
        self.set(Part::Nodes, id.as_bytes(), None)
    }

    /// Returns a number for a new directory.
    ///
    /// # Errors
    /// [`StateError`] of the database.
    pub fn new_dir(&mut self) -> Result<DirNo> {
        let next = self.number(key::NEXT_DIR)?.max(DirNo::ROOT.0 + 1);
        self.set_number(key::NEXT_DIR, next + 1)?;
        Ok(DirNo(next))
    }

    /// Writes a row. A directory that stood there is forgotten with all below it unless it is the
    /// same one.
    ///
    /// # Errors
    /// [`StateError`] of the database.
    pub fn put_row(&mut self, dir: DirNo, name: &Name, row: &Row) -> Result<()> {
        let before = self.row(dir, name)?;
        match before.map(|b| b.held) {
            Some(Held::Leaf(_)) if row.dir().is_none() => {}
            Some(Held::Dir(no)) if row.dir() == Some(no) => {}
            Some(_) => {
                self.remove_row(dir, name)?;
                self.count(row)?;
            }
            None => self.count(row)?,
        }
        let key = row_key(dir, name.as_bytes());
        self.set(Part::Index, &key, Some(&row.encode()))?;
        if let Some(no) = row.dir() {
            let parent = parent_value(dir, name);
            self.set(Part::Dirs, &no.0.to_be_bytes(), Some(&parent))?;
            let inode = inode_key(row.stamp.dev, row.stamp.ino);
            self.set(Part::Inodes, &inode, Some(&no.0.to_le_bytes()))?;
        }
        Ok(())
    }

    fn count(&mut self, row: &Row) -> Result<()> {
        match row.held {
            Held::Leaf(_) => self.set_number(key::TRACKED, self.tracked()? + 1),
            Held::Dir(_) => Ok(()),
        }
    }

    /// Removes a row and, for a directory, all below it; returns how many files and links went.
    ///
    /// # Errors
    /// [`StateError`] of the database.
    pub fn remove_row(&mut self, dir: DirNo, name: &Name) -> Result<u64> {
        let Some(row) = self.row(dir, name)? else {
            return Ok(0);
        };
        self.set(Part::Index, &row_key(dir, name.as_bytes()), None)?;
        let removed = match row.held {
            Held::Leaf(_) => 1,
            Held::Dir(no) => self.remove_rows(no, &row.stamp)?,
        };
        let tracked = self.tracked()?.saturating_sub(removed);
        self.set_number(key::TRACKED, tracked)?;
        Ok(removed)
    }

    fn remove_rows(&mut self, top: DirNo, stamp: &Stamp) -> Result<u64> {
        let mut removed = 0;
        let mut stack = vec![(top, *stamp)];
        while let Some((dir, stamp)) = stack.pop() {
            self.set(Part::Dirs, &dir.0.to_be_bytes(), None)?;
            self.forget_inode(dir, &stamp)?;
            for (name, row) in self.rows(dir)? {
                self.set(Part::Index, &row_key(dir, name.as_bytes()), None)?;
                match row.held {
                    Held::Leaf(_) => removed += 1,
                    Held::Dir(no) => stack.push((no, row.stamp)),
                }
            }
        }
        Ok(removed)
    }

    /// Another directory may have the inode number by now.
    fn forget_inode(&mut self, dir: DirNo, stamp: &Stamp) -> Result<()> {
        let inode = inode_key(stamp.dev, stamp.ino);
        let held = super::view::get(self.table(Part::Inodes)?, &inode)?;
        if held.as_deref() == Some(dir.0.to_le_bytes().as_slice()) {
            self.set(Part::Inodes, &inode, None)?;
        }
        Ok(())
    }

    /// Makes the working tree's entry of a path from the rows: what the index has there is what it
    /// was last seen to be. New nodes go to `out`.
    ///
    /// # Errors
    /// [`StateError`] of the database.
    pub fn indexed(&self, path: &RelPath, out: &mut NewNodes) -> Result<Option<Entry>> {
        Ok(match self.row_at(path)?.map(|row| row.held) {
            None => None,
            Some(Held::Leaf(entry)) => Some(entry),
            Some(Held::Dir(no)) => Some(Entry::Dir(self.indexed_dir(no, out)?)),
        })
    }

    fn indexed_dir(&self, dir: DirNo, out: &mut NewNodes) -> Result<ObjectId> {
        let mut entries = Entries::new();
        for (name, row) in self.rows(dir)? {
            let entry = match row.held {
                Held::Leaf(entry) => entry,
                Held::Dir(no) => Entry::Dir(self.indexed_dir(no, out)?),
            };
            entries.insert(name, entry);
        }
        Ok(tree::write_dir(&entries, out))
    }

    /// Moves a row: one row, also for a directory with all below it. `row` is what it is at its new
    /// place.
    ///
    /// # Errors
    /// [`StateError`] of the database.
    pub fn move_row(&mut self, from: (DirNo, &Name), to: (DirNo, &Name), row: &Row) -> Result<()> {
        let before = self.row(from.0, from.1)?;
        self.set(Part::Index, &row_key(from.0, from.1.as_bytes()), None)?;
        if matches!(before.map(|b| b.held), Some(Held::Leaf(_))) {
            let tracked = self.tracked()?.saturating_sub(1);
            self.set_number(key::TRACKED, tracked)?;
        }
        self.put_row(to.0, to.1, row)
    }

    /// Sets or removes the exception at a path.
    ///
    /// # Errors
    /// [`StateError`] of the database.
    pub fn set_exception(&mut self, path: &RelPath, exception: Option<&Exception>) -> Result<()> {
        let json = exception.map(serde_json::to_vec).transpose();
        let json = json.or(Err(StateError::Damaged("exception")))?;
        self.set(Part::Exceptions, path.as_bytes(), json.as_deref())?;
        self.set(Part::Blocked, path.as_bytes(), None)
    }

    /// Excepts a path where the head's entry cannot be put; `synced` is what the synced tree had
    /// there until then, unless it was blocked already.
    ///
    /// # Errors
    /// [`StateError`] of the database.
    pub fn block(&mut self, path: &RelPath, why: &Exception, synced: Option<&Entry>) -> Result<()> {
        let earlier = super::view::get(self.table(Part::Blocked)?, path.as_bytes())?;
        self.set_exception(path, Some(why))?;
        let synced = earlier.unwrap_or_else(|| encode_blocked(synced));
        self.set(Part::Blocked, path.as_bytes(), Some(&synced))
    }

    /// Sets or removes the intent at a path.
    ///
    /// # Errors
    /// [`StateError`] of the database.
    pub fn set_intent(&mut self, path: &RelPath, intent: Option<&Intent>) -> Result<()> {
        let bytes = intent.map(Intent::encode);
        self.set(Part::Intents, path.as_bytes(), bytes.as_deref())
    }

    /// Notes or forgets what is in the trash.
    ///
    /// # Errors
    /// [`StateError`] of the database.
    pub fn set_trashed(
        &mut self,
        slot: TrashSlot,
        path: &RelPath,
        trashed: Option<&Trashed>,
    ) -> Result<()> {
        let bytes = trashed.map(Trashed::encode);
        self.set(Part::Trash, &trash_key(slot, path), bytes.as_deref())
    }

    /// Sets or removes the resume record of a staged file.
    ///
    /// # Errors
    /// [`StateError`] of the database.
    pub fn set_resume(&mut self, key: &str, record: Option<&[u8]>) -> Result<()> {
        self.set(Part::Resume, key.as_bytes(), record)
    }
}

fn parent_value(dir: DirNo, name: &Name) -> Vec<u8> {
    [&dir.0.to_le_bytes(), name.as_bytes()].concat()
}
