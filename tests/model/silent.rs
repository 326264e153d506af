//! The model's state, and what a tool may do to it unseen.
//!
//! Each replica has, for each path, what is there (`local`) and what both sides had when it was last
//! in step (`base`); the tool as a whole has one truth (`global`). A path is *dirty* where local and
//! base differ, *stale* where base and global do.
//!
//! ```text
//! up    a dirty path: if it is not stale, it becomes the truth. Else: an edit beats a delete; of two
//!       edits one stays at the path, the other becomes a conflict copy
//! down  a stale path that is not dirty takes the truth
//! ```
//! A rename is a delete and a write at once; an edit of the old name that did not know of it may
//! follow it to the new name.

use super::history::PATHS;
use super::rules::{Rule, Waived};
use super::tool::REPLICAS;

/// A value of one round, numbered from 1 in this round; 0 is nothing.
pub(super) type Small = u8;
/// Paths of the model.
pub(super) const N: usize = PATHS.len();
/// Values of one round that a state can tell apart.
pub(super) const VALUES: usize = 63;

/// One way in which things may stand.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct State {
    pub(super) local: [[Small; N]; REPLICAS],
    base: [[Small; N]; REPLICAS],
    global: [Small; N],
    /// Values of conflict copies, as bits.
    pub(super) copies: u64,
    /// Values that ever stood as the truth of a path, as bits.
    past: [u64; N],
    /// Renames that were sent, and per replica those that were not, as bits.
    sent: u16,
    unsent: [u16; REPLICAS],
}

fn bit(value: Small) -> u64 {
    match value {
        0 => 0,
        value => 1 << value,
    }
}

fn hint(from: usize, to: usize) -> u16 {
    1 << (from * N + to)
}

impl State {
    /// Starts in step.
    pub(super) fn new(values: [Small; N]) -> Self {
        Self {
            local: [values; REPLICAS],
            base: [values; REPLICAS],
            global: values,
            copies: 0,
            past: values.map(bit),
            sent: 0,
            unsent: [0; REPLICAS],
        }
    }

    /// Returns whether all replicas are in step with these values and copies.
    pub(super) fn is_settled(&self, values: &[Small; N], copies: u64) -> bool {
        let all = self.local.iter().chain(&self.base).chain([&self.global]);
        self.copies == copies && all.into_iter().all(|found| found == values)
    }

    /// A user renames a file.
    pub(super) fn rename(&mut self, user: usize, from: usize, to: usize) {
        self.local[user][to] = self.local[user][from];
        self.local[user][from] = 0;
        // What was renamed to `from` before has come from elsewhere to `to`.
        for earlier in (0..N).filter(|earlier| *earlier != to) {
            if self.unsent[user] & hint(earlier, from) != 0 {
                self.unsent[user] |= hint(earlier, to);
            }
        }
        self.unsent[user] |= hint(from, to);
    }

    /// Returns every state that one unseen step leads to.
    pub(super) fn steps(&self, waived: Waived) -> Vec<Self> {
        let mut next = Vec::new();
        for user in 0..REPLICAS {
            for path in 0..N {
                let (local, base) = (self.local[user][path], self.base[user][path]);
                if local != base {
                    self.up(user, path, waived, &mut next);
                }
                if base != self.global[path]
                    && (local == base || waived.has(Rule::UnsentEditsAreKept))
                {
                    let mut down = self.clone();
                    down.local[user][path] = self.global[path];
                    down.base[user][path] = self.global[path];
                    next.push(down);
                }
                for to in 0..N {
                    self.rename_up(user, (path, to), &mut next);
                }
            }
        }
        self.strange(waived, &mut next);
        if !needs_past(waived) {
            // States that differ in nothing else are the same.
            next.iter_mut().for_each(|state| state.past = [0; N]);
        }
        next
    }

    fn set_global(&mut self, path: usize, value: Small) {
        self.global[path] = value;
        self.past[path] |= bit(value);
    }

    /// A replica has sent a path: its renames from there are known.
    fn sent(&self, user: usize, path: usize) -> Self {
        let mut sent = self.clone();
        sent.base[user][path] = self.local[user][path];
        let from_here = (0..N).fold(0, |bits, to| bits | hint(path, to));
        sent.sent |= sent.unsent[user] & from_here;
        sent.unsent[user] &= !from_here;
        sent
    }

    fn up(&self, user: usize, path: usize, waived: Waived, next: &mut Vec<Self>) {
        let (mine, base) = (self.local[user][path], self.base[user][path]);
        let truth = self.global[path];
        let sent = self.sent(user, path);
        let wins = || {
            let mut wins = sent.clone();
            wins.set_global(path, mine);
            wins
        };
        if truth == base {
            next.push(wins());
        } else if mine == truth || mine == 0 {
            next.push(sent.clone());
        } else if truth == 0 {
            next.push(wins());
            self.follow(user, path, &sent, next);
        } else {
            next.extend(conflict(&sent, path, (truth, mine)));
        }
        let rule = match mine == 0 || truth == 0 {
            true => Rule::EditsBeatDeletes,
            false => Rule::ConcurrentEditsAreKept,
        };
        if truth != base && waived.has(rule) {
            next.extend([wins(), sent.clone()]);
        }
    }

    /// An edit of a path that was renamed elsewhere follows the rename.
    fn follow(&self, user: usize, path: usize, sent: &Self, next: &mut Vec<Self>) {
        let (mine, base) = (self.local[user][path], self.base[user][path]);
        if base == 0 {
            return;
        }
        for to in reachable(self.sent, path) {
            if self.base[user][to] != 0 || self.local[user][to] != 0 {
                continue;
            }
            let there = self.global[to];
            if there == base || there == 0 {
                let mut moved = sent.clone();
                moved.set_global(to, mine);
                next.push(moved);
            } else if there != mine {
                next.extend(conflict(sent, to, (there, mine)));
            }
        }
    }

    /// A replica sends a rename as one, and what others wrote to the old name follows it.
    fn rename_up(&self, user: usize, (from, to): (usize, usize), next: &mut Vec<Self>) {
        let (local, base) = (&self.local[user], &self.base[user]);
        let (other, mine) = (self.global[from], local[to]);
        let fits = self.unsent[user] & hint(from, to) != 0
            && (local[from], base[to], self.global[to]) == (0, 0, 0)
            && base[from] != 0
            && mine != 0
            && other != 0;
        if !fits {
            return;
        }
        let mut moved = self.sent(user, from);
        moved.set_global(from, 0);
        moved.base[user][to] = mine;
        if other == base[from] || other == mine {
            moved.set_global(to, mine);
            next.push(moved);
        } else if mine == base[from] {
            moved.set_global(to, other);
            next.push(moved);
        } else {
            moved.set_global(to, other);
            next.extend(conflict(&moved, to, (other, mine)));
        }
    }

    /// What only a tool does that breaks rules.
    fn strange(&self, waived: Waived, next: &mut Vec<Self>) {
        for path in 0..N {
            for value in (1..=VALUES).filter_map(|v| Small::try_from(v).ok()) {
                let was_here = self.past[path] & bit(value) != 0;
                if waived.has(Rule::NothingComesBack) && was_here && self.global[path] != value {
                    let mut back = self.clone();
                    back.global[path] = value;
                    next.push(back);
                }
                let is_new = was_here && self.copies & bit(value) == 0;
                if waived.has(Rule::CopiesNeedAConflict) && is_new {
                    let mut copied = self.clone();
                    copied.copies |= bit(value);
                    next.push(copied);
                }
            }
        }
    }
}

fn needs_past(waived: Waived) -> bool {
    waived.has(Rule::NothingComesBack) || waived.has(Rule::CopiesNeedAConflict)
}

/// Two values want one path: either may stay, the other becomes a copy.
fn conflict(at: &State, path: usize, (one, other): (Small, Small)) -> [State; 2] {
    [(one, other), (other, one)].map(|(winner, loser)| {
        let mut state = at.clone();
        state.set_global(path, winner);
        state.past[path] |= bit(loser);
        state.copies |= bit(loser);
        state
    })
}

/// Returns where renames may have led from a path.
fn reachable(hints: u16, path: usize) -> Vec<usize> {
    let mut found = vec![path];
    let mut at = 0;
    while let Some(from) = found.get(at).copied() {
        let more = (0..N).filter(|to| hints & hint(from, *to) != 0);
        let more: Vec<usize> = more.filter(|to| !found.contains(to)).collect();
        found.extend(more);
        at += 1;
    }
    found.split_off(1)
}
