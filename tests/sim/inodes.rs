//! The inodes of a simulated file system: files with holes, directories, links; numbers are given
//! again, as ext4 does.
//!
//! Guarantees: an inode that nobody names lives as long as it is held open; the lowest free number
//! is given first, so a new file often has the number of one just removed.

use std::collections::{BTreeMap, BTreeSet};

use fsync_agent::files::{Kind, Stat};

/// Bytes that are stored, or a hole, as one.
const PAGE: u64 = 4096;
/// The device that all inodes are on.
const DEVICE: u64 = 7;

/// Number of an inode.
pub type Ino = u64;

/// The bytes of a file; pages that were never written are holes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bytes {
    size: u64,
    pages: BTreeMap<u64, Vec<u8>>,
}

impl Bytes {
    /// Returns the length.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Writes at an offset; what lies between becomes a hole.
    pub fn write(&mut self, mut offset: u64, mut bytes: &[u8]) {
        self.size = self.size.max(offset + bytes.len() as u64);
        while !bytes.is_empty() {
            let (page, at) = (offset / PAGE, in_page(offset));
            let count = bytes.len().min(in_page(PAGE - 1) + 1 - at);
            let stored = self.pages.entry(page).or_default();
            if stored.len() < at + count {
                stored.resize(at + count, 0);
            }
            stored[at..at + count].copy_from_slice(&bytes[..count]);
            bytes = &bytes[count..];
            offset += count as u64;
        }
    }

    /// Cuts or grows; growth is a hole.
    pub fn resize(&mut self, size: u64) {
        self.size = size;
        self.pages.retain(|page, _| page * PAGE < size);
        if let Some(last) = self.pages.get_mut(&(size / PAGE)) {
            last.truncate(in_page(size));
        }
    }

    /// Reads up to one page; 0 only at the end.
    pub fn read(&self, offset: u64, buffer: &mut [u8]) -> usize {
        let at = in_page(offset);
        let left = usize::try_from(self.size.saturating_sub(offset)).unwrap_or(usize::MAX);
        let count = buffer.len().min(in_page(PAGE - 1) + 1 - at).min(left);
        let page = self
            .pages
            .get(&(offset / PAGE))
            .map_or(&[][..], Vec::as_slice);
        for (n, byte) in buffer[..count].iter_mut().enumerate() {
            *byte = page.get(at + n).copied().unwrap_or(0);
        }
        count
    }

    /// Returns where data goes on at or after an offset.
    pub fn next_data(&self, offset: u64) -> Option<u64> {
        if offset >= self.size {
            return None;
        }
        let page = self.pages.range(offset / PAGE..).next()?.0 * PAGE;
        Some(page.max(offset))
    }

    /// Returns what is there if only some pages of a new content were written over this one.
    pub fn mixed(&self, new: &Self, mut is_new: impl FnMut() -> bool) -> Self {
        let mut mixed = self.clone();
        mixed.resize(new.size);
        for (at, page) in &new.pages {
            if is_new() {
                mixed.pages.insert(*at, page.clone());
            }
        }
        mixed
    }

    /// Returns all bytes.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(self.size).unwrap_or(0)];
        let mut at = 0;
        while at < bytes.len() {
            at += self.read(at as u64, &mut bytes[at..]);
        }
        bytes
    }
}

fn in_page(offset: u64) -> usize {
    usize::try_from(offset % PAGE).unwrap_or(0)
}

/// What an inode is.
#[derive(Debug, Clone)]
pub enum Body {
    /// A regular file.
    File(Bytes),
    /// A directory: names and numbers.
    Dir(BTreeMap<Vec<u8>, Ino>),
    /// A symbolic link: its text.
    Link(Vec<u8>),
    /// Something that no tree holds.
    Pipe,
}

/// An inode.
#[derive(Debug, Clone)]
pub struct Inode {
    /// What it is.
    pub body: Body,
    /// Permission bits.
    pub mode: u32,
    /// When its content changed, ns since 1970.
    pub mtime: i64,
    /// When anything of it changed.
    pub ctime: i64,
    /// When it was made.
    pub btime: i64,
    names: u64,
    opens: u64,
}

/// All inodes.
#[derive(Debug, Default)]
pub struct Inodes {
    table: BTreeMap<Ino, Inode>,
    free: BTreeSet<Ino>,
    next: Ino,
    /// What was changed since somebody asked; `None` while nobody does.
    touched: Option<BTreeSet<Ino>>,
}

impl Inodes {
    /// Remembers from now on what is changed.
    pub fn record(&mut self) {
        self.touched = Some(BTreeSet::new());
    }

    /// Returns the inodes that were changed since the last time.
    pub fn take_touched(&mut self) -> BTreeSet<Ino> {
        self.touched
            .as_mut()
            .map(std::mem::take)
            .unwrap_or_default()
    }

    fn touch(&mut self, ino: Ino) {
        if let Some(touched) = &mut self.touched {
            touched.insert(ino);
        }
    }

    /// Returns all inodes by number.
    pub fn table(&self) -> &BTreeMap<Ino, Inode> {
        &self.table
    }

    /// Becomes what a power loss left; what has no name any more goes, as a file system's check
    /// does it.
    pub fn restore(&mut self, mut table: BTreeMap<Ino, Inode>) {
        let top = self.table.keys().next().copied();
        loop {
            let dirs = table.values().filter_map(|inode| match &inode.body {
                Body::Dir(entries) => Some(entries),
                _ => None,
            });
            let mut names: BTreeMap<Ino, u64> = BTreeMap::new();
            for ino in dirs.flat_map(BTreeMap::values) {
                *names.entry(*ino).or_default() += 1;
            }
            let count = table.len();
            table.retain(|ino, inode| {
                (inode.names, inode.opens) = (names.get(ino).copied().unwrap_or(0), 0);
                inode.names > 0 || Some(*ino) == top
            });
            if table.len() == count {
                break;
            }
        }
        self.free = (1..=self.next).map(|n| n + 10).collect();
        self.free.retain(|ino| !table.contains_key(ino));
        self.table = table;
        self.take_touched();
    }

    /// Makes an inode that has no name yet; the caller links it.
    pub fn make(&mut self, body: Body, now: i64) -> Ino {
        let ino = self.free.pop_first().unwrap_or_else(|| {
            self.next += 1;
            self.next + 10
        });
        let mode = match body {
            Body::Dir(_) => 0o755,
            Body::Link(_) => 0o777,
            _ => 0o644,
        };
        let inode = Inode {
            body,
            mode,
            mtime: now,
            ctime: now,
            btime: now,
            names: 0,
            opens: 0,
        };
        self.table.insert(ino, inode);
        self.touch(ino);
        ino
    }

    /// Returns an inode.
    ///
    /// # Panics
    /// If it does not exist: names never point nowhere.
    pub fn get(&self, ino: Ino) -> &Inode {
        &self.table[&ino]
    }

    /// Returns an inode to change.
    ///
    /// # Panics
    /// If it does not exist.
    pub fn get_mut(&mut self, ino: Ino) -> &mut Inode {
        self.touch(ino);
        self.table
            .get_mut(&ino)
            .expect("a name or handle points to an inode that exists")
    }

    /// Returns what stands under a name of a directory; `None` also if it is no directory.
    pub fn child(&self, dir: Ino, name: &[u8]) -> Option<Ino> {
        self.entries(dir)?.get(name).copied()
    }

    /// Returns the names of a directory.
    pub fn entries(&self, dir: Ino) -> Option<&BTreeMap<Vec<u8>, Ino>> {
        match &self.get(dir).body {
            Body::Dir(entries) => Some(entries),
            _ => None,
        }
    }

    /// Gives an inode a name in a directory, which must not hold that name.
    pub fn link(&mut self, dir: Ino, name: &[u8], ino: Ino, now: i64) {
        self.get_mut(ino).names += 1;
        self.get_mut(ino).ctime = now;
        let dir = self.get_mut(dir);
        (dir.mtime, dir.ctime) = (now, now);
        if let Body::Dir(entries) = &mut dir.body {
            entries.insert(name.to_vec(), ino);
        }
    }

    /// Takes a name away; returns the inode, which is gone if nobody names or holds it.
    pub fn unlink(&mut self, dir: Ino, name: &[u8], now: i64) -> Option<Ino> {
        let holder = self.get_mut(dir);
        let Body::Dir(entries) = &mut holder.body else {
            return None;
        };
        let ino = entries.remove(name)?;
        (holder.mtime, holder.ctime) = (now, now);
        let inode = self.get_mut(ino);
        inode.names -= 1;
        inode.ctime = now;
        Some(ino)
    }

    /// Frees an inode that nobody names or holds.
    pub fn reap(&mut self, ino: Ino) {
        let is_dead = |i: &Inode| i.names == 0 && i.opens == 0;
        if self.table.get(&ino).is_some_and(is_dead) {
            self.table.remove(&ino);
            self.free.insert(ino);
            self.touch(ino);
        }
    }

    /// Holds an inode open.
    pub fn open(&mut self, ino: Ino) {
        self.get_mut(ino).opens += 1;
    }

    /// Lets it go.
    pub fn close(&mut self, ino: Ino) {
        self.get_mut(ino).opens -= 1;
        self.reap(ino);
    }

    /// Returns whether `ino` is `dir` or stands below it.
    pub fn is_within(&self, ino: Ino, dir: Ino) -> bool {
        ino == dir
            || self
                .entries(dir)
                .is_some_and(|entries| entries.values().any(|child| self.is_within(ino, *child)))
    }

    /// Returns what the system says of an inode.
    pub fn stat(&self, ino: Ino) -> Stat {
        let inode = self.get(ino);
        let (kind, size) = match &inode.body {
            Body::File(bytes) => (Kind::File, bytes.size()),
            Body::Dir(_) => (Kind::Dir, PAGE),
            Body::Link(target) => (Kind::Symlink, target.len() as u64),
            Body::Pipe => (Kind::Other, 0),
        };
        Stat {
            kind,
            dev: DEVICE,
            ino,
            size,
            mtime: inode.mtime,
            ctime: inode.ctime,
            btime: Some(inode.btime),
            mode: inode.mode,
            nlink: inode.names,
        }
    }
}
