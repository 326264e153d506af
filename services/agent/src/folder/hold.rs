//! Holds: mass deletes that wait for the user, in both directions.
//!
//! A held path is an exception: it stays as it is on both sides while all else flows. Approving
//! ends the exception and keeps what the synced tree knows, so the delete goes through; rejecting
//! also forgets the path in the synced tree, so that whichever side still has it gives it back.

use std::time::Duration;

use fsync_core::clock::Moment;
use fsync_core::compare::Comparison;
use fsync_core::engine::Input;
use fsync_core::engine::deletes::{DeleteWindow, Verdict};
use fsync_core::exception::Exception;
use fsync_core::id::ObjectId;
use fsync_core::path::RelPath;
use fsync_core::tree::Edits;
use serde::{Deserialize, Serialize};

use super::{Folder, FolderEffect, FolderError, Notice, Now};
use crate::scan::{self, RootCheck, ScanError, Scope};
use crate::state::{Durability, Snapshot, StateError};

/// A comparison is made so often at most until all deletes in question are withheld.
const ROUNDS: usize = 32;
/// After that many it is tried again later.
const STANDSTILL: Duration = Duration::from_secs(5);

/// How often a held root is looked at: has it been put back?
pub(super) const ROOT_LOOK: Duration = Duration::from_secs(2);

/// What kind of hold it is. One of each kind can stand at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HoldKind {
    /// The root is missing, replaced, emptied or on another device: nothing moves in either
    /// direction.
    Root,
    /// Too many files vanished here: their deletes are not sent.
    DeletesOut,
    /// Another agent deleted too much without approval: the deletes are not applied.
    DeletesIn,
}

/// What was deleted lately, by direction, and what the user decided.
#[derive(Debug, Default)]
pub(super) struct Holds {
    outgoing: DeleteWindow,
    incoming: DeleteWindow,
    /// The user approved: deletes of this round pass, and its revision says so.
    pub(super) is_approved: bool,
    /// Deletes were held since the start; some may still be.
    may_hold: bool,
}

impl Holds {
    /// Counts deletes that went out with a revision.
    pub(super) fn went_out(&mut self, count: u64) {
        self.outgoing.confirm(count);
    }

    /// Counts deletes that were carried out here.
    pub(super) fn came_in(&mut self, count: u64) {
        self.incoming.confirm(count);
    }

    /// All is settled: an approval is used up.
    pub(super) fn in_step(&mut self) {
        self.is_approved = false;
    }
}

impl Folder {
    /// Compares, and withholds the deletes that must wait; says until when to wait if they may pass
    /// later.
    pub(super) fn judge(
        &mut self,
        head_root: &ObjectId,
        is_head_approved: bool,
        now: Now,
        out: &mut Vec<FolderEffect>,
    ) -> Result<(Comparison, Option<Moment>), FolderError> {
        let mut withheld = Vec::new();
        let mut wait: Option<Moment> = None;
        for _ in 0..ROUNDS {
            let comparison = self.compare_with(head_root, &withheld, now)?;
            if self.holds.is_approved {
                return Ok((comparison, wait));
            }
            let is_rest = !withheld.is_empty();
            let (verdict, paths) = self.verdict(&comparison, (is_head_approved, is_rest), now)?;
            match verdict {
                Verdict::Pass => return Ok((comparison, wait)),
                Verdict::Wait(until) => {
                    wait = Some(wait.map_or(until, |wait| wait.min(until)));
                    withheld.extend(paths);
                }
                Verdict::Hold => {
                    self.hold(&paths)?;
                    out.extend(self.tell_held()?);
                }
            }
        }
        // Renames on both sides can make a delete show up under ever new paths: rather nothing than
        // a delete that slips by.
        let mut comparison = self.compare_with(head_root, &withheld, now)?;
        comparison.target = *head_root;
        comparison.steps.clear();
        Ok((comparison, Some(now.moment.after(STANDSTILL))))
    }

    fn verdict(
        &mut self,
        comparison: &Comparison,
        (is_head_approved, is_rest): (bool, bool),
        now: Now,
    ) -> Result<(Verdict, Vec<RelPath>), FolderError> {
        let tracked = self.parts.state.snapshot()?.tracked()?;
        let waiting = comparison.deleted.len() as u64;
        // None but those that wait already: to judge nothing would take the burst for ended and,
        // next time, for new.
        let verdict = match is_rest && waiting == 0 {
            true => Verdict::Pass,
            false => self
                .holds
                .outgoing
                .judge(waiting, tracked + waiting, now.moment),
        };
        if verdict != Verdict::Pass {
            return Ok((verdict, comparison.deleted.clone()));
        }
        if is_head_approved {
            return Ok((Verdict::Pass, Vec::new()));
        }
        let waiting = comparison.to_delete.len() as u64;
        let verdict = match is_rest && waiting == 0 {
            true => Verdict::Pass,
            false => self.holds.incoming.judge(waiting, tracked, now.moment),
        };
        Ok((verdict, comparison.to_delete.clone()))
    }

    fn hold(&mut self, paths: &[RelPath]) -> Result<(), FolderError> {
        tracing::debug!(?paths, "deletes are held");
        self.parts.state.update(Durability::Lazy, |tx| {
            paths
                .iter()
                .try_for_each(|path| tx.set_exception(path, Some(&Exception::Held)))
        })?;
        self.is_durable = false;
        Ok(())
    }

    /// Looks at a held root now and then; one that is as it was ends its hold.
    pub(super) fn is_root_back(&mut self, now: Now) -> bool {
        let is_due = self.root_look.is_some_and(|at| at <= now.moment);
        if self.root_problem.is_none() || !is_due {
            return false;
        }
        self.root_look = None;
        let parts = &self.parts;
        let root = scan::check_root(&*parts.files, &parts.state, &Scope::Whole, RootCheck::Hold);
        match root {
            Ok(()) => self.root_problem = None,
            // First missing, then another directory: the user is shown what it is now.
            Err(ScanError::Root(problem)) => self.root_problem = Some(problem),
            Err(_) => {}
        }
        self.root_problem.is_none()
    }

    /// Lets the held deletes of one direction through, whatever the head is by now; or takes a
    /// changed root as the folder's new one.
    pub(super) fn approve(
        &mut self,
        kind: HoldKind,
        out: &mut Vec<FolderEffect>,
    ) -> Result<Input, FolderError> {
        if kind == HoldKind::Root {
            return self.approve_root(out);
        }
        let released = self.release(kind)?;
        self.holds.is_approved |= !released.is_empty();
        Ok(Input::Decided { released })
    }

    /// An emptied root goes on as it is. Another directory in its place is remembered as the folder;
    /// all handles are of the old one, so the hold stands until the folder is opened anew.
    fn approve_root(&mut self, out: &mut Vec<FolderEffect>) -> Result<Input, FolderError> {
        let parts = &self.parts;
        match self.root_problem {
            None => return Ok(Input::Tick),
            // It may have been missing when it was looked at.
            Some(_) if scan::adopt_root(&*parts.files, &parts.state)? => {
                out.push(FolderEffect::Reopen);
                return Ok(Input::Tick);
            }
            Some(_) => {}
        }
        self.root_problem = None;
        self.root_check = RootCheck::Accept;
        Ok(Input::Root { is_sound: true })
    }

    /// Refuses the held deletes of one direction. A changed root cannot be refused.
    pub(super) fn reject(&mut self, kind: HoldKind) -> Result<Input, FolderError> {
        let released = self.release(kind)?;
        let edits: Edits = released.iter().map(|path| (path.clone(), None)).collect();
        self.edit_synced(&edits)?;
        self.is_durable = false;
        Ok(Input::Decided { released })
    }

    /// Returns whether deletes wait for the user.
    ///
    /// # Errors
    /// [`FolderError::State`].
    pub fn has_held(&self) -> Result<bool, FolderError> {
        // All exceptions are looked through: only where that may find something.
        Ok(self.holds.may_hold && !self.held()?.is_empty())
    }

    /// Returns the news of all deletes that are held, those since before this start included.
    pub(super) fn tell_held(&mut self) -> Result<Option<FolderEffect>, FolderError> {
        let files = self.held()?.len() as u64;
        self.holds.may_hold = files > 0;
        let notice = FolderEffect::Notice(Notice::Held { files });
        Ok(Some(notice).filter(|_| files > 0))
    }

    fn held(&self) -> Result<Vec<(RelPath, HoldKind)>, FolderError> {
        let snapshot = self.parts.state.snapshot()?;
        let all = snapshot.exceptions_within(&RelPath::root())?;
        let held = all
            .into_iter()
            .filter(|(_, exception)| *exception == Exception::Held);
        held.map(|(path, _)| {
            let kind = side(&snapshot, &path)?;
            Ok((path, kind))
        })
        .collect()
    }

    fn release(&mut self, kind: HoldKind) -> Result<Vec<RelPath>, FolderError> {
        let held = self.held()?.into_iter();
        let held: Vec<RelPath> = held
            .filter(|(_, of)| *of == kind)
            .map(|(path, _)| path)
            .collect();
        self.parts.state.update(Durability::Lazy, |tx| {
            held.iter()
                .try_for_each(|path| tx.set_exception(path, None))
        })?;
        match kind {
            HoldKind::DeletesOut => self.holds.outgoing = DeleteWindow::default(),
            HoldKind::DeletesIn => self.holds.incoming = DeleteWindow::default(),
            HoldKind::Root => {}
        }
        self.is_durable = false;
        Ok(held)
    }
}

/// Tells the direction of a held path: what others deleted still stands here.
pub(super) fn side(snapshot: &Snapshot, path: &RelPath) -> Result<HoldKind, StateError> {
    Ok(match snapshot.row_at(path)? {
        Some(_) => HoldKind::DeletesIn,
        None => HoldKind::DeletesOut,
    })
}
