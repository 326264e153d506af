//! Scanning, comparing folder and head, and first contact.
//!
//! First contact (no base): union, no deletes. A local file that is an old version of its path is
//! no edit: the head's version wins without a copy, and where the head deleted the path the file
//! stays on this disk only, as an exception.

use std::collections::BTreeMap;
use std::time::Duration;

use fsync_core::compare::{self, Comparison, Sides};
use fsync_core::engine::changes::Scope;
use fsync_core::engine::{Compared, Input};
use fsync_core::exception::Exception;
use fsync_core::hints;
use fsync_core::id::{ObjectId, RevisionId};
use fsync_core::node::Entry;
use fsync_core::nodes::{NodesError, Overlay};
use fsync_core::path::RelPath;
use fsync_core::plan::Step;
use fsync_core::tree::{self, Edits};
use fsync_core::wire::Head;

use super::{FetchRequest, Folder, FolderEffect, FolderError, Notice, Now};
use crate::scan::{self, Look, RootCheck, ScanError};
use crate::state::{Durability, Roots};

/// Pause before a tree is asked for again that has no head though it had one.
const NO_HEAD_PAUSE: Duration = Duration::from_secs(2);
/// Pause before it is asked again whether there is another head than one that cannot be used.
const UNUSABLE_PAUSE: Duration = Duration::from_secs(60);
/// Versions in one question about the past.
const KNOWN_MAX: usize = 1000;

/// A comparison that waits to be carried out.
#[derive(Debug, Default)]
pub(super) struct Stash {
    /// What has to be fetched before it can be made.
    pub(super) fetch: Option<FetchRequest>,
    /// The comparison.
    pub(super) ready: Option<Ready>,
    /// Local files at first contact that are still to be asked about; `None` until they were
    /// listed.
    strangers: Option<Vec<(RelPath, Entry)>>,
    asked: Vec<(RelPath, Entry)>,
    /// The head that the user was told of as one that cannot be used, and why.
    unusable: Option<(RevisionId, String)>,
}

/// Returns what the user should be told of an exception.
fn problem_of(exception: &Exception) -> Option<String> {
    match exception {
        Exception::Unreadable { reason } => Some(format!("cannot be read: {reason}")),
        Exception::Skipped { what } => Some(format!("it is {what}, which cannot be synced")),
        Exception::Blocked { reason } => Some(format!("cannot be put here: {reason}")),
        _ => None,
    }
}

/// A comparison and the head that it was made with.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) head: Option<Head>,
    pub(super) head_root: ObjectId,
    pub(super) comparison: Comparison,
}

impl Folder {
    pub(super) fn scan(
        &mut self,
        scope: Scope,
        out: &mut Vec<FolderEffect>,
    ) -> Result<Input, FolderError> {
        let parts = &self.parts;
        let scope = match scope {
            Scope::Everything => scan::Scope::Whole,
            Scope::Paths(paths) => {
                let look = |(path, is_deep)| Look { path, is_deep };
                scan::Scope::Paths(paths.into_iter().map(look).collect())
            }
        };
        let outcome = self.traces.hashing(|| {
            scan::scan(
                &*parts.files,
                &parts.state,
                &scope,
                self.root_check,
                &mut |_| {},
            )
        });
        let outcome = match outcome {
            Err(ScanError::Root(problem)) => {
                self.root_problem = Some(problem);
                out.push(FolderEffect::Notice(Notice::RootHeld {
                    reason: problem.to_string(),
                }));
                return Ok(Input::Root { is_sound: false });
            }
            outcome => outcome?,
        };
        self.root_check = RootCheck::Hold;
        self.local_moves = hints::compose([&*self.local_moves, &*outcome.moves]);
        for (path, exception) in outcome.began {
            if matches!(exception, Exception::Unreadable { .. }) {
                self.blocked.note();
            }
            out.extend(
                problem_of(&exception)
                    .map(|reason| FolderEffect::Notice(Notice::Problem { path, reason })),
            );
        }
        Ok(Input::Scanned { busy: outcome.busy })
    }

    /// Changes the synced tree by knowledge, not by an apply.
    pub(super) fn edit_synced(&mut self, edits: &Edits) -> Result<(), FolderError> {
        if edits.is_empty() {
            return Ok(());
        }
        let state = &self.parts.state;
        let roots = state.snapshot()?.roots()?;
        let mut overlay = Overlay::new(&**state);
        let synced = tree::edit(&mut overlay, &roots.synced, edits)?;
        let new = overlay.into_new();
        state.update(Durability::Lazy, |tx| {
            tx.put_nodes(&new)?;
            tx.set_roots(&Roots { synced, ..roots })
        })?;
        Ok(())
    }

    /// Forgets base and synced tree: the service does not know them.
    pub(super) fn drop_base(&mut self) -> Result<(), FolderError> {
        let state = &self.parts.state;
        let roots = state.snapshot()?.roots()?;
        let synced = self.empty;
        state.update(Durability::Lazy, |tx| {
            tx.set_base(None)?;
            tx.set_roots(&Roots { synced, ..roots })
        })?;
        self.compare = Stash::default();
        self.local_moves.clear();
        self.head.moves.clear();
        Ok(())
    }

    /// Compares folder and head, or says what has to be fetched first. A head that cannot be used
    /// is told of and left alone until there is another, not even looked at again, for the look may
    /// be what it was made to cost: the agent goes on.
    pub(super) fn compare(
        &mut self,
        head: Option<Head>,
        now: Now,
        out: &mut Vec<FolderEffect>,
    ) -> Result<Compared, FolderError> {
        let told = self.compare.unusable.as_ref().map(|told| told.0);
        if told.is_some() && told == head.map(|head| head.revision) {
            return Ok(Compared::Wait(now.moment.after(UNUSABLE_PAUSE)));
        }
        match self.try_compare(head, now, out) {
            Err(FolderError::Nodes(NodesError::Missing(ids))) => {
                self.compare.fetch = Some(FetchRequest::Nodes(ids));
                Ok(Compared::NeedsFetch)
            }
            Err(FolderError::Nodes(error)) if !matches!(error, NodesError::Store(_)) => {
                let Some(head) = head else {
                    return Err(error.into());
                };
                self.refuse(head.revision, &error, out);
                Ok(Compared::Wait(now.moment.after(UNUSABLE_PAUSE)))
            }
            other => other,
        }
    }

    /// Tells once of a head that cannot be used.
    pub(super) fn refuse(
        &mut self,
        head: RevisionId,
        error: &NodesError,
        out: &mut Vec<FolderEffect>,
    ) {
        let told = self.compare.unusable.as_ref().map(|told| told.0);
        if told != Some(head) {
            let reason = error.to_string();
            self.compare.unusable = Some((head, reason.clone()));
            out.push(FolderEffect::Notice(Notice::HeadUnusable {
                revision: head,
                reason,
            }));
        }
    }

    /// Returns why the head cannot be used, for people.
    pub(super) fn unusable(&self) -> Option<String> {
        let head = self.engine.head()?.revision;
        let (_, reason) = self
            .compare
            .unusable
            .as_ref()
            .filter(|told| told.0 == head)?;
        Some(format!("revision {head} cannot be used: {reason}"))
    }

    fn try_compare(
        &mut self,
        head: Option<Head>,
        now: Now,
        out: &mut Vec<FolderEffect>,
    ) -> Result<Compared, FolderError> {
        let base = self.parts.state.snapshot()?.base()?;
        if head.is_none() && base.is_some() {
            // Not what the service said of the base before: an old answer, or a loss that it will
            // tell of by the base.
            return Ok(Compared::Wait(now.moment.after(NO_HEAD_PAUSE)));
        }
        let (head_root, is_approved) = match head.map(|head| (head, self.head.get(&head))) {
            None => (self.empty, false),
            Some((_, Some(known))) => (known.root, known.is_approved),
            Some((head, None)) => {
                let from = base.map(|base| base.revision);
                self.compare.fetch = Some(FetchRequest::Delta {
                    from,
                    to: head.revision,
                });
                return Ok(Compared::NeedsFetch);
            }
        };
        self.meet_again(&head_root)?;
        if self.unblock_changed(&head_root)? {
            // What happened there meanwhile is looked at first.
            return Ok(Compared::Wait(now.moment));
        }
        if base.is_none() && head.is_some() && self.ask_about_strangers(&head_root)? {
            return Ok(Compared::NeedsFetch);
        }
        let (comparison, wait) = self.judge(&head_root, is_approved, now, out)?;
        let ready = Ready {
            head,
            head_root,
            comparison,
        };
        self.conclude(ready, wait)
    }

    /// Compares the folder with a head's root; paths in `also` are masked beside the exceptions.
    pub(super) fn compare_with(
        &self,
        head_root: &ObjectId,
        also: &[RelPath],
        now: Now,
    ) -> Result<Comparison, FolderError> {
        let snapshot = self.parts.state.snapshot()?;
        let roots = snapshot.roots()?;
        let found = snapshot.exceptions_within(&RelPath::root())?;
        let also = also.iter().map(|path| (path.clone(), Exception::Held));
        let exceptions: BTreeMap<RelPath, Exception> = found.into_iter().chain(also).collect();
        let sides = Sides {
            synced: roots.synced,
            working: roots.working,
            head: *head_root,
            exceptions: &exceptions,
            local_moves: &self.local_moves,
            head_moves: &self.head.moves,
            agent: &self.parts.agent,
            time: now.time,
        };
        let comparison = compare::compare(&*self.parts.state, &sides)?;
        self.parts
            .state
            .update(Durability::Lazy, |tx| tx.put_nodes(&comparison.new))?;
        Ok(comparison)
    }

    fn conclude(
        &mut self,
        ready: Ready,
        wait: Option<fsync_core::clock::Moment>,
    ) -> Result<Compared, FolderError> {
        let can_apply = !ready.comparison.steps.is_empty();
        let needs_push = ready.comparison.needs_push(&ready.head_root);
        if !needs_push && !can_apply {
            if let Some(until) = wait {
                return Ok(Compared::Wait(until));
            }
            self.settle_in_step(&ready)?;
            return Ok(Compared::InStep);
        }
        self.compare.ready = Some(ready);
        Ok(if needs_push {
            Compared::NeedsPush { can_apply }
        } else {
            Compared::NeedsApply
        })
    }

    /// Folder and head agree but for exceptions: the head is the base now.
    fn settle_in_step(&mut self, ready: &Ready) -> Result<(), FolderError> {
        let state = &self.parts.state;
        let snapshot = state.snapshot()?;
        let roots = snapshot.roots()?;
        let base = snapshot.base()?;
        let mut edits = Edits::new();
        for path in &ready.comparison.masks {
            let kept = self.kept_by(path, &roots.working, &ready.comparison.target)?;
            let path = kept.as_ref().unwrap_or(path);
            let synced = tree::lookup(&**state, &roots.synced, path)?;
            if synced.is_some() || tree::lookup(&**state, &ready.comparison.target, path)?.is_some()
            {
                edits.insert(path.clone(), synced);
            }
        }
        drop(snapshot);
        let mut overlay = Overlay::new(&**state);
        let synced = tree::edit(&mut overlay, &ready.comparison.target, &edits)?;
        self.local_moves.clear();
        self.head.moves.clear();
        self.compare.strangers = None;
        self.holds.in_step();
        self.pull.in_step();
        if synced == roots.synced && base == ready.head {
            return Ok(());
        }
        let new = overlay.into_new();
        state.update(Durability::Lazy, |tx| {
            tx.put_nodes(&new)?;
            tx.set_base(ready.head.as_ref())?;
            tx.set_roots(&Roots { synced, ..roots })
        })?;
        self.is_durable = false;
        let pending = super::push::load(state)?.map(|p| p.synced_after);
        let keep: Vec<ObjectId> = [synced, roots.working, self.empty]
            .into_iter()
            .chain(pending)
            .chain(self.blocked_roots()?)
            .collect();
        state.sweep(&keep)?;
        Ok(())
    }

    /// Returns the directory that stands only for the sake of a masked path in it, where the target
    /// has none: what the target has there is not on this disk.
    fn kept_by(
        &self,
        path: &RelPath,
        working: &ObjectId,
        target: &ObjectId,
    ) -> Result<Option<RelPath>, NodesError> {
        let is_dir = |root: &ObjectId, path: &RelPath| {
            let entry = tree::lookup(&*self.parts.state, root, path)?;
            Ok::<_, NodesError>(entry.is_some_and(|entry| entry.as_dir().is_some()))
        };
        let mut kept = None;
        let mut above = path.parent();
        while let Some(dir) = above.filter(|dir| !dir.is_root()) {
            above = dir.parent();
            if is_dir(working, &dir)? && !is_dir(target, &dir)? {
                kept = Some(dir);
            }
        }
        Ok(kept)
    }

    /// At first contact, stashes a question about the local files that differ from the head; false
    /// if none is left.
    fn ask_about_strangers(&mut self, head_root: &ObjectId) -> Result<bool, NodesError> {
        let mut strangers = match self.compare.strangers.take() {
            Some(strangers) => strangers,
            None => self.list_strangers(head_root)?,
        };
        let rest = strangers.split_off(strangers.len().min(KNOWN_MAX));
        self.compare.strangers = Some(rest);
        if strangers.is_empty() {
            return Ok(false);
        }
        let question = strangers
            .iter()
            .map(|(path, entry)| (path.clone(), entry.id()))
            .collect();
        self.compare.asked = strangers;
        self.compare.fetch = Some(FetchRequest::Known(question));
        Ok(true)
    }

    fn list_strangers(&self, head_root: &ObjectId) -> Result<Vec<(RelPath, Entry)>, NodesError> {
        let state = &self.parts.state;
        let store = |e: crate::state::StateError| NodesError::Store(e.to_string());
        let roots = state.snapshot().and_then(|s| s.roots()).map_err(store)?;
        if roots.working == self.empty || roots.synced != self.empty {
            return Ok(Vec::new());
        }
        let steps = fsync_core::plan::plan(
            &**state,
            (&roots.working, head_root),
            &[],
            &fsync_core::plan::Skip::new(),
        )?;
        Ok(steps
            .into_iter()
            .filter_map(|step| match step {
                Step::Remove { path, was }
                | Step::Put {
                    path,
                    was: Some(was),
                    ..
                } => Some((path, was)),
                _ => None,
            })
            .collect())
    }

    /// Ends the exceptions of files that are old versions of paths that the head has again: no
    /// edits, so the head's versions win without a copy.
    fn meet_again(&mut self, head_root: &ObjectId) -> Result<(), FolderError> {
        let state = std::sync::Arc::clone(&self.parts.state);
        let snapshot = state.snapshot()?;
        if !snapshot.has_exceptions()? {
            return Ok(());
        }
        let working = snapshot.roots()?.working;
        let mut edits = Edits::new();
        for (path, exception) in snapshot.exceptions_within(&RelPath::root())? {
            if exception == Exception::LocalOnly
                && tree::lookup(&*state, head_root, &path)?.is_some()
            {
                edits.insert(path.clone(), tree::lookup(&*state, &working, &path)?);
            }
        }
        if edits.is_empty() {
            return Ok(());
        }
        state.update::<_, FolderError>(Durability::Lazy, |tx| {
            for path in edits.keys() {
                tx.set_exception(path, None)?;
            }
            Ok(())
        })?;
        self.edit_synced(&edits)
    }

    /// Takes the answer about local files at first contact: which of them are old versions.
    pub(super) fn introduce(&mut self, known: &[bool]) -> Result<(), FolderError> {
        let asked = std::mem::take(&mut self.compare.asked);
        let old: Vec<(RelPath, Entry)> = asked
            .into_iter()
            .zip(known)
            .filter(|(_, known)| **known)
            .map(|(file, _)| file)
            .collect();
        let Some(head) = self.engine.head().and_then(|head| self.head.get(&head)) else {
            return Ok(());
        };
        let state = std::sync::Arc::clone(&self.parts.state);
        let mut edits = Edits::new();
        for (path, entry) in old {
            if tree::lookup(&*state, &head.root, &path)?.is_some() {
                edits.insert(path, Some(entry));
            } else {
                state.update(Durability::Lazy, |tx| {
                    tx.set_exception(&path, Some(&Exception::LocalOnly))
                })?;
            }
        }
        self.edit_synced(&edits)
    }
}
