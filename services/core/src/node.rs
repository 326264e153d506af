//! Nodes: what directories, large files and symbolic links are on the service.
//!
//! Shape (canonical CBOR arrays, first element the tag):
//!
//! ```text
//! [1, [[chunk id, bytes] | [hole bytes], ...]]       file list, leaf
//! [2, level, [[node id, bytes], ...]]                file list, inner: children and the bytes they cover
//! [3, [entry, ...]]                                  directory, leaf, entries in order of their names' bytes
//! [4, level, [[last name, node id], ...]]            directory, inner: children and their last names
//! [5, target]                                        symbolic link
//! entry = [name, 0 | 1, id, size, exec, mtime ns]    file: 0 = the id is its one chunk, 1 = a file list
//!       | [name, 2, node id]                         directory
//!       | [name, 3, node id]                         symbolic link
//! ```
//!
//! Guarantees: one content, one encoding; a node is at most 16 KiB; names ascend strictly.
//! Does not: load other nodes. Where lists are cut is decided in [`crate::split`].

use minicbor::Decoder;

use crate::cbor::{self, DecodeError, Writer};
use crate::id::{ID_BYTES, ObjectId, ObjectKind};
use crate::limits;
use crate::path::Name;

/// Modification time in nanoseconds since 1970, as the file system of the writer told it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mtime(pub i64);

/// Where a file's bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Content {
    /// The file is one chunk.
    Chunk(ObjectId),
    /// The file is a list of chunks and holes.
    List(ObjectId),
}

impl Content {
    /// Returns the id of the chunk or list; equal contents have equal ids.
    pub fn id(&self) -> ObjectId {
        match self {
            Self::Chunk(id) | Self::List(id) => *id,
        }
    }
}

/// What stands at a name that is a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileEntry {
    /// The bytes.
    pub content: Content,
    /// Length in bytes.
    pub size: u64,
    /// Whether the owner may execute it.
    pub exec: bool,
    /// Modification time; travels with the content.
    pub mtime: Mtime,
}

/// What stands at a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Entry {
    /// A regular file.
    File(FileEntry),
    /// A directory, by its top node.
    Dir(ObjectId),
    /// A symbolic link, by its node.
    Symlink(ObjectId),
}

impl Entry {
    /// Returns the id of what the entry points to.
    pub fn id(&self) -> ObjectId {
        match self {
            Self::File(file) => file.content.id(),
            Self::Dir(id) | Self::Symlink(id) => *id,
        }
    }

    /// Returns the kind of the object that [`Entry::id`] names.
    pub fn object_kind(&self) -> ObjectKind {
        match self {
            Self::File(FileEntry {
                content: Content::Chunk(_),
                ..
            }) => ObjectKind::Chunk,
            Self::File(_) => ObjectKind::File,
            Self::Dir(_) => ObjectKind::Directory,
            Self::Symlink(_) => ObjectKind::Symlink,
        }
    }

    /// Returns whether both are the same but for the modification time.
    pub fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::File(a), Self::File(b)) => a.content == b.content && a.exec == b.exec,
            _ => self == other,
        }
    }

    /// Returns the directory's node id, if it is a directory.
    pub fn as_dir(&self) -> Option<ObjectId> {
        match self {
            Self::Dir(id) => Some(*id),
            _ => None,
        }
    }

    /// Returns the file, if it is one.
    pub fn as_file(&self) -> Option<&FileEntry> {
        match self {
            Self::File(file) => Some(file),
            _ => None,
        }
    }
}

/// A run of a file's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Run {
    /// Bytes of a chunk.
    Chunk {
        /// The chunk.
        id: ObjectId,
        /// Its length in bytes.
        bytes: u64,
    },
    /// Zeros that are not stored.
    Hole {
        /// How many.
        bytes: u64,
    },
}

impl Run {
    /// Returns the length of the run in bytes.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Chunk { bytes, .. } | Self::Hole { bytes } => *bytes,
        }
    }
}

/// A decoded node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// Runs of a file in order.
    FileLeaf(Vec<Run>),
    /// Sub-lists of a file: level above the leaves, node and the bytes it covers.
    FileInner(u8, Vec<(ObjectId, u64)>),
    /// Entries in order of their names.
    DirLeaf(Vec<(Name, Entry)>),
    /// Parts of a directory: level above the leaves, last name and node of each.
    DirInner(u8, Vec<(Name, ObjectId)>),
    /// The target text of a symbolic link.
    Symlink(Vec<u8>),
}

const TAG_FILE_LEAF: u64 = 1;
const TAG_FILE_INNER: u64 = 2;
const TAG_DIR_LEAF: u64 = 3;
const TAG_DIR_INNER: u64 = 4;
const TAG_SYMLINK: u64 = 5;
const ENTRY_FILE_CHUNK: u8 = 0;
const ENTRY_FILE_LIST: u8 = 1;
const ENTRY_DIR: u8 = 2;
const ENTRY_SYMLINK: u8 = 3;
/// More items than fit a node, so that a hostile header cannot reserve memory.
const MAX_ITEMS: usize = limits::NODE_BYTES / 4;

impl Node {
    /// Returns how many entries, parts or runs it holds.
    #[expect(clippy::len_without_is_empty, reason = "nobody asks")]
    pub fn len(&self) -> usize {
        match self {
            Self::FileLeaf(runs) => runs.len(),
            Self::FileInner(_, parts) => parts.len(),
            Self::DirLeaf(items) => items.len(),
            Self::DirInner(_, parts) => parts.len(),
            Self::Symlink(_) => 0,
        }
    }

    /// Returns the kind of object the node is.
    pub fn kind(&self) -> ObjectKind {
        match self {
            Self::FileLeaf(_) | Self::FileInner(..) => ObjectKind::File,
            Self::DirLeaf(_) | Self::DirInner(..) => ObjectKind::Directory,
            Self::Symlink(_) => ObjectKind::Symlink,
        }
    }

    /// Encodes the node and computes its id.
    pub fn encode(&self) -> (ObjectId, Vec<u8>) {
        let bytes = self.to_bytes();
        (ObjectId::of(self.kind(), &bytes), bytes)
    }

    /// Returns the canonical encoding.
    pub fn to_bytes(&self) -> Vec<u8> {
        cbor::encode(|w| match self {
            Self::FileLeaf(runs) => {
                w.array(2)?.u64(TAG_FILE_LEAF)?.array(runs.len() as u64)?;
                runs.iter().try_for_each(|run| write_run(w, run))
            }
            Self::FileInner(level, children) => {
                w.array(3)?
                    .u64(TAG_FILE_INNER)?
                    .u8(*level)?
                    .array(children.len() as u64)?;
                children
                    .iter()
                    .try_for_each(|(id, bytes)| w.array(2)?.bytes(id.as_bytes())?.u64(*bytes)?.ok())
            }
            Self::DirLeaf(entries) => {
                w.array(2)?.u64(TAG_DIR_LEAF)?.array(entries.len() as u64)?;
                entries
                    .iter()
                    .try_for_each(|(name, entry)| write_entry(w, name, entry))
            }
            Self::DirInner(level, children) => {
                w.array(3)?
                    .u64(TAG_DIR_INNER)?
                    .u8(*level)?
                    .array(children.len() as u64)?;
                children.iter().try_for_each(|(name, id)| {
                    w.array(2)?
                        .bytes(name.as_bytes())?
                        .bytes(id.as_bytes())?
                        .ok()
                })
            }
            Self::Symlink(target) => w.array(2)?.u64(TAG_SYMLINK)?.bytes(target)?.ok(),
        })
    }

    /// Decodes a node of `kind` and checks every rule that concerns this node alone.
    ///
    /// # Errors
    /// [`DecodeError`]; the bytes must then be thrown away and their source distrusted.
    pub fn decode(kind: ObjectKind, bytes: &[u8]) -> Result<Self, DecodeError> {
        limits::check("node size in bytes", limits::NODE_BYTES, bytes.len())?;
        let node = cbor::decode("node", bytes, read_node, Self::to_bytes)?;
        if node.kind() != kind {
            return Err(DecodeError::malformed(
                "node",
                format!("expected a {kind:?} node"),
            ));
        }
        node.check()?;
        Ok(node)
    }

    /// Returns the objects that the node names, with their kinds.
    pub fn children(&self) -> Vec<(ObjectKind, ObjectId)> {
        match self {
            Self::FileLeaf(runs) => runs
                .iter()
                .filter_map(|run| match run {
                    Run::Chunk { id, .. } => Some((ObjectKind::Chunk, *id)),
                    Run::Hole { .. } => None,
                })
                .collect(),
            Self::FileInner(_, children) => children
                .iter()
                .map(|(id, _)| (ObjectKind::File, *id))
                .collect(),
            Self::DirLeaf(entries) => entries
                .iter()
                .map(|(_, e)| (e.object_kind(), e.id()))
                .collect(),
            Self::DirInner(_, children) => children
                .iter()
                .map(|(_, id)| (ObjectKind::Directory, *id))
                .collect(),
            Self::Symlink(_) => Vec::new(),
        }
    }

    fn check(&self) -> Result<(), DecodeError> {
        let bad = |reason: &str| Err(DecodeError::malformed("node", reason));
        match self {
            Self::FileLeaf(runs) => {
                let is_bad = |run: &Run| match run {
                    Run::Chunk { bytes, .. } => {
                        *bytes == 0 || *bytes > limits::CHUNK_MAX_BYTES as u64
                    }
                    Run::Hole { bytes } => *bytes == 0 || *bytes > limits::FILE_BYTES,
                };
                if runs.is_empty() || runs.iter().any(is_bad) {
                    return bad("a file list holds an impossible run");
                }
            }
            Self::FileInner(level, children) => {
                if children.len() < 2 || !is_level(*level) || children.iter().any(|(_, n)| *n == 0)
                {
                    return bad("an inner file list is not well formed");
                }
            }
            Self::DirLeaf(entries) => {
                if !entries.is_sorted_by(|a, b| a.0 < b.0) {
                    return bad("directory names do not ascend");
                }
            }
            Self::DirInner(level, children) => {
                if children.len() < 2
                    || !is_level(*level)
                    || !children.is_sorted_by(|a, b| a.0 < b.0)
                {
                    return bad("an inner directory node is not well formed");
                }
            }
            Self::Symlink(target) => {
                limits::check(
                    "symlink target in bytes",
                    limits::SYMLINK_BYTES,
                    target.len(),
                )?;
                if target.is_empty() || target.contains(&0) {
                    return bad("a symlink target is empty or holds NUL");
                }
            }
        }
        Ok(())
    }
}

fn is_level(level: u8) -> bool {
    (1..=limits::NODE_LEVELS).contains(&level)
}

fn write_run(w: &mut Writer, run: &Run) -> cbor::WriteResult {
    match run {
        Run::Chunk { id, bytes } => w.array(2)?.bytes(id.as_bytes())?.u64(*bytes)?.ok(),
        Run::Hole { bytes } => w.array(1)?.u64(*bytes)?.ok(),
    }
}

fn write_entry(w: &mut Writer, name: &Name, entry: &Entry) -> cbor::WriteResult {
    let (code, id) = match entry {
        Entry::File(FileEntry {
            content: Content::Chunk(id),
            ..
        }) => (ENTRY_FILE_CHUNK, id),
        Entry::File(FileEntry {
            content: Content::List(id),
            ..
        }) => (ENTRY_FILE_LIST, id),
        Entry::Dir(id) => (ENTRY_DIR, id),
        Entry::Symlink(id) => (ENTRY_SYMLINK, id),
    };
    w.array(if entry.as_file().is_some() { 6 } else { 3 })?;
    w.bytes(name.as_bytes())?.u8(code)?.bytes(id.as_bytes())?;
    match entry {
        Entry::File(file) => w.u64(file.size)?.bool(file.exec)?.i64(file.mtime.0)?.ok(),
        _ => Ok(()),
    }
}

fn read_node(d: &mut Decoder<'_>) -> Result<Node, DecodeError> {
    let parts = cbor::array("node", d, 3)?;
    let tag = d.u64().map_err(bad_node)?;
    let level = if parts == 3 {
        d.u8().map_err(bad_node)?
    } else {
        0
    };
    match (tag, parts) {
        (TAG_FILE_LEAF, 2) => read_list(d, read_run).map(Node::FileLeaf),
        (TAG_FILE_INNER, 3) => read_list(d, read_file_child).map(|c| Node::FileInner(level, c)),
        (TAG_DIR_LEAF, 2) => read_list(d, read_entry).map(Node::DirLeaf),
        (TAG_DIR_INNER, 3) => read_list(d, read_dir_child).map(|c| Node::DirInner(level, c)),
        (TAG_SYMLINK, 2) => Ok(Node::Symlink(d.bytes().map_err(bad_node)?.to_vec())),
        _ => Err(bad_node(format!("tag {tag} with {parts} parts"))),
    }
}

fn bad_node(reason: impl ToString) -> DecodeError {
    DecodeError::malformed("node", reason)
}

fn read_list<T>(
    d: &mut Decoder<'_>,
    read: fn(&mut Decoder<'_>) -> Result<T, DecodeError>,
) -> Result<Vec<T>, DecodeError> {
    let length = cbor::array("node items", d, MAX_ITEMS)?;
    (0..length).map(|_| read(d)).collect()
}

fn read_run(d: &mut Decoder<'_>) -> Result<Run, DecodeError> {
    match cbor::array("file run", d, 2)? {
        1 => Ok(Run::Hole {
            bytes: d.u64().map_err(bad_node)?,
        }),
        2 => Ok(Run::Chunk {
            id: read_id(d)?,
            bytes: d.u64().map_err(bad_node)?,
        }),
        _ => Err(bad_node("an empty file run")),
    }
}

fn read_file_child(d: &mut Decoder<'_>) -> Result<(ObjectId, u64), DecodeError> {
    pair(d)?;
    Ok((read_id(d)?, d.u64().map_err(bad_node)?))
}

fn read_dir_child(d: &mut Decoder<'_>) -> Result<(Name, ObjectId), DecodeError> {
    pair(d)?;
    Ok((read_name(d)?, read_id(d)?))
}

fn pair(d: &mut Decoder<'_>) -> Result<(), DecodeError> {
    match cbor::array("node child", d, 2)? {
        2 => Ok(()),
        _ => Err(bad_node("a child is not a pair")),
    }
}

fn read_entry(d: &mut Decoder<'_>) -> Result<(Name, Entry), DecodeError> {
    let parts = cbor::array("entry", d, 6)?;
    let name = if parts == 0 {
        return Err(bad_node("an empty entry"));
    } else {
        read_name(d)?
    };
    let code = d.u8().map_err(bad_node)?;
    let id = read_id(d)?;
    let entry = match (code, parts) {
        (ENTRY_FILE_CHUNK, 6) => read_file(d, Content::Chunk(id))?,
        (ENTRY_FILE_LIST, 6) => read_file(d, Content::List(id))?,
        (ENTRY_DIR, 3) => Entry::Dir(id),
        (ENTRY_SYMLINK, 3) => Entry::Symlink(id),
        _ => return Err(bad_node(format!("entry code {code} with {parts} parts"))),
    };
    Ok((name, entry))
}

fn read_file(d: &mut Decoder<'_>, content: Content) -> Result<Entry, DecodeError> {
    let size = d.u64().map_err(bad_node)?;
    let exec = d.bool().map_err(bad_node)?;
    let mtime = Mtime(d.i64().map_err(bad_node)?);
    let is_possible = match content {
        Content::Chunk(_) => size <= limits::CHUNK_MAX_BYTES as u64,
        Content::List(_) => size > limits::WHOLE_FILE_BYTES && size <= limits::FILE_BYTES,
    };
    if !is_possible {
        return Err(bad_node(format!(
            "a file of {size} bytes cannot be stored this way"
        )));
    }
    Ok(Entry::File(FileEntry {
        content,
        size,
        exec,
        mtime,
    }))
}

fn read_name(d: &mut Decoder<'_>) -> Result<Name, DecodeError> {
    Name::new(d.bytes().map_err(bad_node)?).map_err(bad_node)
}

pub(crate) fn read_id(d: &mut Decoder<'_>) -> Result<ObjectId, DecodeError> {
    let bytes = d.bytes().map_err(bad_node)?;
    ObjectId::from_slice(bytes).ok_or_else(|| bad_node(format!("an id has {ID_BYTES} bytes")))
}
