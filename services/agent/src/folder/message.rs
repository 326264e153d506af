//! What goes into a [`super::Folder`] and what comes out of it: the border between the folder and
//! the network.

use std::time::Duration;

use fsync_core::clock::Moment;
use fsync_core::engine::Activity;
use fsync_core::engine::changes::Change;
use fsync_core::id::{ObjectId, ObjectKind, RevisionId};
use fsync_core::pack::Object;
use fsync_core::path::RelPath;
use fsync_core::revision::MoveHint;
use fsync_core::wire::{CommitAnswer, Head};

use super::hold::HoldKind;

/// What the world tells a folder.
#[derive(Debug)]
pub enum FolderInput {
    /// The connection to a server stands.
    Connected,
    /// It does not any more.
    Disconnected,
    /// A server told the tree's head.
    Head {
        /// The head; `None` if the tree was never committed to.
        head: Option<Head>,
        /// Whether the base that was asked with is in its lineage.
        base_known: Option<bool>,
        /// Whether it answers a [`FolderEffect::Subscribe`].
        is_answer: bool,
    },
    /// The watcher saw changes.
    Changed(Vec<Change>),
    /// The watcher lost changes.
    Overflow,
    /// Answer to [`FolderEffect::Fetch`].
    Fetched(Result<FetchAnswer, NetFailure>),
    /// Answer to [`FolderEffect::Push`].
    Pushed(Result<CommitAnswer, NetFailure>),
    /// Answer to [`FolderEffect::GetChunks`].
    Chunks {
        /// The batch that asked.
        batch: u64,
        /// The chunks, verified, in any order.
        objects: Result<Vec<Object>, NetFailure>,
    },
    /// The user waits until all is in step.
    Flush(u64),
    /// The user lets a hold's changes through.
    Approve(HoldKind),
    /// The user refuses a hold's deletes: what they concern comes back.
    Reject(HoldKind),
    /// The user gives up what was changed at a path and below it and may not be sent.
    Revert(RelPath),
    /// Answer to [`FolderEffect::GoOn`].
    GoOn,
    /// Time passed.
    Tick,
}

/// What a folder wants of the world. Each of `Fetch`, `Push` and `GetChunks` is answered once.
#[derive(Debug)]
pub enum FolderEffect {
    /// Ask for the head of the tree, with the base as cursor.
    Subscribe {
        /// The base.
        base: Option<Head>,
    },
    /// Fetch nodes or facts.
    Fetch(FetchRequest),
    /// Send a revision with what the service lacks for it.
    Push(Box<PushRequest>),
    /// Fetch chunks for one batch of an apply.
    GetChunks {
        /// Which one; given back with the answer.
        batch: u64,
        /// Chunks with their lengths in bytes.
        wanted: Vec<(ObjectId, u64)>,
    },
    /// Give [`FolderInput::GoOn`] once the other effects are handed out: there is work to do while
    /// they are answered.
    GoOn,
    /// The flush is done.
    Flushed(u64),
    /// The state to show has changed.
    Show(Activity),
    /// Something the user should be told.
    Notice(Notice),
    /// Give a tick then; replaces an earlier one.
    WakeAt(Moment),
    /// Another directory is the folder from now on: open it anew, this one is of no use any more.
    Reopen,
}

/// News for the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// An apply goes on.
    Applying {
        /// Steps that are done.
        done: u64,
        /// Steps in all.
        total: u64,
        /// Bytes of the files that were put.
        bytes: u64,
    },
    /// Changes of others were carried out here.
    Applied {
        /// Paths that changed.
        paths: u64,
    },
    /// Edits of this folder are on the service.
    Pushed {
        /// Their ref.
        revision: RevisionId,
        /// Files with new content.
        files: u64,
    },
    /// Two versions wanted one path; both are kept.
    Conflict {
        /// The path.
        path: RelPath,
        /// Where the other version stands.
        copy: RelPath,
    },
    /// A file was deleted elsewhere and edited here: the edit stays.
    Kept {
        /// The path.
        path: RelPath,
    },
    /// Deletes wait for the user.
    Held {
        /// How many files they concern.
        files: u64,
    },
    /// The folder's root is not what it was; both directions stand still.
    RootHeld {
        /// What is wrong, for people.
        reason: String,
    },
    /// The head's tree breaks a rule: nothing is applied until there is another head.
    HeadUnusable {
        /// The head.
        revision: RevisionId,
        /// Which rule, for people.
        reason: String,
    },
    /// A path cannot be synced for now.
    Problem {
        /// The path.
        path: RelPath,
        /// What and why, for people.
        reason: String,
    },
    /// Something that must be told failed; it is tried again.
    Trouble(String),
}

/// What to fetch for a comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FetchRequest {
    /// What differs between a base and a head.
    Delta {
        /// The base.
        from: Option<RevisionId>,
        /// The head.
        to: RevisionId,
    },
    /// Nodes by id.
    Nodes(Vec<(ObjectKind, ObjectId)>),
    /// Which of these versions the tree once had.
    Known(Vec<(RelPath, ObjectId)>),
}

/// What was fetched.
#[derive(Debug)]
pub enum FetchAnswer {
    /// Answer to [`FetchRequest::Delta`].
    Delta {
        /// The head's revision, encoded.
        revision: Vec<u8>,
        /// Renames between base and head.
        moves: Vec<MoveHint>,
        /// Nodes and small chunks, verified.
        objects: Vec<Object>,
    },
    /// Answer to [`FetchRequest::Nodes`]: verified, in any order, maybe not all.
    Nodes(Vec<Object>),
    /// Answer to [`FetchRequest::Known`], in order.
    Known(Vec<bool>),
}

/// A revision on its way to the service.
#[derive(Debug)]
pub struct PushRequest {
    /// Its id.
    pub id: RevisionId,
    /// Its encoding.
    pub revision: Vec<u8>,
    /// Objects to send with it; together they fit one pack.
    pub objects: Vec<Object>,
    /// More objects, to be sent before it through an upload session.
    pub bulk: Vec<SourceItem>,
    /// Where the trace of the change goes on.
    pub trace: Option<String>,
}

/// Where an object of a bulk upload is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceItem {
    /// What it is.
    pub kind: ObjectKind,
    /// Its address; the bytes are verified against it.
    pub id: ObjectId,
    /// Its length in bytes (for nodes: the most it can be).
    pub bytes: u64,
    /// For chunks: the file and the offset; `None` for nodes, which are in the state.
    pub at: Option<(RelPath, u64)>,
}

/// Why the network did not do what was asked, by what is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetFailure {
    /// Try again, not before this.
    Retry(Duration),
    /// Nobody answers: wait for the next connection.
    Unreachable,
    /// The service needs these objects first.
    Missing(Vec<ObjectId>),
    /// The service does not know the revision that was started from.
    BaseUnknown,
    /// The token only allows to read; for people.
    ReadOnly(String),
    /// A file changed while it was sent.
    Gone,
    /// Asking again is pointless until something else changes; for people.
    Refused(String),
}
