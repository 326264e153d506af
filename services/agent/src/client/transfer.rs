//! Bulk transfer: many objects up through an upload session, many down in order, a few requests in
//! flight.
//!
//! Guarantees: memory is bounded by [`IN_FLIGHT`] packs of [`BATCH_BYTES`] whatever is moved; each
//! object is verified before it is sent and after it came; an interrupted upload goes on where it
//! was, because what the session has is not sent again; a fetch delivers its batches in the order
//! of the request.
//! Does not: choose objects, or end a session (its commit does).

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fsync_core::id::ObjectId;
use fsync_core::label::AgentName;
use fsync_core::limits;
use fsync_core::pack::{Object, PackWriter};
use fsync_runtime::Shutdown;
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::sync::mpsc::Sender;

use super::error::{ClientError, NextStep};
use super::http::Http;
use super::packs::Wanted;

/// Wanted size of one pack in flight, in bytes: half a pack, so that three each way stay within 64
/// MiB of memory.
pub const BATCH_BYTES: usize = limits::PACK_BYTES / 2;
/// Requests in flight: one is on the wire while one is made and one is stored.
pub const IN_FLIGHT: usize = 3;
/// Ids in one `have` question: 64 hex digits each keep the JSON far below its limit.
const HAVE_IDS: usize = 4096;
/// Nodes in one request by id: even at their largest they fit a pack.
pub const NODES_MAX: usize = limits::PACK_BYTES / limits::NODE_BYTES;
/// Times that a busy server is asked again for one request before the caller decides.
const BUSY_RETRIES: u32 = 8;

/// Where an upload reads what it sends.
pub trait Source: Send + Sync + 'static {
    /// Reads an object; its id was made from the bytes that were read.
    ///
    /// # Errors
    /// [`Gone`] if the object cannot be had any more, for instance because the file was changed.
    fn read(&self, object: &Wanted) -> Result<Object, Gone>;
}

/// An object cannot be read any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("object {id} cannot be read any more: {reason}")]
pub struct Gone {
    /// The object.
    pub id: ObjectId,
    /// Why, for people.
    pub reason: String,
}

/// Why an upload stopped.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// The network or the server; go on later with the same session, or with a new one on
    /// [`ClientError::UploadUnknown`].
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A source object is gone: make a new revision from the disk.
    #[error(transparent)]
    Gone(#[from] Gone),
    /// The process ends.
    #[error("the upload was stopped")]
    Stopped,
}

/// How much of a transfer is done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Moved {
    /// Objects that are done, those that were there already included.
    pub objects: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Bytes that went over the wire for it.
    pub sent_bytes: u64,
}

impl Moved {
    fn add(&mut self, more: Self) {
        self.objects += more.objects;
        self.bytes += more.bytes;
        self.sent_bytes += more.sent_bytes;
    }
}

/// An upload into one session.
#[derive(Debug, Clone)]
pub struct Upload {
    http: Http,
    session: u64,
    shutdown: Shutdown,
}

impl Upload {
    /// Opens a session; keep [`Upload::session`] durable to resume after a crash.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn open(
        http: &Http,
        agent: AgentName,
        shutdown: &Shutdown,
    ) -> Result<Self, ClientError> {
        let session = with_patience(|| http.upload_open(agent.clone()))
            .await?
            .upload;
        Ok(Self::resume(http, session, shutdown))
    }

    /// Takes up a session that was opened before; whether the server still has it shows with the
    /// first request.
    pub fn resume(http: &Http, session: u64, shutdown: &Shutdown) -> Self {
        Self {
            http: http.clone(),
            session,
            shutdown: shutdown.clone(),
        }
    }

    /// Returns the session's id, for the commit.
    pub fn session(&self) -> u64 {
        self.session
    }

    /// Sends what the server lacks of `objects`; all of it is durable there when this returns.
    /// Cancel safe in that what was sent stays in the session.
    ///
    /// # Errors
    /// [`UploadError`].
    pub async fn send(
        &self,
        objects: impl IntoIterator<Item = Wanted> + Send,
        source: Arc<dyn Source>,
        mut on_progress: impl FnMut(Moved) + Send,
    ) -> Result<Moved, UploadError> {
        let mut done = Moved::default();
        let mut objects = objects.into_iter();
        loop {
            let batch: Vec<Wanted> = objects.by_ref().take(HAVE_IDS).collect();
            if batch.is_empty() {
                return Ok(done);
            }
            let missing = self.ask(&batch).await?;
            let (send, there): (Vec<_>, Vec<_>) =
                batch.into_iter().partition(|o| missing.contains(&o.id));
            done.add(Moved {
                objects: there.len() as u64,
                bytes: there.iter().map(|o| u64::from(o.bytes)).sum(),
                sent_bytes: 0,
            });
            on_progress(done);
            let mut packs = std::pin::pin!(self.packs(send, source.clone()));
            while let Some(moved) = packs.try_next().await? {
                done.add(moved);
                on_progress(done);
            }
        }
    }

    async fn ask(&self, batch: &[Wanted]) -> Result<HashSet<ObjectId>, ClientError> {
        let ids: Vec<ObjectId> = batch.iter().map(|o| o.id).collect();
        let missing = with_patience(|| self.http.have(ids.clone(), Some(self.session))).await?;
        Ok(missing.into_iter().collect())
    }

    /// Makes packs one after the other and puts up to [`IN_FLIGHT`] of them at a time.
    fn packs(
        &self,
        objects: Vec<Wanted>,
        source: Arc<dyn Source>,
    ) -> impl futures_util::Stream<Item = Result<Moved, UploadError>> + Send + '_ {
        stream::try_unfold(VecDeque::from(objects), move |left| {
            self.build(left, source.clone())
        })
        .map_ok(move |(moved, pack)| async move {
            with_patience(|| self.http.upload_put(self.session, pack.clone())).await?;
            Ok(moved)
        })
        .try_buffer_unordered(IN_FLIGHT - 1)
    }

    async fn build(
        &self,
        left: VecDeque<Wanted>,
        source: Arc<dyn Source>,
    ) -> Result<Option<(Built, VecDeque<Wanted>)>, UploadError> {
        if left.is_empty() {
            return Ok(None);
        }
        if self.shutdown.is_triggered() {
            return Err(UploadError::Stopped);
        }
        self.shutdown
            .spawn_blocking("upload pack", move || build_pack(left, &*source))
            .await
            .map_err(|_panicked_or_stopped| UploadError::Stopped)?
            .map(Some)
            .map_err(UploadError::Gone)
    }
}

type Built = (Moved, Bytes);

/// Reads and verifies objects until the pack is full or nothing is left.
fn build_pack(
    mut left: VecDeque<Wanted>,
    source: &dyn Source,
) -> Result<(Built, VecDeque<Wanted>), Gone> {
    let most: usize = left
        .iter()
        .take(limits::REQUEST_OBJECTS)
        .map(Wanted::packed_bytes)
        .sum();
    let mut pack = PackWriter::with_room(most.min(BATCH_BYTES));
    let mut moved = Moved::default();
    while let Some(wanted) = left.front() {
        let object = read_verified(wanted, source)?;
        let is_full = pack.len() + object.packed_bytes() > BATCH_BYTES
            || moved.objects >= limits::REQUEST_OBJECTS as u64;
        if is_full && !pack.is_empty() {
            break;
        }
        pack.push(object.kind, &object.id, &object.bytes);
        moved.objects += 1;
        moved.bytes += u64::from(wanted.bytes);
        left.pop_front();
    }
    moved.sent_bytes = pack.len() as u64;
    Ok(((moved, pack.finish().into()), left))
}

fn read_verified(wanted: &Wanted, source: &dyn Source) -> Result<Object, Gone> {
    let object = source.read(wanted)?;
    if object.id == wanted.id {
        return Ok(object);
    }
    Err(Gone {
        id: wanted.id,
        reason: "its content has changed since it was looked at".to_owned(),
    })
}

/// Fetches objects and delivers them in batches, in order, through a bounded channel; ends early,
/// without an error, when the receiver is gone.
///
/// # Errors
/// [`ClientError`]; what was delivered before it is good.
pub async fn fetch(
    http: &Http,
    wanted: impl IntoIterator<Item = Wanted> + Send,
    out: &Sender<Vec<Object>>,
) -> Result<(), ClientError> {
    let requests = stream::iter(Batches(wanted.into_iter().peekable()))
        .map(|batch| async move { with_patience(|| http.objects(&batch, None)).await });
    let mut answers = std::pin::pin!(requests.buffered(IN_FLIGHT));
    while let Some(objects) = answers.try_next().await? {
        if out.send(objects).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// Cuts a list of objects into requests of at most [`BATCH_BYTES`].
struct Batches<I: Iterator<Item = Wanted>>(std::iter::Peekable<I>);

impl<I: Iterator<Item = Wanted>> Iterator for Batches<I> {
    type Item = Vec<Wanted>;

    fn next(&mut self) -> Option<Vec<Wanted>> {
        let mut batch = vec![self.0.next()?];
        let mut bytes = weight(&batch[0]);
        while let Some(next) = self.0.peek() {
            bytes += weight(next);
            if bytes > BATCH_BYTES || batch.len() == limits::REQUEST_OBJECTS {
                break;
            }
            batch.extend(self.0.next());
        }
        Some(batch)
    }
}

/// Returns what an object is expected to take; nodes are rarely as large as they may be.
fn weight(wanted: &Wanted) -> usize {
    if wanted.kind.is_node() {
        return limits::NODE_TARGET_BYTES;
    }
    wanted.packed_bytes()
}

/// Repeats a request while the server asks to come back, [`BUSY_RETRIES`] times at most.
async fn with_patience<T, F>(mut request: impl FnMut() -> F) -> Result<T, ClientError>
where
    F: Future<Output = Result<T, ClientError>>,
{
    let mut tries = 0;
    loop {
        let error = match request().await {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        let (NextStep::Retry(after), true) = (error.next_step(), tries < BUSY_RETRIES) else {
            return Err(error);
        };
        tries += 1;
        tokio::time::sleep(after.max(Duration::from_millis(10))).await;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use fsync_core::id::ObjectKind;
    use fsync_core::pack::{Record, read_all};

    use super::*;

    struct Shelf(HashMap<ObjectId, Vec<u8>>);

    impl Source for Shelf {
        fn read(&self, object: &Wanted) -> Result<Object, Gone> {
            let bytes = self.0.get(&object.id).cloned();
            bytes
                .map(|bytes| Object::new(object.kind, bytes))
                .ok_or_else(|| Gone {
                    id: object.id,
                    reason: "not on the shelf".into(),
                })
        }
    }

    fn shelf(sizes: &[usize]) -> (Shelf, VecDeque<Wanted>) {
        let mut books = HashMap::new();
        let mut list = VecDeque::new();
        for (number, size) in sizes.iter().enumerate() {
            let mut bytes = vec![0; *size];
            bytes[..8].copy_from_slice(&number.to_le_bytes());
            let object = Object::new(ObjectKind::Chunk, bytes);
            list.push_back(Wanted::chunk(object.id, u32::try_from(*size).unwrap()));
            books.insert(object.id, object.bytes);
        }
        (Shelf(books), list)
    }

    #[test]
    fn packs_are_full_but_not_over_full_and_hold_everything_in_order() {
        let (shelf, list) = shelf(&[1 << 20, 2 << 20, 2 << 20, 4 << 20, 100]);
        let (mut left, mut sizes, mut ids) = (list.clone(), vec![], vec![]);
        while !left.is_empty() {
            let ((moved, pack), rest) = build_pack(left, &shelf).unwrap();
            assert_eq!(moved.sent_bytes, pack.len() as u64);
            sizes.push(moved.objects);
            for record in read_all(&pack).unwrap() {
                let Record::Object(object) = record else {
                    panic!("no revision was packed");
                };
                ids.push(object.id);
            }
            left = rest;
        }
        assert_eq!(sizes, [2, 1, 1, 1]);
        assert_eq!(ids, list.iter().map(|w| w.id).collect::<Vec<_>>());
    }

    #[test]
    fn what_changed_on_disk_is_not_sent() {
        let (mut shelf, list) = shelf(&[100]);
        if let Some(bytes) = shelf.0.get_mut(&list[0].id) {
            bytes[50] = 1;
        }
        let gone = build_pack(list.clone(), &shelf).unwrap_err();
        assert_eq!(gone.id, list[0].id);
    }

    #[test]
    fn requests_keep_to_bytes_and_counts() {
        let chunk = |n: u8, bytes| Wanted::chunk(ObjectId::from_bytes([n; 32]), bytes);
        let half = u32::try_from(BATCH_BYTES / 2).unwrap();
        let list = vec![
            chunk(1, half),
            chunk(2, half),
            chunk(3, 10),
            chunk(4, u32::MAX),
        ];
        let sizes: Vec<usize> = Batches(list.into_iter().peekable())
            .map(|b| b.len())
            .collect();
        assert_eq!(sizes, [1, 2, 1]);
        let small = (0..limits::REQUEST_OBJECTS + 1).map(|_| chunk(1, 1));
        let sizes: Vec<usize> = Batches(small.peekable()).map(|b| b.len()).collect();
        assert_eq!(sizes, [limits::REQUEST_OBJECTS, 1]);
    }
}
