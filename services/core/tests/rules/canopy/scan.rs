//! A scan: the working tree becomes what the disk has; renames are found by inode, exceptions begin
//! and end.

use std::collections::{BTreeMap, BTreeSet};

use fsync_core::exception::Exception;
use fsync_core::node::Entry;
use fsync_core::path::{Name, RelPath};
use fsync_core::revision::MoveHint;
use fsync_core::tree::{self, Edits};

use super::agent::Agent;
use super::disk::Inode;
use crate::fixtures::Store;

/// Number of the root directory.
const ROOT: Inode = 0;

pub(super) fn scan(store: &mut Store, agent: &mut Agent) {
    let moves = renames(agent);
    agent.local_moves.extend(moves);
    let before = store.list(agent.working);
    let dir = store.empty_dir();
    let mut edits = Edits::new();
    let mut index = BTreeMap::new();
    let mut unreadable = BTreeSet::new();
    for (path, entry) in agent.disk.folder.0.clone() {
        if !agent.disk.is_readable(&path) {
            unreadable.insert(path);
            continue;
        }
        index.insert(path.clone(), agent.disk.inodes[&path]);
        // Where only times differ the tree keeps its own.
        let entry = match (entry, before.get(&path)) {
            (Entry::Dir(_), _) => dir,
            (entry, Some(before)) if before.is_same(&entry) => {
                agent.disk.write(&path, *before);
                *before
            }
            (entry, _) => entry,
        };
        edits.insert(path, Some(entry));
    }
    agent.index = index;
    let empty = dir.id();
    agent.working = store.edit(empty, &edits);
    except(store, agent, &unreadable);
}

/// An excepted path stands in the working tree as in the synced one; when it ends it has no
/// ancestor any more.
fn except(store: &mut Store, agent: &mut Agent, unreadable: &BTreeSet<RelPath>) {
    let ended = agent.exceptions.keys().filter(|p| !unreadable.contains(*p));
    let ended: Edits = ended.map(|path| (path.clone(), None)).collect();
    agent.synced = store.edit(agent.synced, &ended);
    let reason = || Exception::Unreadable {
        reason: "no permission".to_owned(),
    };
    agent.exceptions = unreadable.iter().map(|p| (p.clone(), reason())).collect();
    let restored = unreadable.iter().map(|path| {
        let synced = tree::lookup(&store.0, &agent.synced, path).unwrap();
        (path.clone(), synced)
    });
    let restored = restored.collect();
    agent.working = store.edit(agent.working, &restored);
}

/// Renamed directories first, top down, each from where the ones before left it; then files that
/// left one path and came at another.
fn renames(agent: &Agent) -> Vec<MoveHint> {
    let disk = &agent.disk;
    let mut rows = Rows::of(&agent.index);
    let mut moves = Vec::new();
    for (path, inode) in &disk.inodes {
        if disk.folder.is_dir(path) && rows.0.contains_key(inode) {
            let from = rows.path(*inode);
            moves.extend(from.filter(|from| from != path).map(|from| MoveHint {
                from,
                to: path.clone(),
            }));
            rows.put(*inode, path, &disk.inodes);
        }
    }
    let known: BTreeMap<RelPath, Inode> = rows.all();
    for (path, inode) in &disk.inodes {
        if disk.folder.is_dir(path) || known.contains_key(path) {
            continue;
        }
        let from = rows.path(*inode).filter(|from| disk.at(from).is_none());
        moves.extend(from.map(|from| MoveHint {
            from,
            to: path.clone(),
        }));
    }
    moves.sort();
    moves
}

/// The index keyed as the agent keys it: a row knows its directory by number, so a renamed
/// directory is one row.
struct Rows(BTreeMap<Inode, (Inode, Name)>);

impl Rows {
    fn of(index: &BTreeMap<RelPath, Inode>) -> Self {
        let mut rows = Self(BTreeMap::new());
        for (path, inode) in index {
            rows.put(*inode, path, index);
        }
        rows
    }

    fn put(&mut self, inode: Inode, path: &RelPath, of: &BTreeMap<RelPath, Inode>) {
        let Some((dir, name)) = path.split_last() else {
            return;
        };
        let dir = of.get(&dir).copied().unwrap_or(ROOT);
        self.0.insert(inode, (dir, name));
    }

    fn path(&self, inode: Inode) -> Option<RelPath> {
        let mut names = Vec::new();
        let mut at = inode;
        // A row that waits to be put elsewhere may lie below itself until then.
        while at != ROOT && names.len() < self.0.len() {
            let (dir, name) = self.0.get(&at)?;
            names.push(name);
            at = *dir;
        }
        (at == ROOT).then_some(())?;
        let join = |path: RelPath, name: &&Name| path.join(name);
        Some(names.iter().rev().fold(RelPath::root(), join))
    }

    fn all(&self) -> BTreeMap<RelPath, Inode> {
        let row = |inode: &Inode| self.path(*inode).map(|path| (path, *inode));
        self.0.keys().filter_map(row).collect()
    }
}
