//! `POST objects` and `POST have`: contents by id, and which of them are lacking; both per tree,
//! never per tenant.

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

use super::access::Reads;
use super::json::Body;
use super::{Api, pack};
use crate::http::error::ApiError;

pub(super) async fn post(
    State(api): State<Api>,
    Reads(tree): Reads,
    Body(request): Body<ObjectsRequest>,
) -> Result<Response, ApiError> {
    check(&request)?;
    let upload = request.upload.map(UploadId);
    let lacking = api.store.lacking(&tree, upload, &request.ids).await?;
    if !lacking.is_empty() {
        return Err(not_here(&api, &tree, lacking).await?);
    }
    let room = api.gate.enter(limits::PACK_BODY_BYTES).await?;
    let mut writer = PackWriter::new();
    let mut left = request.ids.as_slice();
    // What does not fit is left out; the caller asks again for what it did not get.
    while !left.is_empty() && writer.len() < limits::PACK_BYTES {
        let ids = &left[..left.len().min(READ_OBJECTS)];
        let space = limits::PACK_BYTES - writer.len();
        let read = api.store.read_within(&tree.tenant, ids, space).await?;
        let gone = ids.iter().zip(&read).filter(|(_, object)| object.is_none());
        let gone: Vec<ObjectId> = gone.map(|(id, _)| *id).collect();
        if !gone.is_empty() {
            return Err(not_here(&api, &tree, gone).await?);
        }
        let is_full = read.len() < ids.len();
        left = &left[read.len()..];
        for object in read.into_iter().flatten() {
            writer.push_object(object);
        }
        if is_full {
            break;
        }
    }
    Ok(pack::answer(writer, room))
}

/// Objects looked up at once.
const READ_OBJECTS: usize = 512;

pub(super) async fn have(
    State(api): State<Api>,
    Reads(tree): Reads,
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

/// An unknown object and another tree's object answer alike; agents are asked for one that was
/// lost.
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
