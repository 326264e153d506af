//! The door: what every request passes before its route, the Socket.IO ones included.
//!
//! Guarantees: a web page reaches this server only if its origin is on the list, so that a browser
//! lends nobody its place in the network; where no token is asked for, a name that an attacker
//! resolves to this machine does not reach it either; new Socket.IO sessions are bounded in time
//! before anything is made for them; answers tell browsers to keep, run and frame nothing.
//! Does not: know who calls.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use fsync_core::wire::{ErrorCode, MOVES_HEADER, UPLOAD_HEADER};
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::error::ApiError;
use crate::access_log::{self, Attempt};
use crate::config::{Access, Config, Origin};
use crate::rates::Rates;

/// The path of Engine.IO sessions.
const SESSIONS: &str = "/socket.io/";

/// What the door asks.
#[derive(Debug, Clone)]
pub struct Door(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    origins: Vec<Origin>,
    /// Whether only names of this machine itself are answered to.
    is_local: bool,
    is_tls: bool,
    rates: Rates,
}

impl Door {
    /// Makes the door of a server.
    pub fn new(config: &Config, rates: Rates) -> Self {
        Self(Arc::new(Inner {
            origins: config.origins.clone(),
            is_local: config.access == Access::Loopback,
            is_tls: config.tls.is_some(),
            rates,
        }))
    }

    /// Returns what tells browsers which pages may ask.
    pub fn cors(&self) -> CorsLayer {
        let origins = self.0.origins.iter();
        let values = origins.filter_map(|origin| HeaderValue::from_str(origin.as_str()).ok());
        CorsLayer::new()
            .allow_origin(AllowOrigin::list(values))
            .allow_methods([Method::GET, Method::POST, Method::PUT])
            .allow_headers([
                header::AUTHORIZATION,
                header::CONTENT_TYPE,
                HeaderName::from_static(UPLOAD_HEADER),
            ])
            .expose_headers([header::RETRY_AFTER, HeaderName::from_static(MOVES_HEADER)])
    }
}

/// Lets a request through, or not.
pub async fn pass(State(door): State<Door>, request: Request, next: Next) -> Response {
    let is_tls = door.0.is_tls;
    let mut response = match door.0.check(&request) {
        Ok(()) => next.run(request).await,
        Err(refused) => refused.into_response(),
    };
    let headers = response.headers_mut();
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-store"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; frame-ancestors 'none'",
        ),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if is_tls {
        let value = HeaderValue::from_static("max-age=31536000");
        headers.insert(header::STRICT_TRANSPORT_SECURITY, value);
    }
    response
}

impl Inner {
    fn check(&self, request: &Request) -> Result<(), ApiError> {
        let denied = |reason, message| {
            access_log::denied(&Attempt {
                subject: "-",
                action: request.method().as_str(),
                place: request.uri().path(),
                tree: None,
                reason,
            });
            Err(ApiError::new(ErrorCode::Forbidden, message))
        };
        if !self.knows_origin(request.headers()) {
            let message = "pages of this origin may not ask this server: --cors-origin allows one";
            return denied("origin", message);
        }
        if self.is_local && !is_of_this_machine(request) {
            let message = "a server without tokens answers to localhost and addresses only, not to names with a dot";
            return denied("host", message);
        }
        let is_new_session = request.uri().path().starts_with(SESSIONS)
            && !request
                .uri()
                .query()
                .is_some_and(|query| query.contains("sid="));
        if is_new_session {
            let passed = self.rates.handshake();
            passed.map_err(|passed| ApiError(passed.to_body()))?;
        }
        Ok(())
    }

    /// Browsers say where a page is from; agents say nothing.
    fn knows_origin(&self, headers: &HeaderMap) -> bool {
        let mut given = headers.get_all(header::ORIGIN).iter();
        given.all(|value| {
            self.origins
                .iter()
                .any(|origin| origin.as_str().as_bytes() == value)
        })
    }
}

/// Whether a request names an address, or something that only this network knows.
fn is_of_this_machine(request: &Request) -> bool {
    let named = request
        .headers()
        .get(header::HOST)
        .and_then(|value| value.to_str().ok());
    let Some(host) = named.or_else(|| request.uri().host()) else {
        return true;
    };
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    // A name without a dot is this machine's or a proxy's word for it; nobody can register one.
    !host.contains('.') || host.parse::<IpAddr>().is_ok()
}
