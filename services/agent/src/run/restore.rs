//! Brings an earlier version of a path back, as a new change of the user's.
//!
//! Guarantees: what stands there now is moved to the trash, never overwritten; each file is
//! complete when it appears. The watcher sees the change like any other, so it becomes a revision
//! and reaches everybody.

use std::sync::atomic::{AtomicU64, Ordering};

use fsync_core::filelist;
use fsync_core::id::{ObjectKind, RevisionId};
use fsync_core::node::{Content, Entry, FileEntry, Node, Run};
use fsync_core::nodes::{MemoryNodes, Nodes};
use fsync_core::path::RelPath;
use fsync_core::tree;

use super::history::{self, failed, with_nodes};
use super::net::Net;
use crate::client::ClientError;
use crate::client::packs::Wanted;
use crate::control::{Failure, FailureKind, PathText, Response};
use crate::files::{
    Files, FilesError, Meta, Place, Problem, Rename, StageKey, TrashSlot, make_dir, make_dirs,
};
use crate::scan::{Hashed, read_again};
use crate::state::StateError;

/// Numbers of staged files that this file makes; apply counts from below.
static NEXT_STAGE: AtomicU64 = AtomicU64::new(1 << 48);
/// Chunks of one request, in bytes.
const BATCH_BYTES: u64 = 4 * 1024 * 1024;

#[derive(Debug, thiserror::Error)]
enum RestoreError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Files(#[from] FilesError),
    #[error(transparent)]
    State(#[from] StateError),
    #[error("{0}")]
    NoVersion(String),
}

/// Answers a `restore` request.
pub(super) async fn restore(net: &Net, path: RelPath, at: Option<RevisionId>) -> Response {
    match try_restore(net, &path, at).await {
        Ok((at, changed)) => Response::Restored {
            path: PathText(path),
            at,
            changed,
        },
        Err(RestoreError::Client(error)) => Response::Failed(failed(&error)),
        Err(error) => Response::Failed(Failure::new(FailureKind::Refused, error.to_string())),
    }
}

async fn try_restore(
    net: &Net,
    path: &RelPath,
    at: Option<RevisionId>,
) -> Result<(RevisionId, u64), RestoreError> {
    let mut nodes = MemoryNodes::default();
    let (revision, entry) = find(net, &mut nodes, path, at).await?;
    let mut files = Vec::new();
    match entry {
        Entry::Dir(root) => {
            files = with_nodes(&net.http, &mut nodes, |nodes| {
                let mut found = Vec::new();
                tree::walk(nodes, &root, &mut |tail, entry| {
                    found.push((path.concat(tail), *entry));
                })?;
                Ok(found)
            })
            .await?;
            files.insert(0, (path.clone(), entry));
        }
        // One file that is asked for by name is read: it may have rotted since it was scanned.
        entry if is_there(net, path, &entry)? => {
            let has_rotted = has_rotted(net, path.clone(), entry).await;
            if has_rotted {
                put(net, &mut nodes, path, entry).await?;
            }
            return Ok((revision, u64::from(has_rotted)));
        }
        entry => files.push((path.clone(), entry)),
    }
    make_dirs(&*net.parts.files, &path.parent().unwrap_or_default())?;
    let mut changed = 0;
    for (path, entry) in files.into_iter().filter(|(path, _)| !path.is_root()) {
        if !is_there(net, &path, &entry)? {
            changed += u64::from(put(net, &mut nodes, &path, entry).await?);
        }
    }
    Ok((revision, changed))
}

/// Finds the version to restore: that of the revision, or the newest one that the folder does not
/// have.
async fn find(
    net: &Net,
    nodes: &mut MemoryNodes,
    path: &RelPath,
    at: Option<RevisionId>,
) -> Result<(RevisionId, Entry), RestoreError> {
    if let Some(at) = at {
        let items = net
            .http
            .log(None, fsync_core::limits::LOG_REVISIONS)
            .await?;
        let Some(item) = items.into_iter().find(|item| item.revision == at) else {
            let message =
                format!("there is no revision {at} in this tree; `fsync-agent log` lists them");
            return Err(RestoreError::NoVersion(message));
        };
        let entry = history::entry_at(&net.http, nodes, &item.root, path).await?;
        return entry.map(|entry| (at, entry)).ok_or_else(|| {
            RestoreError::NoVersion(format!(
                "{path} was not in revision {at}; `fsync-agent log` shows when it was"
            ))
        });
    }
    let present = net
        .parts
        .state
        .snapshot()
        .and_then(|snapshot| {
            Ok(tree::lookup(
                &*net.parts.state,
                &snapshot.roots()?.working,
                path,
            )?)
        })
        .map_err(|e| RestoreError::NoVersion(e.to_string()))?;
    let versions = history::versions(&net.http, path, fsync_core::limits::LOG_REVISIONS).await?;
    let other = versions.into_iter().find_map(|(item, entry)| {
        let entry = entry.filter(|entry| present.is_none_or(|present| !present.is_same(entry)))?;
        Some((item.revision, entry))
    });
    other.ok_or_else(|| RestoreError::NoVersion(format!("no earlier version of {path} is known")))
}

/// Puts one version at its path; returns whether anything changed.
async fn put(
    net: &Net,
    nodes: &mut MemoryNodes,
    path: &RelPath,
    entry: Entry,
) -> Result<bool, RestoreError> {
    let files = &*net.parts.files;
    let key = StageKey::small(NEXT_STAGE.fetch_add(1, Ordering::Relaxed));
    match entry {
        Entry::Dir(_) => return Ok(make_dir(files, path)?),
        Entry::Symlink(id) => {
            let node = with_nodes(&net.http, nodes, |nodes| {
                nodes.node(ObjectKind::Symlink, &id)
            })
            .await?;
            let Node::Symlink(target) = &*node else {
                return Ok(false);
            };
            files.stage_link(&key, target)?;
        }
        Entry::File(file) => stage_file(net, nodes, &key, &file).await?,
    }
    files.sync_staged(std::slice::from_ref(&key))?;
    show(files, &key, path)?;
    Ok(true)
}

/// Returns whether the folder has just this at the path, unchanged since it was scanned.
fn is_there(net: &Net, path: &RelPath, entry: &Entry) -> Result<bool, RestoreError> {
    let row = net.parts.state.snapshot()?.row_at(path)?;
    let stat = net.parts.files.stat(Place::Tree(path))?;
    Ok(row.zip(stat).is_some_and(|(row, stat)| {
        row.stamp.is_content(&stat) && row.entry().is_some_and(|there| there.is_same(entry))
    }))
}

async fn has_rotted(net: &Net, path: RelPath, entry: Entry) -> bool {
    let files = net.parts.files.clone();
    let read = move || read_again(&*files, Place::Tree(&path), &entry);
    let hashed = net.shutdown.spawn_blocking("restore", read).await;
    !matches!(hashed, Ok(Hashed::Entry { entry: there, .. }) if there.is_same(&entry))
}

async fn stage_file(
    net: &Net,
    nodes: &mut MemoryNodes,
    key: &StageKey,
    file: &FileEntry,
) -> Result<(), RestoreError> {
    let files = &*net.parts.files;
    let meta = Meta {
        exec: file.exec,
        mtime: file.mtime,
        like: None,
    };
    let runs = match file.content {
        Content::Chunk(id) => vec![Run::Chunk {
            id,
            bytes: file.size,
        }],
        Content::List(_) => {
            with_nodes(&net.http, nodes, |nodes| {
                filelist::read_file(nodes, &file.content, file.size)
            })
            .await?
        }
    };
    files.stage_write(key, 0, &[])?;
    let mut batch: Vec<(Wanted, u64)> = Vec::new();
    let (mut offset, mut bytes_in_batch) = (0, 0);
    for run in &runs {
        if let Run::Chunk { id, bytes } = run {
            if bytes_in_batch + bytes > BATCH_BYTES {
                write_chunks(net, key, std::mem::take(&mut batch)).await?;
                bytes_in_batch = 0;
            }
            bytes_in_batch += bytes;
            batch.push((
                Wanted::chunk(*id, u32::try_from(*bytes).unwrap_or(u32::MAX)),
                offset,
            ));
        }
        offset += run.bytes();
    }
    write_chunks(net, key, batch).await?;
    files.stage_finish(key, file.size, &meta)?;
    Ok(())
}

async fn write_chunks(
    net: &Net,
    key: &StageKey,
    batch: Vec<(Wanted, u64)>,
) -> Result<(), RestoreError> {
    let wanted: Vec<Wanted> = batch.iter().map(|(wanted, _)| *wanted).collect();
    let objects = net.http.objects(&wanted, None).await?;
    for object in objects {
        for (_, offset) in batch.iter().filter(|(wanted, _)| wanted.id == object.id) {
            net.parts.files.stage_write(key, *offset, &object.bytes)?;
        }
    }
    Ok(())
}

/// Makes a staged file visible; what stood there goes to the trash.
fn show(files: &dyn Files, key: &StageKey, path: &RelPath) -> Result<(), FilesError> {
    let (staged, place) = (Place::Stage(key), Place::Tree(path));
    match files.rename(staged, place, Rename::NoReplace) {
        Err(error) if error.is(Problem::Exists) => {
            files.rename(staged, place, Rename::Exchange)?;
            let time_ms = u64::try_from(files.now() / 1_000_000).unwrap_or(0);
            let number = u32::try_from(NEXT_STAGE.fetch_add(1, Ordering::Relaxed) & 0xffff_ffff)
                .unwrap_or(0);
            files.rename(
                staged,
                Place::Trash(TrashSlot { time_ms, number }, path),
                Rename::NoReplace,
            )
        }
        done => done,
    }
}
