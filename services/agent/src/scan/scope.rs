//! From a scope to the first jobs of a scan.

use std::collections::{BTreeMap, HashMap, HashSet};

use fsync_core::path::{Name, RelPath};

use super::workers::{Dir, Job};
use super::{Look, ScanError, Scope};
use crate::files::{Files, Place};
use crate::rules::{self, Rules};
use crate::state::{DirNo, Row, Snapshot};

/// Where a scan begins.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) jobs: Vec<Job>,
    /// The paths whose exceptions are checked at the end.
    pub(super) looked: Vec<Look>,
}

/// Finds the jobs of a scope.
pub(super) fn plan(
    files: &dyn Files,
    snapshot: &Snapshot,
    scope: &Scope,
) -> Result<Plan, ScanError> {
    let looks = match scope {
        Scope::Whole => vec![Look {
            path: RelPath::root(),
            is_deep: true,
        }],
        Scope::Paths(looks) => widen(files, snapshot, looks)?,
    };
    let mut names: BTreeMap<RelPath, Vec<(Name, bool)>> = BTreeMap::new();
    let mut jobs = Vec::new();
    for look in &looks {
        match look.path.split_last() {
            Some((dir, name)) => names.entry(dir).or_default().push((name, look.is_deep)),
            None => jobs.push(Job::List(Dir {
                path: RelPath::root(),
                no: Some(DirNo::ROOT),
                rules: Rules::load(files, &RelPath::root()),
            })),
        }
    }
    for (path, names) in names {
        let dir = Dir {
            no: snapshot.dir_at(&path)?,
            rules: Rules::load(files, &path),
            path,
        };
        jobs.push(Job::Names(dir, names));
    }
    Ok(Plan {
        jobs,
        looked: looks,
    })
}

/// Widens each path to the first directory on its way that index and disk do not both have, drops
/// doubles and what a deep look covers. A changed rule file means all of its directory.
fn widen(files: &dyn Files, snapshot: &Snapshot, looks: &[Look]) -> Result<Vec<Look>, ScanError> {
    let mut standing = Standing {
        files,
        seen: HashMap::new(),
    };
    let mut wide: BTreeMap<RelPath, bool> = BTreeMap::new();
    for look in looks {
        let mut look = look.clone();
        if let Some((dir, name)) = look.path.split_last()
            && rules::is_rule_file(&name)
        {
            look = Look {
                path: dir,
                is_deep: true,
            };
        }
        let known = first_unknown(snapshot, &mut standing, &look.path)?;
        // The root is always listed whole: its own path tells nothing.
        let is_deep = look.is_deep || known != look.path || known.is_root();
        *wide.entry(known).or_default() |= is_deep;
    }
    let deep: HashSet<RelPath> = wide
        .iter()
        .filter(|(_, is_deep)| **is_deep)
        .map(|(path, _)| path.clone())
        .collect();
    let is_covered = |path: &RelPath| {
        let mut at = path.parent();
        while let Some(dir) = at {
            if deep.contains(&dir) {
                return true;
            }
            at = dir.parent();
        }
        false
    };
    Ok(wide
        .into_iter()
        .filter(|(path, _)| !is_covered(path))
        .map(|(path, is_deep)| Look { path, is_deep })
        .collect())
}

/// The directories of the index that were compared with the disk.
struct Standing<'a> {
    files: &'a dyn Files,
    seen: HashMap<DirNo, bool>,
}

impl Standing<'_> {
    /// Returns whether a directory still stands where the index has it. One that was moved away
    /// takes its rows along: what is missing at its old place is not deleted.
    fn holds(&mut self, no: DirNo, path: &RelPath, row: &Row) -> Result<bool, ScanError> {
        if let Some(holds) = self.seen.get(&no) {
            return Ok(*holds);
        }
        let stat = self.files.stat(Place::Tree(path))?;
        let holds = stat.is_some_and(|stat| row.is_unchanged(&stat));
        self.seen.insert(no, holds);
        Ok(holds)
    }
}

fn first_unknown(
    snapshot: &Snapshot,
    standing: &mut Standing<'_>,
    path: &RelPath,
) -> Result<RelPath, ScanError> {
    let mut dir = DirNo::ROOT;
    let mut at = RelPath::root();
    for name in path.names() {
        at = at.join(&name);
        let row = snapshot.row(dir, &name)?;
        match row.and_then(|row| row.dir().map(|no| (no, row))) {
            Some((no, row)) if standing.holds(no, &at, &row)? => dir = no,
            _ => break,
        }
    }
    Ok(at)
}
