//! What a worker does: list, compare with the index, hash.

use std::collections::BTreeMap;

use fsync_core::exception::Exception;
use fsync_core::limits;
use fsync_core::path::{Name, RelPath};

use super::ScanError;
use super::hash::{Hashed, hash_file, hash_link};
use super::workers::{Batch, Change, Dir, Job, Shared, ToHash};
use crate::files::{Files, FilesError, Kind, Place, Problem, Stat};
use crate::rules::Rules;
use crate::state::{DirNo, Row, Source, View};

/// Files that one job reads, so that a large directory is shared among workers.
const HASH_FILES: usize = 64;
/// Bytes that one job reads before it is full.
const HASH_BYTES: u64 = 8 * 1024 * 1024;
/// Findings that one batch carries at most.
const BATCH_ITEMS: usize = 1000;

/// Takes batches; says whether anybody still wants them.
pub(super) type Emit<'e> = dyn FnMut(Batch) -> bool + 'e;

/// Runs one job.
pub(super) fn run(shared: &Shared<'_>, job: Job, emit: &mut Emit<'_>) -> Result<(), ScanError> {
    match job {
        Job::List(dir) => list(shared, &dir, emit),
        Job::Names(dir, names) => look(shared, &dir, names, emit),
        Job::Hash(dir, files) => {
            hash(shared, dir, files, emit);
            Ok(())
        }
    }
}

/// The findings of one directory, as they come.
struct Visit<'v, 'a> {
    shared: &'v Shared<'a>,
    dir: &'v Dir,
    items: Vec<(Name, Change)>,
    to_hash: Vec<ToHash>,
    hash_bytes: u64,
    /// Jobs that may start only when the recorder knows their directories.
    below: Vec<Job>,
    seen: u64,
}

fn list(shared: &Shared<'_>, dir: &Dir, emit: &mut Emit<'_>) -> Result<(), ScanError> {
    let mut visit = Visit::new(shared, dir);
    let listed = match shared.files.list(Place::Tree(&dir.path)) {
        Ok(listed) => listed,
        Err(error) => return visit.unlistable(error, emit),
    };
    let mut rows: BTreeMap<Name, Row> = match dir.no {
        Some(no) => shared.snapshot.rows(no)?.into_iter().collect(),
        None => BTreeMap::new(),
    };
    for found in listed {
        let row = rows.remove(&found.name);
        visit.name(found.name, Some(&found.stat), (row, true))?;
        visit.flush_full(emit);
    }
    for (name, row) in rows {
        visit.name(name, None, (Some(row), true))?;
        visit.flush_full(emit);
    }
    visit.finish(emit);
    Ok(())
}

fn look(
    shared: &Shared<'_>,
    dir: &Dir,
    names: Vec<(Name, bool)>,
    emit: &mut Emit<'_>,
) -> Result<(), ScanError> {
    let mut visit = Visit::new(shared, dir);
    for (name, is_deep) in names {
        let path = dir.path.join(&name);
        let stat = shared.files.stat(Place::Tree(&path))?;
        let row = match dir.no {
            Some(no) => shared.snapshot.row(no, &name)?,
            None => None,
        };
        visit.name(name, stat.as_ref(), (row, is_deep))?;
        visit.flush_full(emit);
    }
    visit.finish(emit);
    Ok(())
}

fn hash(shared: &Shared<'_>, dir: RelPath, files: Vec<ToHash>, emit: &mut Emit<'_>) {
    let mut items = Vec::with_capacity(files.len());
    for file in files {
        let path = dir.join(&file.name);
        let hashed = match file.kind {
            Kind::Symlink => hash_link(shared.files, Place::Tree(&path)),
            _ => hash_file(shared.files, Place::Tree(&path)),
        };
        let change = match hashed {
            Hashed::Entry {
                entry,
                stat,
                recorded,
                nodes,
            } => {
                shared.count_hashed(stat.size);
                Change::Leaf {
                    stat,
                    recorded,
                    entry,
                    nodes,
                }
            }
            // Gone since it was listed: the next look tells what became of it.
            Hashed::Busy | Hashed::Gone => Change::Busy,
            Hashed::Excepted(exception) => Change::Excepted(exception),
        };
        items.push((file.name, change));
    }
    emit(Batch { dir, items });
}

impl<'v, 'a> Visit<'v, 'a> {
    fn new(shared: &'v Shared<'a>, dir: &'v Dir) -> Self {
        Self {
            shared,
            dir,
            items: Vec::new(),
            to_hash: Vec::new(),
            hash_bytes: 0,
            below: Vec::new(),
            seen: 0,
        }
    }

    /// A directory that cannot be listed: unknown, unless it is simply gone.
    fn unlistable(self, error: FilesError, emit: &mut Emit<'_>) -> Result<(), ScanError> {
        let Some((parent, name)) = self.dir.path.split_last() else {
            return Err(error.into());
        };
        let change = match error.problem {
            Problem::NotFound | Problem::Busy => Change::Busy,
            _ => Change::Excepted(Exception::Unreadable {
                reason: error.source.to_string(),
            }),
        };
        emit(Batch {
            dir: parent,
            items: vec![(name, change)],
        });
        Ok(())
    }

    fn flush_full(&mut self, emit: &mut Emit<'_>) {
        if self.items.len() >= BATCH_ITEMS {
            self.flush(emit);
        }
    }

    /// The recorder hears of a directory before anything in it is looked at.
    fn flush(&mut self, emit: &mut Emit<'_>) {
        if !self.items.is_empty() {
            emit(Batch {
                dir: self.dir.path.clone(),
                items: std::mem::take(&mut self.items),
            });
        }
        for job in self.below.drain(..) {
            self.shared.push(job);
        }
    }

    fn finish(mut self, emit: &mut Emit<'_>) {
        self.push_hash();
        self.flush(emit);
        self.shared.count_seen(self.seen);
    }

    fn push_hash(&mut self) {
        if !self.to_hash.is_empty() {
            let files = std::mem::take(&mut self.to_hash);
            self.below.push(Job::Hash(self.dir.path.clone(), files));
            self.hash_bytes = 0;
        }
    }

    /// Looks at one name: what stands there, what the index has, and whether all below is to be
    /// looked at.
    fn name(
        &mut self,
        name: Name,
        stat: Option<&Stat>,
        (row, is_deep): (Option<Row>, bool),
    ) -> Result<(), ScanError> {
        let Some(stat) = stat else {
            if let Some(row) = row {
                self.items.push((name, Change::Gone(row)));
            }
            return Ok(());
        };
        let path = self.dir.path.join(&name);
        if let Some(exception) = excluded(&self.dir.rules, &path, stat) {
            self.items.push((name, Change::Excepted(exception)));
            return Ok(());
        }
        if self.shared.has_exceptions
            && let Some(exception) = self.shared.snapshot.exception(&path)?
            && !exception.is_seen_by_scan()
        {
            if self.is_standing((&path, &exception), stat, row.as_ref())? {
                return Ok(());
            }
            self.items.push((name.clone(), Change::Ended));
        }
        match stat.kind {
            Kind::Dir => self.directory(name, path, stat, (row, is_deep))?,
            _ => self.leaf(name, stat, row),
        }
        Ok(())
    }

    /// Whether what an exception was made for is still as it was.
    fn is_standing(
        &self,
        (path, exception): (&RelPath, &Exception),
        stat: &Stat,
        row: Option<&Row>,
    ) -> Result<bool, ScanError> {
        match row {
            Some(row) => Ok(row
                .dir()
                .map_or(row.is_same_stamp(stat), |_| row.stamp.is_inode(stat))),
            // What stands where a held delete was is new.
            None if stat.kind == Kind::Dir && *exception != Exception::Held => {
                is_only_excepted(self.shared.files, self.shared.snapshot, path)
            }
            None => Ok(false),
        }
    }

    fn leaf(&mut self, name: Name, stat: &Stat, row: Option<Row>) {
        self.seen += 1;
        if let Some(row) = row {
            if row.dir().is_none() && row.is_unchanged(stat) {
                return;
            }
            if row.dir().is_some() {
                self.items.push((name.clone(), Change::Gone(row)));
            }
        }
        self.to_hash.push(ToHash {
            name,
            kind: stat.kind,
        });
        self.hash_bytes = self.hash_bytes.saturating_add(stat.size);
        if self.to_hash.len() >= HASH_FILES || self.hash_bytes >= HASH_BYTES {
            self.push_hash();
        }
    }

    fn directory(
        &mut self,
        name: Name,
        path: RelPath,
        stat: &Stat,
        (row, is_deep): (Option<Row>, bool),
    ) -> Result<(), ScanError> {
        let same = row.filter(|row| row.dir().is_some() && row.is_unchanged(stat));
        if let Some(no) = same.and_then(|row| row.dir()) {
            if is_deep {
                self.descend(path, Some(no));
            }
            return Ok(());
        }
        if let Some(row) = row {
            self.items.push((name.clone(), Change::Gone(row)));
        }
        let moved = self.moved_from(stat)?;
        self.items.push((name, Change::Dir { stat: *stat, moved }));
        self.descend(path, moved);
        Ok(())
    }

    fn descend(&mut self, path: RelPath, no: Option<DirNo>) {
        let rules = self.dir.rules.enter(self.shared.files, &path);
        self.below.push(Job::List(Dir { path, no, rules }));
    }

    /// Finds the directory of the index that this one was, if its old path does not hold it any
    /// more.
    fn moved_from(&self, stat: &Stat) -> Result<Option<DirNo>, ScanError> {
        let snapshot = self.shared.snapshot;
        let Some((no, row)) = snapshot.dir_of_inode(stat)? else {
            return Ok(None);
        };
        let Some(path) = snapshot.path_of(no)? else {
            return Ok(None);
        };
        let there = self.shared.files.stat(Place::Tree(&path))?;
        let is_still_there = there.is_some_and(|stat| row.stamp.is_inode(&stat));
        Ok((!is_still_there && self.shared.claim(no)).then_some(no))
    }
}

/// Returns why a path cannot be in the tree, by its name and kind alone.
fn excluded(rules: &Rules, path: &RelPath, stat: &Stat) -> Option<Exception> {
    if rules.is_ignored(path, stat.kind) {
        return Some(Exception::Ignored);
    }
    let skip = |what: String| Some(Exception::Skipped { what });
    if stat.kind == Kind::Other {
        return skip("a socket, device or FIFO".to_owned());
    }
    let separators = path.as_bytes().iter().filter(|b| **b == b'/').count();
    if separators + 1 >= limits::PATH_DEPTH {
        return skip(format!("a path of more than {} names", limits::PATH_DEPTH));
    }
    if path.as_bytes().len() > limits::PATH_BYTES - limits::NAME_BYTES {
        return skip(format!("a path of {} bytes", path.as_bytes().len()));
    }
    None
}

/// Returns whether a directory holds nothing that could be in the tree: only what is ignored or
/// excepted.
pub(crate) fn is_only_excepted<S: Source>(
    files: &dyn Files,
    view: &View<S>,
    dir: &RelPath,
) -> Result<bool, ScanError> {
    let rules = Rules::load(files, dir);
    let listed = match files.list(Place::Tree(dir)) {
        Err(error) if error.problem == Problem::NotFound => return Ok(false),
        listed => listed?,
    };
    for found in listed {
        let path = dir.join(&found.name);
        if excluded(&rules, &path, &found.stat).is_none() && view.exception(&path)?.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}
