//! What follows the visible steps: rows that say what stands there now, durable directories, and
//! the end of the intents.

use std::collections::{BTreeMap, BTreeSet};

use fsync_core::mutant::{self, Mutant};
use fsync_core::path::{Name, RelPath};
use fsync_runtime::fault::{self, Point};

use super::{Applier, ApplyError, Open};
use crate::files::Stat;
use crate::state::{Durability, Row, Stamp, Tx};

/// Paths that may be left open from batch to batch: bounds what a crash makes the next start look
/// at.
const OPEN_PATHS: usize = 4096;

impl Applier<'_> {
    /// Remembers that the row of a path does not say yet what stands there.
    pub(super) fn unsettle(&mut self, path: &RelPath) {
        self.open.unsettled.push((path.clone(), self.files.now()));
    }

    /// Looks what stands where something was put: what is as we left it is recorded as it is now,
    /// so late that a later change will show.
    pub(super) fn settle(&mut self, tx: &mut Tx<'_>) -> Result<(), ApplyError> {
        let mut dirs: BTreeMap<RelPath, Vec<(Name, i64)>> = BTreeMap::new();
        for (path, placed) in std::mem::take(&mut self.open.unsettled) {
            if let Some((dir, name)) = path.split_last() {
                dirs.entry(dir).or_default().push((name, placed));
            }
        }
        for (dir, placed) in dirs {
            let Some(no) = tx.dir_at(&dir)? else {
                continue;
            };
            let names: Vec<Name> = placed.iter().map(|(name, _)| name.clone()).collect();
            let now = self.files.now();
            let stats = self.files.stat_all(&dir, &names)?;
            for ((name, placed), stat) in placed.iter().zip(stats) {
                let is_ours = |row: &Row, stat: &Stat| {
                    row.is_as_put(stat, self.files.keeps_exec()) && stat.ctime <= *placed
                };
                if let Some(row) = tx.row(no, name)?
                    && let Some(stat) = stat.filter(|stat| is_ours(&row, stat))
                {
                    let (stamp, recorded) = (Stamp::from(&stat), now);
                    tx.put_row(
                        no,
                        name,
                        &Row {
                            stamp,
                            recorded,
                            ..row
                        },
                    )?;
                }
            }
        }
        Ok(())
    }

    /// Leaves the rest of the plan to another applier, which gets what this one left open. When
    /// that is much, it is finished first.
    ///
    /// # Errors
    /// As of [`Applier::finish`].
    pub fn pause(self) -> Result<Open, ApplyError> {
        if self.open.applied.len() < OPEN_PATHS {
            return Ok(self.open);
        }
        self.finish().map(|()| Open::default())
    }

    /// Ends the apply: makes the folder's directories durable, then clears the intents.
    ///
    /// # Errors
    /// [`ApplyError`]; intents stay then and are sorted out by
    /// [`recover()`](super::recover()).
    pub fn finish(mut self) -> Result<(), ApplyError> {
        if self.open.applied.is_empty() {
            return Ok(());
        }
        let applied = std::mem::take(&mut self.open.applied);
        let dirs: BTreeSet<RelPath> = applied.iter().filter_map(RelPath::parent).collect();
        let dirs: Vec<RelPath> = dirs.into_iter().collect();
        if !mutant::is_on(Mutant::NoDirSync) {
            fault::around(Point::DirsSync, || self.files.sync_dirs(&dirs))?;
        }
        let state = self.state;
        fault::around(Point::IntentsEnd, || {
            state.update(Durability::Durable, |tx| {
                self.settle(tx)?;
                for path in &applied {
                    tx.set_intent(path, None)?;
                }
                Ok(())
            })
        })
    }
}
