//! Which changed paths are due for a scan: the latency rules of the agent.
//!
//! A finished write, a rename or a delete of a path that was quiet for a second is due at once. A
//! path that keeps changing waits for a window that doubles up to [`WINDOW_MAX`]; a write that is
//! not finished waits for quiet. Nothing waits longer than [`WAIT_MAX`]. Too many paths at once
//! become one scan of the whole tree.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::Moment;
use crate::path::RelPath;

/// A path without a change for so long is quiet: its next change is published at once.
const QUIET: Duration = Duration::from_secs(1);
/// First wait of a path that is not quiet.
const WINDOW_MIN: Duration = Duration::from_millis(50);
/// Longest window of a path that keeps changing.
const WINDOW_MAX: Duration = Duration::from_secs(2);
/// How long a write without an end (a truncation, a growing log) must be quiet.
const UNFINISHED: Duration = Duration::from_millis(50);
/// Nothing waits longer, however busy its path is.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// More changed paths than this are one scan of the whole tree: bounds memory.
const PATHS_MAX: usize = 20_000;
/// Paths whose pace is remembered; older ones are quiet anyway.
const PACE_MAX: usize = 4_096;

/// What happened to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// A write ended, or something was moved here: what stands there now is meant to.
    Finished,
    /// It was deleted or moved away. That is told at once and is no write: an editor that puts its
    /// backup aside and writes anew does not wait for it.
    Gone,
    /// A write is under way, or its end cannot be seen.
    Unfinished,
    /// A directory appeared: all below it is new.
    Subtree,
}

/// A change that the watcher saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Where.
    pub path: RelPath,
    /// What.
    pub kind: ChangeKind,
}

/// What to scan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// The whole tree.
    Everything,
    /// These paths; `true` with all below.
    Paths(BTreeMap<RelPath, bool>),
}

#[derive(Debug, Clone, Copy)]
struct Waiting {
    first: Moment,
    due: Moment,
    is_subtree: bool,
    /// A write may go on: what stands there is not meant to be seen yet.
    is_open: bool,
}

#[derive(Debug, Clone, Copy)]
struct Pace {
    last: Moment,
    window: Duration,
}

/// Changed paths and when each is due.
#[derive(Debug, Default)]
pub struct Changes {
    everything: Option<Moment>,
    waiting: BTreeMap<RelPath, Waiting>,
    pace: BTreeMap<RelPath, Pace>,
}

impl Changes {
    /// Asks for a scan of the whole tree.
    pub fn everything(&mut self, at: Moment) {
        self.everything = Some(self.everything.map_or(at, |due| due.min(at)));
        self.waiting.clear();
    }

    /// Takes a change.
    pub fn add(&mut self, change: &Change, now: Moment) {
        if self.everything.is_some() {
            return;
        }
        if self.waiting.len() >= PATHS_MAX {
            return self.everything(now.after(WINDOW_MIN));
        }
        let delay = self.delay(change, now);
        let entry = self.waiting.entry(change.path.clone());
        let waiting = entry.or_insert(Waiting {
            first: now,
            due: now,
            is_subtree: false,
            is_open: false,
        });
        waiting.is_subtree |= change.kind == ChangeKind::Subtree;
        waiting.is_open = change.kind == ChangeKind::Unfinished;
        waiting.due = now.after(delay).min(waiting.first.after(WAIT_MAX));
    }

    /// Puts back a path that could not be scanned, to be tried again `later` with all below.
    pub fn retry(&mut self, path: RelPath, later: Duration, now: Moment) {
        let due = now.after(later);
        let waiting = self.waiting.entry(path).or_insert(Waiting {
            first: due,
            due,
            is_subtree: true,
            is_open: true,
        });
        waiting.is_subtree = true;
    }

    /// Asks for a scan of a path that was not as expected, with all below; of everything for the
    /// root. What else is finished is looked at with it: a rename shows at two paths, and one of
    /// them alone tells half of it.
    pub fn stale(&mut self, path: RelPath, at: Moment) {
        if path.is_root() || self.waiting.len() >= PATHS_MAX {
            return self.everything(at);
        }
        let waiting = Waiting {
            first: at,
            due: at,
            is_subtree: true,
            is_open: false,
        };
        self.waiting.insert(path, waiting);
        let finished = self.waiting.values_mut().filter(|w| !w.is_open);
        finished.for_each(|w| w.due = w.due.min(at));
    }

    fn delay(&mut self, change: &Change, now: Moment) -> Duration {
        let pace = self.pace.get(&change.path).copied();
        let is_quiet = pace.is_none_or(|pace| now.since(pace.last) >= QUIET.max(pace.window));
        let window = match pace {
            Some(pace) if !is_quiet => pace.window.saturating_mul(2).min(WINDOW_MAX),
            _ => WINDOW_MIN / 2,
        };
        if self.pace.len() >= PACE_MAX {
            self.pace.retain(|_, pace| now.since(pace.last) < QUIET);
        }
        let settled = if is_quiet { Duration::ZERO } else { window };
        match change.kind {
            ChangeKind::Unfinished => settled.max(UNFINISHED),
            ChangeKind::Subtree | ChangeKind::Gone => Duration::ZERO,
            ChangeKind::Finished => {
                if self.pace.len() < PACE_MAX {
                    self.pace
                        .insert(change.path.clone(), Pace { last: now, window });
                }
                settled
            }
        }
    }

    /// Returns when the next path is due.
    pub fn next_due(&self) -> Option<Moment> {
        self.waiting
            .values()
            .map(|w| w.due)
            .chain(self.everything)
            .min()
    }

    /// Takes all that is due.
    pub fn take_due(&mut self, now: Moment) -> Option<Scope> {
        if self.everything.is_some_and(|due| due <= now) {
            self.everything = None;
            self.waiting.clear();
            return Some(Scope::Everything);
        }
        let mut due = BTreeMap::new();
        self.waiting.retain(|path, waiting| {
            let is_due = waiting.due <= now;
            if is_due {
                due.insert(path.clone(), waiting.is_subtree);
            }
            !is_due
        });
        if due.is_empty() {
            None
        } else {
            Some(Scope::Paths(due))
        }
    }

    /// Returns whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.everything.is_none() && self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(kind: ChangeKind) -> Change {
        Change {
            path: RelPath::parse(b"a").unwrap(),
            kind,
        }
    }

    #[test]
    fn a_finished_write_of_a_quiet_path_is_due_at_once() {
        let mut changes = Changes::default();
        changes.add(&change(ChangeKind::Finished), Moment(5_000));
        assert_eq!(changes.next_due(), Some(Moment(5_000)));
    }

    #[test]
    fn a_path_that_keeps_changing_waits_longer_and_longer_but_never_for_ever() {
        let mut changes = Changes::default();
        let mut waits = Vec::new();
        let mut now = Moment(0);
        for _ in 0..8 {
            changes.add(&change(ChangeKind::Finished), now);
            waits.push(changes.next_due().unwrap().since(now).as_millis());
            changes.take_due(Moment(u64::MAX));
            now = now.after(Duration::from_millis(20));
        }
        assert_eq!(waits, [0, 50, 100, 200, 400, 800, 1600, 2000]);
    }

    #[test]
    fn a_save_that_puts_a_backup_aside_first_is_due_at_its_end() {
        let mut changes = Changes::default();
        changes.add(&change(ChangeKind::Gone), Moment(0));
        changes.take_due(Moment(0));
        changes.add(&change(ChangeKind::Unfinished), Moment(1));
        changes.add(&change(ChangeKind::Finished), Moment(3));
        assert_eq!(changes.next_due(), Some(Moment(3)));
    }

    #[test]
    fn an_unfinished_write_is_held_until_it_is_quiet() {
        let mut changes = Changes::default();
        changes.add(&change(ChangeKind::Unfinished), Moment(0));
        changes.add(&change(ChangeKind::Unfinished), Moment(40));
        assert_eq!(changes.next_due(), Some(Moment(90)));
        changes.add(&change(ChangeKind::Finished), Moment(60));
        assert_eq!(changes.next_due(), Some(Moment(60)));
    }

    #[test]
    fn too_many_paths_become_one_scan_of_everything() {
        let mut changes = Changes::default();
        for n in 0..=PATHS_MAX {
            let path = RelPath::parse(n.to_string().as_bytes()).unwrap();
            changes.add(
                &Change {
                    path,
                    kind: ChangeKind::Finished,
                },
                Moment(0),
            );
        }
        assert_eq!(changes.take_due(Moment(1_000)), Some(Scope::Everything));
        assert!(changes.is_empty());
    }
}
