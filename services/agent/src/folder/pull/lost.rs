//! Contents that the service has lost: the files that need them are left out of an apply, all else
//! goes on.
//!
//! The user is told once which files wait; the apply ends as one that is tried again, until an
//! agent that has the contents has sent them or the head does not need them any more.

use std::collections::{BTreeSet, HashSet};

use fsync_core::id::ObjectId;
use fsync_core::path::RelPath;

use super::needs::content;
use super::{Applying, Batch, Pulling};
use crate::folder::{FolderEffect, Notice};

/// Files that are named; the others are counted.
const NAMED: usize = 3;

/// The files that wait for lost contents, as the user was told.
#[derive(Debug, Default)]
pub(super) struct LostContents {
    told: BTreeSet<RelPath>,
}

impl LostContents {
    /// Takes what an apply left out and tells the user if that is news; returns whether it left out
    /// nothing.
    pub(super) fn tell(&mut self, lost: BTreeSet<RelPath>, out: &mut Vec<FolderEffect>) -> bool {
        let is_complete = lost.is_empty();
        if lost != self.told {
            self.told = lost;
            let text = self.text();
            out.extend(text.map(|text| FolderEffect::Notice(Notice::Trouble(text))));
        }
        is_complete
    }

    fn text(&self) -> Option<String> {
        let named: Vec<String> = self
            .told
            .iter()
            .take(NAMED)
            .map(RelPath::to_string)
            .collect();
        let more = match self.told.len().saturating_sub(NAMED) {
            _ if named.is_empty() => return None,
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let named = named.join(", ");
        Some(format!(
            "the service has lost the contents of {named}{more}; waiting until an agent that has them sends them, all else goes on"
        ))
    }
}

impl Pulling {
    /// Returns why nothing can be put into this folder, for people.
    pub(in crate::folder) fn paused(&self) -> Option<String> {
        self.paused.clone()
    }

    /// Returns what the service has lost of the head, for people.
    pub(in crate::folder) fn lost(&self) -> Option<String> {
        self.lost.text()
    }

    /// Folder and head agree: nothing waits.
    pub(in crate::folder) fn in_step(&mut self) {
        self.lost = LostContents::default();
        self.paused = None;
    }
}

impl Applying {
    /// Leaves out of a batch what needs lost chunks, so that the rest of it is asked for again;
    /// `false` if none does.
    pub(super) fn leave_out(&mut self, at: usize, ids: &[ObjectId]) -> bool {
        let Some(batch) = self.batches.get_mut(at) else {
            return false;
        };
        if batch.large.is_some() {
            let batch = self.batches.remove(at);
            let steps = batch.map(|batch| batch.steps).unwrap_or_default();
            self.lost
                .extend(steps.iter().map(|step| step.path().clone()));
            return true;
        }
        let ids: HashSet<&ObjectId> = ids.iter().collect();
        let before = batch.wanted.len();
        batch.wanted.retain(|(id, _)| !ids.contains(id));
        if batch.wanted.len() == before {
            return false;
        }
        batch.is_asked = false;
        let needs = |id: ObjectId| ids.contains(&id);
        let lost = &mut self.lost;
        batch.steps.retain(|step| {
            let is_lost = content(step).is_some_and(needs);
            if is_lost {
                lost.insert(step.path().clone());
            }
            !is_lost
        });
        true
    }
}

impl Batch {
    /// Returns whether it asked for the chunks of this number.
    pub(super) fn is_asked(&self, number: u64) -> bool {
        let is_part = |large: &super::large::Large| large.asked(number);
        self.number == number || self.large.as_ref().is_some_and(is_part)
    }
}
