//! Properties of a file that has other names too.
//!
//! A hard link's other names may stand anywhere, outside the folder as well, and show what is set on
//! the file. So the path gets a copy of its own with the new properties, as it gets a file of its
//! own with every new content; the other names keep what they have.

use fsync_core::limits::CHUNK_MAX_BYTES;
use fsync_core::node::{Entry, FileEntry};
use fsync_core::path::RelPath;

use super::{Batch, failed};
use crate::apply::{Applier, ApplyError, StepResult};
use crate::files::{Files, FilesError, Meta, Place, StageKey};

/// Bytes that are copied at once.
const PIECE_BYTES: usize = CHUNK_MAX_BYTES / 4;

impl Applier<'_> {
    /// Puts a copy with its own properties in the place of one name of a file.
    pub(super) fn set_meta_apart(
        &mut self,
        batch: &mut Batch<'_, '_, '_>,
        path: &RelPath,
        (was, now): (&FileEntry, &FileEntry),
        meta: &Meta,
    ) -> Result<StepResult, ApplyError> {
        self.next_key += 1;
        let key = StageKey::small(self.next_key);
        attempt!(copy(self.files, path, &key, meta));
        attempt!(self.files.sync_staged(std::slice::from_ref(&key)));
        let entries = (&Entry::File(*was), &Entry::File(*now));
        let result = self.exchange(batch, path, entries, (&key, None))?;
        if !matches!(result, StepResult::Done) && self.files.stat(Place::Stage(&key))?.is_some() {
            self.files.remove_file(Place::Stage(&key))?;
        }
        Ok(result)
    }
}

/// Copies a file of the tree into the stage, holes as holes. Whether it was changed meanwhile shows
/// when both change places.
fn copy(files: &dyn Files, path: &RelPath, key: &StageKey, meta: &Meta) -> Result<(), FilesError> {
    let file = files.open(Place::Tree(path))?;
    let size = file.stat()?.size;
    let mut buffer = vec![0; PIECE_BYTES];
    let mut at = 0;
    while let Some(data) = file.next_data(at)? {
        let read = file.read_at(data, &mut buffer)?;
        if read == 0 {
            break;
        }
        files.stage_write(key, data, &buffer[..read])?;
        at = data + read as u64;
    }
    files.stage_finish(key, size, meta)
}
