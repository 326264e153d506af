//! Putting a large file together: chunk by chunk, in any order, over any number of runs of the
//! agent.
//!
//! Guarantees: each chunk is verified before it is written; holes stay holes; what the resume
//! record names is durable. Memory is the list of runs and the chunks that the caller holds.
//! Place: the driver opens an [`Assembly`], re-uses what is on the disk, fetches what is
//! [`Assembly::missing`], ends with [`Assembly::finish`]; then a put of the same content finds it
//! staged.
//!
//! Shape of the resume record: `size u64 | complete u8 | one bit per run`.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use fsync_core::filelist;
use fsync_core::id::{ObjectId, ObjectKind};
use fsync_core::limits::CHUNK_MAX_BYTES;
use fsync_core::node::{FileEntry, Run};
use fsync_runtime::fault::{self, Point};

use super::ApplyError;
use crate::files::{Files, FilesError, Meta, Opened, Place, Problem, StageKey};
use crate::state::{Durability, State, StateError};

/// Bytes after which what is written is made durable and noted.
const NOTE_BYTES: u64 = 64 * 1024 * 1024;

/// A chunk with its bytes.
pub type Part<'p> = (ObjectId, Cow<'p, [u8]>);

/// A chunk that is still to be fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missing {
    /// The chunk.
    pub id: ObjectId,
    /// Its length in bytes.
    pub bytes: u64,
}

/// A large file on its way.
pub struct Assembly<'a> {
    files: &'a dyn Files,
    state: &'a State,
    key: StageKey,
    file: FileEntry,
    runs: Vec<Run>,
    offsets: Vec<u64>,
    done: Vec<bool>,
    places: HashMap<ObjectId, Vec<usize>>,
    unnoted: u64,
}

/// An assembly that waits for chunks, without its disk and state.
#[derive(Debug)]
pub struct Paused {
    key: StageKey,
    file: FileEntry,
    runs: Vec<Run>,
    offsets: Vec<u64>,
    done: Vec<bool>,
    places: HashMap<ObjectId, Vec<usize>>,
    unnoted: u64,
}

impl Paused {
    /// Goes on with the disk and state that it was paused from.
    pub fn resume<'a>(self, files: &'a dyn Files, state: &'a State) -> Assembly<'a> {
        let Self {
            key,
            file,
            runs,
            offsets,
            done,
            places,
            unnoted,
        } = self;
        Assembly {
            files,
            state,
            key,
            file,
            runs,
            offsets,
            done,
            places,
            unnoted,
        }
    }
}

impl std::fmt::Debug for Assembly<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Assembly")
            .field("key", &self.key)
            .field("missing_bytes", &self.missing_bytes())
            .finish_non_exhaustive()
    }
}

/// Returns whether a large content lies complete in the stage.
pub(super) fn is_complete(state: &State, key: &StageKey, size: u64) -> Result<bool, StateError> {
    let record = state.snapshot()?.resume(key.as_str())?;
    Ok(record.is_some_and(|r| r.len() > 8 && r[..8] == size.to_le_bytes() && r[8] == 1))
}

/// Gives up what is staged of a large content, so that its room is free for others.
///
/// # Errors
/// [`ApplyError`] of the disk or the state.
pub fn discard(files: &dyn Files, state: &State, content: &ObjectId) -> Result<(), ApplyError> {
    let key = StageKey::large(content);
    if files.stat(Place::Stage(&key))?.is_some() {
        files.remove_file(Place::Stage(&key))?;
    }
    state.update(Durability::Lazy, |tx| {
        tx.set_resume(key.as_str(), None)?;
        Ok(())
    })
}

impl<'a> Assembly<'a> {
    /// Opens the assembly of a file, with what earlier runs left of it.
    ///
    /// # Errors
    /// [`ApplyError::Nodes`] with the missing parts of its list: fetch them and call again.
    pub fn open(
        files: &'a dyn Files,
        state: &'a State,
        file: &FileEntry,
    ) -> Result<Self, ApplyError> {
        let runs = filelist::read_file(state, &file.content, file.size)?;
        let key = StageKey::large(&file.content.id());
        let record = state.snapshot()?.resume(key.as_str())?;
        let is_staged = files.stat(Place::Stage(&key))?.is_some();
        let done = match record.filter(|_| is_staged) {
            Some(record) => read_record(&record, file.size, runs.len()),
            None => vec![false; runs.len()],
        };
        let mut places: HashMap<ObjectId, Vec<usize>> = HashMap::new();
        let mut offsets = Vec::with_capacity(runs.len());
        let mut offset = 0;
        for (number, run) in runs.iter().enumerate() {
            offsets.push(offset);
            offset += run.bytes();
            if let Run::Chunk { id, .. } = run {
                places.entry(*id).or_default().push(number);
            }
        }
        let mut assembly = Self {
            files,
            state,
            key,
            file: *file,
            runs,
            offsets,
            done,
            places,
            unnoted: 0,
        };
        for (number, run) in assembly.runs.iter().enumerate() {
            assembly.done[number] |= matches!(run, Run::Hole { .. });
        }
        assembly.check_room()?;
        // Made known before anything is written: what no record names is removed at the next start.
        assembly.note(0)?;
        Ok(assembly)
    }

    /// Copies chunks from a local file whose runs `old` tells; returns the bytes that need not be
    /// fetched.
    ///
    /// A chunk that is not what `old` says is passed over, so the file may change meanwhile.
    ///
    /// # Errors
    /// [`ApplyError`] of the disk or the state.
    pub fn reuse(&mut self, at: Place<'_>, old: &FileEntry) -> Result<u64, ApplyError> {
        let runs = match filelist::read_file(self.state, &old.content, old.size) {
            Ok(runs) => runs,
            Err(fsync_core::nodes::NodesError::Missing(_)) => return Ok(0),
            Err(error) => return Err(error.into()),
        };
        let Ok(file) = self.files.open(at) else {
            return Ok(0);
        };
        let mut reused = 0;
        let mut offset = 0;
        for run in runs {
            if let Run::Chunk { id, bytes } = run
                && self.is_missing(&id)
                && let Some(chunk) = read_chunk(&*file, offset, bytes)
            {
                reused += self.write(&id, &chunk)?;
            }
            offset += run.bytes();
        }
        Ok(reused)
    }

    /// Asked before anything is fetched that could not be kept.
    fn check_room(&self) -> Result<(), ApplyError> {
        let missing = self.missing_bytes();
        match self.files.free_bytes() {
            Some(free) if free < missing => Err(FilesError {
                op: "write",
                path: Place::Stage(&self.key).to_string(),
                problem: Problem::NoSpace,
                source: std::io::ErrorKind::StorageFull.into(),
            }
            .into()),
            _ => Ok(()),
        }
    }

    fn is_missing(&self, id: &ObjectId) -> bool {
        self.places
            .get(id)
            .is_some_and(|runs| runs.iter().any(|run| !self.done[*run]))
    }

    /// Returns chunks that are still to be fetched, in the file's order, each once, up to about
    /// `limit` bytes.
    pub fn missing(&self, limit: u64) -> Vec<Missing> {
        let mut seen = HashSet::new();
        let mut total = 0;
        let mut missing = Vec::new();
        for (number, run) in self.runs.iter().enumerate() {
            let Run::Chunk { id, bytes } = *run else {
                continue;
            };
            if self.done[number] || !seen.insert(id) {
                continue;
            }
            if total > 0 && total + bytes > limit {
                break;
            }
            total += bytes;
            missing.push(Missing { id, bytes });
        }
        missing
    }

    /// Returns how many bytes are still to be written.
    pub fn missing_bytes(&self) -> u64 {
        let open = self.runs.iter().zip(&self.done).filter(|(_, done)| !**done);
        open.map(|(run, _)| run.bytes()).sum()
    }

    /// Writes chunks, in any order; a chunk that does not match its id or has no place here is
    /// passed over. Returns the bytes written.
    ///
    /// # Errors
    /// [`ApplyError::Files`]; on `NoSpace` call again later.
    pub fn put(&mut self, parts: &[Part<'_>]) -> Result<u64, ApplyError> {
        let mut written = 0;
        for (id, bytes) in parts {
            written += self.write(id, bytes)?;
        }
        Ok(written)
    }

    fn write(&mut self, id: &ObjectId, bytes: &[u8]) -> Result<u64, ApplyError> {
        let Some(places) = self.places.get(id) else {
            return Ok(0);
        };
        if ObjectId::of(ObjectKind::Chunk, bytes) != *id {
            return Ok(0);
        }
        let mut written = 0;
        for run in places {
            if !self.done[*run] && self.runs[*run].bytes() == bytes.len() as u64 {
                let offset = self.offsets[*run];
                fault::around(Point::LargeWrite, || {
                    self.files.stage_write(&self.key, offset, bytes)
                })?;
                self.done[*run] = true;
                written += bytes.len() as u64;
            }
        }
        self.unnoted += written;
        if self.unnoted >= NOTE_BYTES {
            self.files.sync_staged(std::slice::from_ref(&self.key))?;
            self.note(0)?;
            self.unnoted = 0;
        }
        Ok(written)
    }

    /// Lets go of disk and state until more chunks are here.
    pub fn pause(self) -> Paused {
        let Self {
            key,
            file,
            runs,
            offsets,
            done,
            places,
            unnoted,
            ..
        } = self;
        Paused {
            key,
            file,
            runs,
            offsets,
            done,
            places,
            unnoted,
        }
    }

    /// Returns whether every run is written.
    pub fn is_complete(&self) -> bool {
        self.done.iter().all(|done| *done)
    }

    /// Ends the assembly: makes the file durable and ready to be put. What is not complete is kept
    /// for the next time.
    ///
    /// # Errors
    /// [`ApplyError`] of the disk or the state.
    pub fn finish(mut self) -> Result<bool, ApplyError> {
        let is_complete = self.is_complete();
        if is_complete {
            let meta = Meta {
                exec: self.file.exec,
                mtime: self.file.mtime,
                like: None,
            };
            self.files.stage_finish(&self.key, self.file.size, &meta)?;
        }
        if self.files.stat(Place::Stage(&self.key))?.is_some() {
            self.files.sync_staged(std::slice::from_ref(&self.key))?;
        }
        self.note(u8::from(is_complete))?;
        Ok(is_complete)
    }

    fn note(&mut self, complete: u8) -> Result<(), ApplyError> {
        let mut record = self.file.size.to_le_bytes().to_vec();
        record.push(complete);
        for runs in self.done.chunks(8) {
            let bits = runs.iter().enumerate();
            record.push(bits.fold(0, |byte, (bit, done)| byte | u8::from(*done) << bit));
        }
        let key = self.key.as_str();
        fault::around(Point::LargeNote, || {
            self.state.update(Durability::Durable, |tx| {
                tx.set_resume(key, Some(&record))?;
                Ok(())
            })
        })
    }
}

fn read_record(record: &[u8], size: u64, runs: usize) -> Vec<bool> {
    let bits = record.get(9..).unwrap_or_default();
    let fits = record.starts_with(&size.to_le_bytes()) && bits.len() == runs.div_ceil(8);
    (0..runs)
        .map(|run| fits && bits[run / 8] >> (run % 8) & 1 == 1)
        .collect()
}

fn read_chunk(file: &dyn Opened, offset: u64, bytes: u64) -> Option<Vec<u8>> {
    let length = usize::try_from(bytes)
        .ok()
        .filter(|n| *n <= CHUNK_MAX_BYTES)?;
    let mut chunk = vec![0; length];
    let mut filled = 0;
    while filled < length {
        match file.read_at(offset + filled as u64, &mut chunk[filled..]) {
            Ok(0) | Err(_) => return None,
            Ok(read) => filled += read,
        }
    }
    Some(chunk)
}
