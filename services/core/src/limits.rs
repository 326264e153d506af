//! Every limit of the data model and of the wire, with its unit and its reason.
//!
//! A violation anywhere is a typed [`LimitError`] that names the limit, its value and what was met.
//! Nothing outside this file may state one of these numbers again.

/// Longest entry name, in bytes: what ext4, xfs, APFS and NTFS can all store.
pub const NAME_BYTES: usize = 255;
/// Deepest path, in components: far beyond real trees, shallow enough for recursion.
pub const PATH_DEPTH: usize = 512;
/// Longest path, in bytes: bounds keys in the agent's state and frames on the wire.
pub const PATH_BYTES: usize = 32 * 1024;
/// Longest symlink target, in bytes: Linux `PATH_MAX`.
pub const SYMLINK_BYTES: usize = 4096;
/// Largest encoded node, in bytes: what one changed entry may cost on the wire per level.
pub const NODE_BYTES: usize = 16 * 1024;
/// Wanted size of a split node, in bytes.
pub const NODE_TARGET_BYTES: usize = 8 * 1024;
/// Room kept in a node for its own framing, in bytes.
pub const NODE_FRAME_BYTES: usize = 32;
/// Most levels of inner nodes above the leaves: 100^6 entries are beyond any tree.
pub const NODE_LEVELS: u8 = 6;
/// Files up to this size, in bytes, are one chunk.
pub const WHOLE_FILE_BYTES: u64 = 64 * 1024;
/// Smallest chunk that the cutter makes (but for the last of a run), in bytes.
pub const CHUNK_MIN_BYTES: usize = 16 * 1024;
/// Wanted chunk size, in bytes: an edit costs about this much on the wire.
pub const CHUNK_TARGET_BYTES: usize = 128 * 1024;
/// Largest chunk, in bytes: bounds the memory of every reader.
pub const CHUNK_MAX_BYTES: usize = 4 * 1024 * 1024;
/// Zero runs are looked for in blocks of this size, in bytes, aligned to the file's start.
pub const HOLE_BLOCK_BYTES: u64 = 64 * 1024;
/// Shortest zero run that becomes a hole, in bytes; a shorter one is stored as data.
pub const HOLE_MIN_BYTES: u64 = 1024 * 1024;
/// Largest file, in bytes (8 EiB - 1, what `off_t` can hold).
pub const FILE_BYTES: u64 = i64::MAX as u64;
/// Most move hints in one revision; further ones are dropped, which costs speed, never content.
pub const REVISION_MOVES: usize = 256;
/// Most parents of a revision: a change has one, a merge two.
pub const REVISION_PARENTS: usize = 2;
/// Largest encoded revision, in bytes.
pub const REVISION_BYTES: usize = 256 * 1024;
/// Wanted size of a pack in transfer and storage, in bytes.
pub const PACK_BYTES: usize = 8 * 1024 * 1024;
/// Largest pack body that a replica accepts, in bytes: one full pack and one chunk more.
pub const PACK_BODY_BYTES: usize = PACK_BYTES + CHUNK_MAX_BYTES + 64 * 1024;
/// Most work of one walk, merge, plan or admission: 1 for each entry it reads and
/// [`NODE_WORK`] for each node. Directories may be shared, so few nodes can stand for more paths
/// than anybody can visit; a first upload of 30 million files in a million directories fits.
pub const WALK_WORK: usize = 64 * 1024 * 1024;
/// What a node costs beside its entries, in units of [`WALK_WORK`].
pub const NODE_WORK: usize = 32;
/// Most objects in one pack or one request by id: bounds answers and look-ups.
pub const REQUEST_OBJECTS: usize = 16 * 1024;
/// Longest name of a tree, tenant or agent, in bytes.
pub const LABEL_BYTES: usize = 64;
/// Longest bearer token, in bytes: fits a header and a frame, with room for hundreds of trees.
pub const TOKEN_BYTES: usize = 8 * 1024;
/// Most trees and patterns that one token names: bounds what each check costs.
pub const TOKEN_GRANTS: usize = 256;
/// Most subjects that one tree's policy names.
pub const POLICY_SUBJECTS: usize = 256;
/// Longest subject or id of a token, in bytes: an e-mail address or a UUID and more.
pub const TOKEN_NAME_BYTES: usize = 256;
/// Largest Socket.IO frame either side sends, in bytes.
pub const FRAME_BYTES: usize = 64 * 1024;
/// Longest time that a `watch` waits for news, in milliseconds: shorter than what proxies and
/// agents wait for the beginning of an answer.
pub const WATCH_MS: u64 = 10_000;
/// Most trees one socket subscribes to.
pub const SOCKET_TREES: usize = 256;
/// Most object ids in one `want`: a quarter of a frame.
pub const WANT_OBJECTS: usize = 256;
/// Shortest time between two `want`s of one tree, in milliseconds: what was asked for must have
/// time to arrive.
pub const WANT_MS: u64 = 3_000;
/// Most sockets of one tree that are told of one another's presence: bounds what one change costs.
pub const PRESENCE_SOCKETS: usize = 64;
/// Shortest time between two `presence`s of one socket and tree, in milliseconds; the last of
/// several is told.
pub const PRESENCE_MS: u64 = 500;
/// Largest JSON body of the HTTP control requests, in bytes.
pub const JSON_BYTES: usize = 2 * 1024 * 1024;
/// Most revisions that one `log` answer carries.
pub const LOG_REVISIONS: usize = 1000;
/// Small objects that one `delta` answer carries beside its nodes, in bytes; the rest is asked for.
pub const DELTA_INLINE_BYTES: usize = 4 * 1024 * 1024;
/// Most nodes that one `delta` answer carries; the rest is asked for by id.
pub const DELTA_NODES: usize = 8 * 1024;
/// Times a replica retries one compare-and-set before it answers 503.
pub const COMMIT_RETRIES: u32 = 8;

/// A value went over one of the limits above.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} is {actual}, the limit is {limit}")]
pub struct LimitError {
    /// What was measured, with its unit.
    pub what: &'static str,
    /// The limit.
    pub limit: u64,
    /// What was met.
    pub actual: u64,
}

/// Returns an error that names `what` if `actual` is above `limit`.
///
/// # Errors
/// [`LimitError`] with all three values.
pub fn check(what: &'static str, limit: usize, actual: usize) -> Result<(), LimitError> {
    if actual <= limit {
        return Ok(());
    }
    Err(LimitError {
        what,
        limit: limit as u64,
        actual: actual as u64,
    })
}
