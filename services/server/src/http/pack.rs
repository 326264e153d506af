//! Packs in bodies: read, verified, and taken apart into what admission and stores need.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use fsync_core::id::RevisionId;
use fsync_core::label::TenantName;
use fsync_core::limits;
use fsync_core::pack::{
    Object, PACK_HEADER_BYTES, PackReader, PackWriter, RECORD_HEADER_BYTES, Record,
};
use fsync_core::service::admit::Pushed;
use fsync_core::service::record::{PackEntry, Payload};
use fsync_core::wire::{ErrorCode, PACK_TYPE};
use futures_util::StreamExt;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};

use super::Api;
use super::json::{content_length, too_slow};
use crate::http::error::ApiError;
use crate::limits::{BODY_SLOWEST, BODY_STALL};

/// Objects of a push up to this size together, in bytes, are kept in the journal's own transaction.
const INLINE_BYTES: usize = 256 * 1024;
/// A body is kept and verified in pieces of this size, in bytes: it is not in memory twice, and
/// what it leaves behind fits the next one.
const PIECE_BYTES: usize = 256 * 1024;

/// A verified pack of a request.
pub(super) struct Received {
    /// Its body, as it came.
    raw: Vec<Bytes>,
    /// Where each object is in it.
    entries: Vec<PackEntry>,
    /// The objects, if they are few and small.
    small: Option<Vec<Object>>,
    /// Nodes decoded, chunks by length.
    pub(super) pushed: Pushed,
    /// The revision that ended it.
    pub(super) revision: Option<(RevisionId, Vec<u8>)>,
    /// Keeps the room until the objects are stored.
    _room: OwnedSemaphorePermit,
}

/// Reads and verifies a request's pack.
pub(super) async fn receive(api: &Api, request: Request) -> Result<Received, ApiError> {
    let length = content_length(request.headers());
    let too_large = || {
        let message = format!(
            "the pack is over {} bytes: split it",
            limits::PACK_BODY_BYTES
        );
        ApiError::new(ErrorCode::TooLarge, message)
    };
    if length.is_some_and(|n| n > limits::PACK_BODY_BYTES) {
        return Err(too_large());
    }
    let room = api
        .gate
        .enter(length.unwrap_or(limits::PACK_BODY_BYTES))
        .await?;
    let raw = read(request, length).await?.ok_or_else(too_large)?;
    let bytes: usize = raw.iter().map(Bytes::len).sum();
    if bytes <= PIECE_BYTES / 4 {
        // So little is verified faster than handed to another thread.
        return verify(raw, bytes, room);
    }
    api.store.busy(move || verify(raw, bytes, room)).await?
}

/// Returns the body; `None` if it is too large. What comes in ever so small pieces takes no more
/// room than its bytes.
async fn read(request: Request, length: Option<usize>) -> Result<Option<Vec<Bytes>>, ApiError> {
    let mut left = limits::PACK_BODY_BYTES;
    let mut raw = Vec::new();
    let mut last = BytesMut::with_capacity(length.unwrap_or(PIECE_BYTES).min(PIECE_BYTES));
    let mut body = request.into_body().into_data_stream();
    // Room is held as long as a body comes: one that trickles must not hold it for ever.
    let most = length.unwrap_or(limits::PACK_BODY_BYTES) as u64;
    let end = Instant::now() + BODY_STALL + Duration::from_secs(most / BODY_SLOWEST);
    loop {
        let until = end.min(Instant::now() + BODY_STALL);
        let piece = timeout_at(until, body.next()).await;
        let Some(piece) = piece.map_err(|_elapsed| too_slow())? else {
            break;
        };
        let mut piece = piece.map_err(|e| ApiError::malformed("the pack cannot be read", e))?;
        let Some(rest) = left.checked_sub(piece.len()) else {
            return Ok(None);
        };
        left = rest;
        while !piece.is_empty() {
            if last.len() == PIECE_BYTES {
                raw.push(std::mem::take(&mut last).freeze());
                last.reserve(PIECE_BYTES);
            }
            let room = PIECE_BYTES - last.len();
            last.extend_from_slice(&piece.split_to(piece.len().min(room)));
        }
    }
    raw.push(last.freeze());
    Ok(Some(raw))
}

fn verify(raw: Vec<Bytes>, bytes: usize, room: OwnedSemaphorePermit) -> Result<Received, ApiError> {
    let is_small = bytes <= INLINE_BYTES;
    let mut received = Received {
        entries: Vec::new(),
        small: is_small.then(Vec::new),
        pushed: Pushed::default(),
        revision: None,
        _room: room,
        raw: Vec::new(),
    };
    let mut reader = PackReader::default();
    let mut at = PACK_HEADER_BYTES;
    for piece in &raw {
        reader.feed(piece);
        while let Some(record) = reader.next_record()? {
            at += RECORD_HEADER_BYTES;
            at += received.take(record, at)?;
        }
    }
    reader.finish()?;
    received.raw = raw;
    Ok(received)
}

impl Received {
    /// Returns the bytes of its objects if contents are among them; what only removes and renames
    /// brings none and is taken although a quota is used up, so that there is a way out.
    pub(super) fn content_bytes(&self) -> Option<u64> {
        let has_contents = self.entries.iter().any(|entry| !entry.kind.is_node());
        let bytes = self.entries.iter().map(|entry| u64::from(entry.bytes));
        has_contents.then(|| bytes.sum())
    }

    /// Takes a record whose body starts at `at`; returns its length.
    fn take(&mut self, record: Record, at: usize) -> Result<usize, ApiError> {
        if self.revision.is_some() {
            return Err(ApiError::malformed(
                "the pack",
                "the revision must come last",
            ));
        }
        let object = match record {
            Record::Revision(id, bytes) => {
                let length = bytes.len();
                self.revision = Some((id, bytes));
                return Ok(length);
            }
            Record::Object(object) => object,
        };
        limits::check(
            "objects in a pack",
            limits::REQUEST_OBJECTS,
            self.entries.len() + 1,
        )
        .map_err(|e| ApiError::new(ErrorCode::TooLarge, e.to_string()))?;
        self.pushed
            .add(&object)
            .map_err(|e| ApiError::malformed(&format!("object {}", object.id), e))?;
        let length = object.bytes.len();
        self.entries.push(PackEntry {
            kind: object.kind,
            id: object.id,
            offset: u32::try_from(at).unwrap_or(u32::MAX),
            bytes: u32::try_from(length).unwrap_or(u32::MAX),
        });
        if let Some(small) = &mut self.small {
            small.push(object);
        }
        Ok(length)
    }

    /// Makes the objects ready for the journal: small ones stay if it keeps them, others are durable
    /// in a pack when this returns.
    pub(super) async fn store(
        &mut self,
        api: &Api,
        tenant: &TenantName,
    ) -> Result<Payload, ApiError> {
        let small = self.small.take();
        if let Some(small) =
            small.filter(|small| small.is_empty() || api.store.journal().keeps_contents())
        {
            return Ok(Payload::Inline(small));
        }
        let raw = std::mem::take(&mut self.raw);
        let entries = std::mem::take(&mut self.entries);
        let pack = api.store.blobs().put(tenant, raw, &entries).await;
        let pack = pack.map_err(fsync_core::service::error::ServiceError::from)?;
        Ok(Payload::Packed(pack, entries))
    }
}

/// Answers with a pack, which keeps its room until the last piece of it was taken.
pub(super) fn answer(pack: PackWriter, room: OwnedSemaphorePermit) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(PACK_TYPE)),
        (header::CONTENT_LENGTH, HeaderValue::from(pack.len())),
    ];
    let rest = (pack.into_pieces().into_iter(), room);
    let pieces = futures_util::stream::unfold(rest, |(mut rest, room)| async {
        let piece = rest.next()?;
        Some((Ok::<_, Infallible>(Bytes::from(piece)), (rest, room)))
    });
    (headers, Body::from_stream(pieces)).into_response()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use fsync_core::id::ObjectKind;
    use tokio::sync::Semaphore;

    use super::*;

    fn two_pieces() -> PackWriter {
        let mut pack = PackWriter::new();
        for byte in [1, 2] {
            pack.push_object(Object::new(ObjectKind::Chunk, vec![byte; PIECE_BYTES]));
        }
        pack
    }

    /// A reader that is slow, or never comes back, must not make room for answers that memory does
    /// not have.
    #[tokio::test]
    async fn an_answer_keeps_its_room_until_its_last_piece_was_taken() {
        let room = Arc::new(Semaphore::new(1));
        let permit = Arc::clone(&room).try_acquire_owned().expect("free");
        let pack = two_pieces();
        let bytes = pack.len();
        let mut body = answer(pack, permit).into_body().into_data_stream();
        let mut taken = 0;
        while taken < bytes {
            assert_eq!(room.available_permits(), 0, "after {taken} bytes");
            taken += body.next().await.expect("more").expect("no error").len();
        }
        assert!(body.next().await.is_none());
        drop(body);
        assert_eq!(room.available_permits(), 1);
    }

    #[tokio::test]
    async fn an_answer_that_nobody_reads_to_its_end_gives_its_room_back() {
        let room = Arc::new(Semaphore::new(1));
        let permit = Arc::clone(&room).try_acquire_owned().expect("free");
        let mut body = answer(two_pieces(), permit).into_body().into_data_stream();
        assert!(body.next().await.is_some());
        drop(body);
        assert_eq!(room.available_permits(), 1);
    }
}
