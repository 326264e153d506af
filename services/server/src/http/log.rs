//! `GET log?before&limit`: the lineage, newest first.

use axum::Json;
use axum::extract::{Query, State};
use fsync_core::limits;
use fsync_core::service::error::ServiceError;
use fsync_core::service::record::Stored;
use fsync_core::wire::{LogAnswer, LogItem, Seq};

use super::Api;
use super::access::Reads;
use crate::http::error::ApiError;

#[derive(Debug, serde::Deserialize)]
pub(super) struct Page {
    before: Option<u64>,
    limit: Option<usize>,
}

pub(super) async fn get(
    State(api): State<Api>,
    Reads(tree): Reads,
    page: Result<Query<Page>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<LogAnswer>, ApiError> {
    let Query(page) = page.map_err(|e| ApiError::malformed("the query", e))?;
    let limit = page
        .limit
        .unwrap_or(limits::LOG_REVISIONS)
        .min(limits::LOG_REVISIONS);
    let stored = api
        .store
        .journal()
        .log(tree, page.before.map(Seq), limit)
        .await;
    let stored = stored.map_err(ServiceError::from)?;
    Ok(Json(LogAnswer {
        items: stored.into_iter().map(item).collect(),
    }))
}

fn item(stored: Stored) -> LogItem {
    LogItem {
        revision: stored.id,
        seq: stored.seq,
        root: stored.revision.root,
        parents: stored.revision.parents,
        author: stored.revision.author,
        time: stored.revision.time,
        trace: stored.trace,
    }
}
