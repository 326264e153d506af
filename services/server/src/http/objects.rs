//! `POST objects` and `POST have`: contents by id, and which of them are lacking; both per tree, never per tenant.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use fsync_core::limits;
use fsync_core::pack::PackWriter;
use fsync_core::service::error::ServiceError;
use fsync_core::service::record::UploadId;
use fsync_core::wire::{ErrorCode, HaveAnswer, ObjectsRequest};

use super::json::Body;
use super::{Api, OfTree, pack};
use crate::http::error::ApiError;

pub(super) async fn post(
    State(api): State<Api>,
    OfTree(tree): OfTree,
    Body(request): Body<ObjectsRequest>,
) -> Result<Response, ApiError> {
    check(&request)?;
    let upload = request.upload.map(UploadId);
    let lacking = api.store.lacking(&tree, upload, &request.ids).await?;
    if !lacking.is_empty() {
        return Err(not_here(lacking));
    }
    let room = api.gate.enter(limits::PACK_BODY_BYTES).await?;
    let most = request.ids.len() * limits::CHUNK_TARGET_BYTES;
    let mut writer = PackWriter::with_room(most.min(limits::PACK_BYTES));
    // What does not fit is left out; the caller asks again for what it did not get.
    for ids in request.ids.chunks(READ_OBJECTS) {
        if writer.len() >= limits::PACK_BYTES {
            break;
        }
        for (id, object) in ids.iter().zip(api.store.read(&tree.tenant, ids).await?) {
            let Some(object) = object else {
                return Err(not_here(vec![*id]));
            };
            if writer.is_empty() || writer.len() + object.packed_bytes() <= limits::PACK_BYTES {
                writer.push(object.kind, &object.id, &object.bytes);
            }
        }
    }
    Ok(pack::answer(writer.finish(), room))
}

/// Objects read at once: bounds what is read beyond a full answer (chunks of 4 MiB are asked for one by one or few).
const READ_OBJECTS: usize = 512;

pub(super) async fn have(
    State(api): State<Api>,
    OfTree(tree): OfTree,
    Body(request): Body<ObjectsRequest>,
) -> Result<Json<HaveAnswer>, ApiError> {
    check(&request)?;
    let upload = request.upload.map(UploadId);
    let missing = api.store.lacking(&tree, upload, &request.ids).await?;
    Ok(Json(HaveAnswer { missing }))
}

fn check(request: &ObjectsRequest) -> Result<(), ApiError> {
    limits::check(
        "object ids in a request",
        limits::REQUEST_OBJECTS,
        request.ids.len(),
    )
    .map_err(|limit| ServiceError::from(limit).into())
}

/// An unknown object and another tree's object answer alike.
fn not_here(ids: Vec<fsync_core::id::ObjectId>) -> ApiError {
    let message = format!("{} objects are not in this tree", ids.len());
    let mut error = ApiError::new(ErrorCode::NotFound, message);
    error.0.missing = ids;
    error
}
