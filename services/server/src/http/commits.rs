//! `POST commits`: a pack of what the service lacks, with the revision last.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use fsync_core::label::{AgentName, TreeKey};
use fsync_core::revision::Revision;
use fsync_core::service::error::ServiceError;
use fsync_core::service::record::UploadId;
use fsync_core::wire::{CommitAnswer, CommitOutcome, ErrorCode, UPLOAD_HEADER};

use super::access::Writes;
use super::{Api, pack, uploads};
use crate::access_log::{self, Attempt};
use crate::auth::Identity;
use crate::http::error::ApiError;
use crate::metrics::metrics;
use crate::tree::Commit;

pub(super) async fn post(
    State(api): State<Api>,
    Writes(tree, identity): Writes,
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
    if !identity.is_agent(&revision.author) {
        return Err(not_the_author(&identity, &tree, &revision.author));
    }
    if let Some(bytes) = received.content_bytes() {
        api.checks.policies.check_room(&tree, bytes).await?;
    }
    let author = revision.author.clone();
    let payload = received.store(&api, &tree.tenant).await?;
    let commit = Commit {
        id,
        revision,
        objects: std::mem::take(&mut received.pushed),
        payload,
        upload,
    };
    let answer = api.trees.commit(tree.clone(), commit).await;
    metrics().commit(match answer.as_ref().map(|answer| answer.outcome) {
        Ok(CommitOutcome::Head) => "head",
        Ok(CommitOutcome::Merged) => "merged",
        Ok(CommitOutcome::Done) => "done",
        Err(_) => "refused",
    });
    let answer = answer?;
    let what = format!("{id} by {author}");
    access_log::allowed(identity.subject(), "commit", &tree, &what);
    Ok(Json(answer))
}

/// A token for one agent makes no history under another's name.
fn not_the_author(identity: &Identity, tree: &TreeKey, author: &AgentName) -> ApiError {
    access_log::denied(&Attempt {
        subject: identity.subject(),
        action: "commit",
        place: author.as_str(),
        tree: Some(tree),
        reason: "not the author",
    });
    let message = format!("the token is for another agent than {author}");
    ApiError::new(ErrorCode::Forbidden, message)
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
