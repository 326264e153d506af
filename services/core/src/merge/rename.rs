//! The renames of a merge, carried out before contents are compared.
//!
//! Guarantees: a hint is followed only where all three trees agree with it, and two that cross tie
//! no knot; both sides' hints are followed alike, whichever is asked first.
//! Does not: decide about contents. A hint that is not followed costs speed, never content.

use std::collections::BTreeSet;

use crate::hints;
use crate::id::ObjectId;
use crate::node::Entry;
use crate::nodes::{Gather, NodesError, Overlay};
use crate::path::RelPath;
use crate::revision::MoveHint;
use crate::tree::{self, Edits};

/// A rename may lead to where another one has to go first: so often those that did not fit are
/// tried again.
const RENAME_ROUNDS: usize = 8;

/// The three roots while renames are carried out on them.
pub(super) struct Roots {
    pub(super) base: Option<ObjectId>,
    pub(super) ours: ObjectId,
    pub(super) theirs: ObjectId,
}

impl Roots {
    /// Carries out both sides' hints; returns those of theirs that hold against ours.
    pub(super) fn rename(
        &mut self,
        overlay: &mut Overlay<'_>,
        ours: &[MoveHint],
        theirs: &[MoveHint],
    ) -> Result<Vec<MoveHint>, NodesError> {
        let (ours, theirs) = (&hints::in_order(ours), &hints::in_order(theirs));
        self.gather_ways(overlay, ours.iter().chain(theirs))?;
        let shared: BTreeSet<&MoveHint> =
            ours.iter().filter(|hint| theirs.contains(hint)).collect();
        let mut held = Held::default();
        let mut open: Vec<(bool, &MoveHint)> = Vec::new();
        for hint in ours {
            if shared.contains(hint) {
                self.rename_one(overlay, hint, (true, true))?;
            } else {
                open.push((true, hint));
            }
        }
        open.extend(
            theirs
                .iter()
                .filter(|hint| !shared.contains(hint))
                .map(|hint| (false, hint)),
        );
        for _ in 0..RENAME_ROUNDS {
            let before = open.len();
            let mut rest = Vec::new();
            for (is_ours, hint) in open {
                let hint_now = held.follow(hint, is_ours);
                if self.rename_one(overlay, &hint_now, (is_ours, false))? {
                    held.add(is_ours, hint_now);
                } else {
                    rest.push((is_ours, hint));
                }
            }
            open = rest;
            if open.is_empty() || open.len() == before {
                break;
            }
        }
        Ok(held.theirs)
    }

    /// Names all nodes on the hints' ways at once, so that they are fetched together.
    fn gather_ways<'h>(
        &self,
        overlay: &Overlay<'_>,
        hints: impl Iterator<Item = &'h MoveHint>,
    ) -> Result<(), NodesError> {
        let mut gather = Gather::default();
        for hint in hints {
            for root in [self.base.as_ref(), Some(&self.ours), Some(&self.theirs)]
                .into_iter()
                .flatten()
            {
                gather.take(tree::lookup(overlay, root, &hint.from))?;
                gather.take(tree::lookup(overlay, root, &hint.to))?;
            }
        }
        gather.finish()
    }

    /// Carries out one hint of ours (or theirs) on the base and, unless both sides made it, on the
    /// other side.
    fn rename_one(
        &mut self,
        overlay: &mut Overlay<'_>,
        hint: &MoveHint,
        (is_ours, both): (bool, bool),
    ) -> Result<bool, NodesError> {
        let Some(base) = self.base else {
            return Ok(false);
        };
        let (mover, other) = if is_ours {
            (self.ours, self.theirs)
        } else {
            (self.theirs, self.ours)
        };
        let at = |root: &ObjectId, path: &RelPath| tree::lookup(overlay, root, path);
        let (Some(was), None) = (at(&base, &hint.from)?, at(&base, &hint.to)?) else {
            return Ok(false);
        };
        let (None, Some(now)) = (at(&mover, &hint.from)?, at(&mover, &hint.to)?) else {
            return Ok(false);
        };
        if was.as_dir().is_some() != now.as_dir().is_some() {
            return Ok(false);
        }
        if both {
            // As above, so that it does not matter which side is asked first.
            let is_alike = |entry: Entry| entry.as_dir().is_some() == was.as_dir().is_some();
            let is_there =
                at(&other, &hint.from)?.is_none() && at(&other, &hint.to)?.is_some_and(is_alike);
            if is_there {
                self.base = Some(move_entry(overlay, &base, hint, was)?);
            }
            return Ok(false);
        }
        let (Some(moved), None) = (at(&other, &hint.from)?, at(&other, &hint.to)?) else {
            return Ok(false);
        };
        if !is_parent_kept(overlay, (&base, &other), &hint.to)? {
            return Ok(false);
        }
        self.base = Some(move_entry(overlay, &base, hint, was)?);
        let other = move_entry(overlay, &other, hint, moved)?;
        if is_ours {
            self.theirs = other;
        } else {
            self.ours = other;
        }
        Ok(true)
    }
}

/// The renames of both sides that were carried out, in order.
#[derive(Default)]
struct Held {
    ours: Vec<MoveHint>,
    theirs: Vec<MoveHint>,
}

impl Held {
    fn add(&mut self, is_ours: bool, hint: MoveHint) {
        let side = if is_ours {
            &mut self.ours
        } else {
            &mut self.theirs
        };
        side.push(hint);
    }

    /// Returns a hint of one side after the other side's renames.
    fn follow(&self, hint: &MoveHint, is_ours: bool) -> MoveHint {
        let others = if is_ours { &self.theirs } else { &self.ours };
        MoveHint {
            from: follow(others, &hint.from),
            to: follow(others, &hint.to),
        }
    }
}

/// Returns a path of one side after the other side's renames.
fn follow(done: &[MoveHint], path: &RelPath) -> RelPath {
    done.iter().fold(path.clone(), |path, hint| {
        match path.strip_prefix(&hint.from) {
            Some(tail) => hint.to.concat(&tail),
            None => path,
        }
    })
}

/// Returns whether the directory that a rename leads into still stands on the other side, if the
/// base has it. Otherwise two renames cross, and carrying out both would tie a knot.
fn is_parent_kept(
    overlay: &Overlay<'_>,
    (base, other): (&ObjectId, &ObjectId),
    to: &RelPath,
) -> Result<bool, NodesError> {
    let Some(parent) = to.parent() else {
        return Ok(false);
    };
    let is_dir = |entry: Option<Entry>| entry.is_some_and(|e| e.as_dir().is_some());
    let (in_base, in_other) = (
        tree::lookup(overlay, base, &parent)?,
        tree::lookup(overlay, other, &parent)?,
    );
    Ok(match in_other {
        None => in_base.is_none() && is_way_free(overlay, other, &parent)?,
        there => is_dir(there),
    })
}

/// Returns whether no file or link stands where a directory on the way to `path` would have to be
/// made.
fn is_way_free(overlay: &Overlay<'_>, root: &ObjectId, path: &RelPath) -> Result<bool, NodesError> {
    let mut at = Some(path.clone());
    while let Some(path) = at {
        if let Some(entry) = tree::lookup(overlay, root, &path)? {
            return Ok(entry.as_dir().is_some());
        }
        at = path.parent();
    }
    Ok(true)
}

fn move_entry(
    overlay: &mut Overlay<'_>,
    root: &ObjectId,
    hint: &MoveHint,
    entry: Entry,
) -> Result<ObjectId, NodesError> {
    let edits = Edits::from([(hint.from.clone(), None), (hint.to.clone(), Some(entry))]);
    tree::edit(overlay, root, &edits)
}
