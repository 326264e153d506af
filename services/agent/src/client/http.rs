//! The requests of `wire.rs`, one method each: contents in packs, everything else in bounded JSON.
//!
//! Guarantees: connections are pooled and re-used; every object was hashed before it is returned;
//! an answer is never read beyond its limit; no request waits for ever, nor again on a connection
//! that was found silent (`line`).
//! Does not: retry, split what is too large for one request (`transfer` does), or follow redirects.

mod exchange;
mod line;

use std::error::Error as _;

use bytes::Bytes;
use fsync_core::id::{ObjectId, RevisionId};
use fsync_core::label::{AgentName, TreeKey};
use fsync_core::limits;
use fsync_core::nodes::NodesError;
use fsync_core::pack::{Object, PACK_HEADER_BYTES, Record};
use fsync_core::revision::{self, MoveHint};
use fsync_core::wire::{
    self, CommitAnswer, HaveAnswer, Head, HeadAnswer, KnownAnswer, KnownRequest, LogAnswer,
    LogItem, ObjectsRequest, PROTOCOL_VERSION, UPLOAD_HEADER, UploadAnswer, UploadRequest, Version,
};
use reqwest::{Method, Response};

use super::error::ClientError;
use super::packs::{Checklist, PackStream, Wanted};
use super::server_url::ServerUrl;
use super::token::TokenSource;
use line::Line;

/// Most bytes of a delta's pack: servers end one with the object that fills it, and the revision.
const DELTA_BYTES: usize = limits::PACK_BODY_BYTES + limits::REVISION_BYTES;

/// What a client may need beside the address.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The bearer token.
    pub token: TokenSource,
    /// Certificates in PEM to trust beside the system's.
    pub ca_pem: Option<Vec<u8>>,
}

/// A delta's answer.
#[derive(Debug)]
pub struct Delta {
    /// Nodes and small chunks, in the order of the pack.
    pub objects: Vec<Object>,
    /// The encoded revision that the delta leads to.
    pub revision: (RevisionId, Vec<u8>),
    /// Renames between the two revisions.
    pub moves: Vec<MoveHint>,
}

/// The HTTP side of one tree on one server; clones share the connections.
#[derive(Debug, Clone)]
pub struct Http {
    line: Line,
    server: ServerUrl,
    tree: TreeKey,
    token: TokenSource,
}

impl Http {
    /// Sets the client up; talks to nobody yet.
    ///
    /// # Errors
    /// [`ClientError::Setup`] for certificates that cannot be used.
    pub fn new(server: ServerUrl, tree: TreeKey, options: Options) -> Result<Self, ClientError> {
        fsync_runtime::crypto::install();
        Ok(Self {
            line: Line::new(&options)?,
            server,
            tree,
            token: options.token,
        })
    }

    /// Returns the server's address.
    pub fn server(&self) -> &ServerUrl {
        &self.server
    }

    /// Leaves all connections, because the network has gone silent: what looks alive may be dead.
    pub fn leave_connections(&self) {
        self.line.renew();
    }

    /// Returns the tree.
    pub fn tree(&self) -> &TreeKey {
        &self.tree
    }

    /// Checks that an fsync server of this protocol version answers.
    ///
    /// # Errors
    /// [`ClientError::NotFsync`], [`ClientError::OtherVersion`] or [`ClientError::Unreachable`].
    pub async fn check_version(&self) -> Result<Version, ClientError> {
        let request = self.request(Method::GET, self.server.path("version"));
        let mut response = self.send_raw(request, 0).await?;
        let status = response.status();
        let body = self.read_body("version", &mut response).await;
        let not_fsync = |reason| ClientError::NotFsync {
            server: self.server.clone(),
            reason,
        };
        if status == reqwest::StatusCode::SERVICE_UNAVAILABLE {
            return Err(self.sort_error("version", status, &body?));
        }
        if !status.is_success() {
            return Err(not_fsync(format!("it answers {status} to /v1/version")));
        }
        let body = body.map_err(|e| not_fsync(e.to_string()))?;
        let version = serde_json::from_slice::<Version>(&body)
            .ok()
            .filter(|v| v.service == wire::SERVICE)
            .ok_or_else(|| not_fsync("its /v1/version is something else".to_owned()))?;
        if version.protocol != PROTOCOL_VERSION {
            return Err(ClientError::OtherVersion {
                server: self.server.clone(),
                ours: PROTOCOL_VERSION,
                theirs: version.protocol,
            });
        }
        Ok(version)
    }

    /// Asks for the heads of trees; the answer comes at once or with the next news, see
    /// [`wire::Watch`].
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn watch(&self, watch: &wire::Watch) -> Result<wire::WatchAnswer, ClientError> {
        let body = serde_json::to_vec(watch).map_err(|e| self.bad("watch", e.to_string()))?;
        let request = self
            .request(Method::POST, self.server.path("watch"))
            .header(reqwest::header::CONTENT_TYPE, "application/json")
            .body(body);
        self.json("watch", request, 0).await
    }

    /// Returns the tree's head.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn head(&self) -> Result<Option<Head>, ClientError> {
        let request = self.tree_request(Method::GET, "head");
        let answer: HeadAnswer = self.json("head", request, 0).await?;
        Ok(answer.head)
    }

    /// Commits the revision that `pack` ends with; `upload` names the session that holds what the
    /// pack does not.
    ///
    /// # Errors
    /// [`ClientError::Missing`], [`ClientError::BaseUnknown`], [`ClientError::UploadUnknown`] and
    /// the common ones.
    pub async fn commit(
        &self,
        pack: Bytes,
        upload: Option<u64>,
    ) -> Result<CommitAnswer, ClientError> {
        let bytes = pack.len();
        let mut request = self.pack_request(Method::POST, "commits", pack);
        if let Some(upload) = upload {
            request = request.header(UPLOAD_HEADER, upload);
        }
        self.json("commits", request, bytes).await
    }

    /// Starts a delta, with the renames on its way, from one revision (or from nothing) to another;
    /// the pack ends with the revision `to`.
    ///
    /// # Errors
    /// [`ClientError::BaseUnknown`] and the common ones.
    pub async fn delta_stream(
        &self,
        from: Option<RevisionId>,
        to: RevisionId,
    ) -> Result<(Vec<MoveHint>, PackStream), ClientError> {
        let path = match from {
            Some(from) => format!("delta?from={from}&to={to}"),
            None => format!("delta?to={to}"),
        };
        let request = self.tree_request(Method::GET, &path);
        let response = self.send("delta", request, 0).await?;
        let moves = moves_of(&response).map_err(|reason| self.bad("delta", reason))?;
        let stream = PackStream::new(&self.server, "delta", response, DELTA_BYTES);
        Ok((moves, stream))
    }

    /// Fetches a whole delta into memory.
    ///
    /// # Errors
    /// As [`Http::delta_stream`].
    pub async fn delta(
        &self,
        from: Option<RevisionId>,
        to: RevisionId,
    ) -> Result<Delta, ClientError> {
        let (moves, mut stream) = self.delta_stream(from, to).await?;
        let mut objects = Vec::new();
        let mut revision = None;
        while let Some(record) = stream.next().await? {
            match record {
                Record::Object(object) => objects.push(object),
                Record::Revision(id, bytes) => revision = Some((id, bytes)),
            }
        }
        match revision {
            Some(revision) if revision.0 == to => Ok(Delta {
                objects,
                revision,
                moves,
            }),
            _ => Err(stream.bad(format!("the pack does not hold revision {to}"))),
        }
    }

    /// Fetches objects and returns exactly those, in the server's order; asks again for what did
    /// not fit one answer.
    ///
    /// # Errors
    /// [`ClientError::Lost`] with the ids that the server does not have, and the common ones.
    pub async fn objects(
        &self,
        wanted: &[Wanted],
        upload: Option<u64>,
    ) -> Result<Vec<Object>, ClientError> {
        let mut list = Checklist::new(wanted);
        let mut objects = Vec::with_capacity(wanted.len());
        while !list.is_empty() {
            let before = objects.len();
            self.some_objects(&mut list, upload, &mut objects).await?;
            if objects.len() == before {
                return Err(ClientError::Lost(list.rest()));
            }
        }
        Ok(objects)
    }

    /// Asks once for what is left on the list, and takes off what came.
    async fn some_objects(
        &self,
        list: &mut Checklist,
        upload: Option<u64>,
        objects: &mut Vec<Object>,
    ) -> Result<(), ClientError> {
        let most = PACK_HEADER_BYTES + list.packed_bytes();
        let ids = list.ids();
        let (request, bytes) = self.json_request("objects", &ObjectsRequest { ids, upload })?;
        let response = self.send("objects", request, bytes).await?;
        let mut stream = PackStream::new(&self.server, "objects", response, most);
        while let Some(record) = stream.next().await? {
            let Record::Object(object) = record else {
                return Err(stream.bad("a revision was not asked for".to_owned()));
            };
            list.take(&object).map_err(|reason| stream.bad(reason))?;
            objects.push(object);
        }
        Ok(())
    }

    /// Asks which of these objects the server lacks for the tree.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn have(
        &self,
        ids: Vec<ObjectId>,
        upload: Option<u64>,
    ) -> Result<Vec<ObjectId>, ClientError> {
        let (request, bytes) = self.json_request("have", &ObjectsRequest { ids, upload })?;
        let answer: HaveAnswer = self.json("have", request, bytes).await?;
        Ok(answer.missing)
    }

    /// Opens an upload session.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn upload_open(&self, agent: AgentName) -> Result<UploadAnswer, ClientError> {
        let (request, bytes) = self.json_request("uploads", &UploadRequest { agent })?;
        self.json("uploads", request, bytes).await
    }

    /// Puts a pack of objects into a session; they are durable once this returns.
    ///
    /// # Errors
    /// [`ClientError::UploadUnknown`] and the common ones.
    pub async fn upload_put(&self, upload: u64, pack: Bytes) -> Result<UploadAnswer, ClientError> {
        let bytes = pack.len();
        let request = self.pack_request(Method::PUT, &format!("uploads/{upload}"), pack);
        self.json("uploads", request, bytes).await
    }

    /// Returns the newest revisions, newest first; `before` leaves out that seq and what is newer.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn log(
        &self,
        before: Option<wire::Seq>,
        limit: usize,
    ) -> Result<Vec<LogItem>, ClientError> {
        let limit = limit.min(limits::LOG_REVISIONS);
        let path = match before {
            Some(seq) => format!("log?before={}&limit={limit}", seq.0),
            None => format!("log?limit={limit}"),
        };
        let request = self.tree_request(Method::GET, &path);
        let answer: LogAnswer = self.json("log", request, 0).await?;
        Ok(answer.items)
    }

    /// Asks which versions of paths the tree once had; one answer per version, in order.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn known(&self, versions: Vec<(String, ObjectId)>) -> Result<Vec<bool>, ClientError> {
        let count = versions.len();
        let (request, bytes) = self.json_request("known", &KnownRequest { versions })?;
        let answer: KnownAnswer = self.json("known", request, bytes).await?;
        if answer.known.len() != count {
            return Err(self.bad(
                "known",
                format!("{} answers for {count}", answer.known.len()),
            ));
        }
        Ok(answer.known)
    }

    /// Returns the error of a tree from this server whose nodes break a rule.
    pub fn bad_tree(&self, error: &NodesError) -> ClientError {
        self.bad("objects", error.to_string())
    }
}

/// Reads the renames of a delta's header; no header means none.
fn moves_of(response: &Response) -> Result<Vec<MoveHint>, String> {
    let Some(value) = response.headers().get(wire::MOVES_HEADER) else {
        return Ok(Vec::new());
    };
    let digit = |d: u8| {
        char::from(d)
            .to_digit(16)
            .and_then(|d| u8::try_from(d).ok())
    };
    let bytes: Option<Vec<u8>> = value
        .as_bytes()
        .chunks(2)
        .map(|pair| Some(digit(*pair.first()?)? << 4 | digit(*pair.get(1)?)?))
        .collect();
    let bytes = bytes.ok_or_else(|| "its move hints are not hex".to_owned())?;
    revision::decode_moves(&bytes).map_err(|e| e.to_string())
}

/// Returns the innermost cause of an error: the system's own word, without the layers and URLs
/// around it.
pub(super) fn root_cause(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = cause.to_string();
        source = cause.source();
    }
    text
}
