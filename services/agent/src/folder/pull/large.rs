//! One large file of an apply: re-used from this disk, fetched in parts, put together in the stage.
//!
//! At most [`PARTS`] parts of [`PART_BYTES`] are under way, whatever the size. What was written
//! survives a crash.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use fsync_core::id::ObjectId;
use fsync_core::node::{Entry, FileEntry};
use fsync_core::pack::Object;
use fsync_core::plan::Step;

use crate::apply::{ApplyError, Assembly, Paused};
use crate::files::Place;
use crate::folder::{FolderEffect, Parts};

/// Parts under way at a time.
const PARTS: usize = 3;
/// Bytes of one part.
const PART_BYTES: u64 = 4 * 1024 * 1024;
/// Chunks are listed for so many bytes ahead, not for the whole file: bounds memory.
const WINDOW_BYTES: u64 = 256 * 1024 * 1024;

/// See the module's head.
#[derive(Debug)]
pub(super) struct Large {
    file: FileEntry,
    paused: Option<Paused>,
    queue: VecDeque<Vec<(ObjectId, u64)>>,
    under_way: BTreeSet<u64>,
}

impl Large {
    pub(super) fn new(file: FileEntry) -> Self {
        Self {
            file,
            paused: None,
            queue: VecDeque::new(),
            under_way: BTreeSet::new(),
        }
    }

    /// Returns the content that is put together.
    pub(super) fn content(&self) -> ObjectId {
        self.file.content.id()
    }

    /// Returns whether a part with this number was asked for.
    pub(super) fn asked(&self, number: u64) -> bool {
        self.under_way.contains(&number)
    }

    /// Asks for what is missing; returns whether the file is complete and staged.
    pub(super) fn go_on(
        &mut self,
        parts: &Parts,
        step: Option<&Step>,
        next: &mut u64,
        out: &mut Vec<FolderEffect>,
    ) -> Result<bool, ApplyError> {
        let (files, state) = (Arc::clone(&parts.files), Arc::clone(&parts.state));
        if self.under_way.is_empty() && self.queue.is_empty() {
            let mut assembly = match self.paused.take() {
                Some(paused) => paused.resume(&*files, &state),
                None => Assembly::open(&*files, &state, &self.file)?,
            };
            if let Some(Step::Put {
                path,
                was: Some(Entry::File(was)),
                ..
            }) = step
            {
                assembly.reuse(Place::Tree(path), was)?;
            }
            if assembly.is_complete() {
                return assembly.finish();
            }
            let missing = assembly
                .missing(WINDOW_BYTES)
                .into_iter()
                .map(|m| (m.id, m.bytes));
            self.queue = cut(missing);
            self.paused = Some(assembly.pause());
        }
        while self.under_way.len() < PARTS {
            let Some(wanted) = self.queue.pop_front() else {
                break;
            };
            *next += 1;
            self.under_way.insert(*next);
            out.push(FolderEffect::GetChunks {
                batch: *next,
                wanted,
            });
        }
        Ok(false)
    }

    /// Writes a part that came.
    pub(super) fn take(
        &mut self,
        parts: &Parts,
        number: u64,
        objects: Vec<Object>,
    ) -> Result<(), ApplyError> {
        self.under_way.remove(&number);
        let Some(paused) = self.paused.take() else {
            return Ok(());
        };
        let mut assembly = paused.resume(&*parts.files, &parts.state);
        let chunks: Vec<_> = objects
            .into_iter()
            .map(|object| (object.id, object.bytes.into()))
            .collect();
        let written = assembly.put(&chunks);
        self.paused = Some(assembly.pause());
        written.map(|_bytes| ())
    }
}

fn cut(missing: impl Iterator<Item = (ObjectId, u64)>) -> VecDeque<Vec<(ObjectId, u64)>> {
    let mut parts: VecDeque<Vec<(ObjectId, u64)>> = VecDeque::new();
    let mut bytes = PART_BYTES;
    for (id, size) in missing {
        if bytes + size > PART_BYTES {
            parts.push_back(Vec::new());
            bytes = 0;
        }
        bytes += size;
        if let Some(part) = parts.back_mut() {
            part.push((id, size));
        }
    }
    parts
}
