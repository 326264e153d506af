//! Inode numbers of the disk: each stands for a handle of the backing file, so that renames and
//! removals need no care.

use std::collections::{BTreeSet, HashMap};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::io::Errno;

/// The root's number, by the protocol.
pub(crate) const ROOT: u64 = 1;

/// A file of the disk.
#[derive(Debug, Clone)]
pub(crate) struct Inode {
    /// The backing file, opened as a place only.
    pub(crate) fd: Arc<OwnedFd>,
    /// Distinguishes files that had one number after one another.
    pub(crate) generation: u64,
    /// The error that reading and writing it gives.
    pub(crate) fault: Option<Errno>,
    backing: (u64, u64),
    /// How often the kernel was told of it without forgetting it.
    lookups: u64,
}

/// All files that the kernel was told of.
#[derive(Debug)]
pub(crate) struct Inodes {
    by_number: HashMap<u64, Inode>,
    by_backing: HashMap<(u64, u64), u64>,
    free: BTreeSet<u64>,
    next: u64,
    generation: u64,
}

impl Inodes {
    /// Makes a table that knows the root.
    pub(crate) fn new(root: OwnedFd, backing: (u64, u64)) -> Self {
        let mut inodes = Self {
            by_number: HashMap::new(),
            by_backing: HashMap::new(),
            free: BTreeSet::new(),
            next: ROOT,
            generation: 0,
        };
        inodes.known(root, backing);
        inodes
    }

    /// Returns a file.
    ///
    /// # Errors
    /// `ESTALE` if there is none of this number.
    pub(crate) fn get(&self, number: u64) -> rustix::io::Result<&Inode> {
        self.by_number.get(&number).ok_or(Errno::STALE)
    }

    /// As [`Inodes::get`], to change it.
    ///
    /// # Errors
    /// As [`Inodes::get`].
    pub(crate) fn get_mut(&mut self, number: u64) -> rustix::io::Result<&mut Inode> {
        self.by_number.get_mut(&number).ok_or(Errno::STALE)
    }

    /// Returns the number of a backing file, of which the kernel is about to be told. The handle is
    /// kept: as long as it is open, the backing number stays this file's.
    pub(crate) fn known(&mut self, fd: OwnedFd, backing: (u64, u64)) -> u64 {
        if let Some(number) = self.by_backing.get(&backing)
            && let Some(inode) = self.by_number.get_mut(number)
        {
            inode.lookups += 1;
            return *number;
        }
        let number = self.free.pop_first().unwrap_or_else(|| {
            self.next += 1;
            self.next - 1
        });
        self.generation += 1;
        let inode = Inode {
            fd: Arc::new(fd),
            generation: self.generation,
            fault: None,
            backing,
            lookups: 1,
        };
        self.by_number.insert(number, inode);
        self.by_backing.insert(backing, number);
        number
    }

    /// The kernel forgets a file: one that is removed loses its number, which is free again if
    /// numbers are reused.
    pub(crate) fn forget(&mut self, number: u64, lookups: u64, (is_gone, is_reused): (bool, bool)) {
        let Some(inode) = self.by_number.get_mut(&number) else {
            return;
        };
        inode.lookups = inode.lookups.saturating_sub(lookups);
        if inode.lookups > 0 || !is_gone || number == ROOT {
            return;
        }
        let backing = inode.backing;
        self.by_number.remove(&number);
        self.by_backing.remove(&backing);
        if is_reused {
            self.free.insert(number);
        }
    }
}
