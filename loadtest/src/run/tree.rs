//! A tree as its virtual agents share it: the nodes of their bases, once for all of them.
//!
//! Guarantees: the nodes of every agent's base stay; others are dropped when they are more than
//! those, so that memory is bounded by the bases, however long the run is. The lock is held for
//! look-ups and edits only, never while anybody waits.
//! Does not: talk to a server.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use bytes::Bytes;
use fsync_core::id::{ObjectId, ObjectKind, RevisionId};
use fsync_core::label::{AgentName, TreeKey};
use fsync_core::node::{Content, Entry, FileEntry, Mtime, Node};
use fsync_core::nodes::{NewNodes, Nodes, NodesError, Overlay};
use fsync_core::pack::{Object, PackWriter};
use fsync_core::path::{Name, RelPath};
use fsync_core::revision::{Revision, Timestamp};
use fsync_core::tree::{self, Edits, Entries};
use fsync_core::wire::Head;

/// Nodes that are kept before anybody looks which are needed.
const NODES: usize = 1024;

/// A decoded node under its id.
pub(super) type Found = (ObjectId, Arc<Node>);

/// What an agent's edits start from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Base {
    /// Its place and revision.
    pub(super) head: Head,
    /// The root node.
    pub(super) root: ObjectId,
}

/// An edit, ready to be committed.
#[derive(Debug)]
pub(super) struct Made {
    /// What the server lacks, the revision last.
    pub(super) pack: Bytes,
    /// The revision.
    pub(super) revision: RevisionId,
    /// Its root.
    pub(super) root: ObjectId,
    /// The new nodes.
    pub(super) nodes: Vec<Found>,
}

/// A file's new content and who writes it when.
#[derive(Debug)]
pub(super) struct Write<'a> {
    /// Who.
    pub(super) author: &'a AgentName,
    /// Where.
    pub(super) path: &'a RelPath,
    /// The chunk that is the file.
    pub(super) chunk: Object,
    /// When.
    pub(super) time: Timestamp,
}

impl Write<'_> {
    fn entry(&self) -> Entry {
        let nanos = i64::try_from(self.time.0).unwrap_or(0) * 1_000_000;
        file_entry(&self.chunk, Mtime(nanos))
    }
}

fn file_entry(chunk: &Object, mtime: Mtime) -> Entry {
    Entry::File(FileEntry {
        content: Content::Chunk(chunk.id),
        size: chunk.bytes.len() as u64,
        exec: false,
        mtime,
    })
}

/// A tree.
#[derive(Debug)]
pub(super) struct Tree {
    /// Its name.
    pub(super) key: TreeKey,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    nodes: HashMap<ObjectId, Arc<Node>>,
    bases: BTreeMap<usize, Base>,
    prune_at: usize,
}

impl Nodes for State {
    fn node(&self, kind: ObjectKind, id: &ObjectId) -> Result<Arc<Node>, NodesError> {
        let node = self.nodes.get(id).cloned();
        node.ok_or_else(|| NodesError::Missing(vec![(kind, *id)]))
    }
}

impl Tree {
    /// Knows nothing yet.
    pub(super) fn new(key: TreeKey) -> Self {
        Self {
            key,
            state: Mutex::new(State {
                nodes: HashMap::new(),
                bases: BTreeMap::new(),
                prune_at: NODES,
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics half way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns an agent's base.
    pub(super) fn base(&self, agent: usize) -> Option<Base> {
        self.lock().bases.get(&agent).copied()
    }

    /// Returns where all its agents are.
    pub(super) fn bases(&self) -> BTreeMap<usize, Base> {
        self.lock().bases.clone()
    }

    /// Keeps nodes that an agent has got, and its new base if there is one.
    pub(super) fn adopt(&self, agent: usize, base: Option<Base>, nodes: Vec<Found>) {
        let mut state = self.lock();
        state.nodes.extend(nodes);
        if let Some(base) = base {
            state.bases.insert(agent, base);
        }
        if state.nodes.len() > state.prune_at {
            state.prune();
        }
    }

    /// Makes an edit over a base.
    ///
    /// # Errors
    /// [`NodesError::Missing`] if the base's nodes are not here.
    pub(super) fn edit(&self, base: &Base, write: Write<'_>) -> Result<Made, NodesError> {
        let edits = Edits::from([(write.path.clone(), Some(write.entry()))]);
        let (root, new) = {
            let state = self.lock();
            let mut overlay = Overlay::new(&*state);
            let root = tree::edit(&mut overlay, &base.root, &edits)?;
            (root, overlay.into_new())
        };
        let revision = Revision {
            root,
            parents: vec![base.head.revision],
            author: write.author.clone(),
            time: write.time,
            is_approved: false,
            moves: Vec::new(),
        };
        Ok(pack(&revision, &new, [write.chunk]))
    }

    /// Returns the content of a file below a root.
    ///
    /// # Errors
    /// [`NodesError`] if nodes are not here.
    pub(super) fn content(
        &self,
        root: &ObjectId,
        path: &RelPath,
    ) -> Result<Option<ObjectId>, NodesError> {
        let entry = tree::lookup(&*self.lock(), root, path)?;
        Ok(entry.and_then(|entry| entry.as_file().map(|file| file.content.id())))
    }
}

impl State {
    /// Drops what no base reaches.
    fn prune(&mut self) {
        let mut kept = HashMap::new();
        let mut open: Vec<ObjectId> = self.bases.values().map(|base| base.root).collect();
        while let Some(id) = open.pop() {
            if kept.contains_key(&id) {
                continue;
            }
            if let Some(node) = self.nodes.get(&id) {
                open.extend(node.children().into_iter().map(|(_, child)| child));
                kept.insert(id, Arc::clone(node));
            }
        }
        self.prune_at = NODES.max(2 * kept.len());
        self.nodes = kept;
    }
}

/// Makes the first revision of a tree: a small file for each of its agents.
///
/// # Errors
/// Never with the names that agents have.
pub(super) fn first<'a>(
    names: impl Iterator<Item = &'a AgentName>,
    author: &AgentName,
    time: Timestamp,
) -> Result<Made> {
    let chunk = Object::new(ObjectKind::Chunk, b"not edited yet\n".to_vec());
    let entry = file_entry(&chunk, Mtime::default());
    let mut entries = Entries::new();
    for name in names {
        let name = Name::new(name.as_str().as_bytes()).context("an agent's name")?;
        entries.insert(name, entry);
    }
    let mut new = NewNodes::default();
    let root = tree::write_dir(&entries, &mut new);
    let revision = Revision {
        root,
        parents: Vec::new(),
        author: author.clone(),
        time,
        is_approved: false,
        moves: Vec::new(),
    };
    Ok(pack(&revision, &new, [chunk]))
}

fn pack(revision: &Revision, new: &NewNodes, chunks: [Object; 1]) -> Made {
    let mut writer = PackWriter::new();
    for chunk in chunks {
        writer.push_object(chunk);
    }
    let mut nodes = Vec::with_capacity(new.len());
    for (kind, id, bytes) in new.iter() {
        writer.push(kind, &id, bytes);
        nodes.extend(new.get(&id).map(|node| (id, Arc::clone(node))));
    }
    let (id, bytes) = revision.encode();
    writer.push_revision(&id, &bytes);
    Made {
        pack: writer.finish().into(),
        revision: id,
        root: revision.root,
        nodes,
    }
}

/// Decodes the nodes among verified objects.
///
/// # Errors
/// If one is not what it says.
pub(super) fn decode(objects: &[Object]) -> Result<Vec<Found>> {
    let nodes = objects.iter().filter(|o| o.kind != ObjectKind::Chunk);
    nodes
        .map(|object| {
            let node = Node::decode(object.kind, &object.bytes);
            let node = node.with_context(|| format!("node {}", object.id))?;
            Ok((object.id, Arc::new(node)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use fsync_core::wire::{Epoch, Seq};

    use super::*;

    fn base(made: &Made, seq: u64) -> Base {
        Base {
            head: Head {
                epoch: Epoch(1),
                seq: Seq(seq),
                revision: made.revision,
            },
            root: made.root,
        }
    }

    #[test]
    fn nodes_stay_bounded_and_the_last_edit_is_readable() {
        let tree = Tree::new("load-0".parse().unwrap());
        let author: AgentName = "v0".parse().unwrap();
        let path = RelPath::parse(b"v0").unwrap();
        let mut made = first([&author].into_iter(), &author, Timestamp(1)).unwrap();
        for seq in 1..3000_u64 {
            let at = base(&made, seq);
            tree.adopt(0, Some(at), std::mem::take(&mut made.nodes));
            let chunk = Object::new(ObjectKind::Chunk, seq.to_be_bytes().to_vec());
            let id = chunk.id;
            let write = Write {
                author: &author,
                path: &path,
                chunk,
                time: Timestamp(seq),
            };
            made = tree.edit(&at, write).unwrap();
            tree.adopt(1, Some(base(&made, seq + 1)), made.nodes.clone());
            assert_eq!(tree.content(&made.root, &path).unwrap(), Some(id));
        }
        assert!(tree.lock().nodes.len() <= NODES + 1);
        assert!(tree.lock().nodes.contains_key(&made.root));
    }
}
