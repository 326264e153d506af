//! The recorder: the one thread of a scan that writes the state, in transactions of a few thousand
//! rows.
//!
//! Guarantees: each transaction leaves rows, exceptions and both trees fitting one another. A
//! directory that is gone waits in limbo with its rows until the end: it may turn up under another
//! name.

mod finish;

use std::collections::HashMap;
use std::sync::mpsc::Receiver;

use fsync_core::exception::Exception;
use fsync_core::node::Entry;
use fsync_core::nodes::NewNodes;
use fsync_core::path::{Name, RelPath};
use fsync_core::revision::MoveHint;
use fsync_runtime::fault::{self, Point};

use super::ScanError;
use super::workers::{Batch, Change};
use crate::edits::Edits;
use crate::files::{Files, Stat};
use crate::scan::as_kept;
use crate::state::{DirNo, Durability, Held, Roots, Row, Stamp, State, Tx};

/// Changes that one transaction holds.
const BATCH_CHANGES: usize = 5000;
/// Where rows of directories that are gone wait.
const LIMBO: DirNo = DirNo(u64::MAX - 1);
/// Files that are kept to find renames among: a revision carries fewer hints anyway.
const RENAME_CANDIDATES: usize = 10_000;

/// A file that came or went, to find renames among.
#[derive(Debug, Clone)]
struct Candidate {
    path: RelPath,
    stamp: Stamp,
    entry: Entry,
}

/// Writes what workers find.
pub(super) struct Recorder<'a> {
    files: &'a dyn Files,
    state: &'a State,
    before: Roots,
    tracked_before: u64,
    deletes: u64,
    moves: Vec<MoveHint>,
    busy: Vec<RelPath>,
    began: Vec<(RelPath, Exception)>,
    ended: Vec<RelPath>,
    /// Directories that are gone: where they stood, and what they were in the working tree.
    limbo: HashMap<DirNo, (RelPath, Option<Entry>)>,
    /// Directories under which exceptions must be looked at again.
    gone_dirs: Vec<RelPath>,
    left: HashMap<(u64, u64), Candidate>,
    came: Vec<Candidate>,
}

/// One transaction of the recorder.
struct Step<'s, 't, 'a> {
    tx: &'s mut Tx<'t>,
    edits: &'s mut Edits<'a>,
    dir: RelPath,
    no: DirNo,
}

impl<'a> Recorder<'a> {
    /// Starts a scan; forgets what an interrupted one left in limbo.
    pub(super) fn new(files: &'a dyn Files, state: &'a State) -> Result<Self, ScanError> {
        let snapshot = state.snapshot()?;
        let left_over = snapshot.rows(LIMBO)?;
        if !left_over.is_empty() {
            state.update(Durability::Lazy, |tx| {
                left_over
                    .iter()
                    .try_for_each(|(name, _)| tx.remove_row(LIMBO, name).map(drop))
            })?;
        }
        Ok(Self {
            files,
            state,
            before: snapshot.roots()?,
            tracked_before: state.snapshot()?.tracked()?,
            deletes: 0,
            moves: Vec::new(),
            busy: Vec::new(),
            began: Vec::new(),
            ended: Vec::new(),
            limbo: HashMap::new(),
            gone_dirs: Vec::new(),
            left: HashMap::new(),
            came: Vec::new(),
        })
    }

    /// Records a batch and, in the same transaction, what else comes until it is full.
    pub(super) fn record(
        &mut self,
        first: Batch,
        more: &Receiver<Result<Batch, ScanError>>,
    ) -> Result<(), ScanError> {
        let state = self.state;
        let recorded = state.update(Durability::Lazy, |tx| {
            let mut edits = Edits::new(state, tx.roots()?);
            let mut changes = 0;
            let mut next = Some(first);
            while let Some(batch) = next {
                changes += batch.items.len();
                self.batch(tx, &mut edits, batch)?;
                next = None;
                if changes < BATCH_CHANGES
                    && let Ok(batch) = more.recv()
                {
                    next = Some(batch?);
                }
            }
            let written = edits.write(tx);
            fault::before(Point::ScanRecord);
            written
        });
        fault::after(Point::ScanRecord);
        recorded
    }

    fn batch(
        &mut self,
        tx: &mut Tx<'_>,
        edits: &mut Edits<'a>,
        batch: Batch,
    ) -> Result<(), ScanError> {
        // A directory that vanished again under the scan has no number: what was found in it is of
        // no use.
        let Some(no) = tx.dir_at(&batch.dir)? else {
            return Ok(());
        };
        let mut step = Step {
            tx,
            edits,
            dir: batch.dir,
            no,
        };
        for (name, change) in batch.items {
            self.change(&mut step, &name, change)?;
        }
        Ok(())
    }

    fn change(
        &mut self,
        step: &mut Step<'_, '_, 'a>,
        name: &Name,
        change: Change,
    ) -> Result<(), ScanError> {
        let path = step.dir.join(name);
        match change {
            Change::Busy => {
                self.busy.push(path);
                Ok(())
            }
            Change::Ended => self.end(step, &path),
            Change::Excepted(exception) => self.except(step, (path, name), exception),
            Change::Gone(row) => self.gone(step, (path, name), &row),
            Change::Dir { stat, moved } => {
                self.end_seen(step, &path, None)?;
                self.directory(step, (path, name), (&stat, moved))
            }
            Change::Leaf {
                stat,
                recorded,
                entry,
                nodes,
            } => {
                let entry = self.as_kept(step, (&path, name), entry)?;
                self.end_seen(step, &path, Some(&entry))?;
                step.edits.absorb(nodes);
                let row = Row {
                    stamp: Stamp::from(&stat),
                    recorded,
                    held: Held::Leaf(entry),
                };
                self.leaf(step, (path, name), row)
            }
        }
    }

    /// On a disk without exec bits a file has the one that is known of its path.
    fn as_kept(
        &self,
        step: &mut Step<'_, '_, 'a>,
        (path, name): (&RelPath, &Name),
        found: Entry,
    ) -> Result<Entry, ScanError> {
        if self.files.keeps_exec() {
            return Ok(found);
        }
        let row = step.tx.row(step.no, name)?;
        let known = match row.and_then(|row| row.entry().copied()) {
            Some(known) => Some(known),
            None => step.edits.lookup_synced(path)?,
        };
        Ok(as_kept(self.files, found, known.as_ref()))
    }

    /// Ends an exception that a scan can see, now that the path is plainly there. What is as the
    /// synced tree has it was no edit meanwhile, so it keeps its ancestor.
    fn end_seen(
        &mut self,
        step: &mut Step<'_, '_, 'a>,
        path: &RelPath,
        found: Option<&Entry>,
    ) -> Result<(), ScanError> {
        let exception = step.tx.exception(path)?;
        if !exception.is_some_and(|exception| exception.is_seen_by_scan()) {
            return Ok(());
        }
        let synced = step.edits.lookup_synced(path)?;
        if found.is_some_and(|found| synced.is_some_and(|synced| synced.is_same(found))) {
            tracing::debug!(?path, "an exception ends, without an edit");
            step.tx.set_exception(path, None)?;
            self.ended.push(path.clone());
            return Ok(());
        }
        self.end(step, path)
    }

    /// Ends an exception: the path is merged without an ancestor from now on.
    fn end(&mut self, step: &mut Step<'_, '_, 'a>, path: &RelPath) -> Result<(), ScanError> {
        tracing::debug!(?path, "an exception ends");
        step.tx.set_exception(path, None)?;
        step.edits.set_synced(path, None);
        step.edits.set_working(path, None);
        if let Some((dir, name)) = path.split_last()
            && let Some(no) = step.tx.dir_at(&dir)?
        {
            step.tx.remove_row(no, &name)?;
        }
        self.ended.push(path.clone());
        Ok(())
    }

    fn except(
        &mut self,
        step: &mut Step<'_, '_, 'a>,
        (path, name): (RelPath, &Name),
        exception: Exception,
    ) -> Result<(), ScanError> {
        step.tx.remove_row(step.no, name)?;
        match step.tx.exception(&path)? {
            Some(known) if known == exception => return Ok(()),
            // What the head or the user decided stays decided.
            Some(known) if !known.is_seen_by_scan() => return Ok(()),
            _ => {}
        }
        tracing::debug!(?path, ?exception, "an exception begins");
        step.tx.set_exception(&path, Some(&exception))?;
        step.edits.restore(&path)?;
        self.began.push((path, exception));
        Ok(())
    }

    fn gone(
        &mut self,
        step: &mut Step<'_, '_, 'a>,
        (path, name): (RelPath, &Name),
        row: &Row,
    ) -> Result<(), ScanError> {
        let held = step.tx.row(step.no, name)?.map(|now| now.held);
        if held != Some(row.held) {
            // It has been found under another name already.
            return Ok(());
        }
        if step.tx.exception(&path)?.is_some() {
            return self.end(step, &path);
        }
        match row.held {
            Held::Leaf(entry) => {
                step.tx.remove_row(step.no, name)?;
                self.deletes += 1;
                if self.left.len() < RENAME_CANDIDATES {
                    let candidate = Candidate {
                        path: path.clone(),
                        stamp: row.stamp,
                        entry,
                    };
                    self.left.insert((row.stamp.dev, row.stamp.ino), candidate);
                }
            }
            Held::Dir(no) => {
                let entry = step.edits.lookup_working(&path)?;
                let limbo = limbo_name(no)?;
                step.tx.move_row((step.no, name), (LIMBO, &limbo), row)?;
                self.limbo.insert(no, (path.clone(), entry));
                self.gone_dirs.push(path.clone());
            }
        }
        step.edits.set_working(&path, None);
        Ok(())
    }

    fn directory(
        &mut self,
        step: &mut Step<'_, '_, 'a>,
        (path, name): (RelPath, &Name),
        (stat, moved): (&Stat, Option<DirNo>),
    ) -> Result<(), ScanError> {
        let row = |no| Row {
            stamp: Stamp::from(stat),
            recorded: stat.ctime,
            held: Held::Dir(no),
        };
        let is_above = |no: &DirNo| stands_in(step.tx, step.no, *no);
        let is_turned = moved.as_ref().map(is_above).transpose()?.unwrap_or(false);
        if is_turned {
            // It changed places with a directory above it while both were looked at, and the one
            // above is not known to have moved yet: it is looked at again, as a new one.
            self.busy.push(path.clone());
        }
        let Some(no) = moved.filter(|_| !is_turned) else {
            let no = step.tx.new_dir()?;
            step.tx.put_row(step.no, name, &row(no))?;
            return Ok(step.edits.make_dir(&path)?);
        };
        let (from, entry) = match self.limbo.remove(&no) {
            Some((from, entry)) => {
                let limbo = limbo_name(no)?;
                step.tx
                    .move_row((LIMBO, &limbo), (step.no, name), &row(no))?;
                (Some(from), entry)
            }
            None => self.take_away(step, no, (name, &row(no)))?,
        };
        let entry = match entry {
            None => {
                let mut new = NewNodes::default();
                let indexed = step.tx.indexed(&path, &mut new)?;
                step.edits.absorb(new);
                indexed
            }
            entry => entry,
        };
        step.edits.set_working(&path, entry);
        if let Some(from) = from {
            self.leave_excepted(step, &from, &path)?;
            self.gone_dirs.push(from.clone());
            self.moves.push(MoveHint { from, to: path });
        }
        Ok(())
    }

    /// What is excepted in a directory that moved stays excepted where it was; at its new place it is
    /// what the index has.
    fn leave_excepted(
        &self,
        step: &mut Step<'_, '_, 'a>,
        from: &RelPath,
        to: &RelPath,
    ) -> Result<(), ScanError> {
        for (excepted, _) in step.tx.exceptions_within(from)? {
            let rest = excepted.strip_prefix(from).filter(|rest| !rest.is_root());
            let Some(rest) = rest else { continue };
            let here = to.concat(&rest);
            let mut new = NewNodes::default();
            let there = step.tx.indexed(&here, &mut new)?;
            step.edits.absorb(new);
            step.edits.set_working(&here, there);
        }
        Ok(())
    }

    /// Moves a directory whose old path was not looked at (yet).
    fn take_away(
        &mut self,
        step: &mut Step<'_, '_, 'a>,
        no: DirNo,
        (name, row): (&Name, &Row),
    ) -> Result<(Option<RelPath>, Option<Entry>), ScanError> {
        let Some((dir, old)) = step.tx.parent_of(no)? else {
            // Forgotten in this very scan, with all that its workers still take for known: look
            // again.
            self.busy.push(step.dir.join(name));
            step.tx.put_row(step.no, name, row)?;
            return Ok((None, None));
        };
        let found = match step.tx.path_of(no)? {
            // What moved is what the index has: the trees may have something else there. The exception
            // was made for what stood there, so it ends as it does when that is gone.
            Some(from) if is_excepted(step.tx, &from)? => {
                step.tx.move_row((dir, &old), (step.no, name), row)?;
                if step.tx.exception(&from)?.is_some() {
                    self.end(step, &from)?;
                }
                return Ok((None, None));
            }
            Some(from) => {
                let entry = step.edits.lookup_working(&from)?;
                step.edits.set_working(&from, None);
                (Some(from), entry)
            }
            None => self.take_from_limbo(step, no)?,
        };
        step.tx.move_row((dir, &old), (step.no, name), row)?;
        Ok(found)
    }

    /// Finds a directory below one that waits in limbo, and takes it out of there.
    fn take_from_limbo(
        &mut self,
        step: &mut Step<'_, '_, 'a>,
        no: DirNo,
    ) -> Result<(Option<RelPath>, Option<Entry>), ScanError> {
        let mut names = Vec::new();
        let mut at = no;
        while let Some((parent, name)) = step.tx.parent_of(at)? {
            if parent == LIMBO {
                break;
            }
            names.push(name);
            at = parent;
        }
        let Some((from, top)) = self.limbo.get_mut(&at) else {
            return Ok((None, None));
        };
        let rest = names
            .iter()
            .rev()
            .fold(RelPath::root(), |path, name| path.join(name));
        let from = from.concat(&rest);
        let Some(Entry::Dir(dir)) = top else {
            return Ok((Some(from), None));
        };
        let (left, entry) = step.edits.take_out(dir, &rest)?;
        *top = Some(Entry::Dir(left));
        Ok((Some(from), entry))
    }

    fn leaf(
        &mut self,
        step: &mut Step<'_, '_, 'a>,
        (path, name): (RelPath, &Name),
        mut row: Row,
    ) -> Result<(), ScanError> {
        let Held::Leaf(entry) = row.held else {
            return Ok(());
        };
        let known = step.tx.row(step.no, name)?;
        let before = match known.and_then(|row| row.entry().copied()) {
            Some(entry) => Some(entry),
            None => step.edits.lookup_working(&path)?,
        };
        if let Some(before) = before
            && before.is_same(&entry)
        {
            // Only the disk's own times differ: the tree keeps the times that travelled with the
            // content.
            row.held = Held::Leaf(before);
            return Ok(step.tx.put_row(step.no, name, &row)?);
        }
        if known.is_none() && self.came.len() < RENAME_CANDIDATES {
            self.came.push(Candidate {
                path: path.clone(),
                stamp: row.stamp,
                entry,
            });
        }
        step.tx.put_row(step.no, name, &row)?;
        step.edits.set_working(&path, Some(entry));
        Ok(())
    }
}

/// Returns whether a path, or a directory that it is in, is excepted.
/// Whether a directory is another one or stands somewhere in it.
fn stands_in(tx: &Tx<'_>, dir: DirNo, other: DirNo) -> Result<bool, ScanError> {
    let mut at = dir;
    loop {
        if at == other {
            return Ok(true);
        }
        match tx.parent_of(at)? {
            Some((parent, _)) => at = parent,
            None => return Ok(false),
        }
    }
}

fn is_excepted(tx: &Tx<'_>, path: &RelPath) -> Result<bool, ScanError> {
    let mut at = path.clone();
    loop {
        if tx.exception(&at)?.is_some() {
            return Ok(true);
        }
        match at.parent() {
            Some(parent) if !at.is_root() => at = parent,
            _ => return Ok(false),
        }
    }
}

fn limbo_name(no: DirNo) -> Result<Name, ScanError> {
    let name = Name::new(no.0.to_string().into_bytes());
    name.or(Err(ScanError::State(crate::state::StateError::Damaged(
        "directory number",
    ))))
}
