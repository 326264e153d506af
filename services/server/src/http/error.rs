//! The one mapping from the service's errors to HTTP answers.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use fsync_core::pack::PackError;
use fsync_core::service::error::ServiceError;
use fsync_core::wire::{ErrorBody, ErrorCode};

use super::audit::Breach;

/// An error on its way to the caller.
#[derive(Debug)]
pub struct ApiError(pub ErrorBody);

impl ApiError {
    /// Makes an error of a code and a message for people.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self(ErrorBody {
            code,
            message: message.into(),
            missing: Vec::new(),
            retry_after_ms: None,
        })
    }

    /// Makes a `malformed` of what was read and why it is wrong.
    pub fn malformed(what: &str, reason: impl std::fmt::Display) -> Self {
        Self::new(ErrorCode::Malformed, format!("{what}: {reason}"))
    }
}

impl From<ServiceError> for ApiError {
    fn from(error: ServiceError) -> Self {
        Self(error.to_body())
    }
}

impl From<PackError> for ApiError {
    fn from(error: PackError) -> Self {
        let code = match error {
            PackError::HashMismatch { .. } => ErrorCode::HashMismatch,
            PackError::Limit(_) => ErrorCode::TooLarge,
            PackError::NotAPack(_) | PackError::Unknown { .. } | PackError::Truncated { .. } => {
                ErrorCode::Malformed
            }
        };
        Self::new(code, error.to_string())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let code = self.0.code.status();
        let status = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let retry_after_ms = self.0.retry_after_ms;
        let breach = Breach::of(&self.0);
        let mut response = (status, Json(self.0)).into_response();
        if let Some(ms) = retry_after_ms {
            let seconds = HeaderValue::from(ms.div_ceil(1000));
            response.headers_mut().insert(header::RETRY_AFTER, seconds);
        }
        if status == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Bearer");
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, scheme);
        }
        if let Some(breach) = breach {
            response.extensions_mut().insert(breach);
        }
        response
    }
}
