//! x
use crate::id::ObjectId;
use crate::label::AgentName;
use crate::nodes::{NewNodes, Nodes, NodesError};
use crate::path::RelPath;
use crate::revision::{MoveHint, Timestamp};

/// One side of a merge.
#[derive(Debug, Clone)]
pub struct Side {
    /// Its root.
    pub root: ObjectId,
    /// Its author, for the names of conflict copies.
    pub author: AgentName,
    /// Its time, for the names of conflict copies.
    pub time: Timestamp,
    /// Its renames against the base.
    pub moves: Vec<MoveHint>,
}

/// A version that lost its path and stands beside it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// The path that both sides wanted.
    pub path: RelPath,
    /// Where the losing version stands.
    pub copy: RelPath,
}

/// The outcome of a merge.
#[derive(Debug, Clone)]
pub struct Merged {
    /// The merged root.
    pub root: ObjectId,
    /// Nodes that the merge made.
    pub new: NewNodes,
    /// Conflict copies it made.
    pub conflicts: Vec<Conflict>,
    /// Renames of `theirs` that hold against `ours`, for the merge's revision.
    pub moves: Vec<MoveHint>,
}

/// x
pub fn merge(
    _nodes: &dyn Nodes,
    _base: Option<ObjectId>,
    _ours: &Side,
    _theirs: &Side,
) -> Result<Merged, NodesError> {
    unimplemented!()
}
