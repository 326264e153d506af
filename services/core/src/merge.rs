//! The three-way merge of trees: a pure function of base, ours and theirs.
//!
//! Guarantees: every content of either side that the other did not replace or delete knowingly is
//! in the result; the same arguments give the same root and the same conflict names everywhere.
//! `ours` (the head) keeps a disputed path, `theirs` becomes a conflict copy; an edit beats a
//! delete; a directory keeps its path against a file; equal contents never conflict. Without a base
//! nothing counts as deleted.
//!
//! Renames come first: each valid move hint of one side is carried out on the base and on the other
//! side, so that what follows compares by path alone. A hint that does not fit is dropped: the
//! rename is then a delete and a creation.
//!
//! Does not: know ignore rules, platforms or clocks. The replica merges head and incoming revision
//! with it, the agent head and folder.

mod rename;

use std::collections::BTreeSet;

use crate::conflict;
use crate::id::ObjectId;
use crate::label::AgentName;
use crate::mutant::{self, Mutant};
use crate::node::{Entry, FileEntry};
use crate::nodes::{Gather, Metered, NewNodes, Nodes, NodesError, Overlay};
use crate::path::{Name, RelPath};
use crate::revision::{MoveHint, Timestamp};
use crate::tree::{self, Entries};
use rename::Roots;

/// One side of a merge.
#[derive(Debug, Clone)]
pub struct Side {
    /// Its root.
    pub root: ObjectId,
    /// Its author, for the names of conflict copies.
    pub author: AgentName,
    /// Its time, for the names of conflict copies.
    pub time: Timestamp,
    /// Its renames against the base.
    pub moves: Vec<MoveHint>,
}

/// A version that lost its path and stands beside it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// The path that both sides wanted.
    pub path: RelPath,
    /// Where the losing version stands.
    pub copy: RelPath,
}

/// The outcome of a merge.
#[derive(Debug, Clone)]
pub struct Merged {
    /// The merged root.
    pub root: ObjectId,
    /// Nodes that the merge made.
    pub new: NewNodes,
    /// Conflict copies it made.
    pub conflicts: Vec<Conflict>,
    /// Renames of `theirs` that hold against `ours`, for the merge's revision.
    pub moves: Vec<MoveHint>,
}

/// Merges `theirs` into `ours`; `base` is their common ancestor, `None` if there is none.
///
/// # Errors
/// [`NodesError::Missing`] with the nodes to fetch before calling again, or what is wrong with one.
pub fn merge(
    nodes: &dyn Nodes,
    base: Option<ObjectId>,
    ours: &Side,
    theirs: &Side,
) -> Result<Merged, NodesError> {
    let metered = Metered::new(nodes);
    let mut overlay = Overlay::new(&metered);
    let mut roots = Roots {
        base,
        ours: ours.root,
        theirs: theirs.root,
    };
    let moves = match base {
        Some(_) => roots.rename(&mut overlay, &ours.moves, &theirs.moves)?,
        None => Vec::new(),
    };
    let mut merge = Merge {
        overlay,
        ours,
        theirs,
        conflicts: Vec::new(),
    };
    let root = merge.directory(
        &RelPath::root(),
        Triple {
            base: roots.base,
            ours: Some(roots.ours),
            theirs: Some(roots.theirs),
        },
    )?;
    let Merge {
        mut overlay,
        conflicts,
        ..
    } = merge;
    let root = match root {
        Some(root) => root,
        None => {
            let mut new = NewNodes::default();
            let root = tree::write_empty(&mut new);
            overlay.absorb(new);
            root
        }
    };
    Ok(Merged {
        root,
        new: overlay.into_new(),
        conflicts,
        moves,
    })
}

/// One thing on all three sides.
#[derive(Clone, Copy)]
struct Triple<T> {
    base: Option<T>,
    ours: Option<T>,
    theirs: Option<T>,
}

enum Loser {
    Ours,
    Theirs,
}

struct Merge<'a> {
    overlay: Overlay<'a>,
    ours: &'a Side,
    theirs: &'a Side,
    conflicts: Vec<Conflict>,
}

impl Merge<'_> {
    /// Merges one directory; `None` means that nothing is left of it.
    fn directory(
        &mut self,
        path: &RelPath,
        dir: Triple<ObjectId>,
    ) -> Result<Option<ObjectId>, NodesError> {
        if dir.ours == dir.theirs || dir.base == dir.theirs {
            return Ok(dir.ours);
        }
        if dir.base == dir.ours {
            return Ok(dir.theirs);
        }
        crate::limits::check(
            "path depth in names",
            crate::limits::PATH_DEPTH,
            path.depth(),
        )?;
        let mut gather = Gather::default();
        let sides = [dir.base, dir.ours, dir.theirs].map(|id| self.read(id, &mut gather));
        let [base, ours, theirs] = sides;
        let (base, ours, theirs) = (base?, ours?, theirs?);
        gather.finish()?;
        let mut gather = Gather::default();
        let mut merged = Entries::new();
        let mut losers = Vec::new();
        for name in ours.keys().chain(theirs.keys()).collect::<BTreeSet<_>>() {
            let pick = |side: &Entries| side.get(name).copied();
            let entry = Triple {
                base: pick(&base),
                ours: pick(&ours),
                theirs: pick(&theirs),
            };
            let result = self.entry(&path.join(name), entry);
            let Some((winner, loser)) = gather.take(result)? else {
                continue;
            };
            merged.extend(winner.map(|entry| (name.clone(), entry)));
            losers.extend(loser.map(|(entry, side)| (name.clone(), entry, side)));
        }
        gather.finish()?;
        for (name, entry, side) in losers {
            self.keep_beside(path, &mut merged, (&name, entry, side));
        }
        let was_deleted = dir.ours.is_none() || dir.theirs.is_none();
        if merged.is_empty() && was_deleted {
            return Ok(None);
        }
        let mut new = NewNodes::default();
        let id = tree::write_dir(&merged, &mut new);
        self.overlay.absorb(new);
        Ok(Some(id))
    }

    fn read(&self, id: Option<ObjectId>, gather: &mut Gather) -> Result<Entries, NodesError> {
        let Some(id) = id else {
            return Ok(Entries::new());
        };
        Ok(gather
            .take(tree::read_dir(&self.overlay, &id))?
            .unwrap_or_default())
    }

    /// Merges what stands at one path: the winner, and the version that lost the path.
    fn entry(&mut self, path: &RelPath, all: Triple<Entry>) -> Result<Outcome, NodesError> {
        if is_same(all.ours, all.theirs) {
            return Ok((older(all), None));
        }
        if is_same(all.base, all.ours) {
            return Ok((all.theirs, None));
        }
        if is_same(all.base, all.theirs) {
            return Ok((all.ours, None));
        }
        let dir = |entry: Option<Entry>| entry.and_then(|e| e.as_dir());
        let dirs = Triple {
            base: dir(all.base),
            ours: dir(all.ours),
            theirs: dir(all.theirs),
        };
        if dirs.ours.is_none() && dirs.theirs.is_none() {
            return Ok(merge_leaves(all));
        }
        let left = self.directory(path, dirs)?.map(Entry::Dir);
        let file = |entry: Option<Entry>| entry.filter(|e| e.as_dir().is_none());
        // A directory keeps the path if anything is left of it; a file or link steps aside.
        Ok(match (left, file(all.ours), file(all.theirs)) {
            (Some(dir), Some(file), _) => (Some(dir), Some((file, Loser::Ours))),
            (Some(dir), None, Some(file)) => (Some(dir), Some((file, Loser::Theirs))),
            (Some(dir), None, None) => (Some(dir), None),
            (None, ours, theirs) => (ours.or(theirs), None),
        })
    }

    fn keep_beside(
        &mut self,
        dir: &RelPath,
        merged: &mut Entries,
        (name, entry, side): (&Name, Entry, Loser),
    ) {
        if mutant::is_on(Mutant::NoCopy) {
            return;
        }
        let side = match side {
            Loser::Ours => self.ours,
            Loser::Theirs => self.theirs,
        };
        let names: Vec<Name> =
            conflict::candidates(name, &side.author, side.time, &entry.id()).collect();
        let is_free = |copy: &&Name| merged.get(*copy).is_none_or(|there| there.is_same(&entry));
        // The last candidate holds the whole content id: whatever stands there stands for this
        // content.
        let Some(copy) = names.iter().find(is_free).or(names.last()) else {
            return;
        };
        merged.entry(copy.clone()).or_insert(entry);
        self.conflicts.push(Conflict {
            path: dir.join(name),
            copy: dir.join(copy),
        });
    }
}

type Outcome = (Option<Entry>, Option<(Entry, Loser)>);

fn is_same(a: Option<Entry>, b: Option<Entry>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => a.is_same(&b),
        (None, None) => true,
        _ => false,
    }
}

/// Ours and theirs are the same but for the mtime: the base's is kept, else the smaller one.
fn older(all: Triple<Entry>) -> Option<Entry> {
    if is_same(all.base, all.ours) && all.base.is_some() {
        return all.base;
    }
    match (all.ours, all.theirs) {
        (Some(Entry::File(ours)), Some(Entry::File(theirs))) => Some(Entry::File(FileEntry {
            mtime: ours.mtime.min(theirs.mtime),
            ..ours
        })),
        (ours, _) => ours,
    }
}

/// Merges files and links that both sides changed.
fn merge_leaves(all: Triple<Entry>) -> Outcome {
    match (all.ours, all.theirs) {
        (Some(Entry::File(ours)), Some(Entry::File(theirs))) => {
            let base = all.base.and_then(|entry| entry.as_file().copied());
            match join_files(base, ours, theirs) {
                Some(joined) => (Some(Entry::File(joined)), None),
                None => (all.ours, Some((Entry::File(theirs), Loser::Theirs))),
            }
        }
        (Some(_), Some(theirs)) => (all.ours, Some((theirs, Loser::Theirs))),
        _ if mutant::is_on(Mutant::DeleteWins) => (None, None),
        (ours, theirs) => (ours.or(theirs), None),
    }
}

/// Joins two files if their contents do not dispute: content and exec bit are merged apart.
fn join_files(base: Option<FileEntry>, ours: FileEntry, theirs: FileEntry) -> Option<FileEntry> {
    let exec = match base {
        Some(base) if base.exec == ours.exec => theirs.exec,
        Some(_) => ours.exec,
        None => ours.exec || theirs.exec,
    };
    let with_exec = |file: FileEntry| Some(FileEntry { exec, ..file });
    if ours.content == theirs.content {
        return with_exec(FileEntry {
            mtime: ours.mtime.min(theirs.mtime),
            ..ours
        });
    }
    let base = base?;
    if base.content == ours.content {
        return with_exec(theirs);
    }
    if base.content == theirs.content {
        return with_exec(ours);
    }
    None
}
