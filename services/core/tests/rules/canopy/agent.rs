//! An agent without network and crashes of its own: scans, compares, applies and pushes by the
//! rules of `services/agent`.
//!
//! A turn does one of them, so that others' turns and the user's acts fall in between. What is
//! applied moves synced and working tree path by path (`apply/steps.rs`); an acknowledged push
//! moves the synced tree to what the revision said of this folder (`folder/push.rs`).

use std::collections::BTreeMap;

use fsync_core::compare::{self, Comparison, Sides};
use fsync_core::exception::Exception;
use fsync_core::id::{ObjectId, RevisionId};
use fsync_core::label::AgentName;
use fsync_core::node::Entry;
use fsync_core::path::RelPath;
use fsync_core::plan::Step;
use fsync_core::revision::{MoveHint, Revision, Timestamp};
use fsync_core::tree::{self, Edits};

use super::dice::Dice;
use super::disk::{Disk, Inode, relabel};
use super::scan::scan;
use super::service::Service;
use crate::fixtures::Store;

/// What an agent does next.
#[derive(Debug, Default)]
pub(super) enum Job {
    /// Look at folder and head.
    #[default]
    Look,
    /// Do the steps; true if all before them in the plan were done.
    Apply(Vec<Step>, bool),
    Push(Box<Pending>),
}

/// A revision on its way, and the synced tree once it is acknowledged.
#[derive(Debug)]
pub(super) struct Pending {
    revision: Revision,
    synced_after: ObjectId,
}

#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one independent fact, as in the engine"
)]
pub(super) struct Agent {
    pub(super) name: AgentName,
    pub(super) disk: Disk,
    /// What stood where when it was last looked at.
    pub(super) index: BTreeMap<RelPath, Inode>,
    pub(super) working: ObjectId,
    pub(super) synced: ObjectId,
    pub(super) base: Option<RevisionId>,
    /// The head as far as the agent knows; `None` if it must be fetched.
    known: Option<RevisionId>,
    head_moves: Vec<MoveHint>,
    pub(super) local_moves: Vec<MoveHint>,
    pub(super) exceptions: BTreeMap<RelPath, Exception>,
    pub(super) job: Job,
    is_stale: bool,
    applied_last: bool,
    /// The disk is as it was last scanned, but for what was applied since.
    pub(super) is_as_scanned: bool,
    /// A step that the disk refused though nobody had touched it since the scan.
    pub(super) refused: Option<Step>,
    /// Folder and head were the same when last compared.
    pub(super) is_in_step: bool,
}

impl Agent {
    /// Starts in step with `base`, or as a stranger with an empty synced tree.
    pub(super) fn new(
        name: AgentName,
        disk: Disk,
        (synced, base): (ObjectId, Option<RevisionId>),
    ) -> Self {
        let index = match base {
            Some(_) => disk.inodes.clone(),
            None => BTreeMap::new(),
        };
        Self {
            name,
            disk,
            index,
            working: synced,
            synced,
            base,
            known: None,
            head_moves: Vec::new(),
            local_moves: Vec::new(),
            exceptions: BTreeMap::new(),
            job: Job::Look,
            is_stale: true,
            applied_last: false,
            is_as_scanned: false,
            refused: None,
            is_in_step: false,
        }
    }

    /// Forgets what is only in memory.
    pub(super) fn restart(&mut self) {
        if matches!(self.job, Job::Apply(..)) {
            self.job = Job::Look;
        }
        self.local_moves.clear();
        self.head_moves.clear();
        self.is_stale = true;
    }

    /// Does one thing.
    pub(super) fn turn(&mut self, store: &mut Store, service: &mut Service, dice: &mut Dice) {
        self.is_in_step = false;
        match std::mem::take(&mut self.job) {
            Job::Apply(steps, is_whole) => self.apply(store, (steps, is_whole), dice),
            Job::Push(pending) => self.push(store, service, (pending, dice)),
            Job::Look => {
                if self.is_stale || !dice.one_in(4) {
                    scan(store, self);
                    self.is_stale = false;
                    self.is_as_scanned = true;
                }
                self.fetch(service, dice);
                self.compare(store, service);
            }
        }
    }

    /// Learns the head, unless the wake-up is late.
    fn fetch(&mut self, service: &Service, dice: &mut Dice) {
        let is_late = self.known.is_some() && dice.one_in(4);
        if self.known == Some(service.head) || is_late {
            return;
        }
        self.known = Some(service.head);
        let base = self.base.as_ref();
        self.head_moves = base.map_or(Vec::new(), |base| service.moves_since(base));
    }

    fn compare(&mut self, store: &mut Store, service: &Service) {
        let Some(head) = self.known else { return };
        let head_root = service.revision(&head).root;
        let sides = Sides {
            synced: self.synced,
            working: self.working,
            head: head_root,
            exceptions: &self.exceptions,
            local_moves: &self.local_moves,
            head_moves: &self.head_moves,
            agent: &self.name,
            time: service.now(),
        };
        let comparison = compare::compare(&store.0, &sides).unwrap();
        store.keep(&comparison.new);
        let needs_push = comparison.needs_push(&head_root);
        let can_apply = !comparison.steps.is_empty();
        // Both directions take turns, as in `engine.rs`.
        if can_apply && (!needs_push || !self.applied_last) {
            self.job = Job::Apply(comparison.steps, true);
        } else if needs_push {
            self.job = Job::Push(Box::new(self.pending(comparison, head, service.now())));
        } else {
            self.settle(store, &comparison, head);
        }
    }

    fn pending(&self, comparison: Comparison, head: RevisionId, time: Timestamp) -> Pending {
        Pending {
            revision: Revision {
                root: comparison.target,
                parents: vec![head],
                author: self.name.clone(),
                time,
                is_approved: false,
                moves: comparison.moves,
            },
            synced_after: comparison.masked,
        }
    }

    /// Sends the revision; request or answer may be lost.
    fn push(
        &mut self,
        store: &mut Store,
        service: &mut Service,
        (pending, dice): (Box<Pending>, &mut Dice),
    ) {
        let is_lost = dice.one_in(4);
        if is_lost && dice.one_in(2) {
            self.job = Job::Push(pending);
            return;
        }
        let id = service.commit(store, &pending.revision);
        if is_lost {
            self.job = Job::Push(pending);
            return;
        }
        self.base = Some(id);
        self.synced = pending.synced_after;
        self.local_moves.clear();
        self.applied_last = false;
        // The answer tells the head, which is not older than the base.
        self.known = (service.head == id).then_some(id);
        self.head_moves.clear();
    }

    /// Folder and head agree but for exceptions: the head is the base now.
    fn settle(&mut self, store: &mut Store, comparison: &Comparison, head: RevisionId) {
        let mut edits = Edits::new();
        for path in &comparison.masks {
            let kept = self.kept_by(store, path, &comparison.target);
            let path = kept.unwrap_or(path.clone());
            let at = |root: &ObjectId| tree::lookup(&store.0, root, &path).unwrap();
            let synced = at(&self.synced);
            if synced.is_some() || at(&comparison.target).is_some() {
                edits.insert(path, synced);
            }
        }
        self.synced = store.edit(comparison.target, &edits);
        self.local_moves.clear();
        self.head_moves.clear();
        self.base = Some(head);
        self.is_in_step = true;
    }

    fn kept_by(&self, store: &Store, path: &RelPath, target: &ObjectId) -> Option<RelPath> {
        let is_dir = |root: &ObjectId, path: &RelPath| {
            let entry = tree::lookup(&store.0, root, path).unwrap();
            entry.is_some_and(|entry| entry.as_dir().is_some())
        };
        let above = std::iter::successors(path.parent(), RelPath::parent);
        let above = above.filter(|dir| !dir.is_root());
        above
            .filter(|dir| is_dir(&self.working, dir) && !is_dir(target, dir))
            .last()
    }

    /// Runs steps, all or some, in order or not; what is left may go on in the next turn.
    fn apply(
        &mut self,
        store: &mut Store,
        (mut steps, mut is_whole): (Vec<Step>, bool),
        dice: &mut Dice,
    ) {
        if dice.one_in(4) {
            dice.shuffle(&mut steps);
            is_whole = false;
        }
        let cut = match dice.one_in(3) {
            true => dice.below(steps.len() + 1),
            false => steps.len(),
        };
        let rest = steps.split_off(cut);
        let is_flaky = dice.one_in(4);
        for step in steps {
            let is_done = (!is_flaky || !dice.one_in(4)) && self.step(store, &step).is_some();
            self.is_stale |= !is_done;
            if !is_done && !is_flaky && is_whole && self.is_as_scanned {
                self.refused.get_or_insert(step);
            }
            is_whole &= is_done;
        }
        if !rest.is_empty() && dice.one_in(2) {
            self.job = Job::Apply(rest, is_whole);
            return;
        }
        self.applied_last = true;
    }

    /// Does one step if the disk is what the plan was based on.
    fn step(&mut self, store: &mut Store, step: &Step) -> Option<()> {
        let path = step.path();
        match step {
            Step::RemoveDir { .. } if self.disk.at(path).is_none() => {}
            Step::MakeDir { .. } if self.disk.folder.is_dir(path) => {}
            Step::Move { from, .. } => {
                self.check(from)?;
                self.disk.step(step)?;
            }
            _ => {
                self.check(path)?;
                self.disk.step(step)?;
            }
        }
        if let Step::Move { from, to, .. } = step {
            self.index.retain(|at, _| !at.is_within(to));
            relabel(&mut self.index, from, to);
        }
        match self.disk.inodes.get(path) {
            Some(inode) => self.index.insert(path.clone(), *inode),
            None => self.index.remove(path),
        };
        self.synced = after(store, self.synced, step);
        self.working = after(store, self.working, step);
        Some(())
    }

    /// Checks that a path is as it was when it was last looked at.
    fn check(&self, path: &RelPath) -> Option<()> {
        let is_known = self.disk.inodes.get(path) == self.index.get(path);
        (is_known && self.disk.is_readable(path)).then_some(())
    }
}

/// Returns a tree after a step that was done on the disk.
fn after(store: &mut Store, root: ObjectId, step: &Step) -> ObjectId {
    let at = |path: &RelPath| tree::lookup(&store.0, &root, path).unwrap();
    let edits = match step {
        Step::Move { from, to, .. } => {
            let moved = at(from);
            let came = moved.map(|moved| (to.clone(), Some(moved)));
            [(from.clone(), None)].into_iter().chain(came).collect()
        }
        Step::Remove { path, .. } | Step::RemoveDir { path } => Edits::from([(path.clone(), None)]),
        Step::MakeDir { path } if at(path).is_some_and(|e| e.as_dir().is_some()) => Edits::new(),
        Step::MakeDir { path } => Edits::from([(path.clone(), Some(store.empty_dir()))]),
        Step::Put { path, now, .. } => Edits::from([(path.clone(), Some(*now))]),
        Step::Meta { path, now, .. } => Edits::from([(path.clone(), Some(Entry::File(*now)))]),
    };
    store.edit(root, &edits)
}
