//! What agents and replicas say to one another: Socket.IO events and the JSON of the HTTP requests.
//!
//! Control frames are JSON of at most 64 KiB, with request ids (`id`) of our own instead of
//! Socket.IO acks. Contents travel as packs ([`crate::pack`]) over HTTP. Every name and path of the
//! surface stands here and nowhere else.
//!
//! ```text
//! GET    /v1/version                              Version
//! POST   /v1/watch                                Watch                              -> WatchAnswer
//! GET    /v1/trees/{tenant}/{tree}/head           HeadAnswer
//! POST   /v1/trees/{tenant}/{tree}/commits        pack with one revision (last)      -> CommitAnswer
//! GET    /v1/trees/{tenant}/{tree}/delta?from&to  -> pack: nodes, small chunks, then the revision `to`;
//!                                                    renames between the two in MOVES_HEADER
//! POST   /v1/trees/{tenant}/{tree}/objects        ObjectsRequest                     -> pack
//! POST   /v1/trees/{tenant}/{tree}/have           ObjectsRequest                     -> HaveAnswer
//! POST   /v1/trees/{tenant}/{tree}/uploads        UploadRequest                      -> UploadAnswer
//! PUT    /v1/trees/{tenant}/{tree}/uploads/{id}   pack of objects                    -> UploadAnswer
//! GET    /v1/trees/{tenant}/{tree}/log?before&limit   -> LogAnswer, newest first
//! POST   /v1/trees/{tenant}/{tree}/known          KnownRequest                       -> KnownAnswer
//! ```
//! Every error is an [`ErrorBody`] with the status that [`ErrorCode::status`] gives.

use serde::{Deserialize, Serialize};

use crate::id::{ObjectId, RevisionId};
use crate::label::{AgentName, TreeKey};
use crate::revision::Timestamp;
use crate::trace::{TraceContext, TraceId};

/// Version of the protocol; an agent and a server of different versions refuse one another.
pub const PROTOCOL_VERSION: u32 = 1;
/// The Socket.IO namespace.
pub const NAMESPACE: &str = "/fsync";
/// What [`Version::service`] says, so that an agent knows that it talks to fsync.
pub const SERVICE: &str = "fsync";
/// The media type of packs.
pub const PACK_TYPE: &str = "application/vnd.fsync.pack";
/// Header of a request that is part of a trace, as W3C has it.
pub const TRACE_HEADER: &str = "traceparent";
/// Header of a commit that belongs to an upload session, with the session's id.
pub const UPLOAD_HEADER: &str = "x-fsync-upload";

/// Header of a delta: the renames between its two revisions, [`crate::revision::encode_moves`] in
/// lower-case hex.
pub const MOVES_HEADER: &str = "x-fsync-moves";
/// Longest value of [`MOVES_HEADER`], in bytes; what does not fit is left out, which costs speed,
/// never content.
pub const MOVES_HEADER_BYTES: usize = 6 * 1024;

/// Names of Socket.IO events.
pub mod event {
    /// Agent to server: [`super::Subscribe`].
    pub const SUBSCRIBE: &str = "subscribe";
    /// Server to agent: [`super::RefEvent`].
    pub const REF: &str = "ref";
    /// Server to agent: [`super::Heads`], the answer to `subscribe` and a periodic beacon.
    pub const HEADS: &str = "heads";
    /// Both ways: [`super::Presence`].
    pub const PRESENCE: &str = "presence";
    /// Server to agent: [`super::Bye`].
    pub const BYE: &str = "bye";
    /// Server to agent: [`super::Want`].
    pub const WANT: &str = "want";
    /// Server to agent: [`super::ErrorEvent`].
    pub const ERROR: &str = "error";
}

/// A random number that changes whenever positions of a tree stop being comparable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub u64);

/// Epochs stay exact in JSON readers that know only doubles.
const EPOCH_BITS: u32 = 53;

impl Epoch {
    /// Makes an epoch of a random number.
    pub fn mint(entropy: u64) -> Self {
        Self((entropy >> (u64::BITS - EPOCH_BITS)).max(1))
    }
}

/// Place of a head in its tree's order, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seq(pub u64);

/// The head of a tree: the truth. Compared by ref and lineage, never by seq alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Head {
    /// Which order the seq belongs to.
    pub epoch: Epoch,
    /// Place in that order.
    pub seq: Seq,
    /// The revision.
    #[serde(rename = "ref")]
    pub revision: RevisionId,
}

/// What a server says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// Always [`SERVICE`].
    pub service: String,
    /// Its [`PROTOCOL_VERSION`].
    pub protocol: u32,
}

/// The `auth` of the Socket.IO handshake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handshake {
    /// The agent's [`PROTOCOL_VERSION`].
    pub protocol: u32,
    /// The agent's name.
    pub agent: AgentName,
    /// The bearer token, if the server asks for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

/// One tree in a [`Subscribe`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// The tree.
    pub tree: TreeKey,
    /// The agent's base, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<Head>,
}

/// Asks for the heads of trees now and their refs from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscribe {
    /// Request id, echoed by the answer.
    pub id: u64,
    /// At most [`crate::limits::SOCKET_TREES`] trees; replaces earlier subscriptions.
    pub trees: Vec<Cursor>,
}

/// The head of one tree as [`Heads`] tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeHead {
    /// The tree.
    pub tree: TreeKey,
    /// Its head; `None` while nothing was ever committed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<Head>,
    /// Whether the cursor's base is the head or one of its ancestors; `None` in beacons and without
    /// a base.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_known: Option<bool>,
}

/// Current heads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heads {
    /// The id of the `subscribe` that it answers; `None` for a beacon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    /// One per tree.
    pub trees: Vec<TreeHead>,
}

/// One tree in a [`Watch`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watched {
    /// The tree and the agent's base.
    #[serde(flatten)]
    pub cursor: Cursor,
    /// The head that the agent was told of last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known: Option<Head>,
}

/// Asks for heads without Socket.IO, where a network breaks WebSockets: is answered at once if a
/// tree has another head than the agent knows of, else with the next news or when the time is up.
/// Any replica can answer, nothing is remembered between two requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watch {
    /// Request id, echoed by the heads.
    pub id: u64,
    /// At most [`crate::limits::SOCKET_TREES`] trees.
    pub trees: Vec<Watched>,
    /// How long news may be waited for, at most [`crate::limits::WATCH_MS`].
    pub wait_ms: u64,
}

/// Answer to [`Watch`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchAnswer {
    /// Current heads of all trees.
    pub heads: Heads,
    /// Heads that came while the request waited.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refs: Vec<RefEvent>,
    /// Objects that the service lost.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub wants: Vec<Want>,
}

/// A tree has a new head.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefEvent {
    /// The tree.
    pub tree: TreeKey,
    /// The new head.
    #[serde(flatten)]
    pub head: Head,
    /// Root node of the revision.
    pub root: ObjectId,
    /// Who made it.
    pub author: AgentName,
    /// Trace context of the change, if it was traced.
    #[serde(
        default,
        deserialize_with = "TraceContext::lenient",
        skip_serializing_if = "Option::is_none"
    )]
    pub trace: Option<TraceContext>,
}

/// What an agent is doing, for `status` and dashboards. An agent tells of itself, a server of the
/// tree's other agents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence {
    /// The tree.
    pub tree: TreeKey,
    /// The agent.
    pub agent: AgentName,
    /// What it is doing.
    pub state: PresenceState,
}

/// In one word, what an agent is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PresenceState {
    /// Folder and head are the same.
    InStep,
    /// Changes are under way.
    Syncing,
    /// A hold waits for the user.
    Held,
    /// The user paused it.
    Paused,
    /// Its socket is gone; only servers say so.
    Offline,
}

impl PresenceState {
    /// Returns the word that is shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InStep => "in-step",
            Self::Syncing => "syncing",
            Self::Held => "held",
            Self::Paused => "paused",
            Self::Offline => "offline",
        }
    }
}

/// The server ends the connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bye {
    /// Why, for programs.
    pub code: ByeCode,
    /// Why, for people.
    pub reason: String,
    /// When to come back; `None` for terminal codes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

/// Why a server says `bye`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ByeCode {
    /// The replica ends; come back.
    Shutdown,
    /// The agent reads too slowly; come back.
    Slow,
    /// The protocol version does not fit; terminal.
    Protocol,
    /// The token does not allow it, has expired or was revoked; terminal for that token.
    Denied,
    /// A limit was passed; come back.
    Limit,
}

impl ByeCode {
    /// Returns whether coming back is pointless.
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Protocol | Self::Denied)
    }
}

/// The service lost these objects and asks for them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Want {
    /// The tree they belong to.
    pub tree: TreeKey,
    /// The objects, at most [`crate::limits::WANT_OBJECTS`].
    pub objects: Vec<ObjectId>,
}

/// A request of the agent failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorEvent {
    /// The request's id, if it had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    /// What went wrong.
    #[serde(flatten)]
    pub error: ErrorBody,
}

/// Answer to `GET head`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeadAnswer {
    /// The head; `None` while nothing was ever committed.
    pub head: Option<Head>,
}

/// What became of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CommitOutcome {
    /// The revision is the head now.
    Head,
    /// The head had moved: the service merged, the merge is the head now.
    Merged,
    /// The revision was in the head's lineage already.
    Done,
}

/// Answer to a commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitAnswer {
    /// What became of it.
    pub outcome: CommitOutcome,
    /// The head after it.
    pub head: Head,
    /// Where the committed revision itself stands in the lineage.
    pub seq: Seq,
}

/// Ids to read or to ask for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectsRequest {
    /// At most [`crate::limits::REQUEST_OBJECTS`] ids.
    pub ids: Vec<ObjectId>,
    /// An upload session whose objects count as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upload: Option<u64>,
}

/// Answer to `have`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HaveAnswer {
    /// The ids of the request that the service lacks for this tree.
    pub missing: Vec<ObjectId>,
}

/// Opens an upload session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadRequest {
    /// The uploader, for logs.
    pub agent: AgentName,
}

/// State of an upload session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadAnswer {
    /// The session.
    pub upload: u64,
    /// How long its objects are kept if it is not used, in milliseconds.
    pub expires_in_ms: u64,
}

/// One revision in a [`LogAnswer`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogItem {
    /// Its ref.
    #[serde(rename = "ref")]
    pub revision: RevisionId,
    /// Where it stands in the lineage.
    pub seq: Seq,
    /// Its root node.
    pub root: ObjectId,
    /// What it was made from.
    pub parents: Vec<RevisionId>,
    /// Who made it.
    pub author: AgentName,
    /// When, by the author's clock.
    pub time: Timestamp,
    /// The trace of the push that made it, if it was traced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceId>,
}

/// History of a tree, newest first: every revision in the head's lineage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogAnswer {
    /// The revisions.
    pub items: Vec<LogItem>,
}

/// Asks which versions a tree once had; sent at first contact for local files that differ from the
/// head.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownRequest {
    /// Path (names joined by `/`, as bytes in lower-case hex) and content id, at most 1,000.
    pub versions: Vec<(String, ObjectId)>,
}

/// Answer to [`KnownRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownAnswer {
    /// For each version of the request whether an earlier revision had exactly it.
    pub known: Vec<bool>,
}

/// What went wrong, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The request is malformed; sending it again is pointless.
    Malformed,
    /// A limit was passed.
    TooLarge,
    /// A hash did not match.
    HashMismatch,
    /// Objects that the revision needs are not here: send them.
    Missing,
    /// The `from` revision of a delta, or a parent, is not in the tree's lineage.
    BaseUnknown,
    /// No token, or one that is not valid, has expired or was revoked: get a new one.
    Unauthorized,
    /// The token lets the caller read the tree, but not do this.
    Forbidden,
    /// No such tree, object or session, or no right to it.
    NotFound,
    /// Too many requests: come back.
    RateLimited,
    /// The upload session ended: open a new one.
    UploadUnknown,
    /// The replica is busy or stops: come back.
    Unavailable,
    /// The store is full.
    StoreFull,
    /// The protocol version does not fit.
    Protocol,
    /// The replica failed; its log says why.
    Internal,
}

impl ErrorCode {
    /// Returns the HTTP status that carries this code.
    pub fn status(self) -> u16 {
        match self {
            Self::Malformed | Self::HashMismatch => 400,
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::Missing | Self::BaseUnknown => 409,
            Self::UploadUnknown => 410,
            Self::TooLarge => 413,
            Self::Protocol => 426,
            Self::RateLimited => 429,
            Self::Internal => 500,
            Self::Unavailable => 503,
            Self::StoreFull => 507,
        }
    }

    /// Returns whether the same request may succeed later.
    pub fn is_retryable(self) -> bool {
        matches!(
            self,
            Self::Unavailable | Self::StoreFull | Self::Internal | Self::RateLimited
        )
    }
}

/// An error as it stands in HTTP bodies and `error` events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// What went wrong, for programs.
    pub code: ErrorCode,
    /// What, where, why and what to do, for people.
    pub message: String,
    /// The objects to send, with [`ErrorCode::Missing`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<ObjectId>,
    /// When to come back, with retryable codes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}
