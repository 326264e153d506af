//! What the steps of a plan need and take away.
//!
//! Place: asked while a plan is cut into batches, and when what it needs is lost.

use fsync_core::id::{ObjectId, ObjectKind};
use fsync_core::node::{Content, Entry, FileEntry};
use fsync_core::nodes::{Gather, Nodes, NodesError};
use fsync_core::plan::Step;

/// Returns the file that a step puts if it is a list of chunks.
pub(super) fn large_file(step: &Step) -> Option<FileEntry> {
    match step {
        Step::Put {
            now: Entry::File(file),
            ..
        } if matches!(file.content, Content::List(_)) => Some(*file),
        _ => None,
    }
}

/// Looks whether the links that steps put are at hand: a plan is made without their nodes.
pub(super) fn has_links(nodes: &dyn Nodes, steps: &[Step]) -> Result<(), NodesError> {
    let mut gather = Gather::default();
    for step in steps {
        if let Step::Put {
            now: Entry::Symlink(id),
            ..
        } = step
        {
            gather.take(nodes.node(ObjectKind::Symlink, id))?;
        }
    }
    gather.finish()
}

/// Returns the content that a step takes off its path.
pub(super) fn displaced(step: &Step) -> Option<ObjectId> {
    match step {
        Step::Remove {
            was: Entry::File(was),
            ..
        }
        | Step::Put {
            was: Some(Entry::File(was)),
            ..
        } => Some(was.content.id()),
        _ => None,
    }
}

/// Returns the content that a step puts.
pub(super) fn content(step: &Step) -> Option<ObjectId> {
    match step {
        Step::Put {
            now: Entry::File(file),
            ..
        } => Some(file.content.id()),
        _ => None,
    }
}

/// Returns how many bytes a step puts.
pub(super) fn size(step: &Step) -> u64 {
    match step {
        Step::Put {
            now: Entry::File(file),
            ..
        } => file.size,
        _ => 0,
    }
}
