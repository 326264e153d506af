//! What one object must be at its place: its kind, its length, the names or bytes it stands for.

use super::{Found, Refusal};
use crate::id::{ObjectId, ObjectKind};
use crate::node::Node;
use crate::path::Name;
use crate::service::record::Held;

pub(super) fn complete(id: ObjectId, kind: ObjectKind, held: &Held) -> Result<Found, Refusal> {
    if held.kind != kind {
        return Err(wrong_kind(id, kind));
    }
    Ok(Found::Complete(held.bytes.into()))
}

pub(super) fn wrong_kind(id: ObjectId, kind: ObjectKind) -> Refusal {
    format!("object {id} is not a {kind:?}")
}

pub(super) fn same_length(id: ObjectId, expected: u64, actual: Option<u64>) -> Result<(), Refusal> {
    match actual {
        Some(actual) if actual == expected => Ok(()),
        Some(actual) => Err(format!(
            "chunk {id} has {actual} bytes where {expected} are named"
        )),
        None => Err(format!("chunk {id} is nowhere")),
    }
}

pub(super) fn add_up(
    id: ObjectId,
    bytes: u64,
    parts: impl Iterator<Item = u64>,
) -> Result<(), Refusal> {
    let mut parts = parts;
    if parts.try_fold(0u64, u64::checked_add) == Some(bytes) {
        return Ok(());
    }
    Err(format!(
        "file list {id} does not add up to the {bytes} bytes that are named"
    ))
}

/// Checks that a part of a directory holds names after `after` up to exactly `last`.
pub(super) fn check_part(
    id: ObjectId,
    node: &Node,
    below: u8,
    (after, last): (Option<&Name>, &Name),
) -> Result<(), Refusal> {
    let (first, end) = match node {
        Node::DirLeaf(items) => (items.first().map(|i| &i.0), items.last().map(|i| &i.0)),
        Node::DirInner(height, children) if *height < below => (
            children.first().map(|c| &c.0),
            children.last().map(|c| &c.0),
        ),
        _ => return Err(format!("node {id} is not a directory of this height")),
    };
    let fits = end == Some(last) && first.is_some_and(|f| after.is_none_or(|a| a < f));
    if fits {
        return Ok(());
    }
    Err(format!(
        "directory part {id} does not hold the names it stands for"
    ))
}
