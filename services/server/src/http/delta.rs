//! `GET delta?from&to`: one pack with what differs: nodes, small chunks, then the revision `to`;
//! hints in a header.

use std::collections::BTreeMap;

use axum::extract::{Query, State};
use axum::http::HeaderValue;
use axum::response::Response;
use fsync_core::hints;
use fsync_core::id::{ObjectId, RevisionId};
use fsync_core::label::TreeKey;
use fsync_core::limits;
use fsync_core::pack::PackWriter;
use fsync_core::revision::{self, MoveHint, Revision};
use fsync_core::service::delta::{Delta, delta};
use fsync_core::service::error::ServiceError;
use fsync_core::service::facts::Questions;
use fsync_core::service::record::Stored;
use fsync_core::wire::{MOVES_HEADER, MOVES_HEADER_BYTES, Seq};

use super::access::Reads;
use super::{Api, pack};
use crate::http::error::ApiError;

/// How far before `from` the chain of hints is read: a base that was merged in hangs on revisions
/// before it.
const LOOK_BACK: u64 = 64;

#[derive(Debug, serde::Deserialize)]
pub(super) struct Range {
    from: Option<RevisionId>,
    to: RevisionId,
}

pub(super) async fn get(
    State(api): State<Api>,
    Reads(tree): Reads,
    range: Result<Query<Range>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(range) = range.map_err(|e| ApiError::malformed("the query", e))?;
    let (from, to) = ends(&api, &tree, &range).await?;
    let moves = match &from {
        Some(from) => moves(&api, &tree, from, &to).await?,
        None => Vec::new(),
    };
    let (from_root, to_root) = (from.map(|f| f.revision.root), to.revision.root);
    let work = move |nodes: &dyn fsync_core::nodes::Nodes| delta(nodes, from_root, to_root);
    let delta = api.store.with_nodes(&tree, work).await?;
    let room = api.gate.enter(room_of(&delta)).await?;
    let mut writer = write(&api, &tree, &delta).await?;
    let (id, bytes) = to.revision.encode();
    writer.push_revision(&id, &bytes);
    let mut response = pack::answer(writer, room);
    if let Some(value) = moves_header(moves) {
        response.headers_mut().insert(MOVES_HEADER, value);
    }
    Ok(response)
}

/// Returns the most bytes that an answer can have: a small change must not wait for the room of a
/// large one, as all agents of a tree ask for it at once.
fn room_of(delta: &Delta) -> usize {
    let chunk = usize::try_from(limits::WHOLE_FILE_BYTES).unwrap_or(usize::MAX);
    let nodes = delta.nodes.len().saturating_mul(limits::NODE_BYTES);
    let chunks = delta.chunks.len().saturating_mul(chunk);
    let all = nodes
        .saturating_add(chunks)
        .saturating_add(limits::REVISION_BYTES);
    all.min(limits::PACK_BODY_BYTES)
}

/// Looks both revisions up; both must be in the lineage with their contents.
async fn ends(
    api: &Api,
    tree: &TreeKey,
    range: &Range,
) -> Result<(Option<Stored>, Stored), ApiError> {
    let questions = Questions {
        revisions: range.from.into_iter().chain([range.to]).collect(),
        ..Questions::default()
    };
    let answers = api.store.answer(tree, questions).await?;
    let known: BTreeMap<_, _> = answers.revisions.into_iter().collect();
    let stored = |id: &RevisionId| known.get(id).cloned().flatten();
    let to = stored(&range.to);
    let to = to.ok_or_else(|| ServiceError::NotFound(format!("revision {}", range.to)))?;
    let from = match &range.from {
        Some(id) => Some(stored(id).ok_or(ServiceError::BaseUnknown(*id))?),
        None => None,
    };
    let roots: Vec<ObjectId> = from
        .iter()
        .map(|f| f.revision.root)
        .chain([to.revision.root])
        .collect();
    let lacking = api.store.lacking(tree, None, &roots).await?;
    let lost = api.store.miss(tree, &lacking).await?;
    if !lost.is_empty() {
        return Err(ServiceError::Lost(lost).into());
    }
    if lacking.contains(&to.revision.root) {
        return Err(ServiceError::NotFound(format!("the content of revision {}", to.id)).into());
    }
    if let Some(from) = from.as_ref().filter(|f| lacking.contains(&f.revision.root)) {
        return Err(ServiceError::BaseUnknown(from.id).into());
    }
    Ok((from, to))
}

async fn moves(
    api: &Api,
    tree: &TreeKey,
    from: &Stored,
    to: &Stored,
) -> Result<Vec<MoveHint>, ApiError> {
    let questions = Questions {
        chain_after: Some(Seq(from.seq.0.saturating_sub(LOOK_BACK))),
        ..Questions::default()
    };
    let chain = api.store.answer(tree, questions).await?.chain;
    let chain = chain.map(|c| c.1).unwrap_or_default();
    let known: BTreeMap<RevisionId, &Revision> = chain
        .iter()
        .map(|stored| (stored.id, &stored.revision))
        .collect();
    Ok(hints::along(
        &known,
        (&from.id, &from.revision.parents),
        &to.id,
    ))
}

/// Returns the header's value; hints that do not fit are left out.
fn moves_header(mut moves: Vec<MoveHint>) -> Option<HeaderValue> {
    while !moves.is_empty() {
        let bytes = revision::encode_moves(&moves);
        if 2 * bytes.len() <= MOVES_HEADER_BYTES {
            let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
            return HeaderValue::from_str(&hex).ok();
        }
        moves.pop();
    }
    None
}

/// Writes what the delta names, up to a pack of nodes and [`limits::DELTA_INLINE_BYTES`] of chunks.
async fn write(api: &Api, tree: &TreeKey, delta: &Delta) -> Result<PackWriter, ApiError> {
    let mut writer = PackWriter::new();
    let nodes: Vec<ObjectId> = delta.nodes.iter().map(|(_, id)| *id).collect();
    for ids in nodes
        .chunks(READ_OBJECTS)
        .chain(delta.chunks.chunks(READ_OBJECTS))
    {
        let space = limits::PACK_BYTES.saturating_sub(writer.len());
        let read = api.store.read_within(&tree.tenant, ids, space).await?;
        let is_full = read.len() < ids.len();
        for object in read.into_iter().flatten() {
            writer.push_object(object);
        }
        if is_full {
            break;
        }
    }
    Ok(writer)
}

/// Objects looked up at once.
const READ_OBJECTS: usize = 1024;
