//! Intents: what a batch is about to do, durable before its first visible step.

use std::collections::BTreeMap;

use fsync_core::id::RevisionId;
use fsync_core::node::Entry;
use fsync_core::path::RelPath;
use fsync_core::plan::{self, Step};
use fsync_core::tree;

use super::{Applier, ApplyError};
use crate::edits::Edits;
use crate::state::{Intent, Standing, Tx};

impl Applier<'_> {
    /// Writes the intents of a batch, as both trees are once `edits` are made.
    pub(super) fn write_intents(
        &mut self,
        tx: &mut Tx<'_>,
        edits: &mut Edits<'_>,
        steps: &[Step],
    ) -> Result<(), ApplyError> {
        for (path, intent) in self.intents(edits, steps)? {
            // What stood there before an earlier, not yet durable step is what a crash may bring
            // back.
            let earlier = tx.intent(&path)?;
            let expected = earlier.map_or(intent.expected, |earlier| earlier.expected);
            tx.set_intent(&path, Some(&Intent { expected, ..intent }))?;
            self.open.applied.push(path);
        }
        Ok(())
    }

    fn intents(
        &self,
        edits: &mut Edits<'_>,
        steps: &[Step],
    ) -> Result<BTreeMap<RelPath, Intent>, ApplyError> {
        let moves = plan::moves_of(steps);
        let mut before = |path: &RelPath| edits.lookup_synced(&plan::before(&moves, path.clone()));
        let mut intents = Intents {
            time: self.files.now(),
            revision: self.target.revision,
            noted: BTreeMap::new(),
        };
        let empty = Entry::Dir(tree::write_empty(
            &mut fsync_core::nodes::NewNodes::default(),
        ));
        for step in steps {
            let (path, was, now) = match step {
                Step::Move { from, to, was } => {
                    let (disk, synced) = (Some(*was), before(to)?);
                    intents.note(from, Standing { disk, synced }, Standing::default());
                    intents.note(to, Standing::default(), Standing { disk, synced });
                    continue;
                }
                Step::Remove { path, was } => (path, Some(*was), None),
                Step::RemoveDir { path } => (path, Some(empty), None),
                Step::MakeDir { path } => (path, None, Some(empty)),
                Step::Put { path, was, now } => (path, *was, Some(*now)),
                Step::Meta { path, was, now } => {
                    (path, Some(Entry::File(*was)), Some(Entry::File(*now)))
                }
            };
            let was = Standing {
                disk: was,
                synced: before(path)?,
            };
            intents.note(path, was, Standing::agreed(now));
        }
        Ok(intents.noted)
    }
}

/// The intents of a batch in the making: of several steps at one path the first says what was, the
/// last what shall be.
struct Intents {
    time: i64,
    revision: RevisionId,
    noted: BTreeMap<RelPath, Intent>,
}

impl Intents {
    fn note(&mut self, path: &RelPath, expected: Standing, target: Standing) {
        let (revision, time) = (self.revision, self.time);
        let intent = Intent {
            expected,
            target,
            revision,
            time,
        };
        self.noted
            .entry(path.clone())
            .and_modify(|earlier| earlier.target = target)
            .or_insert(intent);
    }
}
