//! Packs in bodies: read, verified, and taken apart into what admission and stores need.

use std::convert::Infallible;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use fsync_core::id::RevisionId;
use fsync_core::label::TenantName;
use fsync_core::limits;
use fsync_core::pack::{Object, PACK_HEADER_BYTES, PackReader, RECORD_HEADER_BYTES, Record};
use fsync_core::service::admit::Pushed;
use fsync_core::service::record::{PackEntry, Payload};
use fsync_core::wire::{ErrorCode, PACK_TYPE};
use futures_util::StreamExt;
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
    let mut pieces = request.into_body().into_data_stream();
    let mut raw = BytesMut::with_capacity(length.unwrap_or_default());
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|e| ApiError::malformed("the pack cannot be read", e))?;
        if raw.len() + piece.len() > limits::PACK_BODY_BYTES {
            return Err(too_large());
        }
        raw.extend_from_slice(&piece);
    }
    let raw = raw.freeze();
    if raw.len() <= PIECE_BYTES / 4 {
        // So little is verified faster than handed to another thread.
        return verify(raw, room);
    }
    api.store.busy(move || verify(raw, room)).await?
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

/// Answers with a pack, which keeps its room until the last piece of it was taken.
pub(super) fn answer(pack: Vec<u8>, room: OwnedSemaphorePermit) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(PACK_TYPE)),
        (header::CONTENT_LENGTH, HeaderValue::from(pack.len())),
    ];
    let rest = (Bytes::from(pack), room);
    let pieces = futures_util::stream::unfold(rest, |(mut rest, room)| async {
        let piece = rest.split_to(rest.len().min(PIECE_BYTES));
        (!piece.is_empty()).then_some((Ok::<_, Infallible>(piece), (rest, room)))
    });
    (headers, Body::from_stream(pieces)).into_response()
}
