//! A plan in batches: what each fetches, and which are asked for ahead.

use std::collections::{HashSet, VecDeque};

use fsync_core::id::ObjectId;
use fsync_core::node::{Content, Entry};
use fsync_core::plan::Step;

use super::large::Large;
use super::needs::large_file;
use super::{Chunks, Pulling};
use crate::folder::{Folder, FolderEffect};

/// Steps in one batch.
const BATCH_STEPS: usize = 1024;
/// Bytes that one batch fetches.
const BATCH_BYTES: u64 = 4 * 1024 * 1024;
/// Batches whose contents are asked for ahead.
const AHEAD: usize = 3;

/// Some steps of a plan, and the contents that they need.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) number: u64,
    /// The large file that this batch puts together; its one step follows then.
    pub(super) large: Option<Large>,
    pub(super) steps: Vec<Step>,
    pub(super) wanted: Vec<(ObjectId, u64)>,
    pub(super) is_asked: bool,
    pub(super) is_repeat: bool,
    pub(super) chunks: Option<Chunks>,
}

impl Folder {
    /// Cuts a plan into batches and finds out what each must fetch; a large file is a batch of its
    /// own.
    pub(super) fn batches(
        &mut self,
        steps: Vec<Step>,
        local: &HashSet<ObjectId>,
    ) -> VecDeque<Batch> {
        let mut batches = VecDeque::new();
        let mut batch = self.pull.new_batch();
        let mut bytes = 0;
        for step in steps {
            let large = large_file(&step).filter(|file| !local.contains(&file.content.id()));
            let wanted = self.wanted(&step, local);
            let more = wanted.map_or(0, |(_, bytes)| bytes);
            let is_full = batch.steps.len() >= BATCH_STEPS || bytes + more > BATCH_BYTES;
            if (is_full || large.is_some()) && !batch.steps.is_empty() {
                batches.push_back(std::mem::replace(&mut batch, self.pull.new_batch()));
                bytes = 0;
            }
            bytes += more;
            batch.wanted.extend(wanted);
            batch.steps.push(step);
            if let Some(file) = large {
                batch.large = Some(Large::new(file));
                batches.push_back(std::mem::replace(&mut batch, self.pull.new_batch()));
            }
        }
        if !batch.steps.is_empty() {
            batches.push_back(batch);
        }
        batches
    }

    /// Returns the chunk of a small file that a step needs and that is neither at hand nor on this
    /// disk.
    fn wanted(&self, step: &Step, local: &HashSet<ObjectId>) -> Option<(ObjectId, u64)> {
        let Step::Put {
            now: Entry::File(file),
            ..
        } = step
        else {
            return None;
        };
        match file.content {
            Content::Chunk(id) if !local.contains(&id) && !self.pull.kept.0.contains_key(&id) => {
                Some((id, file.size))
            }
            _ => None,
        }
    }
}

impl Pulling {
    fn new_batch(&mut self) -> Batch {
        self.next_batch += 1;
        Batch {
            number: self.next_batch,
            large: None,
            steps: Vec::new(),
            wanted: Vec::new(),
            is_asked: false,
            is_repeat: false,
            chunks: None,
        }
    }

    /// Asks for the contents of the next batches; returns whether there was anything to ask for.
    pub(super) fn ask_ahead(&mut self, out: &mut Vec<FolderEffect>) -> bool {
        let Some(applying) = &mut self.applying else {
            return false;
        };
        let mut has_asked = false;
        for batch in applying.batches.iter_mut().take(AHEAD) {
            if !batch.is_asked && !batch.wanted.is_empty() {
                batch.is_asked = true;
                has_asked = true;
                batch.wanted.sort_unstable();
                batch.wanted.dedup();
                out.push(FolderEffect::GetChunks {
                    batch: batch.number,
                    wanted: batch.wanted.clone(),
                });
            }
        }
        has_asked
    }
}
