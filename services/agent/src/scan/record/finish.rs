//! The end of a scan: limbo is emptied, exceptions are looked at again, renamed files found.

use fsync_core::exception::Exception;
use fsync_core::node::Entry;
use fsync_core::path::RelPath;
use fsync_core::revision::MoveHint;
use fsync_runtime::fault::{self, Point};

use super::{LIMBO, Recorder, limbo_name};
use crate::edits::Edits;
use crate::files::{Kind, Place};
use crate::rules::Rules;
use crate::scan::{Counts, Look, ScanError, ScanOutcome};
use crate::state::{DirNo, Durability, Tx};

impl Recorder<'_> {
    /// Ends the scan: what stayed in limbo is deleted, exceptions are looked at, renames found.
    pub(in crate::scan) fn finish(
        mut self,
        looked: &[Look],
        counts: Counts,
    ) -> Result<ScanOutcome, ScanError> {
        let state = self.state;
        let limbo: Vec<DirNo> = self.limbo.keys().copied().collect();
        let stale = self.stale_exceptions(looked)?;
        if !limbo.is_empty() || !stale.is_empty() || !self.gone_dirs.is_empty() {
            let forgotten = state.update::<_, ScanError>(Durability::Lazy, |tx| {
                let mut edits = Edits::new(state, tx.roots()?);
                for no in limbo {
                    self.deletes += tx.remove_row(LIMBO, &limbo_name(no)?)?;
                }
                for path in stale {
                    tx.set_exception(&path, None)?;
                    edits.set_synced(&path, None);
                    edits.set_working(&path, None);
                    self.ended.push(path);
                }
                restore_excepted(tx, &mut edits, &self.gone_dirs)?;
                let written = edits.write(tx);
                fault::before(Point::ScanEnd);
                written
            });
            fault::after(Point::ScanEnd);
            forgotten?;
        }
        let roots = state.snapshot()?.roots()?;
        self.find_renames();
        self.moves.sort();
        Ok(ScanOutcome {
            roots,
            is_changed: roots != self.before,
            deletes: self.deletes,
            tracked_before: self.tracked_before,
            moves: self.moves,
            busy: self.busy,
            began: self.began,
            ended: self.ended,
            counts,
        })
    }

    /// Finds exceptions of things that are not there any more. An ignored path that the synced tree
    /// has stays ignored, there or not: it was never known to be deleted.
    fn stale_exceptions(&self, looked: &[Look]) -> Result<Vec<RelPath>, ScanError> {
        let snapshot = self.state.snapshot()?;
        let mut stale = Vec::new();
        if !snapshot.has_exceptions()? {
            return Ok(stale);
        }
        let synced = snapshot.roots()?.synced;
        for look in looked {
            for (path, exception) in snapshot.exceptions_within(&look.path)? {
                let is_gone =
                    exception.is_seen_by_scan() && self.files.stat(Place::Tree(&path))?.is_none();
                let is_kept = || -> Result<bool, ScanError> {
                    let kind = match fsync_core::tree::lookup(self.state, &synced, &path)? {
                        Some(Entry::Dir(_)) => Kind::Dir,
                        Some(_) => Kind::File,
                        None => return Ok(false),
                    };
                    let is_ignored = exception == Exception::Ignored;
                    Ok(is_ignored && Rules::is_hidden(self.files, &path, kind))
                };
                if is_gone && !is_kept()? {
                    stale.push(path);
                }
            }
        }
        Ok(stale)
    }

    /// A file was renamed if what came is the very inode that left; without birth times, if the
    /// content is equal too.
    fn find_renames(&mut self) {
        for came in &self.came {
            let Some(left) = self.left.get(&(came.stamp.dev, came.stamp.ino)) else {
                continue;
            };
            let is_same = left.stamp.kind == came.stamp.kind
                && match (left.stamp.btime, came.stamp.btime) {
                    (Some(old), Some(new)) => old == new,
                    _ => left.entry.id() == came.entry.id(),
                };
            if is_same {
                self.moves.push(MoveHint {
                    from: left.path.clone(),
                    to: came.path.clone(),
                });
            }
        }
    }
}

/// A directory is gone, but what is excepted in it stays as the synced tree has it. A held delete
/// is one of this folder: once it is released the working tree must not have the path any more.
fn restore_excepted(
    tx: &mut Tx<'_>,
    edits: &mut Edits<'_>,
    gone: &[RelPath],
) -> Result<(), ScanError> {
    for dir in gone {
        for (path, exception) in tx.exceptions_within(dir)? {
            match exception {
                Exception::Held | Exception::ReadOnly => {}
                // It stood in the directory, on this disk only.
                Exception::LocalOnly => tx.set_exception(&path, None)?,
                _ => edits.restore(&path)?,
            }
        }
    }
    Ok(())
}
