//! Move hints along a lineage: several renames in a row as one.
//!
//! Hints speed things up and redirect edits; a chain that cannot be followed gives none, which
//! costs speed, never content.

use std::collections::BTreeMap;

use crate::id::RevisionId;
use crate::limits;
use crate::path::RelPath;
use crate::revision::{MoveHint, Revision};

/// Composes the hints of revisions that follow one another, oldest first, into hints against the
/// first one's parent.
pub fn compose<'a>(steps: impl IntoIterator<Item = &'a [MoveHint]>) -> Vec<MoveHint> {
    let mut moves: Vec<MoveHint> = Vec::new();
    for step in steps {
        let earlier = moves.len();
        for hint in step {
            let mut is_taken = false;
            for done in &mut moves[..earlier] {
                if done.to == hint.from {
                    is_taken = true;
                }
                if let Some(tail) = done.to.strip_prefix(&hint.from) {
                    done.to = hint.to.concat(&tail);
                }
            }
            if !is_taken {
                moves.push(MoveHint {
                    from: origin(&moves[..earlier], &hint.from),
                    to: hint.to.clone(),
                });
            }
        }
    }
    moves.retain(|m| m.from != m.to && !m.to.is_within(&m.from) && !m.from.is_within(&m.to));
    moves.sort();
    moves.dedup_by(|a, b| a.from == b.from);
    moves.truncate(limits::REVISION_MOVES);
    moves
}

/// Returns what `path` was called before the earlier moves: below a renamed directory it had the
/// old prefix.
fn origin(earlier: &[MoveHint], path: &RelPath) -> RelPath {
    earlier
        .iter()
        .filter_map(|m| path.strip_prefix(&m.to).map(|tail| (m, tail)))
        .max_by_key(|(m, _)| m.to.as_bytes().len())
        .map_or_else(|| path.clone(), |(m, tail)| m.from.concat(&tail))
}

/// Returns hints against one tree in an order in which they can be carried out one after the other.
///
/// What leaves a renamed directory goes before the directory does; what ends up in it again goes
/// after it, from where it stands by then.
pub fn in_order(moves: &[MoveHint]) -> Vec<MoveHint> {
    let by_from: BTreeMap<&RelPath, &MoveHint> = moves.iter().map(|m| (&m.from, m)).collect();
    let mut before = Vec::new();
    let mut after = Vec::new();
    for hint in moves {
        let Some(outer) = above(&by_from, &hint.from) else {
            after.push(hint.clone());
            continue;
        };
        match hint.from.strip_prefix(&outer.from) {
            Some(tail) if hint.to.is_within(&outer.to) => after.push(MoveHint {
                from: outer.to.concat(&tail),
                to: hint.to.clone(),
            }),
            _ => before.push(hint.clone()),
        }
    }
    before.sort_by_key(|hint| std::cmp::Reverse(hint.from.names().count()));
    before.append(&mut after);
    before
}

/// Returns the hint of the nearest directory above a path.
fn above<'a>(by_from: &BTreeMap<&RelPath, &'a MoveHint>, path: &RelPath) -> Option<&'a MoveHint> {
    let mut at = path.parent();
    while let Some(path) = at {
        if let Some(hint) = by_from.get(&path) {
            return Some(hint);
        }
        at = path.parent();
    }
    None
}

/// Returns the composed hints on the way of first parents from `from` to `to`.
///
/// `known` holds the revisions after `from`'s nearest ancestor on that way. Where `to`'s way passes
/// a merge that took `from` itself in, that merge's own hints are `from`'s and are left out.
pub fn along(
    known: &BTreeMap<RevisionId, &Revision>,
    from: (&RevisionId, &[RevisionId]),
    to: &RevisionId,
) -> Vec<MoveHint> {
    let (from, from_parents) = from;
    let mut steps: Vec<&[MoveHint]> = Vec::new();
    let mut at = *to;
    let mut has_taken_in = false;
    while at != *from && !(has_taken_in && from_parents.contains(&at)) {
        let Some(revision) = known.get(&at) else {
            return Vec::new();
        };
        if revision.parents.get(1) == Some(from) {
            has_taken_in = true;
        } else {
            steps.push(&revision.moves);
        }
        let Some(parent) = revision.parents.first() else {
            return Vec::new();
        };
        at = *parent;
    }
    steps.reverse();
    compose(steps)
}
