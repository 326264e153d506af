//! `GET head`: where a tree stands now.

use axum::Json;
use axum::extract::State;
use fsync_core::service::facts::Questions;
use fsync_core::wire::HeadAnswer;

use super::Api;
use super::access::Reads;
use crate::http::error::ApiError;

pub(super) async fn get(
    State(api): State<Api>,
    Reads(tree): Reads,
) -> Result<Json<HeadAnswer>, ApiError> {
    let questions = Questions {
        head: true,
        ..Questions::default()
    };
    let answers = api.store.answer(&tree, questions).await?;
    let head = answers.head.flatten().map(|state| state.head);
    Ok(Json(HeadAnswer { head }))
}
