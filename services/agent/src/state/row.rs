//! One row of the index: what stood at a path when it was last looked at, and what it was in the
//! tree.
//!
//! Shape: `kind u8 | flags u8 | dev | ino | btime | size | mtime | ctime | recorded` (8 bytes
//! little-endian each), then for a directory its number, for a file `id (32) | size | mtime of the
//! entry`, for a link its `id`.

use fsync_core::id::{ID_BYTES, ObjectId};
use fsync_core::mutant::{self, Mutant};
use fsync_core::node::{Content, Entry, FileEntry, Mtime};

use super::{Result, StateError};
use crate::files::{Kind, Stat};

/// Two changes within this time can leave one change time, in ns: the coarsest clock tick that
/// kernels have.
const RACY_NANOS: i64 = 20_000_000;
/// The same on disks that keep whole seconds only, as FAT does: two of them.
const COARSE_RACY_NANOS: i64 = 2_000_000_000;
const SECOND_NANOS: i64 = 1_000_000_000;
const FLAG_BTIME: u8 = 1;
const FLAG_EXEC: u8 = 2;
const FLAG_LIST: u8 = 4;

/// Number of a directory in the index; a rename of the directory keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DirNo(pub u64);

impl DirNo {
    /// The root's.
    pub const ROOT: Self = Self(0);
}

/// The part of a [`Stat`] that tells whether anything changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// What it is.
    pub kind: Kind,
    /// Device.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// Birth time, ns, where there is one.
    pub btime: Option<i64>,
    /// Length in bytes.
    pub size: u64,
    /// Modification time, ns.
    pub mtime: i64,
    /// Change time, ns.
    pub ctime: i64,
}

impl From<&Stat> for Stamp {
    fn from(stat: &Stat) -> Self {
        Self {
            kind: stat.kind,
            dev: stat.dev,
            ino: stat.ino,
            btime: stat.btime,
            size: stat.size,
            mtime: stat.mtime,
            ctime: stat.ctime,
        }
    }
}

impl Stamp {
    /// Returns whether it is the same inode, as far as numbers and birth time tell.
    pub fn is_inode(&self, stat: &Stat) -> bool {
        self.kind == stat.kind
            && (self.dev, self.ino, self.btime) == (stat.dev, stat.ino, stat.btime)
    }

    /// Returns whether it is the same inode with the same size and modification time; renames are
    /// no difference.
    pub fn is_content(&self, stat: &Stat) -> bool {
        self.is_inode(stat) && (self.size, self.mtime) == (stat.size, stat.mtime)
    }
}

/// What a row holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// A file or link, with its entry in the working tree.
    Leaf(Entry),
    /// A directory, with its number.
    Dir(DirNo),
}

/// One row of the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// As the file system told it.
    pub stamp: Stamp,
    /// When that was, by the clock that stamps files, ns.
    pub recorded: i64,
    /// What it is in the tree.
    pub held: Held,
}

impl Row {
    /// Returns whether the disk says just what it said then, and a change since would show.
    pub fn is_unchanged(&self, stat: &Stat) -> bool {
        match self.held {
            Held::Dir(_) => self.stamp.is_inode(stat),
            Held::Leaf(_) => self.is_same_stamp(stat) && !self.is_racy(),
        }
    }

    /// Returns whether the disk says just what it said then.
    pub fn is_same_stamp(&self, stat: &Stat) -> bool {
        self.stamp == Stamp::from(stat)
    }

    /// Returns whether what we put somewhere is as we put it: the same inode, content and, on a disk
    /// that keeps it, exec bit; a rename is no difference.
    pub fn is_as_put(&self, stat: &Stat, keeps_exec: bool) -> bool {
        let has_exec = match self.entry() {
            Some(Entry::File(file)) if keeps_exec => file.exec == stat.is_exec(),
            _ => true,
        };
        has_exec && self.stamp.is_content(stat)
    }

    /// Returns whether it was recorded so soon after a change that a later change may not show.
    pub fn is_racy(&self) -> bool {
        // A time that is a whole second is the disk's way, but for one in a billion.
        let tick = match self.stamp.ctime % SECOND_NANOS {
            0 => COARSE_RACY_NANOS,
            _ => RACY_NANOS,
        };
        self.recorded < self.stamp.ctime.saturating_add(tick) && !mutant::is_on(Mutant::TrustTick)
    }

    /// Returns the entry of a file or link.
    pub fn entry(&self) -> Option<&Entry> {
        match &self.held {
            Held::Leaf(entry) => Some(entry),
            Held::Dir(_) => None,
        }
    }

    /// Returns the number of a directory.
    pub fn dir(&self) -> Option<DirNo> {
        match self.held {
            Held::Dir(dir) => Some(dir),
            Held::Leaf(_) => None,
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(2 + 7 * 8 + ID_BYTES + 16);
        let stamp = &self.stamp;
        let mut flags = if stamp.btime.is_some() { FLAG_BTIME } else { 0 };
        if let Held::Leaf(Entry::File(file)) = &self.held {
            flags |= if file.exec { FLAG_EXEC } else { 0 };
            flags |= match file.content {
                Content::List(_) => FLAG_LIST,
                Content::Chunk(_) => 0,
            };
        }
        out.extend_from_slice(&[stamp.kind as u8, flags]);
        out.extend_from_slice(&stamp.dev.to_le_bytes());
        out.extend_from_slice(&stamp.ino.to_le_bytes());
        out.extend_from_slice(&stamp.btime.unwrap_or(0).to_le_bytes());
        out.extend_from_slice(&stamp.size.to_le_bytes());
        out.extend_from_slice(&stamp.mtime.to_le_bytes());
        out.extend_from_slice(&stamp.ctime.to_le_bytes());
        out.extend_from_slice(&self.recorded.to_le_bytes());
        match &self.held {
            Held::Dir(dir) => out.extend_from_slice(&dir.0.to_le_bytes()),
            Held::Leaf(entry) => {
                out.extend_from_slice(entry.id().as_bytes());
                if let Entry::File(file) = entry {
                    out.extend_from_slice(&file.size.to_le_bytes());
                    out.extend_from_slice(&file.mtime.0.to_le_bytes());
                }
            }
        }
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self> {
        read_row(&mut Fields(bytes)).ok_or(StateError::Damaged("index row"))
    }
}

fn read_row(fields: &mut Fields<'_>) -> Option<Row> {
    let kind = match fields.u8()? {
        0 => Kind::File,
        1 => Kind::Dir,
        2 => Kind::Symlink,
        _ => return None,
    };
    let flags = fields.u8()?;
    let (dev, ino, btime) = (fields.u64()?, fields.u64()?, fields.i64()?);
    let stamp = Stamp {
        kind,
        dev,
        ino,
        btime: (flags & FLAG_BTIME != 0).then_some(btime),
        size: fields.u64()?,
        mtime: fields.i64()?,
        ctime: fields.i64()?,
    };
    let recorded = fields.i64()?;
    let held = match kind {
        Kind::Dir => Held::Dir(DirNo(fields.u64()?)),
        Kind::Symlink => Held::Leaf(Entry::Symlink(fields.id()?)),
        Kind::File | Kind::Other => {
            let id = fields.id()?;
            Held::Leaf(Entry::File(FileEntry {
                content: match flags & FLAG_LIST {
                    0 => Content::Chunk(id),
                    _ => Content::List(id),
                },
                size: fields.u64()?,
                exec: flags & FLAG_EXEC != 0,
                mtime: Mtime(fields.i64()?),
            }))
        }
    };
    Some(Row {
        stamp,
        recorded,
        held,
    })
}

/// Reads fixed fields one after the other.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(head)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.take(1).map(|b| b[0])
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.take(8)
            .and_then(|b| b.try_into().ok())
            .map(u64::from_le_bytes)
    }

    pub(super) fn i64(&mut self) -> Option<i64> {
        self.u64().map(u64::cast_signed)
    }

    pub(super) fn id(&mut self) -> Option<ObjectId> {
        self.take(ID_BYTES).and_then(ObjectId::from_slice)
    }
}
