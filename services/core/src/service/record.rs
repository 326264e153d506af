//! What the service keeps of a tree, as journals store it and as the state machines ask for it.

use crate::cbor::DecodeError;
use crate::id::{ObjectId, ObjectKind, RevisionId};
use crate::nodes::NewNodes;
use crate::pack::Object;
use crate::revision::Revision;
use crate::service::Now;
use crate::trace::{TraceContext, TraceId};
use crate::wire::{Head, Seq};

/// An upload session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UploadId(pub u64);

/// One push as its driver knows it; unique while the push is in work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// A revision in a tree's lineage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Where it stands.
    pub seq: Seq,
    /// Its ref.
    pub id: RevisionId,
    /// The revision.
    pub revision: Revision,
    /// When it was committed, by the service's clock.
    pub committed: Now,
    /// The trace that it was committed in.
    pub trace: Option<TraceId>,
}

/// A tree's head with what it stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeadState {
    /// The head.
    pub head: Head,
    /// Its revision.
    pub revision: Revision,
}

/// What is known of a stored object that a tree or an upload session may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// What it is.
    pub kind: ObjectKind,
    /// Its length in bytes.
    pub bytes: u32,
    /// Whether it and all below it are here for the tree; else it is in the upload session only.
    pub is_complete: bool,
}

/// A revision to be added to a lineage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRevision {
    /// Its place.
    pub seq: Seq,
    /// Its ref.
    pub id: RevisionId,
    /// Its encoding.
    pub bytes: Vec<u8>,
    /// The trace of its push; the driver knows it.
    pub trace: Option<TraceId>,
}

/// How much is stored for a tree, its history included. What several trees share counts for each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of all objects that are complete for it.
    pub bytes: u64,
    /// How many they are.
    pub objects: u64,
}

/// One compare-and-set of a head, with all that must be durable before it.
#[derive(Debug, Clone)]
pub struct CommitWrite {
    /// The head's ref as it must be; `None` for a tree without head.
    pub expected: Option<RevisionId>,
    /// [`super::facts::Answers::generation`] that the admission relied on.
    pub generation: u64,
    /// The new head.
    pub head: Head,
    /// All revisions that become part of the lineage, in order.
    pub revisions: Vec<NewRevision>,
    /// The pushes whose objects are to be stored with it.
    pub tickets: Vec<Ticket>,
    /// Nodes that merges made, to be stored with it.
    pub made: NewNodes,
    /// Objects to mark complete for the tree, each with its length in bytes.
    pub complete: Vec<(ObjectId, u32)>,
    /// The service's clock.
    pub now: Now,
    /// Where in its trace the new head is told of; the driver knows it.
    pub trace: Option<TraceContext>,
}

/// Where a stored object's bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In the journal.
    Inline(Vec<u8>),
    /// In a pack of the blob store.
    Pack(PackPlace),
}

/// Number that names a pack in the blob store; random, unique in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PackId(pub u128);

impl std::fmt::Display for PackId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// A run of bytes in a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PackPlace {
    /// The pack.
    pub pack: PackId,
    /// Offset of the object's body.
    pub offset: u32,
    /// Its length in bytes.
    pub bytes: u32,
}

/// What a read found to be gone, or not what it was when it was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Loss {
    /// A whole pack is gone.
    Pack(PackId),
    /// What stands at an object's place is something else.
    Object(ObjectId, PackPlace),
}

/// One line of a pack's footer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackEntry {
    /// What the object is.
    pub kind: ObjectKind,
    /// Its id.
    pub id: ObjectId,
    /// Offset of its body.
    pub offset: u32,
    /// Its length in bytes.
    pub bytes: u32,
}

/// How a push's objects are handed to a journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// Small: kept in the journal's own transaction.
    Inline(Vec<Object>),
    /// Large: durable in a pack already.
    Packed(PackId, Vec<PackEntry>),
}

impl Stored {
    /// Decodes a revision as a journal keeps it.
    ///
    /// # Errors
    /// [`DecodeError`] if the journal is damaged.
    pub fn decode(
        seq: Seq,
        id: RevisionId,
        bytes: &[u8],
        (committed, trace): (Now, Option<TraceId>),
    ) -> Result<Self, DecodeError> {
        Ok(Self {
            seq,
            id,
            revision: Revision::decode(bytes)?,
            committed,
            trace,
        })
    }
}
