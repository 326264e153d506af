//! Puts the ids of a pack right, so that a mutation of a body is not lost to the first hash check.

use fsync_core::id::{ObjectId, ObjectKind, RevisionId};
use fsync_core::pack::{PACK_HEADER_BYTES, RECORD_HEADER_BYTES};

/// Returns the pack with each whole record's id made that of its body; what is no record stays.
pub fn mend(pack: &[u8]) -> Vec<u8> {
    let mut out = pack.to_vec();
    let mut at = PACK_HEADER_BYTES;
    while let Some((kind, body)) = record(pack, at) {
        let id = match ObjectKind::from_code(kind) {
            Some(kind) => *ObjectId::of(kind, body).as_bytes(),
            None => *RevisionId::of(body).as_bytes(),
        };
        out[at + RECORD_HEADER_BYTES - id.len()..][..id.len()].copy_from_slice(&id);
        at += RECORD_HEADER_BYTES + body.len();
    }
    out
}

/// Returns kind and body of the record that starts at `at`, if the pack holds all of it.
fn record(pack: &[u8], at: usize) -> Option<(u8, &[u8])> {
    let rest = pack.get(at..)?;
    let header = rest.first_chunk::<RECORD_HEADER_BYTES>()?;
    let length = u32::from_le_bytes([header[2], header[3], header[4], header[5]]);
    let end = RECORD_HEADER_BYTES.checked_add(usize::try_from(length).ok()?)?;
    Some((header[0], rest.get(RECORD_HEADER_BYTES..end)?))
}
