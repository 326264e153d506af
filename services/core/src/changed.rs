//! What one tree needs that another does not have: the objects of a push.
//!
//! Guarantees: costs the change; a renamed directory costs the directories on its way, because the
//! renames are carried out on the old tree first. May name an object that the old tree holds at
//! some other path: sending it is waste, not harm.

use std::collections::{BTreeSet, HashSet};

use crate::id::{ObjectId, ObjectKind};
use crate::node::{Content, Entry, FileEntry, Node};
use crate::nodes::{Gather, Metered, Nodes, NodesError, Overlay};
use crate::path::RelPath;
use crate::revision::MoveHint;
use crate::tree::{self, Edits, Entries};

/// A file whose content is new at its path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangedFile {
    /// Where it stands in the new tree.
    pub path: RelPath,
    /// What stood there in the old tree, if that was a file.
    pub was: Option<FileEntry>,
    /// What stands there now.
    pub now: FileEntry,
}

/// Nodes and files that are new.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changed {
    /// New nodes, parents before children, directories in order of their paths.
    pub nodes: Vec<(ObjectKind, ObjectId)>,
    /// Files with new contents, in order of their paths.
    pub files: Vec<ChangedFile>,
}

/// Returns what `to` needs beyond `from`.
///
/// # Errors
/// [`NodesError::Missing`] with the nodes to fetch before calling again, or what is wrong with one.
pub fn changed(
    nodes: &dyn Nodes,
    from: Option<&ObjectId>,
    to: &ObjectId,
    moves: &[MoveHint],
) -> Result<Changed, NodesError> {
    let metered = Metered::new(nodes);
    let mut overlay = Overlay::new(&metered);
    let mut from = from.copied();
    for hint in moves {
        let Some(root) = from else { break };
        let (Some(was), None) = (
            tree::lookup(&overlay, &root, &hint.from)?,
            tree::lookup(&overlay, &root, &hint.to)?,
        ) else {
            continue;
        };
        let edits = Edits::from([(hint.from.clone(), None), (hint.to.clone(), Some(was))]);
        from = Some(tree::edit(&mut overlay, &root, &edits)?);
    }
    let mut walk = Walk {
        nodes: &overlay,
        out: Changed::default(),
        seen: HashSet::new(),
        gather: Gather::default(),
    };
    walk.directory(&RelPath::root(), from, *to)?;
    walk.gather.finish()?;
    Ok(walk.out)
}

/// Returns all of `to` that can be seen with the nodes at hand; the rest is left out.
///
/// # Errors
/// [`NodesError`] if a node is damaged.
pub fn at_hand(nodes: &dyn Nodes, to: &ObjectId) -> Result<Changed, NodesError> {
    let mut walk = Walk {
        nodes: &Metered::new(nodes),
        out: Changed::default(),
        seen: HashSet::new(),
        gather: Gather::default(),
    };
    walk.directory(&RelPath::root(), None, *to)?;
    Ok(walk.out)
}

struct Walk<'a> {
    nodes: &'a dyn Nodes,
    out: Changed,
    seen: HashSet<ObjectId>,
    gather: Gather,
}

impl Walk<'_> {
    fn directory(
        &mut self,
        path: &RelPath,
        from: Option<ObjectId>,
        to: ObjectId,
    ) -> Result<(), NodesError> {
        if from == Some(to) {
            return Ok(());
        }
        crate::limits::check(
            "path depth in names",
            crate::limits::PATH_DEPTH,
            path.depth(),
        )?;
        let (before, old_parts) = self.read(from, &BTreeSet::new())?;
        let (after, new_parts) = self.read(Some(to), &old_parts)?;
        self.add(ObjectKind::Directory, &new_parts, &old_parts);
        for (name, entry) in &after {
            self.entry(&path.join(name), before.get(name), entry)?;
        }
        Ok(())
    }

    fn add(&mut self, kind: ObjectKind, new: &BTreeSet<ObjectId>, old: &BTreeSet<ObjectId>) {
        for id in new.difference(old) {
            if self.seen.insert(*id) {
                self.out.nodes.push((kind, *id));
            }
        }
    }

    /// Reads the entries in parts that are not in `known`, and the ids of all parts.
    fn read(
        &mut self,
        dir: Option<ObjectId>,
        known: &BTreeSet<ObjectId>,
    ) -> Result<(Entries, BTreeSet<ObjectId>), NodesError> {
        let mut entries = Entries::new();
        let mut parts = BTreeSet::new();
        let mut open: Vec<ObjectId> = dir.into_iter().collect();
        while let Some(id) = open.pop() {
            if known.contains(&id) || !parts.insert(id) {
                continue;
            }
            let Some(node) = self
                .gather
                .take(self.nodes.node(ObjectKind::Directory, &id))?
            else {
                continue;
            };
            match &*node {
                Node::DirLeaf(items) => entries.extend(items.iter().cloned()),
                Node::DirInner(_, children) => open.extend(children.iter().map(|(_, id)| *id)),
                _ => {}
            }
        }
        Ok((entries, parts))
    }

    fn entry(
        &mut self,
        path: &RelPath,
        was: Option<&Entry>,
        now: &Entry,
    ) -> Result<(), NodesError> {
        if was == Some(now) {
            return Ok(());
        }
        match now {
            Entry::Dir(to) => self.directory(path, was.and_then(|e| e.as_dir()), *to)?,
            Entry::Symlink(id) => self.add(
                ObjectKind::Symlink,
                &BTreeSet::from([*id]),
                &BTreeSet::new(),
            ),
            Entry::File(now) => {
                let was = was.and_then(|e| e.as_file()).copied();
                if was.is_some_and(|was| was.content == now.content) {
                    return Ok(());
                }
                if let Content::List(list) = now.content {
                    let old = self.lists(was)?;
                    let new = self.list_parts(list, &old)?;
                    self.add(ObjectKind::File, &new, &old);
                }
                self.out.files.push(ChangedFile {
                    path: path.clone(),
                    was,
                    now: *now,
                });
            }
        }
        Ok(())
    }

    fn lists(&mut self, was: Option<FileEntry>) -> Result<BTreeSet<ObjectId>, NodesError> {
        match was.map(|file| file.content) {
            Some(Content::List(list)) => self.list_parts(list, &BTreeSet::new()),
            _ => Ok(BTreeSet::new()),
        }
    }

    fn list_parts(
        &mut self,
        list: ObjectId,
        known: &BTreeSet<ObjectId>,
    ) -> Result<BTreeSet<ObjectId>, NodesError> {
        let mut parts = BTreeSet::new();
        let mut open = vec![list];
        while let Some(id) = open.pop() {
            if known.contains(&id) || !parts.insert(id) {
                continue;
            }
            let Some(node) = self.gather.take(self.nodes.node(ObjectKind::File, &id))? else {
                continue;
            };
            if let Node::FileInner(_, children) = &*node {
                open.extend(children.iter().map(|(id, _)| *id));
            }
        }
        Ok(parts)
    }
}
