//! What the parent's directories hold where a new one is looked at.
//!
//! Guarantees: only the nodes on the way to the names in question are asked for, so a large
//! directory costs its depth. Does not: admit anything; what it finds tells what is not new.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Refusal, Stored, Walk};
use crate::id::{ObjectId, ObjectKind};
use crate::node::{Entry, Node};
use crate::path::Name;

/// Old nodes that may hold the same entries; each with the last name before it.
pub(super) type Old = Vec<(Option<Name>, ObjectId)>;

impl Walk<'_> {
    /// Returns an old directory's node; `is_whole` ends if it was asked for. One that is lost is
    /// done without: what is new is told by what is held then, which costs more and is as right.
    fn old_dir(&mut self, id: ObjectId, is_whole: &mut bool) -> Option<Arc<Node>> {
        match self.look_up(ObjectKind::Directory, id) {
            Stored::Here(node) => Some(node),
            Stored::Lost => None,
            Stored::Unknown => {
                *is_whole = false;
                None
            }
        }
    }

    /// Returns the parts that old inner nodes name; an old leaf is a part of its own. `None` after
    /// asking for nodes.
    pub(super) fn old_parts(
        &mut self,
        old: Old,
        (after, last): (Option<&Name>, &Name),
    ) -> Result<Option<Vec<OldPart>>, Refusal> {
        let mut parts = Vec::new();
        let mut is_whole = true;
        for (before, id) in old {
            let Some(node) = self.old_dir(id, &mut is_whole) else {
                continue;
            };
            match &*node {
                Node::DirInner(_, children) => {
                    parts.extend(children_within(before, children, (after, last)));
                }
                _ => parts.push(OldPart {
                    after: before,
                    last: None,
                    id,
                }),
            }
        }
        Ok(is_whole.then_some(parts))
    }

    /// Returns the old entries from `first` to `last`; `None` after asking for nodes.
    pub(super) fn old_entries(
        &mut self,
        mut old: Old,
        (first, last): (&Name, &Name),
    ) -> Result<Option<BTreeMap<Name, Entry>>, Refusal> {
        let mut entries = BTreeMap::new();
        let mut is_whole = true;
        while let Some((_, id)) = old.pop() {
            let Some(node) = self.old_dir(id, &mut is_whole) else {
                continue;
            };
            match &*node {
                Node::DirLeaf(items) => entries.extend(items.iter().cloned()),
                Node::DirInner(_, children) => {
                    // A child holds the names up to its end, from that of the one before.
                    let ends_before = |name: &Name| children.partition_point(|(end, _)| end < name);
                    let until = children.len().min(ends_before(last) + 1);
                    let within = children.get(ends_before(first)..until).unwrap_or_default();
                    old.extend(within.iter().map(|(_, child)| (None, *child)));
                }
                _ => return Err(format!("node {id} is no directory")),
            }
        }
        Ok(is_whole.then_some(entries))
    }
}

/// Returns the children of an inner node that hold names after `after` and not all beyond `last`.
fn children_within<'c>(
    before: Option<Name>,
    children: &'c [(Name, ObjectId)],
    (after, last): (Option<&'c Name>, &'c Name),
) -> impl Iterator<Item = OldPart> + 'c {
    let mut at = before;
    let part = move |(end, id): &(Name, ObjectId)| OldPart {
        after: at.replace(end.clone()),
        last: Some(end.clone()),
        id: *id,
    };
    let is_within = move |part: &OldPart| {
        part.after.as_ref().is_none_or(|a| a < last)
            && after.is_none_or(|a| part.last.as_ref().is_some_and(|end| end > a))
    };
    children.iter().map(part).filter(is_within)
}

/// A part of the parent's directory: the names after `after` up to `last`.
pub(super) struct OldPart {
    pub(super) after: Option<Name>,
    pub(super) last: Option<Name>,
    pub(super) id: ObjectId,
}
