//! How journals encode the rows that stand in a database: objects of the index, revisions of the
//! log.
//!
//! ```text
//! object     kind u8 | bytes u32 LE | born ms u64 LE [| pack u128 LE | offset u32 LE]
//! revision   ref | committed ms u64 BE | trace u128 BE, 0 for none | encoded revision
//! ```
//! Place: used by [`super::redb`] and [`super::redis`]; the latter's scripts know where `born` and
//! the pack stand.

use fsync_core::id::{ID_BYTES, ObjectKind, RevisionId};
use fsync_core::service::Now;
use fsync_core::service::record::{NewRevision, PackId, PackPlace, Stored};
use fsync_core::trace::TraceId;
use fsync_core::wire::Seq;

use super::JournalError;

/// A row of `objects`.
#[derive(Debug, Clone, Copy)]
pub(in crate::journal) struct ObjectRow {
    pub(in crate::journal) kind: ObjectKind,
    pub(in crate::journal) bytes: u32,
    pub(in crate::journal) born: Now,
    /// `None`: the body is in `inline`.
    pub(in crate::journal) pack: Option<(PackId, u32)>,
}

const BARE_ROW_BYTES: usize = 1 + 4 + 8;

impl ObjectRow {
    pub(in crate::journal) fn encode(&self) -> Vec<u8> {
        let mut row = Vec::with_capacity(BARE_ROW_BYTES + 20);
        row.push(self.kind as u8);
        row.extend_from_slice(&self.bytes.to_le_bytes());
        row.extend_from_slice(&self.born.0.to_le_bytes());
        if let Some((pack, offset)) = self.pack {
            row.extend_from_slice(&pack.0.to_le_bytes());
            row.extend_from_slice(&offset.to_le_bytes());
        }
        row
    }

    pub(in crate::journal) fn decode(row: &[u8]) -> Result<Self, JournalError> {
        let damaged = || JournalError::damaged("a row of the object index is damaged");
        let (bare, pack) = row
            .split_first_chunk::<BARE_ROW_BYTES>()
            .ok_or_else(damaged)?;
        let [kind, b0, b1, b2, b3, born @ ..] = bare;
        let pack = match pack.split_first_chunk::<16>() {
            None => None,
            Some((pack, offset)) => {
                let offset = offset.try_into().map_err(|_e| damaged())?;
                let pack = PackId(u128::from_le_bytes(*pack));
                Some((pack, u32::from_le_bytes(offset)))
            }
        };
        Ok(Self {
            kind: ObjectKind::from_code(*kind).ok_or_else(damaged)?,
            bytes: u32::from_le_bytes([*b0, *b1, *b2, *b3]),
            born: Now(u64::from_le_bytes(*born)),
            pack,
        })
    }

    pub(in crate::journal) fn place(&self) -> Option<PackPlace> {
        self.pack.map(|(pack, offset)| PackPlace {
            pack,
            offset,
            bytes: self.bytes,
        })
    }
}

const REVISION_ROW_HEAD_BYTES: usize = ID_BYTES + 8 + 16;

/// Encodes a row of `revisions`.
pub(in crate::journal) fn revision_row(new: &NewRevision, committed: Now) -> Vec<u8> {
    let trace = new.trace.unwrap_or(TraceId(0));
    let mut row = Vec::with_capacity(REVISION_ROW_HEAD_BYTES + new.bytes.len());
    row.extend_from_slice(new.id.as_bytes());
    row.extend_from_slice(&committed.0.to_be_bytes());
    row.extend_from_slice(&trace.0.to_be_bytes());
    row.extend_from_slice(&new.bytes);
    row
}

/// Decodes a row of `revisions`.
pub(in crate::journal) fn read_revision(seq: Seq, row: &[u8]) -> Result<Stored, JournalError> {
    let damaged =
        |reason: String| JournalError::damaged(&format!("revision {} is damaged: {reason}", seq.0));
    let short = || damaged("it is too short".to_owned());
    let (id, rest) = row.split_first_chunk::<ID_BYTES>().ok_or_else(short)?;
    let (committed, rest) = rest.split_first_chunk::<8>().ok_or_else(short)?;
    let (trace, bytes) = rest.split_first_chunk::<16>().ok_or_else(short)?;
    let committed = Now(u64::from_be_bytes(*committed));
    let trace = Some(TraceId(u128::from_be_bytes(*trace))).filter(|trace| trace.0 != 0);
    Stored::decode(seq, RevisionId::from_bytes(*id), bytes, (committed, trace))
        .map_err(|e| damaged(e.to_string()))
}
