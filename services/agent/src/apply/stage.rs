//! Staging: the contents of a batch's puts, written beside the tree and verified.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fsync_core::id::{ObjectId, ObjectKind};
use fsync_core::limits::CHUNK_MAX_BYTES;
use fsync_core::node::{Content, Entry, FileEntry, Node};
use fsync_core::nodes::{Nodes, NodesError};
use fsync_core::path::RelPath;
use fsync_core::plan::{self, Step};
use fsync_core::revision::MoveHint;
use fsync_runtime::fault::{self, Point};

use super::{Applier, ApplyError, Contents, StepResult};
use crate::apply::large;
use crate::files::{Files, FilesError, Kind, Meta, Place, StageKey, Stat, TrashSlot};
use crate::state::State;

/// What staging a step gave.
#[derive(Debug)]
pub(super) enum Staged {
    /// The step needs nothing.
    Nothing,
    /// It lies under this key, and is this where that is known.
    At(StageKey, Option<Stat>),
    /// It could not be staged.
    Failed(StepResult),
}

impl Staged {
    pub(super) fn key(&self) -> Option<&StageKey> {
        match self {
            Self::At(key, _) => Some(key),
            Self::Nothing | Self::Failed(_) => None,
        }
    }
}

/// Contents that are on this disk and that steps need elsewhere.
#[derive(Debug, Default)]
pub(super) struct Sources(Mutex<HashMap<ObjectId, Source>>);

#[derive(Debug, Clone)]
enum Source {
    Tree(RelPath),
    Trash(TrashSlot, RelPath),
}

impl Source {
    fn place(&self) -> Place<'_> {
        match self {
            Self::Tree(path) => Place::Tree(path),
            Self::Trash(slot, path) => Place::Trash(*slot, path),
        }
    }
}

impl Sources {
    fn lock(&self) -> MutexGuard<'_, HashMap<ObjectId, Source>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a content went to the trash.
    pub(super) fn trashed(&self, was: &Entry, slot: TrashSlot, path: &RelPath) {
        if let Some(source) = self.lock().get_mut(&was.id()) {
            *source = Source::Trash(slot, path.clone());
        }
    }

    /// Notes where contents that are not at hand stand on this disk, at paths that the steps take
    /// away.
    fn find(&self, steps: &[Step], contents: &dyn Contents) {
        let needed: HashSet<ObjectId> = steps
            .iter()
            .filter_map(|step| match step {
                Step::Put {
                    now: Entry::File(file),
                    ..
                } => whole_chunk(file),
                _ => None,
            })
            .filter(|id| contents.chunk(id).is_none())
            .collect();
        if needed.is_empty() {
            return;
        }
        for step in steps {
            if let Step::Remove {
                path,
                was: Entry::File(was),
            }
            | Step::Put {
                path,
                was: Some(Entry::File(was)),
                ..
            } = step
                && let Some(id) = whole_chunk(was).filter(|id| needed.contains(id))
            {
                self.lock().insert(id, Source::Tree(path.clone()));
            }
        }
    }

    /// Reads a content; what is on its way to the trash right now is not found.
    fn read(&self, files: &dyn Files, id: &ObjectId) -> Option<Vec<u8>> {
        let source = self.lock().get(id)?.clone();
        read_whole(files, source.place()).ok()
    }
}

/// Writes staged files; works beside the steps.
pub(super) struct Stager<'a> {
    files: &'a dyn Files,
    state: &'a State,
    contents: &'a dyn Contents,
    sources: Arc<Sources>,
    /// Renames of the plan.
    moves: Vec<MoveHint>,
}

impl<'a> Stager<'a> {
    pub(super) fn new(applier: &Applier<'a>, steps: &[Step], contents: &'a dyn Contents) -> Self {
        applier.sources.find(steps, contents);
        Self {
            files: applier.files,
            state: applier.state,
            contents,
            sources: applier.sources.clone(),
            moves: plan::moves_of(steps),
        }
    }

    /// Stages all puts of a batch under keys from `first` on.
    pub(super) fn stage(&self, first: u64, steps: &[Step]) -> Result<Vec<Staged>, ApplyError> {
        (first..)
            .zip(steps)
            .map(|(number, step)| match step {
                Step::Put { path, was, now } => self.stage_put(path, (*was, *now), number),
                _ => Ok(Staged::Nothing),
            })
            .collect()
    }

    fn stage_put(
        &self,
        path: &RelPath,
        (was, now): (Option<Entry>, Entry),
        number: u64,
    ) -> Result<Staged, ApplyError> {
        let key = StageKey::small(number);
        let staged = match now {
            Entry::File(file) => {
                let meta = self.meta(path, was.as_ref(), &file)?;
                match file.content {
                    Content::Chunk(id) => self.stage_chunk(key, (&id, &file), &meta),
                    Content::List(id) => return self.stage_large(&id, &file, &meta),
                }
            }
            Entry::Symlink(id) => match &*self.state.node(ObjectKind::Symlink, &id)? {
                Node::Symlink(target) => self
                    .files
                    .stage_link(&key, target)
                    .map(|()| Staged::At(key, None)),
                _ => return Err(misplaced(id)),
            },
            Entry::Dir(id) => return Err(misplaced(id)),
        };
        Ok(staged.unwrap_or_else(|error| Staged::Failed(super::steps::failed(error))))
    }

    /// What replaces a file keeps its permissions: a private file stays private.
    fn meta(
        &self,
        path: &RelPath,
        was: Option<&Entry>,
        file: &FileEntry,
    ) -> Result<Meta, FilesError> {
        let like = match was {
            Some(Entry::File(_)) => self.mode(path)?,
            _ => None,
        };
        Ok(Meta {
            exec: file.exec,
            mtime: file.mtime,
            like,
        })
    }

    /// Returns the permissions of the file at a path, which a rename of the same plan may be about
    /// to bring there.
    fn mode(&self, path: &RelPath) -> Result<Option<u32>, FilesError> {
        let before = plan::before(&self.moves, path.clone());
        for at in [&before, path] {
            let stat = self.files.stat(Place::Tree(at))?;
            if let Some(stat) = stat.filter(|stat| stat.kind == Kind::File) {
                return Ok(Some(stat.mode));
            }
            if before == *path {
                break;
            }
        }
        Ok(None)
    }

    fn stage_chunk(
        &self,
        key: StageKey,
        (id, file): (&ObjectId, &FileEntry),
        meta: &Meta,
    ) -> Result<Staged, FilesError> {
        let is_right = |bytes: &[u8]| {
            bytes.len() as u64 == file.size && ObjectId::of(ObjectKind::Chunk, bytes) == *id
        };
        let at_hand = self.contents.chunk(id).filter(|bytes| is_right(bytes));
        let local = || {
            self.sources
                .read(self.files, id)
                .filter(|bytes| is_right(bytes))
        };
        let Some(bytes) = at_hand.or_else(|| local().map(Cow::Owned)) else {
            return Ok(Staged::Failed(StepResult::Unfetched));
        };
        let stat = fault::around(Point::Stage, || self.files.stage(&key, &bytes, meta))?;
        Ok(Staged::At(key, Some(stat)))
    }

    fn stage_large(
        &self,
        id: &ObjectId,
        file: &FileEntry,
        meta: &Meta,
    ) -> Result<Staged, ApplyError> {
        let key = StageKey::large(id);
        let staged = self.files.stat(Place::Stage(&key))?;
        let is_whole = staged.is_some_and(|stat| stat.size == file.size);
        if !is_whole || !large::is_complete(self.state, &key, file.size)? {
            return Ok(Staged::Failed(StepResult::Unfetched));
        }
        Ok(match self.files.stage_finish(&key, file.size, meta) {
            Ok(()) => Staged::At(key, None),
            Err(error) => Staged::Failed(super::steps::failed(error)),
        })
    }
}

fn whole_chunk(file: &FileEntry) -> Option<ObjectId> {
    match file.content {
        Content::Chunk(id) => Some(id),
        Content::List(_) => None,
    }
}

fn misplaced(id: ObjectId) -> ApplyError {
    ApplyError::Nodes(NodesError::Invalid {
        id,
        reason: "a step puts what is no file or link".to_owned(),
    })
}

/// Reads a file of at most one chunk.
fn read_whole(files: &dyn Files, at: Place<'_>) -> Result<Vec<u8>, FilesError> {
    let file = files.open(at)?;
    let size = file.stat()?.size.min(CHUNK_MAX_BYTES as u64);
    let mut bytes = vec![0; usize::try_from(size).unwrap_or(CHUNK_MAX_BYTES)];
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_at(filled as u64, &mut bytes[filled..])? {
            0 => break,
            read => filled += read,
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}
