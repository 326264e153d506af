//! Making the folder's edits a revision and getting it acknowledged.
//!
//! A revision is kept in the state before it is answered for; until then it is sent again, also
//! after a crash: the service answers "done" if it has it. Only when it is acknowledged does the
//! synced tree move, to what the revision said of this folder. A revision that cannot be completed
//! any more, because files changed, is dropped and made anew. A very large first upload goes out in
//! slices.

mod items;

use std::collections::HashSet;

use fsync_core::changed::{self, ChangedFile};
use fsync_core::engine::{Compared, Failure, Input};
use fsync_core::id::{ObjectId, RevisionId};
use fsync_core::limits;
use fsync_core::mutant::{self, Mutant};
use fsync_core::node::Entry;
use fsync_core::nodes::{NodesError, Overlay};
use fsync_core::path::RelPath;
use fsync_core::revision::Revision;
use fsync_core::tree::{self, Edits};
use fsync_core::wire::{CommitAnswer, CommitOutcome, Head};
use fsync_runtime::fault::{self, Point};
use serde::{Deserialize, Serialize};

use super::compare::Ready;
use super::head::Known;
use super::{
    FetchRequest, Folder, FolderEffect, FolderError, NetFailure, Notice, Now, PushRequest,
    SourceItem,
};
use crate::state::{Durability, Roots, State};

use items::Sources;
pub use items::read_item;

/// Name of the unsent revision in the state.
const RECORD: &str = "folder.pending";
/// Objects up to this many bytes together travel with the commit itself, in one round trip.
const INLINE_BYTES: usize = limits::PACK_BYTES / 2;
/// Most files with new content in one revision; more are sent in slices.
const SLICE_FILES: usize = 10_000;
/// Most bytes of new content in one revision, unless one file alone has more.
const SLICE_BYTES: u64 = 1 << 30;
/// Times that the service may ask for missing objects of one revision, each time for others, before
/// it is made anew.
const MISSING_MAX: u32 = 32;

/// Files of one revision of which the user is told that an edit beat a delete.
const KEPT_TOLD: usize = 20;

/// The unsent revision, as the state keeps it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Pending {
    revision: Vec<u8>,
    /// The head's root that it was made against.
    head_root: ObjectId,
    /// The synced tree when it was made.
    pub(super) synced_before: ObjectId,
    /// The synced tree once it is acknowledged, but for what changed in it meanwhile.
    pub(super) synced_after: ObjectId,
    /// Where contents are read that do not stand in the folder where the revision has them.
    sources: Sources,
    is_slice: bool,
    deletes: u64,
    files: u64,
}

/// What is remembered about the push under way.
#[derive(Debug, Default)]
pub(super) struct Pushing {
    missing: HashSet<ObjectId>,
    tries: u32,
}

pub(super) fn load(state: &State) -> Result<Option<Pending>, FolderError> {
    let Some(record) = state.snapshot()?.value(RECORD)? else {
        return Ok(None);
    };
    serde_json::from_slice(&record)
        .map(Some)
        .or(Err(FolderError::Damaged("unsent revision")))
}

impl Folder {
    /// Makes the compared edits a revision, keeps it and hands it out.
    pub(super) fn push(
        &mut self,
        now: Now,
        out: &mut Vec<FolderEffect>,
    ) -> Result<Option<Input>, FolderError> {
        let Some(ready) = self.compare.ready.take() else {
            return Ok(Some(Input::PushDropped));
        };
        let (pending, kept) = match self.make_pending(&ready, now) {
            // The comparison looked at less of the head than a revision needs.
            Err(FolderError::Nodes(NodesError::Missing(ids))) => {
                self.compare.fetch = Some(FetchRequest::Nodes(ids));
                return Ok(Some(Input::Compared(Compared::NeedsFetch)));
            }
            pending => pending?,
        };
        for conflict in &ready.comparison.conflicts {
            let (path, copy) = (conflict.path.clone(), conflict.copy.clone());
            out.push(FolderEffect::Notice(Notice::Conflict { path, copy }));
        }
        out.extend(
            kept.into_iter()
                .map(|path| FolderEffect::Notice(Notice::Kept { path })),
        );
        self.push = Pushing::default();
        let record =
            serde_json::to_vec(&pending).or(Err(FolderError::Damaged("unsent revision")))?;
        fault::around(Point::PushRecord, || {
            let state = &self.parts.state;
            state.update(Durability::Lazy, |tx| {
                if mutant::is_on(Mutant::EarlySync) {
                    let roots = tx.roots()?;
                    let synced = pending.synced_after;
                    tx.set_roots(&Roots { synced, ..roots })?;
                }
                tx.set_value(RECORD, Some(&record))
            })
        })?;
        self.is_durable = false;
        self.send(&pending, false, out)
    }

    /// Hands the kept revision out again.
    pub(super) fn resend(
        &mut self,
        out: &mut Vec<FolderEffect>,
    ) -> Result<Option<Input>, FolderError> {
        match load(&self.parts.state)? {
            Some(pending) => self.send(&pending, true, out),
            None => Ok(Some(Input::PushDropped)),
        }
    }

    /// Returns the files among these that the head deleted and that were edited here.
    fn kept_against_deletes(
        &self,
        ready: &Ready,
        files: &[ChangedFile],
    ) -> Result<Vec<RelPath>, FolderError> {
        let state = &*self.parts.state;
        let snapshot = state.snapshot()?;
        let (synced, base) = (snapshot.roots()?.synced, snapshot.base()?);
        let mut kept = Vec::new();
        if base == ready.head {
            return Ok(kept);
        }
        for ChangedFile { path, .. } in files {
            if kept.len() < KEPT_TOLD
                && tree::lookup(state, &ready.head_root, path)?.is_none()
                && tree::lookup(state, &synced, path)?.is_some()
            {
                kept.push(path.clone());
            }
        }
        Ok(kept)
    }

    fn make_pending(
        &self,
        ready: &Ready,
        now: Now,
    ) -> Result<(Pending, Vec<RelPath>), FolderError> {
        let comparison = &ready.comparison;
        let state = &self.parts.state;
        let changed = changed::changed(
            &**state,
            Some(&ready.head_root),
            &comparison.target,
            &comparison.moves,
        )?;
        let slice = slice_of(&changed.files);
        let is_slice = slice.len() < changed.files.len() && comparison.conflicts.is_empty();
        let (root, synced_after) = if is_slice {
            self.cut_slice(ready, slice)?
        } else {
            (comparison.target, comparison.masked)
        };
        let mut moves = if is_slice {
            Vec::new()
        } else {
            comparison.moves.clone()
        };
        moves.truncate(limits::REVISION_MOVES);
        if mutant::is_on(Mutant::NoMoves) {
            moves.clear();
        }
        let revision = Revision {
            root,
            parents: ready.head.iter().map(|head| head.revision).collect(),
            author: self.parts.agent.clone(),
            time: now.time,
            is_approved: self.holds.is_approved && !comparison.deleted.is_empty(),
            moves,
        };
        let sources = Sources::find(&**state, (&ready.head_root, &comparison.masked), slice)?;
        let kept = self.kept_against_deletes(ready, slice)?;
        let pending = Pending {
            revision: revision.to_bytes(),
            head_root: ready.head_root,
            synced_before: state.snapshot()?.roots()?.synced,
            synced_after,
            sources,
            is_slice,
            deletes: if is_slice {
                0
            } else {
                comparison.deleted.len() as u64
            },
            files: slice.len() as u64,
        };
        Ok((pending, kept))
    }

    /// Returns the head with only these files of the target, and the synced tree with only these
    /// files of the folder.
    fn cut_slice(
        &self,
        ready: &Ready,
        files: &[ChangedFile],
    ) -> Result<(ObjectId, ObjectId), FolderError> {
        let state = &self.parts.state;
        let synced = state.snapshot()?.roots()?.synced;
        let edits: Edits = files
            .iter()
            .map(|file| (file.path.clone(), Some(Entry::File(file.now))))
            .collect();
        let mut overlay = Overlay::new(&**state);
        let root = tree::edit(&mut overlay, &ready.head_root, &edits)?;
        let synced = tree::edit(&mut overlay, &synced, &edits)?;
        let new = overlay.into_new();
        state.update(Durability::Lazy, |tx| tx.put_nodes(&new))?;
        Ok((root, synced))
    }

    /// Hands out a revision with all that the service may lack. `is_repeat`: it may be there
    /// already, so what cannot be read any more is left out and the service decides.
    fn send(
        &mut self,
        pending: &Pending,
        is_repeat: bool,
        out: &mut Vec<FolderEffect>,
    ) -> Result<Option<Input>, FolderError> {
        let revision = Revision::decode(&pending.revision)?;
        let items = self.items(pending, &revision)?;
        let total: u64 = items.iter().map(|item| item.bytes).sum();
        let mut request = PushRequest {
            id: RevisionId::of(&pending.revision),
            revision: pending.revision.clone(),
            objects: Vec::new(),
            bulk: Vec::new(),
            trace: None,
        };
        // Nodes are counted at their largest, so that one pack always holds what is sent inline.
        if total <= INLINE_BYTES as u64
            || items.iter().all(|item| item.at.is_none()) && items.len() < 256
        {
            for item in &items {
                match self.read_item(item)? {
                    Some(object) => request.objects.push(object),
                    // A node that is not here is one of the head's that merely stands elsewhere
                    // now.
                    None if is_repeat || item.at.is_none() => {}
                    None => return self.give_up(item).map(Some),
                }
            }
        } else {
            request.bulk = items;
        }
        request.trace = self.traces.sent();
        out.push(FolderEffect::Push(Box::new(request)));
        Ok(None)
    }

    /// A file is not what the revision says any more: the revision was never sent, so it is made
    /// anew.
    fn give_up(&mut self, item: &SourceItem) -> Result<Input, FolderError> {
        tracing::debug!(?item, "not what the revision says any more");
        self.drop_pending()?;
        let stale = item.at.iter().map(|(path, _)| path.clone()).collect();
        Ok(Input::PushImpossible { stale })
    }

    pub(super) fn drop_pending(&mut self) -> Result<(), FolderError> {
        self.parts
            .state
            .update(Durability::Lazy, |tx| tx.set_value(RECORD, None))?;
        self.push = Pushing::default();
        self.is_durable = false;
        Ok(())
    }

    /// Takes the answer to a push.
    pub(super) fn pushed(
        &mut self,
        answer: Result<CommitAnswer, NetFailure>,
        _now: Now,
        out: &mut Vec<FolderEffect>,
    ) -> Result<Option<Input>, FolderError> {
        let Some(pending) = load(&self.parts.state)? else {
            return Ok(Some(Input::PushDropped));
        };
        match answer {
            Ok(answer) => self.acknowledged(&pending, &answer, out).map(Some),
            Err(NetFailure::Missing(ids)) => {
                self.push.tries += 1;
                let is_news = ids.iter().any(|id| !self.push.missing.contains(id));
                if !is_news || self.push.tries > MISSING_MAX {
                    self.drop_pending()?;
                    return Ok(Some(Input::PushImpossible { stale: Vec::new() }));
                }
                self.push.missing.extend(ids);
                self.send(&pending, true, out)
            }
            Err(NetFailure::Gone) => {
                self.drop_pending()?;
                Ok(Some(Input::PushImpossible {
                    stale: vec![RelPath::root()],
                }))
            }
            Err(NetFailure::BaseUnknown) => {
                self.drop_pending()?;
                Ok(Some(Input::Failed(Failure::BaseLost)))
            }
            Err(NetFailure::Retry(after)) => Ok(Some(Input::Failed(Failure::Retry(after)))),
            Err(NetFailure::Unreachable) => Ok(Some(Input::Failed(Failure::Unreachable))),
            Err(NetFailure::ReadOnly(reason)) => self.keep_here(&pending, &reason, out).map(Some),
            Err(NetFailure::Refused(reason)) => {
                out.push(FolderEffect::Notice(Notice::Trouble(reason)));
                Ok(Some(Input::Failed(Failure::Retry(
                    std::time::Duration::from_secs(5),
                ))))
            }
        }
    }

    fn acknowledged(
        &mut self,
        pending: &Pending,
        answer: &CommitAnswer,
        out: &mut Vec<FolderEffect>,
    ) -> Result<Input, FolderError> {
        let revision = Revision::decode(&pending.revision)?;
        let id = RevisionId::of(&pending.revision);
        let base = Head {
            epoch: answer.head.epoch,
            seq: answer.seq,
            revision: id,
        };
        let state = &self.parts.state;
        let roots = state.snapshot()?.roots()?;
        let mut overlay = Overlay::new(&**state);
        // An exception that ended meanwhile took what the service has out of the synced tree: it
        // was never on this disk, and must not look as if it had been removed from it.
        let meanwhile = tree::differences(&overlay, &pending.synced_before, &roots.synced)?;
        let synced = tree::edit(&mut overlay, &pending.synced_after, &meanwhile)?;
        let new = overlay.into_new();
        fault::around(Point::Base, || {
            state.update(Durability::Lazy, |tx| {
                tx.put_nodes(&new)?;
                tx.set_base(Some(&base))?;
                tx.set_roots(&Roots { synced, ..roots })?;
                tx.set_value(RECORD, None)
            })
        })?;
        self.is_durable = false;
        self.push = Pushing::default();
        if !pending.is_slice {
            self.local_moves.clear();
        }
        self.holds.went_out(pending.deletes);
        let is_head = answer.outcome == CommitOutcome::Head || answer.head.revision == id;
        if is_head {
            let known = Known {
                revision: id,
                root: revision.root,
                is_approved: revision.is_approved,
            };
            self.remember_head(known, Vec::new())?;
        }
        out.push(FolderEffect::Notice(Notice::Pushed {
            revision: id,
            files: pending.files,
        }));
        Ok(Input::Pushed { head: answer.head })
    }
}

fn slice_of(files: &[ChangedFile]) -> &[ChangedFile] {
    let mut bytes = 0;
    let fits = |file: &&ChangedFile| {
        bytes += file.now.size;
        bytes <= SLICE_BYTES
    };
    let count = files.iter().take(SLICE_FILES).take_while(fits).count();
    &files[..count.max(1).min(files.len())]
}
