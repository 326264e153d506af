//! Which versions a tree once had: is this content what stood at this path in an earlier revision?
//!
//! Guarantees: directories that several revisions share are looked at once, so the cost follows
//! what changed at the asked paths, not the number of revisions times paths.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::ObjectId;
use crate::nodes::{Gather, Nodes, NodesError};
use crate::path::{Name, RelPath};
use crate::tree;

/// The asked versions, and what was found so far. Feed it roots, newest first.
#[derive(Debug)]
pub struct Known {
    /// Paths as a tree of names; index 0 is the root.
    steps: Vec<Step>,
    found: Vec<bool>,
    open: usize,
    seen: BTreeSet<(ObjectId, usize)>,
}

#[derive(Debug, Default)]
struct Step {
    below: BTreeMap<Name, usize>,
    wanted: Vec<(ObjectId, usize)>,
}

impl Known {
    /// Starts with the versions to look for.
    pub fn new(versions: &[(RelPath, ObjectId)]) -> Self {
        let mut known = Self {
            steps: vec![Step::default()],
            found: vec![false; versions.len()],
            open: versions.len(),
            seen: BTreeSet::new(),
        };
        for (index, (path, id)) in versions.iter().enumerate() {
            let mut at = 0;
            for name in path.names() {
                let next = known.steps.len();
                let step = *known.steps[at].below.entry(name).or_insert(next);
                if step == next {
                    known.steps.push(Step::default());
                }
                at = step;
            }
            known.steps[at].wanted.push((*id, index));
        }
        known
    }

    /// Returns whether every version was found, so that older revisions need no look.
    pub fn is_done(&self) -> bool {
        self.open == 0
    }

    /// Looks at one revision's root.
    ///
    /// # Errors
    /// [`NodesError::Missing`] with the nodes to load before calling again with the same root.
    pub fn look(&mut self, nodes: &dyn Nodes, root: &ObjectId) -> Result<(), NodesError> {
        let mut gather = Gather::default();
        let mut stack = vec![(*root, 0)];
        let mut visited = Vec::new();
        while let Some((dir, at)) = stack.pop() {
            if self.seen.contains(&(dir, at)) {
                continue;
            }
            let mut is_whole = true;
            for (name, step) in &self.steps[at].below {
                let Some(entry) = gather.take(tree::find(nodes, &dir, name))? else {
                    is_whole = false;
                    continue;
                };
                let Some(entry) = entry else { continue };
                let wanted = &self.steps[*step].wanted;
                self.open -= mark(wanted, &entry.id(), &mut self.found);
                if let Some(child) = entry.as_dir() {
                    stack.push((child, *step));
                }
            }
            if is_whole {
                visited.push((dir, at));
            }
        }
        if gather.is_complete() {
            self.seen.extend(visited);
        }
        gather.finish()
    }

    /// Returns for each version whether it was found.
    pub fn into_found(self) -> Vec<bool> {
        self.found
    }
}

/// Marks what is wanted here and is `id` as found; returns how many were not found before.
fn mark(wanted: &[(ObjectId, usize)], id: &ObjectId, found: &mut [bool]) -> usize {
    let here = wanted.iter().filter(|(wanted, _)| wanted == id);
    here.filter(|(_, index)| !std::mem::replace(&mut found[*index], true))
        .count()
}
