//! A user's disk: the strict folder with inode numbers, so that renames are found the way a scan
//! finds them.

use std::collections::{BTreeMap, BTreeSet};

use fsync_core::id::ObjectId;
use fsync_core::node::Entry;
use fsync_core::path::RelPath;
use fsync_core::plan::Step;

use crate::folder::{Folder, plain};

/// Number of an inode; a rename keeps it.
pub(super) type Inode = u64;

#[derive(Debug, Clone, Default)]
pub(super) struct Disk {
    pub(super) folder: Folder,
    pub(super) inodes: BTreeMap<RelPath, Inode>,
    pub(super) unreadable: BTreeSet<Inode>,
    last: Inode,
}

impl Disk {
    pub(super) fn of(folder: Folder) -> Self {
        let mut disk = Self::default();
        for (path, entry) in folder.0 {
            disk.replace(&path, entry);
        }
        disk
    }

    pub(super) fn at(&self, path: &RelPath) -> Option<Entry> {
        self.folder.0.get(path).copied()
    }

    pub(super) fn is_readable(&self, path: &RelPath) -> bool {
        let inode = self.inodes.get(path);
        inode.is_none_or(|inode| !self.unreadable.contains(inode))
    }

    /// Writes into the inode that stands there.
    pub(super) fn write(&mut self, path: &RelPath, entry: Entry) {
        self.folder.0.insert(path.clone(), plain(entry));
    }

    /// Puts a new inode there, as editors do that save by rename.
    pub(super) fn replace(&mut self, path: &RelPath, entry: Entry) {
        self.last += 1;
        self.inodes.insert(path.clone(), self.last);
        self.write(path, entry);
    }

    /// Makes the directories above a path; false if something else is in the way.
    pub(super) fn make_way(&mut self, path: &RelPath) -> bool {
        let Some(dir) = path.parent() else {
            return false;
        };
        if self.folder.is_dir(&dir) {
            return true;
        }
        if self.at(&dir).is_some() || !self.make_way(&dir) {
            return false;
        }
        self.replace(&dir, Entry::Dir(ObjectId::from_bytes([0; 32])));
        true
    }

    /// Removes a path with all below it.
    pub(super) fn remove(&mut self, path: &RelPath) {
        self.folder.0.retain(|at, _| !at.is_within(path));
        self.inodes.retain(|at, _| !at.is_within(path));
    }

    /// Renames a path to a free one.
    pub(super) fn rename(&mut self, from: &RelPath, to: &RelPath) {
        relabel(&mut self.folder.0, from, to);
        relabel(&mut self.inodes, from, to);
    }

    /// Does one step of a plan; `None` if a file system would refuse.
    pub(super) fn step(&mut self, step: &Step) -> Option<()> {
        self.folder.step(step)?;
        match step {
            Step::Move { from, to, .. } => relabel(&mut self.inodes, from, to),
            Step::Remove { path, .. } | Step::RemoveDir { path } => {
                self.inodes.remove(path);
            }
            Step::MakeDir { path } | Step::Put { path, .. } => {
                self.last += 1;
                self.inodes.insert(path.clone(), self.last);
            }
            Step::Meta { .. } => {}
        }
        Some(())
    }
}

/// Renames a path with all below it among the keys of a map.
pub(super) fn relabel<T>(map: &mut BTreeMap<RelPath, T>, from: &RelPath, to: &RelPath) {
    for (path, value) in std::mem::take(map) {
        let moved = path.strip_prefix(from).map(|tail| to.concat(&tail));
        map.insert(moved.unwrap_or(path), value);
    }
}
