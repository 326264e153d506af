//! `POST known`: which versions a tree once had, so that an agent tells stale files from edits at
//! first contact.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use fsync_core::id::ObjectId;
use fsync_core::label::TreeKey;
use fsync_core::limits;
use fsync_core::nodes::NodesError;
use fsync_core::path::RelPath;
use fsync_core::service::error::ServiceError;
use fsync_core::service::known::Known;
use fsync_core::service::record::Stored;
use fsync_core::wire::{KnownAnswer, KnownRequest};

use super::Api;
use super::access::Reads;
use super::json::Body;
use crate::http::error::ApiError;
use crate::store::Loaded;

/// Most versions in one request.
const VERSIONS: usize = 1000;
/// Most revisions looked at; older versions count as unknown, which costs a conflict copy, never
/// content.
const REVISIONS: usize = 10_000;

pub(super) async fn post(
    State(api): State<Api>,
    Reads(tree): Reads,
    Body(request): Body<KnownRequest>,
) -> Result<Json<KnownAnswer>, ApiError> {
    limits::check("versions in a request", VERSIONS, request.versions.len())
        .map_err(ServiceError::from)?;
    let versions = request.versions.iter().map(read_version);
    let versions: Vec<_> = versions.collect::<Result<_, _>>()?;
    let mut known = Known::new(&versions);
    let mut before = None;
    let mut seen = 0;
    while !known.is_done() && seen < REVISIONS {
        let page = api
            .store
            .journal()
            .log(tree.clone(), before, limits::LOG_REVISIONS)
            .await;
        let page = page.map_err(ServiceError::from)?;
        let Some(oldest) = page.last() else { break };
        before = Some(oldest.seq);
        seen += page.len();
        known = look(&api, &tree, known, &page).await?;
    }
    Ok(Json(KnownAnswer {
        known: known.into_found(),
    }))
}

async fn look(
    api: &Api,
    tree: &TreeKey,
    mut known: Known,
    page: &[Stored],
) -> Result<Known, ApiError> {
    let roots: Vec<ObjectId> = page.iter().map(|stored| stored.revision.root).collect();
    let dropped = api.store.lacking(tree, None, &roots).await?;
    for root in roots.into_iter().filter(|root| !dropped.contains(root)) {
        let mut nodes = Loaded::default();
        loop {
            let result;
            (result, known, nodes) = api
                .store
                .busy(move || (known.look(&nodes, &root), known, nodes))
                .await?;
            let wanted = match result {
                Ok(()) => break,
                Err(NodesError::Missing(wanted)) => wanted,
                Err(error) => return Err(ServiceError::from(error).into()),
            };
            let found: BTreeMap<_, _> = api.store.nodes(&tree.tenant, &wanted).await?;
            if found.is_empty() {
                // Dropped meanwhile: this revision tells nothing.
                break;
            }
            nodes.0.extend(found);
        }
        if known.is_done() {
            break;
        }
    }
    Ok(known)
}

fn read_version((path, id): &(String, ObjectId)) -> Result<(RelPath, ObjectId), ApiError> {
    let bad = |reason: String| ApiError::malformed("a path in the request", reason);
    let bytes = decode_hex(path).ok_or_else(|| bad("it is not lower-case hex".to_owned()))?;
    let path = RelPath::parse(&bytes).map_err(|e| bad(e.to_string()))?;
    Ok((path, *id))
}

fn decode_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |d: &u8| match d {
        b'0'..=b'9' => Some(d - b'0'),
        b'a'..=b'f' => Some(d - b'a' + 10),
        _ => None,
    };
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| Some(digit(pair.first()?)? << 4 | digit(pair.get(1)?)?))
        .collect()
}
