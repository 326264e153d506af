//! `POST objects` and `POST have`: contents by id, and which of them are lacking; both per tree, never per tenant.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use fsync_core::id::ObjectId;
use fsync_core::label::TreeKey;
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
        return Err(not_here(&api, &tree, lacking).await?);
    }
    let room = api.gate.enter(limits::PACK_BODY_BYTES).await?;
    let most = request.ids.len() * limits::CHUNK_TARGET_BYTES;
    let mut writer = PackWriter::with_room(most.min(limits::PACK_BYTES));
    // What does not fit is left out; the caller asks again for what it did not get.
    for ids in request.ids.chunks(READ_OBJECTS) {
        if writer.len() >= limits::PACK_BYTES {
            break;
        }
        let read = api.store.read(&tree.tenant, ids).await?;
        let gone = ids.iter().zip(&read).filter(|(_, object)| object.is_none());
        let gone: Vec<ObjectId> = gone.map(|(id, _)| *id).collect();
        if !gone.is_empty() {
            return Err(not_here(&api, &tree, gone).await?);
        }
        for object in read.into_iter().flatten() {
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

/// An unknown object and another tree's object answer alike; agents are asked for one that was lost.
async fn not_here(api: &Api, tree: &TreeKey, ids: Vec<ObjectId>) -> Result<ApiError, ServiceError> {
    let lost = api.store.miss(tree, &ids).await?;
    let mut message = format!("{} objects are not in this tree", ids.len());
    if !lost.is_empty() {
        message = format!(
            "{message}; {} of them are lost, and agents that have them are asked to send them again",
            lost.len()
        );
    }
    let mut error = ApiError::new(ErrorCode::NotFound, message);
    error.0.missing = ids;
    Ok(error)
}
