//! Packs: many objects framed together, for transfer and for storage.
//!
//! Shape: `"FSPK" 01`, then records `kind u8 | codec u8 | length u32 LE | id (32) | body`, where
//! kind 0 to 3 is an object's kind and kind 16 a revision; codec 0 is raw and the only one yet. A
//! stored pack ends with a footer, see the server's blobs; a transferred one ends with its body.
//! Guarantees: every record's body was hashed and matches its id; lengths are checked before memory
//! is reserved.
//! Does not: decode nodes.

use crate::id::{ID_BYTES, ObjectId, ObjectKind, RevisionId};
use crate::limits::{self, LimitError};

const MAGIC: &[u8; 5] = b"FSPK\x01";
/// Bytes in front of each record's body.
pub const RECORD_HEADER_BYTES: usize = 1 + 1 + 4 + ID_BYTES;
/// Bytes in front of the first record.
pub const PACK_HEADER_BYTES: usize = MAGIC.len();
const KIND_REVISION: u8 = 16;
const CODEC_RAW: u8 = 0;

/// Why bytes are not a pack.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PackError {
    /// It does not start as a pack does.
    #[error("this is not a pack: it starts with {0:02x?}")]
    NotAPack(Vec<u8>),
    /// A kind or codec that this version does not know.
    #[error("a pack record at byte {at} has unknown kind {kind} or codec {codec}")]
    Unknown {
        /// Offset of the record.
        at: u64,
        /// Its kind byte.
        kind: u8,
        /// Its codec byte.
        codec: u8,
    },
    /// The pack ends inside a record.
    #[error("a pack ends in the middle of a record at byte {at}")]
    Truncated {
        /// Offset of the record.
        at: u64,
    },
    /// The body does not hash to the id.
    #[error(
        "an object claims to be {claimed} but its bytes hash to {actual}: the sender lied or the data rotted"
    )]
    HashMismatch {
        /// The id in the record.
        claimed: String,
        /// The id of the bytes.
        actual: String,
    },
    /// A limit is broken.
    #[error(transparent)]
    Limit(#[from] LimitError),
}

/// One verified thing out of a pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// A chunk or node.
    Object(Object),
    /// A revision, still encoded.
    Revision(RevisionId, Vec<u8>),
}

/// A verified object: its bytes hash to its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// What it is.
    pub kind: ObjectKind,
    /// Its address.
    pub id: ObjectId,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

impl Object {
    /// Makes an object of bytes, hashing them.
    pub fn new(kind: ObjectKind, bytes: Vec<u8>) -> Self {
        Self {
            kind,
            id: ObjectId::of(kind, &bytes),
            bytes,
        }
    }

    /// Returns what the object costs in a pack, in bytes.
    pub fn packed_bytes(&self) -> usize {
        RECORD_HEADER_BYTES + self.bytes.len()
    }
}

/// Bodies of at least this, in bytes, become pieces of their own and are not copied.
const OWN_PIECE_BYTES: usize = 16 * 1024;
/// Small records are gathered into pieces of about this, in bytes: blocks that an allocator finds
/// room for.
const PIECE_BYTES: usize = 256 * 1024;

/// Writes a pack into memory, in pieces.
#[derive(Debug)]
pub struct PackWriter {
    done: Vec<Vec<u8>>,
    last: Vec<u8>,
    done_bytes: usize,
}

impl Default for PackWriter {
    fn default() -> Self {
        Self::new()
    }
}

impl PackWriter {
    /// Starts an empty pack.
    pub fn new() -> Self {
        Self::with_room(PACK_HEADER_BYTES)
    }

    /// Starts an empty pack with room for `bytes` in its first piece, so that it is not copied
    /// while it grows.
    pub fn with_room(bytes: usize) -> Self {
        let mut last = Vec::with_capacity(bytes.max(PACK_HEADER_BYTES));
        last.extend_from_slice(MAGIC);
        Self {
            done: Vec::new(),
            last,
            done_bytes: 0,
        }
    }

    /// Appends an object to the last piece and returns the offset of its body.
    pub fn push(&mut self, kind: ObjectKind, id: &ObjectId, body: &[u8]) -> u64 {
        self.header(kind as u8, id.as_bytes(), body.len());
        self.last.extend_from_slice(body);
        (self.len() - body.len()) as u64
    }

    /// Appends an object, a large one without copying it; returns the offset of its body.
    pub fn push_object(&mut self, object: Object) -> u64 {
        if object.bytes.len() < OWN_PIECE_BYTES {
            if self.last.len() + object.packed_bytes() > PIECE_BYTES {
                self.cut(Vec::with_capacity(PIECE_BYTES));
            }
            return self.push(object.kind, &object.id, &object.bytes);
        }
        self.header(object.kind as u8, object.id.as_bytes(), object.bytes.len());
        let offset = self.len() as u64;
        self.cut(object.bytes);
        self.cut(Vec::new());
        offset
    }

    /// Appends an encoded revision.
    pub fn push_revision(&mut self, id: &RevisionId, body: &[u8]) {
        self.header(KIND_REVISION, id.as_bytes(), body.len());
        self.last.extend_from_slice(body);
    }

    fn header(&mut self, kind: u8, id: &[u8; ID_BYTES], body_bytes: usize) {
        let length = u32::try_from(body_bytes).unwrap_or(u32::MAX);
        self.last.extend_from_slice(&[kind, CODEC_RAW]);
        self.last.extend_from_slice(&length.to_le_bytes());
        self.last.extend_from_slice(id);
    }

    /// Ends the last piece, if there is anything in it, and goes on with `next`.
    fn cut(&mut self, next: Vec<u8>) {
        let piece = std::mem::replace(&mut self.last, next);
        if piece.is_empty() {
            return;
        }
        self.done_bytes += piece.len();
        self.done.push(piece);
    }

    /// Returns the bytes written so far.
    pub fn len(&self) -> usize {
        self.done_bytes + self.last.len()
    }

    /// Returns whether no record was written.
    pub fn is_empty(&self) -> bool {
        self.len() == PACK_HEADER_BYTES
    }

    /// Returns the pack in one piece.
    pub fn finish(self) -> Vec<u8> {
        match self.done.is_empty() {
            true => self.last,
            false => self.into_pieces().concat(),
        }
    }

    /// Returns the pack as the pieces it was gathered in.
    pub fn into_pieces(mut self) -> Vec<Vec<u8>> {
        self.cut(Vec::new());
        self.done
    }
}

/// Reads packs from pieces of any size, as they come from a socket; holds at most one record.
#[derive(Debug, Default)]
pub struct PackReader {
    pending: Vec<u8>,
    start: usize,
    consumed: u64,
    has_header: bool,
}

impl PackReader {
    /// Takes the next piece of the pack.
    pub fn feed(&mut self, piece: &[u8]) {
        if self.start > 0 {
            self.pending.drain(..self.start);
            self.start = 0;
        }
        self.pending.extend_from_slice(piece);
    }

    /// Returns the next whole record, or `None` until more was fed.
    ///
    /// # Errors
    /// [`PackError`]; nothing after it can be read.
    pub fn next_record(&mut self) -> Result<Option<Record>, PackError> {
        if !self.has_header {
            let Some(head) = self.pending.get(self.start..self.start + PACK_HEADER_BYTES) else {
                return Ok(None);
            };
            if head != MAGIC {
                return Err(PackError::NotAPack(head.to_vec()));
            }
            self.has_header = true;
            self.advance(PACK_HEADER_BYTES);
        }
        let rest = &self.pending[self.start..];
        let Some(header) = rest.first_chunk::<RECORD_HEADER_BYTES>() else {
            return Ok(None);
        };
        let (kind, length) = self.read_header(header)?;
        let Some(body) = rest.get(RECORD_HEADER_BYTES..RECORD_HEADER_BYTES + length) else {
            return Ok(None);
        };
        let record = verify(kind, &header[6..], body.to_vec())?;
        self.advance(RECORD_HEADER_BYTES + length);
        Ok(Some(record))
    }

    /// Checks that the pack did not end inside a record.
    ///
    /// # Errors
    /// [`PackError::Truncated`] or [`PackError::NotAPack`].
    pub fn finish(self) -> Result<(), PackError> {
        if !self.has_header {
            return Err(PackError::NotAPack(self.pending));
        }
        if self.start < self.pending.len() {
            return Err(PackError::Truncated { at: self.consumed });
        }
        Ok(())
    }

    fn advance(&mut self, bytes: usize) {
        self.start += bytes;
        self.consumed += bytes as u64;
    }

    fn read_header(
        &self,
        header: &[u8; RECORD_HEADER_BYTES],
    ) -> Result<(Option<ObjectKind>, usize), PackError> {
        let (kind, codec) = (header[0], header[1]);
        let known = ObjectKind::from_code(kind);
        if codec != CODEC_RAW || (known.is_none() && kind != KIND_REVISION) {
            return Err(PackError::Unknown {
                at: self.consumed,
                kind,
                codec,
            });
        }
        let length = u32::from_le_bytes([header[2], header[3], header[4], header[5]]) as usize;
        let (what, limit) = match known {
            Some(ObjectKind::Chunk) => ("chunk size in bytes", limits::CHUNK_MAX_BYTES),
            Some(_) => ("node size in bytes", limits::NODE_BYTES),
            None => ("revision size in bytes", limits::REVISION_BYTES),
        };
        limits::check(what, limit, length)?;
        Ok((known, length))
    }
}

fn verify(kind: Option<ObjectKind>, claimed: &[u8], bytes: Vec<u8>) -> Result<Record, PackError> {
    let mismatch = |actual: String| PackError::HashMismatch {
        claimed: claimed.iter().map(|b| format!("{b:02x}")).collect(),
        actual,
    };
    match kind {
        Some(kind) => {
            let object = Object::new(kind, bytes);
            if object.id.as_bytes() != claimed {
                return Err(mismatch(object.id.to_string()));
            }
            Ok(Record::Object(object))
        }
        None => {
            let id = RevisionId::of(&bytes);
            if id.as_bytes() != claimed {
                return Err(mismatch(id.to_string()));
            }
            Ok(Record::Revision(id, bytes))
        }
    }
}

/// Reads a whole pack that is in memory.
///
/// # Errors
/// [`PackError`] of the first bad record, or of more than [`limits::REQUEST_OBJECTS`] records.
pub fn read_all(bytes: &[u8]) -> Result<Vec<Record>, PackError> {
    let mut reader = PackReader::default();
    reader.feed(bytes);
    let mut records = Vec::new();
    while let Some(record) = reader.next_record()? {
        limits::check(
            "records in a pack",
            limits::REQUEST_OBJECTS,
            records.len() + 1,
        )?;
        records.push(record);
    }
    reader.finish()?;
    Ok(records)
}
