//! What a revision brings: its objects, and where in the folder each content is read.
//!
//! A merged revision may have a content where the folder does not: a conflict copy, or a file in a
//! directory that the head renamed. Contents of the head that merely moved are with the service
//! already and are not read at all.

use std::collections::{BTreeMap, HashMap, HashSet};

use fsync_core::changed::{self, Changed, ChangedFile};
use fsync_core::filelist;
use fsync_core::id::{ObjectId, ObjectKind};
use fsync_core::limits;
use fsync_core::node::{Content, Run};
use fsync_core::nodes::{Nodes, NodesError};
use fsync_core::pack::Object;
use fsync_core::path::{PathError, RelPath};
use fsync_core::revision::Revision;
use fsync_core::tree;
use serde::{Deserialize, Serialize};

use super::{FolderError, Pending};
use crate::files::Place;
use crate::folder::{Folder, Parts, SourceItem};

/// Paths in a revision and, as bytes, where their contents stand in the folder; `None`: only the
/// service has them.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(try_from = "Record", into = "Record")]
pub(super) struct Sources(BTreeMap<RelPath, Option<RelPath>>);

/// [`Sources`] as the state keeps them: paths as bytes, since they need not be text.
type Record = Vec<(Vec<u8>, Option<Vec<u8>>)>;

impl TryFrom<Record> for Sources {
    type Error = PathError;

    fn try_from(record: Record) -> Result<Self, PathError> {
        let path = |bytes: &Vec<u8>| RelPath::parse(bytes);
        let pair = |(to, from): &(Vec<u8>, Option<Vec<u8>>)| {
            Ok((path(to)?, from.as_ref().map(path).transpose()?))
        };
        record.iter().map(pair).collect::<Result<_, _>>().map(Self)
    }
}

impl From<Sources> for Record {
    fn from(sources: Sources) -> Self {
        let bytes = |path: RelPath| path.as_bytes().to_vec();
        let pair = |(to, from): (RelPath, Option<RelPath>)| (bytes(to), from.map(bytes));
        sources.0.into_iter().map(pair).collect()
    }
}

impl Sources {
    /// Finds the new files that the folder has elsewhere; looks at all that folder and head differ
    /// in only if there is one.
    pub(super) fn find(
        nodes: &dyn Nodes,
        (head, folder): (&ObjectId, &ObjectId),
        files: &[ChangedFile],
    ) -> Result<Self, NodesError> {
        let mut elsewhere = BTreeMap::new();
        let mut by_content: Option<HashMap<ObjectId, RelPath>> = None;
        for file in files {
            // What is sent is told apart from the old version's chunks: its list must be at hand by
            // then.
            old_chunks(nodes, file)?;
            let wanted = file.now.content.id();
            let there = tree::lookup(nodes, folder, &file.path)?;
            if there.is_some_and(|entry| entry.id() == wanted) {
                continue;
            }
            let by_content = match &by_content {
                Some(known) => known,
                None => by_content.insert(contents(nodes, head, folder)?),
            };
            elsewhere.insert(file.path.clone(), by_content.get(&wanted).cloned());
        }
        Ok(Self(elsewhere))
    }

    /// Returns where in the folder a file's content stands.
    fn of(&self, path: &RelPath) -> Option<RelPath> {
        match self.0.get(path) {
            Some(elsewhere) => elsewhere.clone(),
            None => Some(path.clone()),
        }
    }
}

fn contents(
    nodes: &dyn Nodes,
    head: &ObjectId,
    folder: &ObjectId,
) -> Result<HashMap<ObjectId, RelPath>, NodesError> {
    let changed = changed::changed(nodes, Some(head), folder, &[])?;
    let by_content = |file: ChangedFile| (file.now.content.id(), file.path);
    Ok(changed.files.into_iter().map(by_content).collect())
}

impl Folder {
    /// Returns the objects to send: what the revision has beyond the head, and what the service
    /// asked for.
    pub(super) fn items(
        &self,
        pending: &Pending,
        revision: &Revision,
    ) -> Result<Vec<SourceItem>, FolderError> {
        let state = &*self.parts.state;
        let mut changed = changed::changed(
            state,
            Some(&pending.head_root),
            &revision.root,
            &revision.moves,
        )?;
        let missing = &self.push.missing;
        let all = match missing.is_empty() {
            true => Changed::default(),
            false => changed::at_hand(state, &revision.root)?,
        };
        let nodes = all.nodes.into_iter().filter(|(_, id)| missing.contains(id));
        changed.nodes.extend(nodes);
        let mut seen = HashSet::new();
        let mut items = node_items(&changed, &mut seen);
        let known = changed.files.iter().map(|file| (file, false));
        for (file, is_asked_for) in known.chain(all.files.iter().map(|file| (file, true))) {
            let Some(path) = pending.sources.of(&file.path) else {
                continue;
            };
            let listed = chunk_items(state, file, &path, &mut |item| {
                let is_wanted = !is_asked_for || missing.contains(&item.id);
                if is_wanted && seen.insert(item.id) {
                    items.push(item);
                }
            });
            match listed {
                // A list that is not here is one of the head's; should the service lack it, it
                // asks.
                Err(FolderError::Nodes(NodesError::Missing(_))) => {}
                listed => listed?,
            }
        }
        Ok(items)
    }

    pub(super) fn read_item(&self, item: &SourceItem) -> Result<Option<Object>, FolderError> {
        Ok(read_item(&self.parts, item))
    }
}

fn node_items(changed: &Changed, seen: &mut HashSet<ObjectId>) -> Vec<SourceItem> {
    let new = changed.nodes.iter().filter(|(_, id)| seen.insert(*id));
    new.map(|(kind, id)| SourceItem {
        kind: *kind,
        id: *id,
        bytes: limits::NODE_TARGET_BYTES as u64,
        at: None,
    })
    .collect()
}

/// Names the chunks of a file that its old version does not have.
fn chunk_items(
    nodes: &dyn Nodes,
    file: &ChangedFile,
    path: &RelPath,
    add: &mut dyn FnMut(SourceItem),
) -> Result<(), FolderError> {
    let old = old_chunks(nodes, file)?;
    let mut offset = 0;
    for run in filelist::read_file(nodes, &file.now.content, file.now.size)? {
        if let Some((id, bytes)) = chunk_of(&run)
            && !old.contains(&id)
        {
            let at = Some((path.clone(), offset));
            add(SourceItem {
                kind: ObjectKind::Chunk,
                id,
                bytes,
                at,
            });
        }
        offset += run.bytes();
    }
    Ok(())
}

fn old_chunks(nodes: &dyn Nodes, file: &ChangedFile) -> Result<HashSet<ObjectId>, NodesError> {
    let Some(was) = file
        .was
        .filter(|was| matches!(was.content, Content::List(_)))
    else {
        return Ok(HashSet::new());
    };
    let runs = filelist::read_file(nodes, &was.content, was.size)?;
    Ok(runs.iter().filter_map(chunk_of).map(|(id, _)| id).collect())
}

fn chunk_of(run: &Run) -> Option<(ObjectId, u64)> {
    match run {
        Run::Chunk { id, bytes } => Some((*id, *bytes)),
        Run::Hole { .. } => None,
    }
}

/// Reads an object for sending and verifies it; `None` if it is not what it was.
pub fn read_item(parts: &Parts, item: &SourceItem) -> Option<Object> {
    let bytes = match &item.at {
        None => parts.state.node(item.kind, &item.id).ok()?.to_bytes(),
        Some((path, offset)) => read_range(parts, path, *offset, item.bytes)?,
    };
    let object = Object::new(item.kind, bytes);
    (object.id == item.id).then_some(object)
}

fn read_range(parts: &Parts, path: &RelPath, offset: u64, bytes: u64) -> Option<Vec<u8>> {
    let file = parts.files.open(Place::Tree(path)).ok()?;
    let mut buffer = vec![0; usize::try_from(bytes).ok()?];
    let mut done = 0;
    while done < buffer.len() {
        match file
            .read_at(offset + done as u64, &mut buffer[done..])
            .ok()?
        {
            0 => return None,
            count => done += count,
        }
    }
    // A file that grew has another content, which a one-chunk file shows only by its length.
    Some(buffer)
}
