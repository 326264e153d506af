//! JSON bodies of requests, with our own errors and limit.

use axum::extract::{FromRequest, Request};
use axum::http::header;
use bytes::Bytes;
use fsync_core::limits;
use fsync_core::wire::ErrorCode;
use serde::de::DeserializeOwned;

use crate::http::error::ApiError;

/// A request's body.
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let length = content_length(&request);
        if length.is_some_and(|n| n > limits::JSON_BYTES) {
            return Err(too_large());
        }
        let bytes = Bytes::from_request(request, state).await;
        let bytes = bytes.map_err(|e| ApiError::malformed("the body cannot be read", e))?;
        if bytes.len() > limits::JSON_BYTES {
            return Err(too_large());
        }
        let value = serde_json::from_slice(&bytes);
        value
            .map(Self)
            .map_err(|e| ApiError::malformed("the body is not what this path takes", e))
    }
}

/// Returns the length that a request announces.
pub(super) fn content_length(request: &Request) -> Option<usize> {
    let value = request.headers().get(header::CONTENT_LENGTH)?;
    value.to_str().ok()?.parse().ok()
}

fn too_large() -> ApiError {
    let message = format!(
        "the body is over {} bytes: ask for less at once",
        limits::JSON_BYTES
    );
    ApiError::new(ErrorCode::TooLarge, message)
}
