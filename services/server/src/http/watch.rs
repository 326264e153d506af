//! `POST watch`: heads for agents without Socket.IO.

use axum::Json;
use axum::extract::State;
use fsync_core::wire::{Watch, WatchAnswer};

use super::Api;
use super::access::Caller;
use super::json::Body;
use crate::http::error::ApiError;

pub(super) async fn post(
    State(api): State<Api>,
    Caller(identity): Caller,
    Body(watch): Body<Watch>,
) -> Result<Json<WatchAnswer>, ApiError> {
    let answer = api.sockets.watch(identity, watch).await;
    answer.map(Json).map_err(ApiError)
}
