//! JSON bodies of requests, with our own errors and limit.

use std::time::Duration;

use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, header};
use bytes::Bytes;
use fsync_core::limits::JSON_BYTES;
use fsync_core::service::error::ServiceError;
use fsync_core::wire::ErrorCode;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::http::error::ApiError;
use crate::limits;

/// How long a JSON body may take: as long as the largest one at the slowest rate.
const JSON_PATIENCE: Duration = Duration::from_secs(30 + JSON_BYTES as u64 / limits::BODY_SLOWEST);
/// When who was too slow may come back, in milliseconds.
const SLOW_BACK_MS: u64 = 1_000;

/// A request's body.
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let length = content_length(request.headers());
        if length.is_some_and(|n| n > JSON_BYTES) {
            return Err(too_large());
        }
        let bytes = timeout(JSON_PATIENCE, Bytes::from_request(request, state)).await;
        let bytes = bytes.map_err(|_elapsed| too_slow())?;
        let bytes = bytes.map_err(|e| ApiError::malformed("the body cannot be read", e))?;
        if bytes.len() > JSON_BYTES {
            return Err(too_large());
        }
        let value = serde_json::from_slice(&bytes);
        value
            .map(Self)
            .map_err(|e| ApiError::malformed("the body is not what this path takes", e))
    }
}

/// Returns the length that a request announces.
pub(super) fn content_length(headers: &HeaderMap) -> Option<usize> {
    let value = headers.get(header::CONTENT_LENGTH)?;
    value.to_str().ok()?.parse().ok()
}

/// The sender is on a bad line, or holds room on purpose.
pub(super) fn too_slow() -> ApiError {
    let reason = format!(
        "the body came slower than {} bytes a second",
        limits::BODY_SLOWEST
    );
    ServiceError::Unavailable {
        reason,
        retry_after_ms: SLOW_BACK_MS,
    }
    .into()
}

fn too_large() -> ApiError {
    let message = format!("the body is over {JSON_BYTES} bytes: ask for less at once");
    ApiError::new(ErrorCode::TooLarge, message)
}
