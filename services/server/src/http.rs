//! The HTTP data plane: one file per verb, paths as `fsync_core::wire` lists them.
//!
//! Guarantees: every error is an `ErrorBody`; what breaks a rule is told of ([`audit`]); no body is read before there is room for it
//! ([`gate`]); who calls, the tree's name and the right to it are checked before anything is looked
//! up ([`access`]).
//! Place: routes are joined with the Socket.IO layer in `app.rs`; only `http*` and `app.rs` know
//! axum.

use axum::extract::DefaultBodyLimit;
use axum::http::{Method, Uri};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use fsync_core::limits;
use fsync_core::wire::{ErrorCode, PROTOCOL_VERSION, SERVICE, Version};

use crate::http::error::ApiError;
use crate::rates::Checks;
use crate::socket::Sockets;
use crate::store::Store;
use crate::tree::Trees;
use audit::Audit;
use door::Door;
use gate::Gate;

mod access;
pub mod admin;
mod audit;
mod commits;
mod delta;
pub mod door;
pub mod error;
pub mod gate;
mod head;
mod json;
mod known;
mod log;
mod objects;
mod pack;
mod trace;
mod uploads;
mod watch;

/// What the handlers share.
#[derive(Debug, Clone)]
pub struct Api {
    /// Objects and nodes.
    pub store: Store,
    /// Commits.
    pub trees: Trees,
    /// Room for bodies.
    pub gate: Gate,
    /// Who waits for news.
    pub sockets: Sockets,
    /// Who calls, and how often.
    pub checks: Checks,
}

/// Returns all routes.
pub fn routes(api: Api) -> Router {
    let tree = Router::new()
        .route("/head", get(head::get))
        .route("/commits", post(commits::post))
        .route("/delta", get(delta::get))
        .route("/objects", post(objects::post))
        .route("/have", post(objects::have))
        .route("/uploads", post(uploads::post))
        .route("/uploads/{upload}", put(uploads::put))
        .route("/log", get(log::get))
        .route("/known", post(known::post));
    Router::new()
        .route("/v1/version", get(version))
        .route("/v1/watch", post(watch::post))
        .nest("/v1/trees/{tenant}/{tree}", tree)
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(limits::PACK_BODY_BYTES))
        .layer(from_fn_with_state(Audit::default(), audit::look))
        .layer(from_fn(trace::enter))
        .with_state(api)
}

/// Puts the door before all routes, the Socket.IO ones included.
pub fn guarded(routes: Router, door: Door) -> Router {
    let cors = door.cors();
    routes
        .layer(cors)
        .layer(from_fn_with_state(door, door::pass))
}

async fn version() -> Json<Version> {
    std::future::ready(Json(Version {
        service: SERVICE.to_owned(),
        protocol: PROTOCOL_VERSION,
    }))
    .await
}

async fn unknown(uri: Uri) -> ApiError {
    let message = format!(
        "{} is not a path of this server: it is an fsync server, see /v1/version",
        uri.path()
    );
    std::future::ready(ApiError::new(ErrorCode::NotFound, message)).await
}

async fn wrong_method(method: Method, uri: Uri) -> ApiError {
    let message = format!("{} does not take {method}", uri.path());
    std::future::ready(ApiError::new(ErrorCode::Malformed, message)).await
}
