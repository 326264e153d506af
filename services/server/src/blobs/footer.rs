//! A pack's footer: what stands where in it, so that a lost index can be made anew.
//!
//! Shape: per object `kind u8 | id (32) | offset u32 LE | bytes u32 LE`, then `count u32 LE |
//! "FSPF" 01`.
//! Place: written and read by `blobs.rs`.

use fsync_core::id::{ID_BYTES, ObjectId, ObjectKind};
use fsync_core::service::record::PackEntry;

const ENTRY_BYTES: usize = 1 + ID_BYTES + 4 + 4;
const TAIL_MAGIC: &[u8; 5] = b"FSPF\x01";
const TAIL_BYTES: usize = 4 + TAIL_MAGIC.len();

/// Encodes a footer.
pub(super) fn write(entries: &[PackEntry]) -> Vec<u8> {
    let mut footer = Vec::with_capacity(entries.len() * ENTRY_BYTES + TAIL_BYTES);
    for entry in entries {
        footer.push(entry.kind as u8);
        footer.extend_from_slice(entry.id.as_bytes());
        footer.extend_from_slice(&entry.offset.to_le_bytes());
        footer.extend_from_slice(&entry.bytes.to_le_bytes());
    }
    let count = u32::try_from(entries.len()).unwrap_or(u32::MAX);
    footer.extend_from_slice(&count.to_le_bytes());
    footer.extend_from_slice(TAIL_MAGIC);
    footer
}

/// Returns how many bytes at a pack's end are its footer, by its last bytes.
///
/// # Errors
/// Why it has none.
pub(super) fn length(end: &[u8]) -> Result<usize, &'static str> {
    let tail = end.len().checked_sub(TAIL_BYTES).ok_or("it is too short")?;
    let (count, magic) = end[tail..]
        .split_first_chunk::<4>()
        .ok_or("it is too short")?;
    if magic != TAIL_MAGIC {
        return Err("it has no footer");
    }
    let count = usize::try_from(u32::from_le_bytes(*count))
        .map_err(|_e| "its footer is longer than itself")?;
    Ok(count * ENTRY_BYTES + TAIL_BYTES)
}

/// Decodes a whole footer.
///
/// # Errors
/// Why it is none.
pub(super) fn read(footer: &[u8]) -> Result<Vec<PackEntry>, &'static str> {
    let rows = footer.len().saturating_sub(TAIL_BYTES);
    let entries: Option<Vec<_>> = footer[..rows]
        .chunks_exact(ENTRY_BYTES)
        .map(read_entry)
        .collect();
    entries.ok_or("its footer names an unknown kind")
}

fn read_entry(row: &[u8]) -> Option<PackEntry> {
    let (kind, row) = row.split_first()?;
    let (id, row) = row.split_at_checked(ID_BYTES)?;
    let (offset, bytes) = row.split_first_chunk::<4>()?;
    Some(PackEntry {
        kind: ObjectKind::from_code(*kind)?,
        id: ObjectId::from_slice(id)?,
        offset: u32::from_le_bytes(*offset),
        bytes: u32::from_le_bytes(bytes.try_into().ok()?),
    })
}
