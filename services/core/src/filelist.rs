//! File lists: the runs of a large file as nodes, split where the content says so.
//!
//! Guarantees: equal runs give equal ids; inserting bytes at the front of a file changes the nodes
//! around the insertion only.

use crate::id::{ObjectId, ObjectKind};
use crate::limits;
use crate::node::{Content, Node, Run};
use crate::nodes::{Gather, NewNodes, Nodes, NodesError};
use crate::split::{self, Weighed};

/// Bytes of an encoded run or child, at most.
const ITEM_WEIGHT: usize = 48;

/// Writes the list of a file's runs; a file of one chunk is named by its chunk and needs no node.
pub fn write_file(runs: &[Run], out: &mut NewNodes) -> Content {
    if let [Run::Chunk { id, .. }] = runs {
        return Content::Chunk(*id);
    }
    let ends = split::group_ends(runs.iter().map(|run| Weighed {
        hash: run_hash(run),
        weight: ITEM_WEIGHT,
    }));
    if runs.len() * ITEM_WEIGHT <= split::MAX_WEIGHT {
        return Content::List(out.insert(Node::FileLeaf(runs.to_vec())));
    }
    let mut children = Vec::with_capacity(ends.len());
    let mut start = 0;
    for end in ends {
        let group = &runs[start..end];
        let bytes = group.iter().map(Run::bytes).sum();
        children.push((out.insert(Node::FileLeaf(group.to_vec())), bytes));
        start = end;
    }
    Content::List(write_inner(children, out))
}

/// A hole never ends a group: equal holes would cut everywhere.
fn run_hash(run: &Run) -> u64 {
    match run {
        Run::Chunk { id, .. } => id.window(0),
        Run::Hole { .. } => u64::MAX,
    }
}

fn write_inner(mut children: Vec<(ObjectId, u64)>, out: &mut NewNodes) -> ObjectId {
    for height in 1..=limits::NODE_LEVELS {
        if children.len() == 1 {
            break;
        }
        if children.len() * ITEM_WEIGHT <= split::MAX_WEIGHT {
            return out.insert(Node::FileInner(height, children));
        }
        let weighed = |(id, _): &(ObjectId, u64)| Weighed {
            hash: id.window(height.into()),
            weight: ITEM_WEIGHT,
        };
        let ends = split::group_ends(children.iter().map(weighed));
        let mut above = Vec::with_capacity(ends.len());
        let mut start = 0;
        for end in ends {
            above.push(group(height, &children[start..end], out));
            start = end;
        }
        children = above;
    }
    children[0].0
}

fn group(height: u8, children: &[(ObjectId, u64)], out: &mut NewNodes) -> (ObjectId, u64) {
    match children {
        [only] => *only,
        _ => (
            out.insert(Node::FileInner(height, children.to_vec())),
            children.iter().map(|c| c.1).sum(),
        ),
    }
}

/// Returns the runs of a file; for a file of one chunk that chunk.
///
/// # Errors
/// [`NodesError::Missing`] with the parts not at hand; `Invalid` if the runs do not add up to
/// `size`.
pub fn read_file(nodes: &dyn Nodes, content: &Content, size: u64) -> Result<Vec<Run>, NodesError> {
    let id = match content {
        Content::Chunk(id) => {
            return Ok(vec![Run::Chunk {
                id: *id,
                bytes: size,
            }]);
        }
        Content::List(id) => *id,
    };
    let mut runs = Vec::new();
    let mut gather = Gather::default();
    read_part(
        nodes,
        (&id, size),
        limits::NODE_LEVELS + 1,
        &mut (&mut runs, &mut gather),
    )?;
    gather.finish()?;
    Ok(runs)
}

fn read_part(
    nodes: &dyn Nodes,
    (id, size): (&ObjectId, u64),
    below: u8,
    out: &mut (&mut Vec<Run>, &mut Gather),
) -> Result<(), NodesError> {
    let Some(node) = out.1.take(nodes.node(ObjectKind::File, id))? else {
        return Ok(());
    };
    let invalid = |reason: &str| NodesError::Invalid {
        id: *id,
        reason: reason.to_owned(),
    };
    let sum =
        |mut sizes: Box<dyn Iterator<Item = u64> + '_>| sizes.try_fold(0u64, u64::checked_add);
    let total = match &*node {
        Node::FileLeaf(runs) => sum(Box::new(runs.iter().map(Run::bytes))),
        Node::FileInner(_, children) => sum(Box::new(children.iter().map(|c| c.1))),
        _ => None,
    };
    if total != Some(size) {
        return Err(invalid("a file list does not add up to the file's size"));
    }
    match &*node {
        Node::FileLeaf(runs) => out.0.extend_from_slice(runs),
        Node::FileInner(height, children) if *height < below => {
            for (child, bytes) in children {
                read_part(nodes, (child, *bytes), *height, out)?;
            }
        }
        _ => return Err(invalid("a file list is split too deeply")),
    }
    Ok(())
}
