//! What an agent at one revision lacks of another: nodes first, then the chunks of small files, in
//! order of paths.
//!
//! Guarantees: costs what differs; whatever is left out for its size can be asked for by id. A
//! renamed directory costs nothing below it, because its node is known from where it stood before.

use std::collections::BTreeSet;

use crate::id::{ObjectId, ObjectKind};
use crate::limits;
use crate::node::{Content, Entry, Node};
use crate::nodes::{Gather, Nodes, NodesError};
use crate::tree::{self, Entries};

/// Objects in the order to send them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Delta {
    /// Nodes, at most [`limits::DELTA_NODES`].
    pub nodes: Vec<(ObjectKind, ObjectId)>,
    /// Chunks of files up to [`limits::WHOLE_FILE_BYTES`], at most [`limits::DELTA_INLINE_BYTES`]
    /// together.
    pub chunks: Vec<ObjectId>,
}

struct Walk<'a> {
    nodes: &'a dyn Nodes,
    /// What the agent has where the trees differ.
    had: BTreeSet<ObjectId>,
    sent: BTreeSet<ObjectId>,
    inline_bytes: u64,
    gather: Gather,
    out: Delta,
}

/// Returns what is reachable from root `to` and not from root `from`, within the limits of one
/// answer.
///
/// # Errors
/// [`NodesError::Missing`] with the nodes to load before calling again.
pub fn delta(nodes: &dyn Nodes, from: Option<ObjectId>, to: ObjectId) -> Result<Delta, NodesError> {
    let mut walk = Walk {
        nodes,
        had: BTreeSet::new(),
        sent: BTreeSet::new(),
        inline_bytes: 0,
        gather: Gather::default(),
        out: Delta::default(),
    };
    if let Some(from) = from {
        walk.gather_had(from, to)?;
        if !walk.gather.is_complete() {
            walk.gather.finish()?;
            return Ok(walk.out);
        }
    }
    walk.send(to)?;
    walk.gather.finish()?;
    Ok(walk.out)
}

impl Walk<'_> {
    /// Fills `had` with all ids below `from` where it differs from `to`: both are walked side by
    /// side.
    fn gather_had(&mut self, from: ObjectId, to: ObjectId) -> Result<(), NodesError> {
        let mut pairs = vec![(from, Some(to))];
        let mut budget = limits::DELTA_NODES;
        while let Some((old, new)) = pairs.pop() {
            if new == Some(old) || !self.had.insert(old) && new.is_none() {
                self.had.insert(old);
                continue;
            }
            if budget == 0 {
                return Ok(());
            }
            budget -= 1;
            let old_entries = self.entries(&old)?;
            let new_entries = match new {
                Some(new) => self.entries(&new)?,
                None => Entries::new(),
            };
            for (name, entry) in &old_entries {
                self.had.insert(entry.id());
                let Entry::Dir(dir) = entry else { continue };
                let now = new_entries.get(name).and_then(Entry::as_dir);
                if now != Some(*dir) {
                    self.had.remove(dir);
                    pairs.push((*dir, now));
                }
            }
        }
        Ok(())
    }

    /// Returns the entries of a directory; what is not at hand is gathered and left out.
    fn entries(&mut self, dir: &ObjectId) -> Result<Entries, NodesError> {
        let read = self.gather.take(tree::read_dir(self.nodes, dir))?;
        Ok(read.unwrap_or_default())
    }

    fn send(&mut self, root: ObjectId) -> Result<(), NodesError> {
        let mut stack = vec![(ObjectKind::Directory, root)];
        let mut chunks: Vec<(ObjectId, u64)> = Vec::new();
        while let Some((kind, id)) = stack.pop() {
            if self.had.contains(&id) || self.sent.contains(&id) {
                continue;
            }
            if self.out.nodes.len() >= limits::DELTA_NODES {
                break;
            }
            self.sent.insert(id);
            let Some(node) = self.gather.take(self.nodes.node(kind, &id))? else {
                continue;
            };
            self.out.nodes.push((kind, id));
            match &*node {
                Node::DirLeaf(items) => {
                    chunks.extend(items.iter().filter_map(|(_, entry)| whole_chunk(entry)));
                    let below = items.iter().map(|(_, e)| (e.object_kind(), e.id()));
                    stack.extend(below.filter(|(kind, _)| kind.is_node()).rev());
                }
                node => {
                    let below = node.children();
                    stack.extend(below.into_iter().filter(|(kind, _)| kind.is_node()).rev());
                }
            }
        }
        for (id, bytes) in chunks {
            if self.inline_bytes + bytes > limits::DELTA_INLINE_BYTES as u64 {
                break;
            }
            if !self.had.contains(&id) && self.sent.insert(id) {
                self.inline_bytes += bytes;
                self.out.chunks.push(id);
            }
        }
        Ok(())
    }
}

/// Returns the chunk of a small file with its length.
fn whole_chunk(entry: &Entry) -> Option<(ObjectId, u64)> {
    let file = entry.as_file()?;
    match file.content {
        Content::Chunk(id) if file.size <= limits::WHOLE_FILE_BYTES => Some((id, file.size)),
        _ => None,
    }
}
