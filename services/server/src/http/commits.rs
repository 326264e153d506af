//! `POST commits`: a pack of what the service lacks, with the revision last.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use fsync_core::revision::Revision;
use fsync_core::service::error::ServiceError;
use fsync_core::service::record::UploadId;
use fsync_core::wire::{CommitAnswer, CommitOutcome, UPLOAD_HEADER};

use super::{Api, OfTree, pack, uploads};
use crate::http::error::ApiError;
use crate::metrics::metrics;
use crate::tree::Commit;

pub(super) async fn post(
    State(api): State<Api>,
    OfTree(tree): OfTree,
    request: Request,
) -> Result<Json<CommitAnswer>, ApiError> {
    let upload = upload_of(request.headers())?;
    if let Some(upload) = upload {
        let lease = uploads::lease();
        let journal = api.store.journal();
        let is_open = journal.touch_upload(tree.clone(), upload, lease).await;
        if !is_open.map_err(ServiceError::from)? {
            return Err(ServiceError::UploadUnknown(upload.0).into());
        }
    }
    let mut received = pack::receive(&api, request).await?;
    let Some((id, bytes)) = received.revision.take() else {
        return Err(ApiError::malformed(
            "the pack",
            "it does not end with a revision",
        ));
    };
    let revision = Revision::decode(&bytes).map_err(|e| ApiError::malformed("the revision", e))?;
    let payload = received.store(&api, &tree.tenant).await?;
    let commit = Commit {
        id,
        revision,
        objects: std::mem::take(&mut received.pushed),
        payload,
        upload,
    };
    let answer = api.trees.commit(tree, commit).await;
    metrics().commit(match answer.as_ref().map(|answer| answer.outcome) {
        Ok(CommitOutcome::Head) => "head",
        Ok(CommitOutcome::Merged) => "merged",
        Ok(CommitOutcome::Done) => "done",
        Err(_) => "refused",
    });
    Ok(Json(answer?))
}

fn upload_of(headers: &HeaderMap) -> Result<Option<UploadId>, ApiError> {
    let Some(value) = headers.get(UPLOAD_HEADER) else {
        return Ok(None);
    };
    let number = value.to_str().ok().and_then(|text| text.parse().ok());
    match number {
        Some(number) => Ok(Some(UploadId(number))),
        None => Err(ApiError::malformed(
            UPLOAD_HEADER,
            "it is not a session's number",
        )),
    }
}
