//! Answers a `want`: sends the service what it lost and this folder has.
//!
//! Guarantees: only objects that the synced tree reaches are sent, so a hostile server gets nothing
//! that it was not given before; a chunk is read only where the tree has exactly it, and verified;
//! one answer at a time, and none sooner than [`PAUSE`] after the one before; what this folder does
//! not have is passed over in silence.
//! Does not: touch the folder's sync thread. The walk over the tree runs on the blocking pool, over
//! a snapshot.
//! Task: `want`, one at a time; ended with the agent. One that fails is forgotten: the service asks
//! again.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fsync_core::id::{ObjectId, ObjectKind};
use fsync_core::limits;
use fsync_core::pack::PackWriter;
use fsync_core::seek::{self, Spot};

use super::net::Net;
use crate::client::ClientError;
use crate::client::backoff::{jitter, scale};
use crate::client::transfer::BATCH_BYTES;
use crate::folder::{FolderError, Parts, SourceItem, read_item};

/// Shortest time between two answers.
const PAUSE: Duration = Duration::from_secs(2);
/// The agents of a tree start within this time: those that come later find less missing.
const SPREAD: Duration = Duration::from_millis(500);

/// Why a want was not answered.
#[derive(Debug, thiserror::Error)]
enum WantError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error("the agent ends")]
    Stopped,
}

/// When wants were answered.
#[derive(Debug, Default)]
pub(super) struct Wants {
    is_busy: Arc<AtomicBool>,
    last: Option<Instant>,
}

/// Ends an answer, in whatever way it ended.
struct Busy(Arc<AtomicBool>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl Wants {
    /// Starts to answer, unless that was done just now.
    pub(super) fn answer(&mut self, net: &Net, mut objects: Vec<ObjectId>) {
        let is_soon = self.last.is_some_and(|last| last.elapsed() < PAUSE);
        if is_soon || self.is_busy.swap(true, Ordering::AcqRel) {
            return;
        }
        self.last = Some(Instant::now());
        objects.truncate(limits::WANT_OBJECTS);
        let busy = Busy(Arc::clone(&self.is_busy));
        let (mine, stop) = (net.clone(), net.shutdown.token());
        let task = async move {
            tokio::select! {
                answer = answer(&mine, objects) => log(answer),
                () = stop.cancelled() => {}
            }
            drop(busy);
        };
        drop(net.shutdown.spawn("want", task));
    }
}

fn log(answer: Result<u64, WantError>) {
    match answer {
        Ok(0) => tracing::debug!("nothing of what the service lost is here"),
        Ok(objects) => tracing::info!(objects, "sent objects that the service had lost"),
        Err(error) => tracing::warn!(%error, "lost objects were not sent"),
    }
}

/// Sends what is here of what the service lacks; returns how many objects.
async fn answer(net: &Net, objects: Vec<ObjectId>) -> Result<u64, WantError> {
    tokio::time::sleep(scale(SPREAD, jitter())).await;
    let lacking: BTreeSet<ObjectId> = net.http.have(objects, None).await?.into_iter().collect();
    if lacking.is_empty() {
        return Ok(0);
    }
    let parts = net.parts.clone();
    let search = net
        .shutdown
        .spawn_blocking("search", move || candidates(&parts, &lacking));
    let mut left = search.await.map_err(|_ended| WantError::Stopped)??;
    let (mut session, mut sent) = (None, 0);
    while !left.is_empty() {
        let parts = net.parts.clone();
        let packing = net
            .shutdown
            .spawn_blocking("lost objects", move || pack(&parts, left));
        let packed;
        (packed, left) = packing.await.map_err(|_ended| WantError::Stopped)?;
        let Some((pack, objects)) = packed else {
            continue;
        };
        let upload = match session {
            Some(upload) => upload,
            None => net.http.upload_open(net.agent.clone()).await?.upload,
        };
        session = Some(upload);
        net.http.upload_put(upload, pack.finish().into()).await?;
        sent += objects;
    }
    Ok(sent)
}

/// Where one object may be read.
type Candidates = VecDeque<Vec<SourceItem>>;

fn candidates(parts: &Parts, wanted: &BTreeSet<ObjectId>) -> Result<Candidates, FolderError> {
    let synced = parts.state.snapshot()?.roots()?.synced;
    let found = seek::seek(&*parts.state, &synced, wanted)?;
    let items = |(id, spots): (ObjectId, Vec<Spot>)| {
        let item = |spot| item_of(id, spot);
        spots.into_iter().map(item).collect()
    };
    Ok(found.into_iter().map(items).collect())
}

fn item_of(id: ObjectId, spot: Spot) -> SourceItem {
    match spot {
        Spot::Node(kind) => SourceItem {
            kind,
            id,
            bytes: limits::NODE_BYTES as u64,
            at: None,
        },
        Spot::Chunk {
            path,
            offset,
            bytes,
        } => SourceItem {
            kind: ObjectKind::Chunk,
            id,
            bytes: bytes.min(limits::CHUNK_MAX_BYTES as u64),
            at: Some((path, offset)),
        },
    }
}

/// Reads objects until a pack is full; what changed on disk meanwhile is left out.
fn pack(parts: &Parts, mut left: Candidates) -> (Option<(PackWriter, u64)>, Candidates) {
    let mut pack = PackWriter::new();
    let mut objects = 0;
    while let Some(items) = left.pop_front() {
        let Some(object) = items.iter().find_map(|item| read_item(parts, item)) else {
            continue;
        };
        pack.push(object.kind, &object.id, &object.bytes);
        objects += 1;
        if pack.len() >= BATCH_BYTES {
            break;
        }
    }
    ((objects > 0).then_some((pack, objects)), left)
}
