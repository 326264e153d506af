//! Revisions: one state of a tree, what it was made from and by whom; its hash is the *ref*.
//!
//! Shape: `[1, root, [parent, ...], author, time ms, flags, [[from, to], ...]]`, canonical CBOR.
//! Parents are ordered: for a merge the head first, then the incoming revision. A move hint says
//! that what stood at `from` in the first parent stands at `to` now; hints speed things up and
//! redirect edits, they never overwrite, and a wrong one is dropped.

use minicbor::Decoder;

use crate::cbor::{self, DecodeError};
use crate::id::{ObjectId, RevisionId};
use crate::label::AgentName;
use crate::limits;
use crate::node::read_id;
use crate::path::RelPath;

/// Milliseconds since 1970 UTC by the author's clock; for people and conflict names, never for
/// order.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    serde::Serialize,
    serde::Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

/// Says that `from` was renamed to `to`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MoveHint {
    /// The path in the first parent; absent in the revision.
    pub from: RelPath,
    /// The path in the revision; absent in the first parent.
    pub to: RelPath,
}

/// One state of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision {
    /// The directory node of the tree's root.
    pub root: ObjectId,
    /// What it was made from; empty for a first one.
    pub parents: Vec<RevisionId>,
    /// Who made it.
    pub author: AgentName,
    /// When it was made.
    pub time: Timestamp,
    /// A person approved the deletes in it: receivers do not hold again.
    pub is_approved: bool,
    /// Renames against the first parent.
    pub moves: Vec<MoveHint>,
}

const VERSION: u64 = 1;
const FLAG_APPROVED: u64 = 1;

impl Revision {
    /// Encodes the revision and computes its id.
    pub fn encode(&self) -> (RevisionId, Vec<u8>) {
        let bytes = self.to_bytes();
        (RevisionId::of(&bytes), bytes)
    }

    /// Returns the canonical encoding.
    pub fn to_bytes(&self) -> Vec<u8> {
        cbor::encode(|w| {
            w.array(7)?.u64(VERSION)?.bytes(self.root.as_bytes())?;
            w.array(self.parents.len() as u64)?;
            self.parents
                .iter()
                .try_for_each(|p| w.bytes(p.as_bytes())?.ok())?;
            w.str(self.author.as_str())?.u64(self.time.0)?;
            w.u64(if self.is_approved { FLAG_APPROVED } else { 0 })?;
            write_moves(w, &self.moves)
        })
    }

    /// Decodes and checks a revision.
    ///
    /// # Errors
    /// [`DecodeError`]; the bytes must then be thrown away and their source distrusted.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        limits::check(
            "revision size in bytes",
            limits::REVISION_BYTES,
            bytes.len(),
        )?;
        cbor::decode("revision", bytes, read_revision, Self::to_bytes)
    }
}

/// Encodes a list of move hints: `[[from, to], ...]`, canonical CBOR.
pub fn encode_moves(moves: &[MoveHint]) -> Vec<u8> {
    cbor::encode(|w| write_moves(w, moves))
}

/// Decodes and checks a list of move hints.
///
/// # Errors
/// [`DecodeError`].
pub fn decode_moves(bytes: &[u8]) -> Result<Vec<MoveHint>, DecodeError> {
    cbor::decode("move hints", bytes, read_moves, |moves| encode_moves(moves))
}

fn write_moves(w: &mut cbor::Writer, moves: &[MoveHint]) -> cbor::WriteResult {
    w.array(moves.len() as u64)?;
    moves.iter().try_for_each(|m| {
        w.array(2)?
            .bytes(m.from.as_bytes())?
            .bytes(m.to.as_bytes())?
            .ok()
    })
}

fn read_moves(d: &mut Decoder<'_>) -> Result<Vec<MoveHint>, DecodeError> {
    let moves = cbor::array("move hints", d, limits::REVISION_MOVES)?;
    (0..moves).map(|_| read_move(d)).collect()
}

fn bad(reason: impl ToString) -> DecodeError {
    DecodeError::malformed("revision", reason)
}

fn read_revision(d: &mut Decoder<'_>) -> Result<Revision, DecodeError> {
    if cbor::array("revision", d, 7)? != 7 {
        return Err(bad("a revision has seven parts"));
    }
    match d.u64().map_err(bad)? {
        VERSION => {}
        other => {
            return Err(bad(format!(
                "version {other}, this program reads version {VERSION}"
            )));
        }
    }
    let root = read_id(d)?;
    let parents = cbor::array("revision parents", d, limits::REVISION_PARENTS)?;
    let parents = (0..parents)
        .map(|_| {
            RevisionId::from_slice(d.bytes().map_err(bad)?)
                .ok_or_else(|| bad("a parent is not an id"))
        })
        .collect::<Result<_, _>>()?;
    let author = d.str().map_err(bad)?.parse().map_err(bad)?;
    let time = Timestamp(d.u64().map_err(bad)?);
    let is_approved = match d.u64().map_err(bad)? {
        0 => false,
        FLAG_APPROVED => true,
        other => return Err(bad(format!("unknown flags {other}"))),
    };
    let moves = read_moves(d)?;
    Ok(Revision {
        root,
        parents,
        author,
        time,
        is_approved,
        moves,
    })
}

fn read_move(d: &mut Decoder<'_>) -> Result<MoveHint, DecodeError> {
    if cbor::array("move hint", d, 2)? != 2 {
        return Err(bad("a move hint is a pair"));
    }
    let mut path = || RelPath::parse(d.bytes().map_err(bad)?).map_err(bad);
    let hint = MoveHint {
        from: path()?,
        to: path()?,
    };
    if hint.from.is_root() || hint.to.is_within(&hint.from) || hint.from.is_within(&hint.to) {
        return Err(bad("a move hint moves a path into itself"));
    }
    Ok(hint)
}
