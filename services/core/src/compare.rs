//! What folder and head mean for one another: the agent's merge and its plan, in one pure function.
//!
//! The synced tree is the only reference for "ours against base": what differs from it on disk is
//! the user's edit, what differs from it in the head is somebody else's. Excepted paths are masked:
//! to the merge they look unchanged, to the plan they do not exist.

use std::collections::BTreeMap;

use crate::exception::Exception;
use crate::id::ObjectId;
use crate::label::AgentName;
use crate::merge::{self, Conflict, Side};
use crate::mutant::{self, Mutant};
use crate::node::Entry;
use crate::nodes::{NewNodes, Nodes, NodesError, Overlay};
use crate::path::RelPath;
use crate::plan::{self, Skip, Step};
use crate::revision::{MoveHint, Timestamp};
use crate::tree::{self, Edits};

/// Everything that a comparison looks at.
#[derive(Debug, Clone)]
pub struct Sides<'a> {
    /// The synced tree's root.
    pub synced: ObjectId,
    /// The folder's root, as last scanned.
    pub working: ObjectId,
    /// The head's root; the empty directory where there is no head.
    pub head: ObjectId,
    /// Paths that are masked.
    pub exceptions: &'a BTreeMap<RelPath, Exception>,
    /// Renames that scans found since the synced tree.
    pub local_moves: &'a [MoveHint],
    /// Renames between base and head.
    pub head_moves: &'a [MoveHint],
    /// This agent, for the names of conflict copies.
    pub agent: &'a AgentName,
    /// Now, for the names of conflict copies.
    pub time: Timestamp,
}

/// How folder and head differ.
#[derive(Debug, Clone)]
pub struct Comparison {
    /// What both shall become.
    pub target: ObjectId,
    /// The folder's root with excepted paths as the synced tree has them.
    pub masked: ObjectId,
    /// The paths that were masked: the excepted ones, and files that stand where the way to an
    /// excepted one was.
    pub masks: Skip,
    /// Nodes made on the way.
    pub new: NewNodes,
    /// Conflict copies in the target that neither side has yet.
    pub conflicts: Vec<Conflict>,
    /// Renames of the user that hold against the head.
    pub moves: Vec<MoveHint>,
    /// What has to be done on disk and needs no push first.
    pub steps: Vec<Step>,
    /// Files that the user deleted and the head still has, by their paths in the synced tree.
    pub deleted: Vec<RelPath>,
    /// Files that the head deleted and the folder still has, by their paths in the folder.
    pub to_delete: Vec<RelPath>,
}

impl Comparison {
    /// Returns whether the folder has edits that the head lacks.
    pub fn needs_push(&self, head: &ObjectId) -> bool {
        self.target != *head
    }
}

/// Compares folder and head.
///
/// # Errors
/// [`NodesError::Missing`] with the nodes to fetch before calling again, or what is wrong with one.
pub fn compare(nodes: &dyn Nodes, sides: &Sides<'_>) -> Result<Comparison, NodesError> {
    let mut overlay = Overlay::new(nodes);
    let masks = masks(nodes, sides)?;
    let masked = mask(&mut overlay, sides, &masks)?;
    let side = |root, moves: &[MoveHint]| Side {
        root,
        author: sides.agent.clone(),
        time: sides.time,
        moves: moves.to_vec(),
    };
    let ours = side(sides.head, sides.head_moves);
    let theirs = side(masked, sides.local_moves);
    let merged = merge::merge(&overlay, Some(sides.synced), &ours, &theirs)?;
    overlay.absorb(merged.new);
    let mut skip = masks.clone();
    // A disputed path is applied once the losing version is safe on the service.
    let is_unsent = merged.root != sides.head;
    for conflict in merged.conflicts.iter().filter(|_| is_unsent) {
        skip.extend([conflict.path.clone(), conflict.copy.clone()]);
    }
    let steps = safe_steps(&overlay, sides, &merged.root, skip)?;
    let gone = plan::plan(
        &overlay,
        (&sides.head, &merged.root),
        &merged.moves,
        &Skip::new(),
    )?;
    let as_synced = |path| plan::before(sides.head_moves, path);
    let deleted = removed(&gone).map(as_synced).collect();
    let to_delete = removed(&steps).collect();
    Ok(Comparison {
        target: merged.root,
        masked,
        masks,
        conflicts: merged.conflicts,
        moves: merged.moves,
        steps,
        deleted,
        to_delete,
        new: overlay.into_new(),
    })
}

/// Plans what can be done before the next push: no step takes an edit off its path that the service
/// does not have, or puts something that the head does not say. So every step turns what the synced
/// tree has into what the head has, and whatever ends it half way, an edit is still seen as one.
fn safe_steps(
    nodes: &Overlay<'_>,
    sides: &Sides<'_>,
    target: &ObjectId,
    mut skip: Skip,
) -> Result<Vec<Step>, NodesError> {
    loop {
        let steps = plan::plan(nodes, (&sides.working, target), sides.head_moves, &skip)?;
        // Nothing waits to be pushed: every content that the merge kept is with the service.
        if *target == sides.head || mutant::is_on(Mutant::UnsafeSteps) {
            return Ok(steps);
        }
        let known = skip.len();
        let moved = plan::moves_of(&steps);
        for step in &steps {
            if matches!(step, Step::Move { .. }) {
                continue;
            }
            let path = step.path();
            let at = |root: &ObjectId, path: &RelPath| tree::lookup(nodes, root, path);
            let was_at = plan::before(&moved, path.clone());
            let (was, now) = (at(&sides.working, &was_at)?, at(target, path)?);
            let is_kept = was.is_none()
                || is_alike(was, at(&sides.synced, &was_at)?)
                || was.map(|entry| entry.id()) == now.map(|entry| entry.id());
            if !is_kept || !is_alike(now, at(&sides.head, path)?) {
                skip.insert(path.clone());
            }
        }
        if skip.len() == known {
            return Ok(steps);
        }
    }
}

/// Directories are alike whatever is in them: that is for the steps below them to say.
fn is_alike(a: Option<Entry>, b: Option<Entry>) -> bool {
    match (a, b) {
        (Some(Entry::Dir(_)), Some(Entry::Dir(_))) => true,
        (a, b) => a == b,
    }
}

/// Returns the files that a plan removes, by the paths that they have before it.
fn removed(steps: &[Step]) -> impl Iterator<Item = RelPath> {
    let moved = plan::moves_of(steps);
    let path = move |step: &Step| match step {
        Step::Remove { path, .. } => Some(plan::before(&moved, path.clone())),
        _ => None,
    };
    steps.iter().filter_map(path)
}

/// Returns the paths to mask: the excepted ones, and in place of one below a path where the folder
/// has a file or link by now that path itself. It cannot be synced before the exception ends.
fn masks(nodes: &dyn Nodes, sides: &Sides<'_>) -> Result<Skip, NodesError> {
    let mut masks = Skip::new();
    for path in sides.exceptions.keys() {
        let mut mask = path.clone();
        let mut above = path.parent();
        while let Some(dir) = above.filter(|dir| !dir.is_root()) {
            let there = tree::lookup(nodes, &sides.working, &dir)?;
            above = dir.parent();
            if there.is_some_and(|entry| entry.as_dir().is_none()) {
                mask = dir;
            }
        }
        masks.insert(mask);
    }
    Ok(masks)
}

fn mask(
    overlay: &mut Overlay<'_>,
    sides: &Sides<'_>,
    masks: &Skip,
) -> Result<ObjectId, NodesError> {
    let mut edits = Edits::new();
    for path in masks {
        let synced = tree::lookup(overlay, &sides.synced, path)?;
        // A mask must not make directories that neither side has.
        if synced.is_some() || tree::lookup(overlay, &sides.working, path)?.is_some() {
            edits.insert(path.clone(), synced);
        }
    }
    tree::edit(overlay, &sides.working, &edits)
}
