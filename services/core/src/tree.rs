//! Directories as values: read, write, look up, edit, walk.
//!
//! Guarantees: [`write_dir`] gives equal directories equal ids, whatever edits led to them;
//! [`edit`] costs the directories on the way to the edited paths, not the tree. Relies on
//! [`crate::split`] for where large directories are cut.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::{ObjectId, ObjectKind};
use crate::limits;
use crate::node::{Entry, Node};
use crate::nodes::{Gather, Metered, NewNodes, Nodes, NodesError, Overlay};
use crate::path::{Name, RelPath};
use crate::split::{self, Weighed};

/// The entries of one directory, in order of their names.
pub type Entries = BTreeMap<Name, Entry>;

/// Bytes of an encoded entry beside its name, at most.
const ENTRY_WEIGHT: usize = 64;
/// Bytes of an encoded child of an inner node beside its name, at most.
const CHILD_WEIGHT: usize = 40;

/// Writes a directory and returns the id of its top node.
pub fn write_dir(entries: &Entries, out: &mut NewNodes) -> ObjectId {
    let items: Vec<(&Name, &Entry)> = entries.iter().collect();
    let total: usize = items
        .iter()
        .map(|(name, _)| ENTRY_WEIGHT + name.as_bytes().len())
        .sum();
    if total <= split::MAX_WEIGHT {
        return out.insert(leaf(&items));
    }
    let ends = split::group_ends(
        items
            .iter()
            .map(|(name, _)| weigh_name(name, 0, ENTRY_WEIGHT)),
    );
    let mut start = 0;
    let mut level: Vec<(Name, ObjectId)> = Vec::with_capacity(ends.len());
    for end in ends {
        level.push((
            items[end - 1].0.clone(),
            out.insert(leaf(&items[start..end])),
        ));
        start = end;
    }
    write_inner(level, out)
}

fn leaf(items: &[(&Name, &Entry)]) -> Node {
    Node::DirLeaf(
        items
            .iter()
            .map(|(name, entry)| ((*name).clone(), **entry))
            .collect(),
    )
}

fn write_inner(mut children: Vec<(Name, ObjectId)>, out: &mut NewNodes) -> ObjectId {
    for height in 1..=limits::NODE_LEVELS {
        let total: usize = children
            .iter()
            .map(|(name, _)| CHILD_WEIGHT + name.as_bytes().len())
            .sum();
        if children.len() == 1 {
            break;
        }
        if total <= split::MAX_WEIGHT {
            return out.insert(Node::DirInner(height, children));
        }
        children = group_children(height, &children, out);
    }
    children[0].1
}

fn group_children(
    height: u8,
    children: &[(Name, ObjectId)],
    out: &mut NewNodes,
) -> Vec<(Name, ObjectId)> {
    let ends = split::group_ends(
        children
            .iter()
            .map(|(name, _)| weigh_name(name, height, CHILD_WEIGHT)),
    );
    let mut start = 0;
    let mut above = Vec::with_capacity(ends.len());
    for end in ends {
        let group = &children[start..end];
        let id = match group {
            [(_, only)] => *only,
            _ => out.insert(Node::DirInner(height, group.to_vec())),
        };
        above.push((children[end - 1].0.clone(), id));
        start = end;
    }
    above
}

fn weigh_name(name: &Name, height: u8, overhead: usize) -> Weighed {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[height]).update(name.as_bytes());
    let mut hash = [0; 8];
    hash.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    Weighed {
        hash: u64::from_be_bytes(hash),
        weight: overhead + name.as_bytes().len(),
    }
}

/// Returns the id of the empty directory, adding its node.
pub fn write_empty(out: &mut NewNodes) -> ObjectId {
    write_dir(&Entries::new(), out)
}

/// Reads all entries of a directory.
///
/// # Errors
/// [`NodesError::Missing`] with all parts that are not at hand; `Invalid` if the parts do not fit
/// together.
pub fn read_dir(nodes: &dyn Nodes, id: &ObjectId) -> Result<Entries, NodesError> {
    let mut entries = Entries::new();
    let mut gather = Gather::default();
    for part in parts(nodes, id)? {
        gather.take(read_part(nodes, &part, &mut entries))?;
    }
    gather.finish()?;
    Ok(entries)
}

fn invalid(id: ObjectId, reason: &str) -> NodesError {
    NodesError::Invalid {
        id,
        reason: reason.to_owned(),
    }
}

fn not_a_leaf(id: ObjectId) -> NodesError {
    invalid(id, "an inner node stands where a leaf must")
}

/// A node of a split directory: the names after `after` up to `last`, as the nodes above say; a
/// directory that is not split is one part without bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) id: ObjectId,
    after: Option<Name>,
    last: Option<Name>,
}

/// A part holds the names it stands for: so names that a look-up finds are those that a walk shows,
/// and no part fits into two places of a directory.
fn check_part(part: &Part, first: Option<&Name>, last: Option<&Name>) -> Result<(), NodesError> {
    let begins = part.after.is_none() || first > part.after.as_ref();
    let ends = part.last.is_none() || last == part.last.as_ref();
    if begins && ends {
        return Ok(());
    }
    Err(invalid(
        part.id,
        "a directory part does not hold the names it stands for",
    ))
}

/// Adds the entries of a leaf.
///
/// # Errors
/// As [`read_dir`].
pub(crate) fn read_part(
    nodes: &dyn Nodes,
    part: &Part,
    out: &mut Entries,
) -> Result<(), NodesError> {
    let node = nodes.node(ObjectKind::Directory, &part.id)?;
    let Node::DirLeaf(items) = &*node else {
        return Err(not_a_leaf(part.id));
    };
    let name = |item: Option<&(Name, Entry)>| item.map(|item| item.0.clone());
    let (first, last) = (name(items.first()), name(items.last()));
    check_part(part, first.as_ref(), last.as_ref())?;
    out.extend(items.iter().cloned());
    Ok(())
}

/// Returns the leaves of a directory in order; one that is not split is its own leaf.
///
/// # Errors
/// As [`read_dir`].
pub(crate) fn parts(nodes: &dyn Nodes, id: &ObjectId) -> Result<Vec<Part>, NodesError> {
    let mut gather = Gather::default();
    let mut out = Vec::new();
    let top = Part {
        id: *id,
        after: None,
        last: None,
    };
    collect_parts(
        nodes,
        top,
        limits::NODE_LEVELS + 1,
        &mut (&mut out, &mut gather),
    )?;
    gather.finish()?;
    Ok(out)
}

fn collect_parts(
    nodes: &dyn Nodes,
    part: Part,
    below: u8,
    out: &mut (&mut Vec<Part>, &mut Gather),
) -> Result<(), NodesError> {
    let Some(node) = out.1.take(nodes.node(ObjectKind::Directory, &part.id))? else {
        return Ok(());
    };
    match &*node {
        Node::DirLeaf(_) => out.0.push(part),
        Node::DirInner(height, children) if *height < below => {
            let end = |child: Option<&(Name, ObjectId)>| child.map(|(name, _)| name.clone());
            let (first, last) = (end(children.first()), end(children.last()));
            check_part(&part, first.as_ref(), last.as_ref())?;
            let mut after = part.after;
            for (last, id) in children {
                let part = Part {
                    id: *id,
                    after: after.replace(last.clone()),
                    last: Some(last.clone()),
                };
                // The children of a lowest inner node are leaves: named without loading them.
                if *height == 1 {
                    out.0.push(part);
                } else {
                    collect_parts(nodes, part, *height, out)?;
                }
            }
        }
        _ => return Err(invalid(part.id, "not a directory of this height")),
    }
    Ok(())
}

/// Returns the entry at a path; `None` if there is nothing. The root is always a directory.
///
/// # Errors
/// [`NodesError`] of the walk down.
pub fn lookup(
    nodes: &dyn Nodes,
    root: &ObjectId,
    path: &RelPath,
) -> Result<Option<Entry>, NodesError> {
    let mut at = Entry::Dir(*root);
    for name in path.names() {
        let Some(dir) = at.as_dir() else {
            return Ok(None);
        };
        match find(nodes, &dir, &name)? {
            Some(entry) => at = entry,
            None => return Ok(None),
        }
    }
    Ok(Some(at))
}

/// Returns the entry of a name in one directory, reading only the parts on the way to it.
///
/// # Errors
/// [`NodesError`] of the walk down.
pub fn find(nodes: &dyn Nodes, dir: &ObjectId, name: &Name) -> Result<Option<Entry>, NodesError> {
    let mut id = *dir;
    for _ in 0..=limits::NODE_LEVELS {
        match &*nodes.node(ObjectKind::Directory, &id)? {
            Node::DirLeaf(items) => {
                return Ok(items
                    .binary_search_by(|(n, _)| n.cmp(name))
                    .ok()
                    .map(|at| items[at].1));
            }
            Node::DirInner(_, children) => match children.iter().find(|(last, _)| last >= name) {
                Some((_, child)) => id = *child,
                None => return Ok(None),
            },
            _ => return Err(not_a_leaf(id)),
        }
    }
    Err(invalid(*dir, "a directory is split too deeply"))
}

/// What shall stand at a path: an entry, or nothing.
pub type Edits = BTreeMap<RelPath, Option<Entry>>;

#[derive(Debug, Default)]
struct EditNode {
    set: Option<Option<Entry>>,
    below: BTreeMap<Name, EditNode>,
}

/// Returns the root after `edits`: missing directories on the way are made, what stood at a path is
/// replaced.
///
/// Removing the last entry of a directory leaves it empty. An edit below a path that another edit
/// sets applies on top.
///
/// # Errors
/// [`NodesError`] of reading the directories on the way.
pub fn edit(
    overlay: &mut Overlay<'_>,
    root: &ObjectId,
    edits: &Edits,
) -> Result<ObjectId, NodesError> {
    let mut top = EditNode::default();
    for (path, entry) in edits {
        let node = path
            .names()
            .fold(&mut top, |node, name| node.below.entry(name).or_default());
        node.set = Some(*entry);
    }
    if let Some(Some(Entry::Dir(id))) = top.set {
        return edit_dir(overlay, Some(id), &top);
    }
    edit_dir(overlay, Some(*root), &top)
}

fn edit_dir(
    overlay: &mut Overlay<'_>,
    dir: Option<ObjectId>,
    edit: &EditNode,
) -> Result<ObjectId, NodesError> {
    if let (Some(dir), true) = (dir, edit.below.is_empty()) {
        return Ok(dir);
    }
    let mut entries = match &dir {
        Some(id) => read_dir(overlay, id)?,
        None => Entries::new(),
    };
    let mut gather = Gather::default();
    for (name, child) in &edit.below {
        let before = entries.get(name).copied();
        let Some(after) = gather.take(edit_entry(overlay, before, child))? else {
            continue;
        };
        match after {
            Some(entry) => entries.insert(name.clone(), entry),
            None => entries.remove(name),
        };
    }
    gather.finish()?;
    let mut new = NewNodes::default();
    let id = write_dir(&entries, &mut new);
    overlay.absorb(new);
    Ok(id)
}

fn edit_entry(
    overlay: &mut Overlay<'_>,
    before: Option<Entry>,
    edit: &EditNode,
) -> Result<Option<Entry>, NodesError> {
    let entry = edit.set.unwrap_or(before);
    if edit.below.is_empty() {
        return Ok(entry);
    }
    // Removing below something that is not there must not make it.
    let only_removes = edit.below.values().all(EditNode::only_removes);
    match entry.and_then(|e| e.as_dir()) {
        None if only_removes => Ok(entry),
        dir => edit_dir(overlay, dir, edit).map(|id| Some(Entry::Dir(id))),
    }
}

impl EditNode {
    fn only_removes(&self) -> bool {
        !matches!(self.set, Some(Some(_))) && self.below.values().all(Self::only_removes)
    }
}

/// Returns what turns one tree into another: an edit for each path where they differ, below both
/// where both have a directory.
///
/// # Errors
/// [`NodesError`] of reading the directories that differ.
pub fn differences(nodes: &dyn Nodes, from: &ObjectId, to: &ObjectId) -> Result<Edits, NodesError> {
    let nodes = Metered::new(nodes);
    let mut edits = Edits::new();
    let mut open = vec![(RelPath::root(), *from, *to)];
    while let Some((path, from, to)) = open.pop() {
        if from == to {
            continue;
        }
        limits::check("path depth in names", limits::PATH_DEPTH, path.depth())?;
        let (old, new) = (read_dir(&nodes, &from)?, read_dir(&nodes, &to)?);
        let names: BTreeSet<&Name> = old.keys().chain(new.keys()).collect();
        for name in names {
            let (was, is) = (old.get(name), new.get(name));
            match (was, is) {
                (Some(Entry::Dir(was)), Some(Entry::Dir(is))) => {
                    open.push((path.join(name), *was, *is));
                }
                _ if was == is => {}
                _ => drop(edits.insert(path.join(name), is.copied())),
            }
        }
    }
    Ok(edits)
}

/// Calls `visit` for every path below `root`, parents first, in order of names.
///
/// # Errors
/// [`NodesError`]; parts that are not at hand stop the walk at their directory and are gathered.
pub fn walk(
    nodes: &dyn Nodes,
    root: &ObjectId,
    visit: &mut dyn FnMut(&RelPath, &Entry),
) -> Result<(), NodesError> {
    let mut gather = Gather::default();
    let nodes = Metered::new(nodes);
    walk_dir(&nodes, (&RelPath::root(), root), &mut gather, visit)?;
    gather.finish()
}

fn walk_dir(
    nodes: &dyn Nodes,
    (path, dir): (&RelPath, &ObjectId),
    gather: &mut Gather,
    visit: &mut dyn FnMut(&RelPath, &Entry),
) -> Result<(), NodesError> {
    limits::check("path depth in names", limits::PATH_DEPTH, path.depth())?;
    let Some(entries) = gather.take(read_dir(nodes, dir))? else {
        return Ok(());
    };
    for (name, entry) in &entries {
        let child = path.join(name);
        visit(&child, entry);
        if let Entry::Dir(id) = entry {
            walk_dir(nodes, (&child, id), gather, visit)?;
        }
    }
    Ok(())
}
