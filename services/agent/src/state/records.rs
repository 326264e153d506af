//! Records beside the index: apply intents and trash entries, and how entries are written in them.
//!
//! Shape of an entry: `0` for none, else `kind u8 | id (32)`, for files followed by `size | exec u8
//! | mtime`.

use fsync_core::id::RevisionId;
use fsync_core::node::{Content, Entry, FileEntry, Mtime};

use super::row::Fields;
use super::{Result, StateError};
use crate::files::Stat;

/// A path on disk and in the synced tree: they differ where a user's edit was not sent yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Standing {
    /// What stands on disk.
    pub disk: Option<Entry>,
    /// What the synced tree has.
    pub synced: Option<Entry>,
}

impl Standing {
    /// Disk and synced tree have the same.
    pub fn agreed(entry: Option<Entry>) -> Self {
        Self {
            disk: entry,
            synced: entry,
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        write_entry(out, self.disk.as_ref());
        write_entry(out, self.synced.as_ref());
    }

    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        Some(Self {
            disk: read_entry(fields)?,
            synced: read_entry(fields)?,
        })
    }
}

/// What apply is about to do at a path; durable before the first visible step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Intent {
    /// How the path stands before.
    pub expected: Standing,
    /// How it shall stand.
    pub target: Standing,
    /// The revision that it comes from.
    pub revision: RevisionId,
    /// When it was noted, ns since 1970.
    pub time: i64,
}

/// Something in the trash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trashed {
    /// What it was in the tree when it was taken away.
    pub entry: Entry,
    /// Its size then, in bytes.
    pub size: u64,
    /// Its modification time then, ns: a later one shows a late writer.
    pub mtime: i64,
}

impl Trashed {
    /// Notes what went to the trash.
    pub fn new(entry: Entry, stat: &Stat) -> Self {
        Self {
            entry,
            size: stat.size,
            mtime: stat.mtime,
        }
    }

    /// Returns whether the content was written after it went to the trash.
    pub fn is_late_write(&self, stat: &Stat) -> bool {
        (self.size, self.mtime) != (stat.size, stat.mtime)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(80);
        write_entry(&mut out, Some(&self.entry));
        out.extend_from_slice(&self.size.to_le_bytes());
        out.extend_from_slice(&self.mtime.to_le_bytes());
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self> {
        let mut fields = Fields(bytes);
        let mut read = || {
            Some(Self {
                entry: read_entry(&mut fields)??,
                size: fields.u64()?,
                mtime: fields.i64()?,
            })
        };
        read().ok_or(StateError::Damaged("trash entry"))
    }
}

impl Intent {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(280);
        self.expected.write(&mut out);
        self.target.write(&mut out);
        out.extend_from_slice(self.revision.as_bytes());
        out.extend_from_slice(&self.time.to_le_bytes());
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self> {
        let mut fields = Fields(bytes);
        let mut read = || {
            Some(Self {
                expected: Standing::read(&mut fields)?,
                target: Standing::read(&mut fields)?,
                revision: RevisionId::from_bytes(*fields.id()?.as_bytes()),
                time: fields.i64()?,
            })
        };
        read().ok_or(StateError::Damaged("intent"))
    }
}

/// Writes what the synced tree had at a path before it was blocked.
pub(super) fn encode_blocked(synced: Option<&Entry>) -> Vec<u8> {
    let mut out = Vec::with_capacity(60);
    write_entry(&mut out, synced);
    out
}

/// Reads it.
pub(super) fn decode_blocked(bytes: &[u8]) -> Result<Option<Entry>> {
    read_entry(&mut Fields(bytes)).ok_or(StateError::Damaged("blocked path"))
}

const NONE: u8 = 0;
const FILE_CHUNK: u8 = 1;
const FILE_LIST: u8 = 2;
const DIR: u8 = 3;
const SYMLINK: u8 = 4;

fn write_entry(out: &mut Vec<u8>, entry: Option<&Entry>) {
    let Some(entry) = entry else {
        return out.push(NONE);
    };
    out.push(match entry {
        Entry::File(FileEntry {
            content: Content::Chunk(_),
            ..
        }) => FILE_CHUNK,
        Entry::File(_) => FILE_LIST,
        Entry::Dir(_) => DIR,
        Entry::Symlink(_) => SYMLINK,
    });
    out.extend_from_slice(entry.id().as_bytes());
    if let Entry::File(file) = entry {
        out.extend_from_slice(&file.size.to_le_bytes());
        out.push(u8::from(file.exec));
        out.extend_from_slice(&file.mtime.0.to_le_bytes());
    }
}

fn read_entry(fields: &mut Fields<'_>) -> Option<Option<Entry>> {
    let kind = fields.u8()?;
    if kind == NONE {
        return Some(None);
    }
    let id = fields.id()?;
    let content = match kind {
        FILE_CHUNK => Content::Chunk(id),
        FILE_LIST => Content::List(id),
        DIR => return Some(Some(Entry::Dir(id))),
        SYMLINK => return Some(Some(Entry::Symlink(id))),
        _ => return None,
    };
    Some(Some(Entry::File(FileEntry {
        content,
        size: fields.u64()?,
        exec: fields.u8()? != 0,
        mtime: Mtime(fields.i64()?),
    })))
}
