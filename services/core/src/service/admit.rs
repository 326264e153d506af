//! Admission: may this revision become part of the tree? Costs what changed against its parent, not
//! the tree.
//!
//! Guarantees: after a clean walk every object that the root reaches is complete for the tree, or
//! in the push or its upload session; parts of directories fit together, file lists add up to their
//! entries' sizes, chunks have the lengths that the lists say.
//! Does not: look below nodes that are complete already: they were admitted once.
//! Place: called by [`super::commit`] with the facts at hand; what it lacks goes into the
//! questions, and it is called again.

mod check;
mod old;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::cbor::DecodeError;
use crate::id::{ObjectId, ObjectKind};
use crate::limits;
use crate::node::{Content, Entry, Node, Run};
use crate::pack::Object;
use crate::path::Name;
use crate::service::facts::{Facts, Questions};
use crate::service::record::{Held, UploadId};
use check::{add_up, check_part, complete, same_length, wrong_kind};
use old::{Old, OldPart};

/// Objects of a push as admission needs them: nodes decoded, and all by their lengths.
#[derive(Debug, Clone, Default)]
pub struct Pushed {
    pub(super) nodes: BTreeMap<ObjectId, Arc<Node>>,
    pub(super) node_bytes: BTreeMap<ObjectId, u32>,
    pub(super) chunks: BTreeMap<ObjectId, u64>,
}

impl Pushed {
    /// Adds a verified object.
    ///
    /// # Errors
    /// [`DecodeError`] if it is a node and not canonical.
    pub fn add(&mut self, object: &Object) -> Result<(), DecodeError> {
        if object.kind.is_node() {
            let node = Node::decode(object.kind, &object.bytes)?;
            self.nodes.insert(object.id, Arc::new(node));
            let bytes = u32::try_from(object.bytes.len()).unwrap_or(u32::MAX);
            self.node_bytes.insert(object.id, bytes);
        } else {
            self.chunks.insert(object.id, object.bytes.len() as u64);
        }
        Ok(())
    }
}

/// What an admission found.
#[derive(Debug, Default)]
pub(super) struct Admission {
    /// New objects that the root reaches; complete once the commit is durable.
    pub(super) visited: BTreeSet<ObjectId>,
    /// Objects that are nowhere.
    pub(super) missing: BTreeSet<ObjectId>,
}

/// What an admission works with.
pub(super) struct Grounds<'a> {
    pub(super) facts: &'a Facts,
    /// Objects admitted earlier in the same compare-and-set.
    pub(super) earlier: &'a BTreeMap<ObjectId, Held>,
    /// Nodes of pushes admitted earlier in the same compare-and-set, and those that merges made.
    pub(super) earlier_nodes: &'a BTreeMap<ObjectId, Arc<Node>>,
    pub(super) pushed: &'a Pushed,
    pub(super) upload: Option<UploadId>,
}

enum Place {
    Dir {
        depth: usize,
        old: Option<ObjectId>,
    },
    DirPart {
        depth: usize,
        below: u8,
        after: Option<Name>,
        last: Name,
        old: Old,
    },
    File {
        bytes: u64,
        below: u8,
    },
    Chunk {
        bytes: u64,
    },
    Symlink,
}

impl Place {
    fn kind(&self) -> ObjectKind {
        match self {
            Self::Dir { .. } | Self::DirPart { .. } => ObjectKind::Directory,
            Self::File { .. } => ObjectKind::File,
            Self::Chunk { .. } => ObjectKind::Chunk,
            Self::Symlink => ObjectKind::Symlink,
        }
    }
}

/// Where an object was found.
enum Found {
    New(Option<Arc<Node>>),
    Complete(u64),
    Missing,
    Unknown,
}

/// A node that was admitted before.
enum Stored {
    Here(Arc<Node>),
    /// Asked for.
    Unknown,
    /// Gone from the store.
    Lost,
}

struct Walk<'a> {
    grounds: &'a Grounds<'a>,
    questions: &'a mut Questions,
    todo: Vec<(ObjectId, Place)>,
    /// New directories, with the depth at which each was looked at.
    depths: BTreeMap<ObjectId, usize>,
    /// File lists that were looked at, each with what it had to be.
    lists: BTreeSet<(ObjectId, u64, u8)>,
    work: usize,
    admission: Admission,
}

/// Why a revision can never be admitted.
pub(super) type Refusal = String;

/// Walks `root` against `old`, the parent's root, which must be complete for the tree.
pub(super) fn admit(
    grounds: &Grounds<'_>,
    root: ObjectId,
    old: Option<ObjectId>,
    questions: &mut Questions,
) -> Result<Admission, Refusal> {
    let mut walk = Walk {
        grounds,
        questions,
        todo: Vec::new(),
        depths: BTreeMap::new(),
        lists: BTreeSet::new(),
        work: 0,
        admission: Admission::default(),
    };
    if old != Some(root) {
        walk.todo.push((root, Place::Dir { depth: 0, old }));
    }
    while let Some((id, place)) = walk.todo.pop() {
        walk.step(id, place)?;
    }
    Ok(walk.admission)
}

impl Walk<'_> {
    fn step(&mut self, id: ObjectId, place: Place) -> Result<(), Refusal> {
        self.work += 1;
        limits::check("work of one admission", limits::WALK_WORK, self.work)
            .map_err(|e| e.to_string())?;
        if self.is_known(id, &place) {
            return Ok(());
        }
        let kind = place.kind();
        match self.find(kind, id)? {
            Found::Unknown => Ok(()),
            Found::Missing => {
                self.admission.missing.insert(id);
                Ok(())
            }
            Found::Complete(bytes) => self.check_complete(id, &place, bytes),
            Found::New(node) => {
                self.admission.visited.insert(id);
                match (place, node) {
                    (Place::Chunk { bytes }, _) => self.check_chunk(id, bytes),
                    (Place::Symlink, _) => Ok(()),
                    (Place::File { bytes, below }, Some(node)) => {
                        self.file(id, &node, (bytes, below), true)
                    }
                    (place, Some(node)) => self.dir(id, &node, place),
                    (_, None) => Ok(()),
                }
            }
        }
    }

    /// Whether the same was looked at before: a directory at this depth or deeper, a file list for
    /// the same bytes. What stands at many places costs one look.
    fn is_known(&mut self, id: ObjectId, place: &Place) -> bool {
        match place {
            Place::Dir { depth, .. } => {
                let deepest = self.depths.get(&id);
                if deepest.is_some_and(|deepest| deepest >= depth) {
                    return true;
                }
                self.depths.insert(id, *depth);
                false
            }
            Place::File { bytes, below } => !self.lists.insert((id, *bytes, *below)),
            Place::DirPart { .. } | Place::Chunk { .. } | Place::Symlink => false,
        }
    }

    fn find(&mut self, kind: ObjectKind, id: ObjectId) -> Result<Found, Refusal> {
        let grounds = self.grounds;
        if let Some(held) = grounds.earlier.get(&id) {
            return complete(id, kind, held);
        }
        if kind.is_node() {
            if let Some(node) = grounds.pushed.nodes.get(&id) {
                // An id says nothing of the kind: a link that names a directory would count as the
                // directory's first visit, and nobody would look into it.
                if node.kind() != kind {
                    return Err(wrong_kind(id, kind));
                }
                return Ok(Found::New(Some(Arc::clone(node))));
            }
        } else if grounds.pushed.chunks.contains_key(&id) {
            return Ok(Found::New(None));
        }
        match grounds.facts.held.get(&(grounds.upload, id)) {
            None => {
                self.questions.held.insert((grounds.upload, id));
                Ok(Found::Unknown)
            }
            Some(None) => Ok(Found::Missing),
            Some(Some(held)) if held.is_complete => complete(id, kind, held),
            Some(Some(held)) if held.kind != kind => Err(wrong_kind(id, kind)),
            Some(Some(_)) if !kind.is_node() => Ok(Found::New(None)),
            Some(Some(_)) => Ok(match self.load(kind, id) {
                Some(node) => Found::New(Some(node)),
                None => Found::Unknown,
            }),
        }
    }

    /// Returns a stored node, or `None` after asking for it; one that the store lost is missing.
    fn load(&mut self, kind: ObjectKind, id: ObjectId) -> Option<Arc<Node>> {
        match self.look_up(kind, id) {
            Stored::Here(node) => Some(node),
            Stored::Unknown => None,
            Stored::Lost => {
                self.admission.missing.insert(id);
                None
            }
        }
    }

    fn look_up(&mut self, kind: ObjectKind, id: ObjectId) -> Stored {
        if let Some(node) = self.grounds.earlier_nodes.get(&id) {
            return Stored::Here(Arc::clone(node));
        }
        match self.grounds.facts.nodes.get(&id) {
            Some(Some(node)) => Stored::Here(Arc::clone(node)),
            Some(None) => Stored::Lost,
            None => {
                self.questions.nodes.insert((kind, id));
                Stored::Unknown
            }
        }
    }

    fn check_chunk(&self, id: ObjectId, expected: u64) -> Result<(), Refusal> {
        let key = (self.grounds.upload, id);
        let in_session = || {
            let held = self.grounds.facts.held.get(&key).copied().flatten();
            held.map(|h| u64::from(h.bytes))
        };
        let actual = self.grounds.pushed.chunks.get(&id).copied();
        same_length(id, expected, actual.or_else(in_session))
    }

    fn check_complete(&mut self, id: ObjectId, place: &Place, bytes: u64) -> Result<(), Refusal> {
        match place {
            Place::Dir { .. } | Place::Symlink => Ok(()),
            Place::Chunk { bytes: expected } => same_length(id, *expected, Some(bytes)),
            Place::File { bytes, below } => match self.load(ObjectKind::File, id) {
                Some(node) => self.file(id, &node, (*bytes, *below), false),
                None => Ok(()),
            },
            Place::DirPart {
                below, after, last, ..
            } => match self.load(ObjectKind::Directory, id) {
                Some(node) => {
                    check_part(id, &node, *below, (after.as_ref(), last))?;
                    self.first_part(&node, after.as_ref());
                    Ok(())
                }
                None => Ok(()),
            },
        }
    }

    /// The first name of an inner node stands in its first leaf: looks there.
    fn first_part(&mut self, node: &Node, after: Option<&Name>) {
        if let (Node::DirInner(height, children), Some(after)) = (node, after)
            && let Some((last, id)) = children.first()
        {
            let place = Place::DirPart {
                depth: 0,
                below: *height,
                after: Some(after.clone()),
                last: last.clone(),
                old: Old::new(),
            };
            self.todo.push((*id, place));
        }
    }

    fn file(
        &mut self,
        id: ObjectId,
        node: &Node,
        (bytes, below): (u64, u8),
        descends: bool,
    ) -> Result<(), Refusal> {
        let parts: Vec<(ObjectId, Place)> = match node {
            Node::FileLeaf(runs) => {
                add_up(id, bytes, runs.iter().map(Run::bytes))?;
                let chunk = |run: &Run| match run {
                    Run::Chunk { id, bytes } => Some((*id, Place::Chunk { bytes: *bytes })),
                    Run::Hole { .. } => None,
                };
                runs.iter().filter_map(chunk).collect()
            }
            Node::FileInner(height, children) if *height < below => {
                add_up(id, bytes, children.iter().map(|c| c.1))?;
                let part = |(id, bytes): &(ObjectId, u64)| {
                    let place = Place::File {
                        bytes: *bytes,
                        below: *height,
                    };
                    (*id, place)
                };
                children.iter().map(part).collect()
            }
            _ => return Err(format!("node {id} is not a file list of this height")),
        };
        if descends {
            self.todo.extend(parts);
        }
        Ok(())
    }

    fn dir(&mut self, id: ObjectId, node: &Node, place: Place) -> Result<(), Refusal> {
        let (depth, after, old) = match place {
            Place::Dir { depth, old } => {
                let top = limits::NODE_LEVELS + 1;
                if matches!(node, Node::DirInner(height, _) if *height >= top) {
                    return Err(format!("directory {id} is split too deeply"));
                }
                let old = old.map(|id| (None, id)).into_iter().collect();
                (depth, None, old)
            }
            Place::DirPart {
                depth,
                below,
                after,
                last,
                old,
            } => {
                check_part(id, node, below, (after.as_ref(), &last))?;
                (depth, after, old)
            }
            _ => return Err(format!("node {id} is no directory")),
        };
        match node {
            Node::DirLeaf(items) => self.dir_leaf(depth, items, old),
            Node::DirInner(height, children) => {
                self.dir_inner((depth, *height, after), children, old)
            }
            _ => Err(format!("node {id} is no directory")),
        }
    }

    fn dir_leaf(&mut self, depth: usize, items: &[(Name, Entry)], old: Old) -> Result<(), Refusal> {
        let (Some((first, _)), Some((last, _))) = (items.first(), items.last()) else {
            return Ok(());
        };
        limits::check("path depth in names", limits::PATH_DEPTH, depth + 1)
            .map_err(|e| e.to_string())?;
        let Some(before) = self.old_entries(old, (first, last))? else {
            return Ok(());
        };
        for (name, entry) in items {
            let was = before.get(name);
            if was == Some(entry) {
                continue;
            }
            let place = match entry {
                Entry::Dir(_) => Place::Dir {
                    depth: depth + 1,
                    old: was.and_then(Entry::as_dir),
                },
                Entry::Symlink(_) => Place::Symlink,
                Entry::File(file) => match file.content {
                    Content::Chunk(_) => Place::Chunk { bytes: file.size },
                    Content::List(_) => Place::File {
                        bytes: file.size,
                        below: limits::NODE_LEVELS + 1,
                    },
                },
            };
            self.todo.push((entry.id(), place));
        }
        Ok(())
    }

    fn dir_inner(
        &mut self,
        (depth, height, after): (usize, u8, Option<Name>),
        children: &[(Name, ObjectId)],
        old: Old,
    ) -> Result<(), Refusal> {
        let Some(last) = children.last() else {
            return Ok(());
        };
        let Some(before) = self.old_parts(old, (after.as_ref(), &last.0))? else {
            return Ok(());
        };
        let mut after = after;
        for (last, id) in children {
            let overlaps = |part: &&OldPart| {
                part.after.as_ref().is_none_or(|a| a < last)
                    && after
                        .as_ref()
                        .is_none_or(|a| part.last.as_ref().is_none_or(|l| l > a))
            };
            let is_same = |part: &OldPart| {
                part.id == *id && part.after == after && part.last.as_ref() == Some(last)
            };
            if !before.iter().any(is_same) {
                let old = before.iter().filter(overlaps);
                let place = Place::DirPart {
                    depth,
                    below: height,
                    after: after.clone(),
                    last: last.clone(),
                    old: old.map(|p| (p.after.clone(), p.id)).collect(),
                };
                self.todo.push((*id, place));
            }
            after = Some(last.clone());
        }
        Ok(())
    }
}
