//! Whether an agent's index and its working tree tell the same: what one has, the other has too,
//! but for exceptions.

use std::collections::BTreeMap;

use fsync_agent::folder::Folder;
use fsync_agent::state::{DirNo, Snapshot};
use fsync_core::node::Entry;
use fsync_core::path::RelPath;
use fsync_core::tree;

/// Compares index and working tree.
///
/// # Errors
/// The first path in which they differ.
pub fn audit(folder: &Folder) -> Result<(), String> {
    let state = &*folder.parts().state;
    let words = |e: &dyn std::fmt::Display| e.to_string();
    let snapshot = state.snapshot().map_err(|e| words(&e))?;
    let roots = snapshot.roots().map_err(|e| words(&e))?;
    let mut rows = BTreeMap::new();
    gather(&snapshot, (DirNo::ROOT, &RelPath::root()), &mut rows)?;
    let excepted = snapshot.exceptions_within(&RelPath::root());
    let excepted = excepted.map_err(|e| words(&e))?;
    let is_excepted = |path: &RelPath| {
        excepted
            .iter()
            .any(|(e, _)| path.is_within(e) || e.is_within(path))
    };
    let mut wrong = None;
    let walked = tree::walk(state, &roots.working, &mut |path, entry| {
        let row = rows.remove(path);
        let fits = match (&row, entry) {
            (Some(None), Entry::Dir(_)) => true,
            (Some(Some(known)), entry) => known == entry,
            _ => false,
        };
        if !fits && !is_excepted(path) && wrong.is_none() {
            wrong = Some(format!(
                "the tree has {entry:?} at {path}, the index {row:?}"
            ));
        }
    });
    walked.map_err(|e| words(&e))?;
    rows.retain(|path, _| !is_excepted(path));
    if let Some((path, row)) = rows.first_key_value() {
        wrong.get_or_insert(format!("the tree has nothing at {path}, the index {row:?}"));
    }
    wrong.map_or(Ok(()), Err)
}

fn gather(
    snapshot: &Snapshot,
    (dir, path): (DirNo, &RelPath),
    out: &mut BTreeMap<RelPath, Option<Entry>>,
) -> Result<(), String> {
    for (name, row) in snapshot.rows(dir).map_err(|e| e.to_string())? {
        let path = path.join(&name);
        if let Some(no) = row.dir() {
            gather(snapshot, (no, &path), out)?;
        }
        out.insert(path, row.entry().copied());
    }
    Ok(())
}
