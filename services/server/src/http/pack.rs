//! Packs in bodies: read, verified, and taken apart into what admission and stores need.

use axum::body;
use axum::extract::Request;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use fsync_core::id::RevisionId;
use fsync_core::label::TenantName;
use fsync_core::limits;
use fsync_core::pack::{Object, PACK_HEADER_BYTES, PackReader, RECORD_HEADER_BYTES, Record};
use fsync_core::service::admit::Pushed;
use fsync_core::service::record::{PackEntry, Payload};
use fsync_core::wire::{ErrorCode, PACK_TYPE};
use tokio::sync::OwnedSemaphorePermit;

use super::Api;
use super::json::content_length;
use crate::http::error::ApiError;

/// Objects of a push up to this size together, in bytes, are kept in the journal's own transaction.
const INLINE_BYTES: usize = 256 * 1024;
/// The body is verified in pieces of this size, in bytes, so that it is not in memory twice.
const PIECE_BYTES: usize = 256 * 1024;

/// A verified pack of a request.
pub(super) struct Received {
    /// Its body, as it came.
    raw: Bytes,
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
    let length = content_length(&request);
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
    let raw = body::to_bytes(request.into_body(), limits::PACK_BODY_BYTES).await;
    let raw = raw.map_err(|e| match is_limit(&e) {
        true => too_large(),
        false => ApiError::malformed("the pack cannot be read", e),
    })?;
    if raw.len() <= PIECE_BYTES / 4 {
        // So little is verified faster than handed to another thread.
        return verify(raw, room);
    }
    api.store.busy(move || verify(raw, room)).await?
}

fn is_limit(error: &axum::Error) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if error.to_string().contains("length limit") {
            return true;
        }
        cause = error.source();
    }
    false
}

fn verify(raw: Bytes, room: OwnedSemaphorePermit) -> Result<Received, ApiError> {
    let is_small = raw.len() <= INLINE_BYTES;
    let mut received = Received {
        entries: Vec::new(),
        small: is_small.then(Vec::new),
        pushed: Pushed::default(),
        revision: None,
        _room: room,
        raw: Bytes::new(),
    };
    let mut reader = PackReader::default();
    let mut at = PACK_HEADER_BYTES;
    for piece in raw.chunks(PIECE_BYTES) {
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

    /// Makes the objects ready for the journal: small ones stay, others are durable in a pack when this returns.
    pub(super) async fn store(
        &mut self,
        api: &Api,
        tenant: &TenantName,
    ) -> Result<Payload, ApiError> {
        if let Some(small) = self.small.take() {
            return Ok(Payload::Inline(small));
        }
        let raw = std::mem::take(&mut self.raw);
        let entries = std::mem::take(&mut self.entries);
        let pack = api.store.blobs().put(tenant, raw, &entries).await;
        let pack = pack.map_err(fsync_core::service::error::ServiceError::from)?;
        Ok(Payload::Packed(pack, entries))
    }
}

/// Answers with a pack.
pub(super) fn answer(pack: Vec<u8>) -> Response {
    ([(header::CONTENT_TYPE, PACK_TYPE)], pack).into_response()
}
