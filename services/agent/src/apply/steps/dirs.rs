//! Steps that move or concern directories.

use fsync_core::exception::Exception;
use fsync_core::node::Entry;
use fsync_core::path::RelPath;
use fsync_runtime::fault::{self, Point};

use super::{Batch, Outcome, Spot, failed};
use crate::apply::{Applier, ApplyError, StepResult};
use crate::files::{Kind, Place, Problem, Rename};
use crate::scan;
use crate::state::{Held, Row, Stamp, Tx};

impl Applier<'_> {
    pub(super) fn rename(
        &mut self,
        batch: &mut Batch<'_, '_, '_>,
        (from, to): (&RelPath, &RelPath),
        was: &Entry,
    ) -> Result<StepResult, ApplyError> {
        let (spot, row) = match was {
            Entry::Dir(_) => expect!(self.check_dir(batch.0, from)),
            _ => expect!(self.check(batch.0, from, was)),
        };
        let target = expect!(Self::spot(batch.0, to));
        let (old, new) = (Place::Tree(from), Place::Tree(to));
        attempt!(fault::around(Point::Move, || {
            self.files.rename(old, new, Rename::NoReplace)
        }));
        let stat = self.files.stat(Place::Tree(to))?;
        let stamp = match stat {
            Some(stat) if row.dir().is_some() || row.is_as_put(&stat, self.files.keeps_exec()) => {
                Stamp::from(&stat)
            }
            _ => row.stamp,
        };
        let row = Row {
            stamp,
            recorded: self.files.now(),
            held: row.held,
        };
        batch
            .0
            .move_row((spot.dir, &spot.name), (target.dir, &target.name), &row)?;
        batch.1.move_both(from, to)?;
        if row.dir().is_none() {
            self.unsettle(to);
        }
        Ok(StepResult::Done)
    }

    fn check_dir(&self, tx: &Tx<'_>, path: &RelPath) -> Outcome<(Spot, Row)> {
        let spot = match Self::spot(tx, path)? {
            Ok(spot) => spot,
            Err(result) => return Ok(Err(result)),
        };
        let stat = self.files.stat(Place::Tree(path))?;
        let row = tx.row(spot.dir, &spot.name)?;
        let fits =
            |row: &Row| row.dir().is_some() && stat.is_some_and(|stat| row.stamp.is_inode(&stat));
        Ok(match row.filter(fits) {
            Some(row) => Ok((spot, row)),
            None => Err(StepResult::Stale),
        })
    }

    pub(super) fn remove_dir(
        &mut self,
        batch: &mut Batch<'_, '_, '_>,
        path: &RelPath,
    ) -> Result<StepResult, ApplyError> {
        let at = Place::Tree(path);
        let result = match fault::around(Point::RemoveDir, || self.files.remove_dir(at)) {
            Ok(()) => StepResult::Done,
            Err(error) if error.is(Problem::NotFound) => {
                // Gone already: both sides removed it.
                match attempt!(self.files.stat(Place::Tree(path))) {
                    None => StepResult::Done,
                    Some(_) => return Ok(StepResult::Stale),
                }
            }
            Err(error) if error.is(Problem::NotEmpty) => {
                // By now it may be empty: what was in it is on its way elsewhere.
                let is_kept = scan::is_only_excepted(self.files, batch.0, path)?
                    && !attempt!(self.files.list(Place::Tree(path))).is_empty();
                if !is_kept {
                    return Ok(StepResult::Stale);
                }
                StepResult::Blocked(Exception::Blocked {
                    reason: "the directory holds ignored files, which are never removed".to_owned(),
                })
            }
            Err(error) => return Ok(failed(error)),
        };
        if let Ok(spot) = Self::spot(batch.0, path)? {
            batch.0.remove_row(spot.dir, &spot.name)?;
        }
        batch.1.set_both(path, None);
        Ok(result)
    }

    pub(super) fn make_dir(
        &mut self,
        batch: &mut Batch<'_, '_, '_>,
        path: &RelPath,
    ) -> Result<StepResult, ApplyError> {
        let spot = expect!(Self::spot(batch.0, path));
        match fault::around(Point::MakeDir, || self.files.make_dir(Place::Tree(path))) {
            Err(error) if !error.is(Problem::Exists) => return Ok(failed(error)),
            _ => {}
        }
        let stat = attempt!(self.files.stat(Place::Tree(path)));
        let Some(stat) = stat.filter(|stat| stat.kind == Kind::Dir) else {
            return Ok(StepResult::Stale);
        };
        let known = batch.0.row(spot.dir, &spot.name)?;
        let known = known
            .filter(|row| row.stamp.is_inode(&stat))
            .and_then(|r| r.dir());
        let no = match known {
            Some(no) => no,
            None => batch.0.new_dir()?,
        };
        let row = Row {
            stamp: Stamp::from(&stat),
            recorded: self.files.now(),
            held: Held::Dir(no),
        };
        batch.0.put_row(spot.dir, &spot.name, &row)?;
        batch.1.make_dir(path)?;
        batch.1.make_synced_dir(path)?;
        Ok(StepResult::Done)
    }
}
