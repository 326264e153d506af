//! Where in a tree objects stand, by their ids: what an agent answers a `want` with.
//!
//! Guarantees: only what the root reaches is found; costs each directory once, and each file's
//! list; nodes that are not at hand are passed over.
//! Does not: read contents. Whoever reads a chunk at its spot verifies it.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::id::{ObjectId, ObjectKind};
use crate::limits;
use crate::node::{Content, Entry, FileEntry, Node, Run};
use crate::nodes::{Nodes, NodesError};
use crate::path::RelPath;

/// Files that are named for one chunk at most: the first may have been changed on disk.
const SPOTS: usize = 4;

/// Where an object stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Spot {
    /// It is a node of this kind.
    Node(ObjectKind),
    /// It is a run of a file.
    Chunk {
        /// The file.
        path: RelPath,
        /// Offset in it.
        offset: u64,
        /// Length in bytes.
        bytes: u64,
    },
}

/// Returns spots of those of `wanted` that the directory `root` reaches.
///
/// # Errors
/// [`NodesError`] if a node is damaged.
pub fn seek(
    nodes: &dyn Nodes,
    root: &ObjectId,
    wanted: &BTreeSet<ObjectId>,
) -> Result<BTreeMap<ObjectId, Vec<Spot>>, NodesError> {
    let mut walk = Walk {
        nodes,
        wanted,
        seen: HashSet::new(),
        found: BTreeMap::new(),
    };
    walk.node(ObjectKind::Directory, root);
    let mut open = vec![(RelPath::root(), *root)];
    while let Some((path, dir)) = open.pop() {
        walk.part(&path, dir, &mut open)?;
    }
    Ok(walk.found)
}

struct Walk<'a> {
    nodes: &'a dyn Nodes,
    wanted: &'a BTreeSet<ObjectId>,
    seen: HashSet<ObjectId>,
    found: BTreeMap<ObjectId, Vec<Spot>>,
}

impl Walk<'_> {
    /// Looks at a directory or a part of one.
    fn part(
        &mut self,
        path: &RelPath,
        id: ObjectId,
        open: &mut Vec<(RelPath, ObjectId)>,
    ) -> Result<(), NodesError> {
        limits::check("path depth in names", limits::PATH_DEPTH, path.depth())?;
        if !self.seen.insert(id) {
            return Ok(());
        }
        let Some(node) = at_hand(self.nodes.node(ObjectKind::Directory, &id))? else {
            return Ok(());
        };
        match &*node {
            Node::DirInner(_, children) => {
                for (_, child) in children {
                    self.node(ObjectKind::Directory, child);
                    open.push((path.clone(), *child));
                }
            }
            Node::DirLeaf(items) => {
                for (name, entry) in items {
                    self.entry(path.join(name), entry, open)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn entry(
        &mut self,
        path: RelPath,
        entry: &Entry,
        open: &mut Vec<(RelPath, ObjectId)>,
    ) -> Result<(), NodesError> {
        self.node(entry.object_kind(), &entry.id());
        match entry {
            Entry::Dir(id) => open.push((path, *id)),
            Entry::Symlink(_) => {}
            Entry::File(file) => self.file(&path, file)?,
        }
        Ok(())
    }

    fn node(&mut self, kind: ObjectKind, id: &ObjectId) {
        if kind.is_node() && self.wanted.contains(id) {
            self.found.insert(*id, vec![Spot::Node(kind)]);
        }
    }

    fn file(&mut self, path: &RelPath, file: &FileEntry) -> Result<(), NodesError> {
        let mut open = match file.content {
            Content::List(list) => vec![(list, 0)],
            Content::Chunk(id) => {
                self.chunk(id, path, (0, file.size));
                return Ok(());
            }
        };
        // A part that stands twice in a file brings nothing new.
        let mut seen = HashSet::new();
        while let Some((id, start)) = open.pop() {
            if !seen.insert(id) {
                continue;
            }
            let Some(node) = at_hand(self.nodes.node(ObjectKind::File, &id))? else {
                continue;
            };
            self.list(path, &node, start, &mut open);
        }
        Ok(())
    }

    /// Looks at a part of a file's list that begins at `at`.
    fn list(&mut self, path: &RelPath, node: &Node, at: u64, open: &mut Vec<(ObjectId, u64)>) {
        let mut at = at;
        match node {
            Node::FileInner(_, children) => {
                for (child, bytes) in children {
                    self.node(ObjectKind::File, child);
                    open.push((*child, at));
                    at = at.saturating_add(*bytes);
                }
            }
            Node::FileLeaf(runs) => {
                for run in runs {
                    if let Run::Chunk { id, bytes } = run {
                        self.chunk(*id, path, (at, *bytes));
                    }
                    at = at.saturating_add(run.bytes());
                }
            }
            _ => {}
        }
    }

    fn chunk(&mut self, id: ObjectId, path: &RelPath, (offset, bytes): (u64, u64)) {
        if !self.wanted.contains(&id) {
            return;
        }
        let spots = self.found.entry(id).or_default();
        if spots.len() < SPOTS {
            spots.push(Spot::Chunk {
                path: path.clone(),
                offset,
                bytes,
            });
        }
    }
}

fn at_hand<T>(found: Result<T, NodesError>) -> Result<Option<T>, NodesError> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(NodesError::Missing(_)) => Ok(None),
        Err(error) => Err(error),
    }
}
