//! Requests that break a rule: names, hashes, limits, encodings. No agent sends such.
//!
//! Guarantees: each is counted and the connection that brought it is closed; the log says who sent
//! what and which rule it breaks, each of the first [`ALL_TOLD`] and then seldom, so that an attack
//! does not fill the disk.
//! Does not: decide what is refused (handlers do), or shut anybody out.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::{Request, State};
use axum::http::{HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;
use fsync_core::wire::{ErrorBody, ErrorCode};
use tracing::warn;

use crate::metrics::metrics;

/// Breaches that are told one by one.
const ALL_TOLD: u64 = 64;

/// How many requests broke a rule; clones share the count.
#[derive(Debug, Clone, Default)]
pub(super) struct Audit(Arc<AtomicU64>);

/// What an answer carries with it when its request broke a rule.
#[derive(Debug, Clone)]
pub(super) struct Breach(String);

impl Breach {
    /// Returns the breach that an error tells of.
    pub(super) fn of(error: &ErrorBody) -> Option<Self> {
        let is_breach = matches!(
            error.code,
            ErrorCode::Malformed | ErrorCode::HashMismatch | ErrorCode::TooLarge
        );
        is_breach.then(|| Self(error.message.clone()))
    }
}

/// Lets a request through and looks at its answer.
pub(super) async fn look(State(audit): State<Audit>, request: Request, next: Next) -> Response {
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let client = request.headers().get(header::USER_AGENT).cloned();
    let mut response = next.run(request).await;
    if let Some(Breach(reason)) = response.extensions().get::<Breach>().cloned() {
        metrics().breach();
        let count = audit.0.fetch_add(1, Ordering::Relaxed) + 1;
        if count <= ALL_TOLD || count.is_power_of_two() {
            warn!(%method, path = uri.path(), ?client, reason, count, "refused what breaks a rule");
        }
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::error::ApiError;

    #[test]
    fn only_what_no_agent_sends_is_a_breach() {
        for (code, is_breach) in [
            (ErrorCode::Malformed, true),
            (ErrorCode::HashMismatch, true),
            (ErrorCode::TooLarge, true),
            (ErrorCode::Missing, false),
            (ErrorCode::BaseUnknown, false),
            (ErrorCode::NotFound, false),
            (ErrorCode::Unauthorized, false),
            (ErrorCode::Forbidden, false),
            (ErrorCode::RateLimited, false),
            (ErrorCode::UploadUnknown, false),
            (ErrorCode::Unavailable, false),
        ] {
            let ApiError(error) = ApiError::new(code, "m");
            assert_eq!(Breach::of(&error).is_some(), is_breach, "{code:?}");
        }
    }
}
