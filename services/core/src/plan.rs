//! The planner: which steps turn a folder as it is into the tree as it shall be.
//!
//! Guarantees: run in order, the steps never need a path that an earlier one has not freed or made;
//! nothing below an excepted path is touched; a path where nothing changes has no step. A very long
//! plan is cut: plan again after it.
//! Does not: touch a disk or load contents. Apply re-checks each step against the disk at the last
//! moment.

use std::collections::BTreeSet;

use crate::id::ObjectId;
use crate::node::{Entry, FileEntry};
use crate::nodes::{Gather, Metered, Nodes, NodesError, Overlay};
use crate::path::{Name, RelPath};
use crate::revision::MoveHint;
use crate::tree::{self, Edits, Entries, Part};

/// One step of an apply. Steps are in a safe order: run them one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Rename a file, link or directory; `to` is free.
    Move {
        /// Where it stands.
        from: RelPath,
        /// Where it goes.
        to: RelPath,
        /// What it is, as the folder has it.
        was: Entry,
    },
    /// Move a file or link to the trash.
    Remove {
        /// Where it stands.
        path: RelPath,
        /// What stands there.
        was: Entry,
    },
    /// Remove a directory that is empty by now.
    RemoveDir {
        /// Where it stands.
        path: RelPath,
    },
    /// Make a directory; nothing stands there by now.
    MakeDir {
        /// Where.
        path: RelPath,
    },
    /// Put a file or link where nothing or another file or link stands.
    Put {
        /// Where.
        path: RelPath,
        /// What stands there.
        was: Option<Entry>,
        /// What shall stand there.
        now: Entry,
    },
    /// Change exec bit or modification time of a file whose content stays.
    Meta {
        /// Where.
        path: RelPath,
        /// As it is.
        was: FileEntry,
        /// As it shall be.
        now: FileEntry,
    },
}

impl Step {
    /// Returns the path that the step changes (for a move, where it goes).
    pub fn path(&self) -> &RelPath {
        match self {
            Self::Move { to: path, .. }
            | Self::Remove { path, .. }
            | Self::RemoveDir { path }
            | Self::MakeDir { path }
            | Self::Put { path, .. }
            | Self::Meta { path, .. } => path,
        }
    }
}

/// A plan stops making and putting after so many steps: what is left is planned again after the
/// apply. Bounds memory; removals are never cut short, since mass deletes are judged as a whole.
const STEPS_MAX: usize = 20_000;

/// Paths that a plan leaves alone, each with all below it.
pub type Skip = BTreeSet<RelPath>;

/// Returns the steps from the folder's tree `from` to the tree `to`.
///
/// # Errors
/// [`NodesError::Missing`] with the nodes to fetch before calling again, or what is wrong with one.
pub fn plan(
    nodes: &dyn Nodes,
    (from, to): (&ObjectId, &ObjectId),
    moves: &[MoveHint],
    skip: &Skip,
) -> Result<Vec<Step>, NodesError> {
    let metered = Metered::new(nodes);
    let mut overlay = Overlay::new(&metered);
    let mut steps = Vec::new();
    let mut from = *from;
    for hint in moves {
        if let Some((more, moved)) = rename(&mut overlay, (&from, to), hint, skip)? {
            steps.extend(more);
            from = moved;
        }
    }
    let mut planner = Planner {
        nodes: &overlay,
        skip,
        steps,
        gather: Gather::default(),
    };
    planner.directory(&RelPath::root(), Some(from), Some(*to))?;
    let Planner { steps, gather, .. } = planner;
    gather.finish()?;
    Ok(steps)
}

/// Plans a rename if the folder still has the source, the target is free and the tree wants it so;
/// directories that the target needs are made first.
fn rename(
    overlay: &mut Overlay<'_>,
    (from, to): (&ObjectId, &ObjectId),
    hint: &MoveHint,
    skip: &Skip,
) -> Result<Option<(Vec<Step>, ObjectId)>, NodesError> {
    let touches = |path: &RelPath| skip.iter().any(|s| s.is_within(path) || path.is_within(s));
    if touches(&hint.from) || touches(&hint.to) {
        return Ok(None);
    }
    let (Some(was), None) = (
        tree::lookup(overlay, from, &hint.from)?,
        tree::lookup(overlay, from, &hint.to)?,
    ) else {
        return Ok(None);
    };
    let (None, Some(now)) = (
        tree::lookup(overlay, to, &hint.from)?,
        tree::lookup(overlay, to, &hint.to)?,
    ) else {
        return Ok(None);
    };
    if was.as_dir().is_some() != now.as_dir().is_some() {
        return Ok(None);
    }
    let Some(way) = missing_parents(overlay, from, &hint.to)? else {
        return Ok(None);
    };
    if way.iter().any(touches) {
        return Ok(None);
    }
    let edits = Edits::from([(hint.from.clone(), None), (hint.to.clone(), Some(was))]);
    let moved = tree::edit(overlay, from, &edits)?;
    let mut steps: Vec<Step> = way.into_iter().map(|path| Step::MakeDir { path }).collect();
    steps.push(Step::Move {
        from: hint.from.clone(),
        to: hint.to.clone(),
        was,
    });
    Ok(Some((steps, moved)))
}

/// Returns the directories above `path` that are not there, top first; `None` if something else
/// stands on the way.
fn missing_parents(
    overlay: &Overlay<'_>,
    root: &ObjectId,
    path: &RelPath,
) -> Result<Option<Vec<RelPath>>, NodesError> {
    let mut missing = Vec::new();
    let mut above = path.parent();
    while let Some(dir) = above {
        match tree::lookup(overlay, root, &dir)? {
            Some(Entry::Dir(_)) => break,
            Some(_) => return Ok(None),
            None => above = dir.parent(),
        }
        missing.push(dir);
    }
    missing.reverse();
    Ok(Some(missing))
}

/// Returns the renames of a plan, in order.
pub fn moves_of(steps: &[Step]) -> Vec<MoveHint> {
    let hint = |step: &Step| match step {
        Step::Move { from, to, .. } => Some(MoveHint {
            from: from.clone(),
            to: to.clone(),
        }),
        _ => None,
    };
    steps.iter().filter_map(hint).collect()
}

/// Returns where a path stood before some renames.
pub fn before(moves: &[MoveHint], path: RelPath) -> RelPath {
    moves.iter().rev().fold(path, |path, hint| {
        path.strip_prefix(&hint.to)
            .map_or(path, |tail| hint.from.concat(&tail))
    })
}

struct Planner<'a> {
    nodes: &'a dyn Nodes,
    skip: &'a Skip,
    steps: Vec<Step>,
    gather: Gather,
}

impl Planner<'_> {
    fn directory(
        &mut self,
        path: &RelPath,
        from: Option<ObjectId>,
        to: Option<ObjectId>,
    ) -> Result<(), NodesError> {
        if from == to {
            return Ok(());
        }
        crate::limits::check(
            "path depth in names",
            crate::limits::PATH_DEPTH,
            path.depth(),
        )?;
        let (Some(before), Some(after)) = self.read_changed(from, to)? else {
            return Ok(());
        };
        // What goes comes first, so that what comes finds its place free.
        let names: BTreeSet<&Name> = before.keys().chain(after.keys()).collect();
        for name in names {
            let child = path.join(name);
            if self.skip.contains(&child) {
                continue;
            }
            self.entry(&child, before.get(name), after.get(name))?;
        }
        Ok(())
    }

    /// Reads the entries of the parts in which two directories differ; `None` where nodes are
    /// missing.
    fn read_changed(
        &mut self,
        from: Option<ObjectId>,
        to: Option<ObjectId>,
    ) -> Result<(Option<Entries>, Option<Entries>), NodesError> {
        let (Some(from), Some(to)) = (self.parts(from)?, self.parts(to)?) else {
            return Ok((None, None));
        };
        let ids = |parts: &[Part]| -> BTreeSet<ObjectId> { parts.iter().map(|p| p.id).collect() };
        let (before, after) = (ids(&from), ids(&to));
        Ok((self.read(&from, &after)?, self.read(&to, &before)?))
    }

    fn parts(&mut self, dir: Option<ObjectId>) -> Result<Option<Vec<Part>>, NodesError> {
        match dir {
            Some(dir) => self.gather.take(tree::parts(self.nodes, &dir)),
            None => Ok(Some(Vec::new())),
        }
    }

    /// Reads the parts that the other side does not have.
    fn read(
        &mut self,
        parts: &[Part],
        others: &BTreeSet<ObjectId>,
    ) -> Result<Option<Entries>, NodesError> {
        let mut entries = Entries::new();
        let mut is_whole = true;
        for part in parts.iter().filter(|part| !others.contains(&part.id)) {
            let read = tree::read_part(self.nodes, part, &mut entries);
            is_whole &= self.gather.take(read)?.is_some();
        }
        Ok(is_whole.then_some(entries))
    }

    fn entry(
        &mut self,
        path: &RelPath,
        from: Option<&Entry>,
        to: Option<&Entry>,
    ) -> Result<(), NodesError> {
        if from == to {
            return Ok(());
        }
        if from.is_none() && self.steps.len() >= STEPS_MAX {
            return Ok(());
        }
        match (from, to) {
            (Some(Entry::Dir(from)), Some(Entry::Dir(to))) => {
                self.directory(path, Some(*from), Some(*to))
            }
            (Some(Entry::Dir(from)), to) => {
                if self.remove_dir(path, from)? {
                    self.put(path, None, to)?;
                }
                Ok(())
            }
            (from, Some(Entry::Dir(to))) => self.make_dir(path, from, to),
            (from, None) => {
                self.remove(path, from);
                Ok(())
            }
            (from, to) => self.put(path, from, to),
        }
    }

    /// Makes a directory, unless all that it would hold is skipped: such a one may be gone on
    /// purpose.
    fn make_dir(
        &mut self,
        path: &RelPath,
        from: Option<&Entry>,
        to: &ObjectId,
    ) -> Result<(), NodesError> {
        let before = self.steps.len();
        self.remove(path, from);
        self.steps.push(Step::MakeDir { path: path.clone() });
        let empty = self.steps.len();
        self.directory(path, None, Some(*to))?;
        let is_for_skipped = || self.skip.iter().any(|skipped| skipped.is_within(path));
        if self.steps.len() == empty && is_for_skipped() {
            self.steps.truncate(before);
        }
        Ok(())
    }

    fn remove(&mut self, path: &RelPath, was: Option<&Entry>) {
        let path = path.clone();
        self.steps
            .extend(was.map(|was| Step::Remove { path, was: *was }));
    }

    /// Returns whether the directory goes: one around a skipped path stays for its sake.
    fn remove_dir(&mut self, path: &RelPath, dir: &ObjectId) -> Result<bool, NodesError> {
        self.directory(path, Some(*dir), None)?;
        let goes = !self.skip.iter().any(|skipped| skipped.is_within(path));
        if goes {
            self.steps.push(Step::RemoveDir { path: path.clone() });
        }
        Ok(goes)
    }

    fn put(
        &mut self,
        path: &RelPath,
        was: Option<&Entry>,
        now: Option<&Entry>,
    ) -> Result<(), NodesError> {
        let Some(now) = now else { return Ok(()) };
        let step = match (was, now) {
            (Some(Entry::File(was)), Entry::File(now)) if was.content == now.content => {
                Step::Meta {
                    path: path.clone(),
                    was: *was,
                    now: *now,
                }
            }
            _ => Step::Put {
                path: path.clone(),
                was: was.copied(),
                now: *now,
            },
        };
        self.steps.push(step);
        Ok(())
    }
}
