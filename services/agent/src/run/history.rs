//! The log of a tree, whole or of one path.

use fsync_core::id::ObjectId;
use fsync_core::limits;
use fsync_core::node::Entry;
use fsync_core::nodes::{MemoryNodes, NodesError};
use fsync_core::path::RelPath;
use fsync_core::tree;
use fsync_core::wire::LogItem;

use super::net::failure_of;
use crate::client::ClientError;
use crate::client::http::Http;
use crate::client::packs::Wanted;
use crate::client::transfer::NODES_MAX;
use crate::control::{Failure, FailureKind, Response};
use crate::folder::NetFailure;

/// Answers a `log` request.
pub(super) async fn log(http: &Http, path: Option<RelPath>, limit: usize) -> Response {
    let limit = limit.min(limits::LOG_REVISIONS);
    let found = match path {
        None => http.log(None, limit).await,
        Some(path) => versions(http, &path, limit)
            .await
            .map(|found| found.into_iter().map(|v| v.0).collect()),
    };
    match found {
        Ok(items) => Response::Log { items },
        Err(error) => Response::Failed(failed(&error)),
    }
}

/// Puts an error of the client as the answer to a verb.
pub(super) fn failed(error: &ClientError) -> Failure {
    let kind = match failure_of(error) {
        NetFailure::Unreachable | NetFailure::Retry(_) => FailureKind::Offline,
        _ => FailureKind::Refused,
    };
    Failure::new(kind, error.to_string())
}

/// Returns the newest `limit` revisions that changed a path, with what each has there; looks at as
/// many revisions as one log answer holds.
pub(super) async fn versions(
    http: &Http,
    path: &RelPath,
    limit: usize,
) -> Result<Vec<(LogItem, Option<Entry>)>, ClientError> {
    let items = http.log(None, limits::LOG_REVISIONS).await?;
    let mut nodes = MemoryNodes::default();
    let mut found: Vec<(LogItem, Option<Entry>)> = Vec::new();
    let mut newer: Option<(LogItem, Option<Entry>)> = None;
    for item in items {
        let entry = entry_at(http, &mut nodes, &item.root, path).await?;
        if let Some((newer, newer_entry)) = newer.take()
            && newer_entry != entry
        {
            found.push((newer, newer_entry));
            if found.len() == limit {
                return Ok(found);
            }
        }
        newer = Some((item, entry));
    }
    // The oldest one made the path, if it has it.
    found.extend(newer.filter(|(_, entry)| entry.is_some()));
    Ok(found)
}

/// Returns what a tree has at a path, fetching the nodes on the way.
pub(super) async fn entry_at(
    http: &Http,
    nodes: &mut MemoryNodes,
    root: &ObjectId,
    path: &RelPath,
) -> Result<Option<Entry>, ClientError> {
    with_nodes(http, nodes, |nodes| tree::lookup(nodes, root, path)).await
}

/// Runs a pure function over nodes, fetching what it misses until it has all.
pub(super) async fn with_nodes<T>(
    http: &Http,
    nodes: &mut MemoryNodes,
    mut run: impl FnMut(&MemoryNodes) -> Result<T, NodesError>,
) -> Result<T, ClientError> {
    loop {
        let missing = match run(nodes) {
            Ok(value) => return Ok(value),
            Err(NodesError::Missing(ids)) => ids,
            Err(error) => return Err(http.bad_tree(&error)),
        };
        for batch in missing.chunks(NODES_MAX) {
            let wanted: Vec<Wanted> = batch
                .iter()
                .map(|(kind, id)| Wanted::node(*kind, *id))
                .collect();
            for object in http.objects(&wanted, None).await? {
                nodes
                    .insert(object.kind, object.id, &object.bytes)
                    .map_err(|source| {
                        http.bad_tree(&NodesError::Decode {
                            id: object.id,
                            source,
                        })
                    })?;
            }
        }
    }
}
