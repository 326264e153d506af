//! Nodes, revisions and packs with true hashes and false contents, written byte by byte: what the
//! product's own encoders refuse to make.

use fsync_core::id::{ObjectId, ObjectKind, RevisionId};
use fsync_core::revision::{MoveHint, Revision, Timestamp};

/// Code of a revision's record in a pack.
pub(crate) const KIND_REVISION: u8 = 16;
/// What a pack begins with.
pub(crate) const MAGIC: &[u8] = b"FSPK\x01";

/// One record of a pack: not necessarily what it claims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Raw {
    pub(crate) kind: u8,
    pub(crate) id: Vec<u8>,
    pub(crate) bytes: Vec<u8>,
}

impl Raw {
    /// Makes an object whose hash is true.
    pub(crate) fn object(kind: ObjectKind, bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        Self {
            kind: kind as u8,
            id: ObjectId::of(kind, &bytes).as_bytes().to_vec(),
            bytes,
        }
    }

    pub(crate) fn chunk(bytes: impl Into<Vec<u8>>) -> Self {
        Self::object(ObjectKind::Chunk, bytes)
    }

    pub(crate) fn link(target: &[u8]) -> Self {
        Self::object(
            ObjectKind::Symlink,
            [head(ARRAY, 2), vec![5], bytes(target)].concat(),
        )
    }

    /// Makes a revision of a root, signed by nobody.
    pub(crate) fn revision(root: &Self, moves: Vec<MoveHint>) -> Self {
        let root = ObjectId::from_slice(&root.id).expect("an id");
        let revision = Revision {
            root,
            parents: Vec::new(),
            author: "mallory".parse().expect("a valid name"),
            time: Timestamp(1_700_000_000_000),
            is_approved: true,
            moves,
        };
        Self::revision_of(revision.to_bytes())
    }

    /// Makes a revision of any bytes.
    pub(crate) fn revision_of(bytes: Vec<u8>) -> Self {
        Self {
            kind: KIND_REVISION,
            id: RevisionId::of(&bytes).as_bytes().to_vec(),
            bytes,
        }
    }

    pub(crate) fn hex(&self) -> String {
        self.id.iter().map(|b| format!("{b:02x}")).collect()
    }

    /// Returns the record as it stands in a pack.
    pub(crate) fn record(&self) -> Vec<u8> {
        let length = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        self.record_of(length)
    }

    /// The same, with a length of its own choice.
    pub(crate) fn record_of(&self, length: u32) -> Vec<u8> {
        [
            &[self.kind, 0][..],
            &length.to_le_bytes(),
            &self.id,
            &self.bytes,
        ]
        .concat()
    }
}

/// Returns a pack of records.
pub(crate) fn pack<'a>(records: impl IntoIterator<Item = &'a Raw>) -> Vec<u8> {
    let records = records.into_iter().map(Raw::record);
    [MAGIC.to_vec()]
        .into_iter()
        .chain(records)
        .collect::<Vec<_>>()
        .concat()
}

const UINT: u8 = 0;
const NEGATIVE: u8 = 1;
const BYTES: u8 = 2;
const ARRAY: u8 = 4;

/// Returns the head of a CBOR item.
fn head(major: u8, value: u64) -> Vec<u8> {
    let major = major << 5;
    match value {
        0..24 => vec![major | value.to_be_bytes()[7]],
        24..0x100 => [&[major | 24][..], &value.to_be_bytes()[7..]].concat(),
        0x100..0x1_0000 => [&[major | 25][..], &value.to_be_bytes()[6..]].concat(),
        0x1_0000..0x1_0000_0000 => [&[major | 26][..], &value.to_be_bytes()[4..]].concat(),
        _ => [&[major | 27][..], &value.to_be_bytes()].concat(),
    }
}

fn bytes(bytes: &[u8]) -> Vec<u8> {
    [head(BYTES, bytes.len() as u64), bytes.to_vec()].concat()
}

/// What stands in a directory, under any bytes as name.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    name: Vec<u8>,
    code: u8,
    id: Vec<u8>,
    size: Option<u64>,
    mtime: i64,
}

impl Item {
    pub(crate) fn file(name: &[u8], chunk: &Raw) -> Self {
        Self {
            name: name.to_vec(),
            code: 0,
            id: chunk.id.clone(),
            size: Some(chunk.bytes.len() as u64),
            mtime: 1_700_000_000_000_000_000,
        }
    }

    /// A file whose content is a list of chunks.
    pub(crate) fn large(name: &[u8], list: &Raw, size: u64) -> Self {
        Self {
            code: 1,
            size: Some(size),
            ..Self::file(name, list)
        }
    }

    pub(crate) fn dir(name: &[u8], node: &Raw) -> Self {
        Self {
            code: 2,
            size: None,
            ..Self::file(name, node)
        }
    }

    pub(crate) fn link(name: &[u8], node: &Raw) -> Self {
        Self {
            code: 3,
            size: None,
            ..Self::file(name, node)
        }
    }

    pub(crate) fn with_size(self, size: u64) -> Self {
        Self {
            size: Some(size),
            ..self
        }
    }

    pub(crate) fn with_mtime(self, mtime: i64) -> Self {
        Self { mtime, ..self }
    }

    /// As another kind than it is.
    pub(crate) fn with_code(self, code: u8) -> Self {
        Self { code, ..self }
    }

    fn encode(&self) -> Vec<u8> {
        let parts = if self.size.is_some() { 6 } else { 3 };
        let mut item = [
            head(ARRAY, parts),
            bytes(&self.name),
            vec![self.code],
            bytes(&self.id),
        ]
        .concat();
        if let Some(size) = self.size {
            item.extend(head(UINT, size));
            item.push(0xf4);
            item.extend(match u64::try_from(self.mtime) {
                Ok(positive) => head(UINT, positive),
                Err(_negative) => head(NEGATIVE, self.mtime.unsigned_abs() - 1),
            });
        }
        item
    }
}

/// Makes a directory of items in the given order.
pub(crate) fn dir(items: &[Item]) -> Raw {
    let mut node = [head(ARRAY, 2), vec![3], head(ARRAY, items.len() as u64)].concat();
    node.extend(items.iter().flat_map(Item::encode));
    Raw::object(ObjectKind::Directory, node)
}

/// Makes a directory of items as it should be.
pub(crate) fn sorted(mut items: Vec<Item>) -> Raw {
    items.sort_by(|a, b| a.name.cmp(&b.name));
    dir(&items)
}

/// Makes a directory of parts: last names and nodes.
pub(crate) fn split_dir(level: u8, parts: &[(&[u8], &Raw)]) -> Raw {
    let mut node = [
        head(ARRAY, 3),
        vec![4, level],
        head(ARRAY, parts.len() as u64),
    ]
    .concat();
    for (name, part) in parts {
        node.extend([head(ARRAY, 2), bytes(name), bytes(&part.id)].concat());
    }
    Raw::object(ObjectKind::Directory, node)
}

/// Makes a file list of chunks with the lengths that are claimed.
pub(crate) fn list(runs: &[(&Raw, u64)]) -> Raw {
    let mut node = [head(ARRAY, 2), vec![1], head(ARRAY, runs.len() as u64)].concat();
    for (chunk, length) in runs {
        node.extend([head(ARRAY, 2), bytes(&chunk.id), head(UINT, *length)].concat());
    }
    Raw::object(ObjectKind::File, node)
}
