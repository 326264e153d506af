//! Carries out what a folder wants of the network, and hands the answers back as inputs.
//!
//! Each request is a task of its own, started by the sync thread and ended with the agent; the
//! folder asks for one thing at a time (chunks apart), so there is no queue here. An answer that
//! cannot be handed back means that the folder is closed: it is dropped.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use fsync_core::id::ObjectId;
use fsync_core::label::AgentName;
use fsync_core::pack::{Object, PackWriter};
use fsync_core::wire::CommitAnswer;
use fsync_runtime::Shutdown;
use fsync_runtime::fault::{self, Point};
use fsync_runtime::{span, trace};
use tokio::sync::mpsc::Sender;
use tracing::{Instrument, Span};

use super::Event;
use crate::client::http::Http;
use crate::client::packs::Wanted;
use crate::client::transfer::{self, Gone, Source, Upload, UploadError};
use crate::client::{ClientError, NextStep};
use crate::folder::{
    FetchAnswer, FetchRequest, FolderInput, NetFailure, Parts, PushRequest, SourceItem, read_item,
};
use crate::progress::{Amount, Event as Shown, Latest, Progress, Stage};

/// Pause when a server answers what no server should.
const REFUSED_PAUSE: Duration = Duration::from_secs(5);

/// What a request needs; clones share it.
#[derive(Debug, Clone)]
pub(super) struct Net {
    pub(super) http: Http,
    pub(super) agent: AgentName,
    pub(super) parts: Parts,
    pub(super) shutdown: Shutdown,
    pub(super) events: Sender<Event>,
    pub(super) progress: Arc<Latest>,
}

impl Net {
    /// Starts a fetch.
    pub(super) fn fetch(&self, request: FetchRequest, trace: Option<&str>) {
        let net = self.clone();
        let span = match trace {
            Some(_) => span!("agent.pull", otel.kind = "client"),
            None => Span::none(),
        };
        trace::follow(&span, trace);
        self.spawn("fetch", async move {
            let answer = net.do_fetch(request).instrument(span).await;
            FolderInput::Fetched(answer.map_err(|error| failure_of(&error)))
        });
    }

    /// Starts a push.
    pub(super) fn push(&self, request: PushRequest) {
        let net = self.clone();
        let span = span!(
            "agent.push",
            otel.kind = "client",
            fsync.revision = %request.id,
            fsync.objects = request.objects.len() + request.bulk.len(),
        );
        trace::follow(&span, request.trace.as_deref());
        self.spawn("push", async move {
            FolderInput::Pushed(net.do_push(request).instrument(span).await)
        });
    }

    /// Starts fetching the chunks of one batch.
    pub(super) fn get_chunks(&self, batch: u64, wanted: Vec<(ObjectId, u64)>) {
        let net = self.clone();
        self.spawn("chunks", async move {
            let wanted: Vec<Wanted> = wanted
                .into_iter()
                .map(|(id, bytes)| Wanted::chunk(id, u32::try_from(bytes).unwrap_or(u32::MAX)))
                .collect();
            let objects = net.http.objects(&wanted, None).await;
            FolderInput::Chunks {
                batch,
                objects: objects.map_err(|error| failure_of(&error)),
            }
        });
    }

    fn spawn(&self, name: &'static str, work: impl Future<Output = FolderInput> + Send + 'static) {
        let events = self.events.clone();
        let stop = self.shutdown.token();
        let task = async move {
            let answer = tokio::select! {
                answer = work => answer,
                () = stop.cancelled() => return,
            };
            if events.send(Event::Input(answer)).await.is_err() {
                tracing::debug!("an answer came after the folder was closed");
            }
        };
        drop(self.shutdown.spawn(name, task));
    }

    async fn do_fetch(&self, request: FetchRequest) -> Result<FetchAnswer, ClientError> {
        Ok(match request {
            FetchRequest::Delta { from, to } => {
                let delta = self.http.delta(from, to).await?;
                let (_, revision) = delta.revision;
                FetchAnswer::Delta {
                    revision,
                    moves: delta.moves,
                    objects: delta.objects,
                }
            }
            FetchRequest::Nodes(ids) => {
                let wanted: Vec<Wanted> = ids
                    .into_iter()
                    .take(transfer::NODES_MAX)
                    .map(|(kind, id)| Wanted::node(kind, id))
                    .collect();
                FetchAnswer::Nodes(self.http.objects(&wanted, None).await?)
            }
            FetchRequest::Known(versions) => {
                let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect();
                let versions = versions
                    .iter()
                    .map(|(path, id)| (hex(path.as_bytes()), *id))
                    .collect();
                FetchAnswer::Known(self.http.known(versions).await?)
            }
        })
    }

    async fn do_push(&self, request: PushRequest) -> Result<CommitAnswer, NetFailure> {
        let upload = if request.bulk.is_empty() {
            None
        } else {
            Some(self.upload(request.bulk).await?)
        };
        let mut pack = PackWriter::new();
        for object in &request.objects {
            pack.push(object.kind, &object.id, &object.bytes);
        }
        pack.push_revision(&request.id, &request.revision);
        fault::before(Point::PushSend);
        let answer = self.http.commit(pack.finish().into(), upload).await;
        fault::after(Point::PushSend);
        answer.map_err(|error| failure_of(&error))
    }

    /// Sends a bulk through an upload session and returns the session.
    async fn upload(&self, items: Vec<SourceItem>) -> Result<u64, NetFailure> {
        let wanted: Vec<Wanted> = items.iter().map(wanted_of).collect();
        let total = Amount {
            items: items.len() as u64,
            bytes: items.iter().map(|i| i.bytes).sum(),
        };
        let upload = Upload::open(&self.http, self.agent.clone(), &self.shutdown)
            .await
            .map_err(|error| failure_of(&error))?;
        let items = items.into_iter().map(|item| (item.id, item)).collect();
        let source = Arc::new(FolderSource {
            parts: self.parts.clone(),
            items,
        });
        let mut done = Amount::default();
        let sent = upload.send(wanted, source, |moved| {
            done = Amount {
                items: moved.objects,
                bytes: moved.bytes,
            };
            self.progress.report(&Shown::Progress {
                stage: Stage::Upload,
                done,
                total: Some(total),
            });
        });
        let sent = sent.await;
        self.progress.report(&Shown::Finished {
            stage: Stage::Upload,
            done,
        });
        match sent {
            Ok(_) => Ok(upload.session()),
            Err(UploadError::Gone(gone)) => {
                tracing::debug!(%gone, "a file changed while it was sent");
                Err(NetFailure::Gone)
            }
            Err(UploadError::Client(error)) => Err(failure_of(&error)),
            Err(UploadError::Stopped) => Err(NetFailure::Unreachable),
        }
    }
}

fn wanted_of(item: &SourceItem) -> Wanted {
    match item.at {
        Some(_) => Wanted::chunk(item.id, u32::try_from(item.bytes).unwrap_or(u32::MAX)),
        None => Wanted::node(item.kind, item.id),
    }
}

/// Reads chunks from the folder and nodes from the state.
struct FolderSource {
    parts: Parts,
    items: HashMap<ObjectId, SourceItem>,
}

impl Source for FolderSource {
    fn read(&self, object: &Wanted) -> Result<Object, Gone> {
        let item = self.items.get(&object.id);
        item.and_then(|item| read_item(&self.parts, item))
            .ok_or_else(|| Gone {
                id: object.id,
                reason: "its file has changed or is gone".to_owned(),
            })
    }
}

/// Sorts an error of the client by what the folder must do.
pub(super) fn failure_of(error: &ClientError) -> NetFailure {
    if matches!(error, ClientError::BadAnswer { .. }) {
        tracing::warn!("{error}; asking again");
    }
    match error {
        ClientError::Missing(ids) | ClientError::Lost(ids) => NetFailure::Missing(ids.clone()),
        ClientError::BaseUnknown => NetFailure::BaseUnknown,
        ClientError::UploadUnknown => NetFailure::Retry(Duration::ZERO),
        ClientError::ReadOnly { .. } => NetFailure::ReadOnly(error.to_string()),
        error => match error.next_step() {
            NextStep::Retry(after) => NetFailure::Retry(after),
            NextStep::Reconnect => NetFailure::Unreachable,
            NextStep::Repair => NetFailure::Retry(REFUSED_PAUSE),
            NextStep::AskUser => NetFailure::Refused(error.to_string()),
        },
    }
}
