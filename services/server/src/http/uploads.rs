//! `POST uploads`, `PUT uploads/{id}`: sessions that gather objects for a commit, over hours and
//! restarts.

use axum::Json;
use axum::extract::{Path, Request, State};
use fsync_core::service::error::ServiceError;
use fsync_core::service::record::UploadId;
use fsync_core::wire::{UploadAnswer, UploadRequest};
use tracing::info;

use super::access::Writes;
use super::json::Body;
use super::{Api, pack};
use crate::access_log;
use crate::clock;
use crate::http::error::ApiError;
use crate::journal::Lease;

/// How long a session lives without use, in milliseconds: a laptop may sleep over a long weekend.
const UPLOAD_MS: u64 = 4 * 24 * 60 * 60 * 1000;
/// Session numbers stay exact in JSON readers that know only doubles.
const UPLOAD_BITS: u32 = 53;

/// Returns the lease of a session that is used now.
pub(super) fn lease() -> Lease {
    let now = clock::now();
    Lease {
        now,
        expires: now.plus_ms(UPLOAD_MS),
    }
}

fn answer(upload: UploadId) -> Json<UploadAnswer> {
    Json(UploadAnswer {
        upload: upload.0,
        expires_in_ms: UPLOAD_MS,
    })
}

pub(super) async fn post(
    State(api): State<Api>,
    Writes(tree, identity): Writes,
    Body(request): Body<UploadRequest>,
) -> Result<Json<UploadAnswer>, ApiError> {
    let upload = UploadId(clock::random_u64() >> (u64::BITS - UPLOAD_BITS));
    info!(upload = upload.0, agent = %request.agent, "upload session opened");
    access_log::allowed(identity.subject(), "upload", &tree, request.agent.as_str());
    let journal = api.store.journal();
    let opened = journal.open_upload(tree, upload, lease()).await;
    opened.map_err(ServiceError::from)?;
    Ok(answer(upload))
}

pub(super) async fn put(
    State(api): State<Api>,
    Writes(tree, _): Writes,
    Path(path): Path<std::collections::HashMap<String, String>>,
    request: Request,
) -> Result<Json<UploadAnswer>, ApiError> {
    let number = path.get("upload").and_then(|n| n.parse().ok());
    let upload = UploadId(number.ok_or_else(|| {
        ApiError::malformed("the upload session", "it is not a session's number")
    })?);
    let unknown = || ApiError::from(ServiceError::UploadUnknown(upload.0));
    let journal = api.store.journal();
    // Asked first, so that a body for a session that ended is not stored.
    let is_open = journal.touch_upload(tree.clone(), upload, lease()).await;
    if !is_open.map_err(ServiceError::from)? {
        return Err(unknown());
    }
    let mut received = pack::receive(&api, request).await?;
    if received.revision.is_some() {
        return Err(ApiError::malformed(
            "the pack",
            "an upload holds objects only",
        ));
    }
    if let Some(bytes) = received.content_bytes() {
        api.checks.policies.check_room(&tree, bytes).await?;
    }
    let payload = received.store(&api, &tree.tenant).await?;
    let added = journal.add_upload(tree, upload, payload, lease()).await;
    if !added.map_err(ServiceError::from)? {
        return Err(unknown());
    }
    Ok(answer(upload))
}
