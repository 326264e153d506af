//! What a replica wants to hear, what it is subscribed to, and what it heard last.
//!
//! Guarantees: after [`Ear::forget`] the subscriptions count as lost, and once they are made again
//! `missed` resolves: what fell in between is found by reading the heads.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fsync_core::label::TreeKey;
use fsync_core::wire::{Head, RefEvent};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::redis::keys::Partition;
use crate::redis::wake::WakeUp;

#[derive(Debug)]
pub(super) struct Ear {
    state: Mutex<State>,
    changed: Notify,
    missed: Notify,
    settled: Notify,
}

#[derive(Debug)]
struct State {
    trees: BTreeMap<TreeKey, Followed>,
    /// Partitions of the trees, with how many of them.
    wanted: BTreeMap<Partition, usize>,
    heard: BTreeSet<Partition>,
    /// Whether subscriptions were lost and are not all back.
    is_patchy: bool,
    echo_at: Instant,
    connect_at: Instant,
    is_deaf: bool,
}

/// A tree that was joined.
#[derive(Debug, Default)]
struct Followed {
    count: usize,
    /// The head that the last wake-up brought.
    last: Option<Head>,
}

impl Ear {
    /// Starts with one partition that is always wanted.
    pub(super) fn new(home: Partition) -> Self {
        let ear = Self {
            state: Mutex::new(State {
                trees: BTreeMap::new(),
                wanted: BTreeMap::from([(home, 1)]),
                heard: BTreeSet::new(),
                is_patchy: false,
                echo_at: Instant::now(),
                connect_at: Instant::now(),
                is_deaf: false,
            }),
            changed: Notify::new(),
            missed: Notify::new(),
            settled: Notify::new(),
        };
        ear.changed.notify_one();
        ear
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn join(&self, tree: &TreeKey) {
        let mut state = self.lock();
        let followed = state.trees.entry(tree.clone()).or_default();
        followed.count += 1;
        if followed.count == 1 {
            *state.wanted.entry(Partition::of(tree)).or_default() += 1;
            self.changed.notify_one();
        }
    }

    pub(super) fn leave(&self, tree: &TreeKey) {
        let mut state = self.lock();
        let Some(followed) = state.trees.get_mut(tree) else {
            return;
        };
        followed.count -= 1;
        if followed.count > 0 {
            return;
        }
        state.trees.remove(tree);
        let partition = Partition::of(tree);
        if let Some(count) = state.wanted.get_mut(&partition) {
            *count -= 1;
            if *count == 0 {
                state.wanted.remove(&partition);
                self.changed.notify_one();
            }
        }
    }

    /// Takes a wake-up; returns the event if its tree was joined.
    pub(super) fn hear(&self, wake_up: WakeUp) -> Option<RefEvent> {
        let WakeUp { after, event } = wake_up;
        let mut state = self.lock();
        let followed = state.trees.get_mut(&event.tree)?;
        let last = followed.last.replace(event.head);
        let is_next = |last: Head| last.epoch == event.head.epoch && last.seq == after;
        if last.is_some_and(|last| last != event.head && !is_next(last)) {
            self.missed.notify_one();
        }
        Some(event)
    }

    /// Returns what is wanted but not heard, and what is heard but not wanted.
    pub(super) fn differences(&self) -> (Vec<Partition>, Vec<Partition>) {
        let state = self.lock();
        let wanted = state.wanted.keys().filter(|p| !state.heard.contains(p));
        let unwanted = state.heard.iter().filter(|p| !state.wanted.contains_key(p));
        (wanted.copied().collect(), unwanted.copied().collect())
    }

    pub(super) fn set_heard(&self, partition: Partition) {
        let mut state = self.lock();
        state.heard.insert(partition);
        if state.is_settled() {
            if std::mem::take(&mut state.is_patchy) {
                self.missed.notify_one();
            }
            self.settled.notify_waiters();
        }
    }

    pub(super) fn set_unheard(&self, partition: Partition) {
        self.lock().heard.remove(&partition);
    }

    /// Counts all subscriptions as lost.
    pub(super) fn forget(&self) {
        let mut state = self.lock();
        state.is_patchy |= !state.heard.is_empty();
        state.heard.clear();
        for followed in state.trees.values_mut() {
            followed.last = None;
        }
    }

    pub(super) fn heard(&self) -> Vec<Partition> {
        self.lock().heard.iter().copied().collect()
    }

    /// Resolves when what is wanted changed.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Resolves when something may have been missed.
    pub(super) async fn missed(&self) {
        self.missed.notified().await;
    }

    /// Resolves when all that is wanted is heard.
    pub(super) async fn settled(&self) {
        loop {
            let settled = self.settled.notified();
            if self.lock().is_settled() {
                return;
            }
            settled.await;
        }
    }

    pub(super) fn echo(&self) {
        self.lock().echo_at = Instant::now();
    }

    pub(super) fn echo_age(&self) -> Duration {
        self.lock().echo_at.elapsed()
    }

    /// Notes whether the replica is deaf; returns whether it was.
    pub(super) fn was_deaf(&self, is_deaf: bool) -> bool {
        std::mem::replace(&mut self.lock().is_deaf, is_deaf)
    }

    /// Returns whether connecting again was not tried for so long, and notes that it is now.
    pub(super) fn may_connect_again(&self, pause: Duration) -> bool {
        let mut state = self.lock();
        let may = state.connect_at.elapsed() > pause;
        if may {
            state.connect_at = Instant::now();
        }
        may
    }
}

impl State {
    fn is_settled(&self) -> bool {
        self.wanted
            .keys()
            .all(|partition| self.heard.contains(partition))
    }
}

#[cfg(test)]
mod tests {
    use fsync_core::id::{ObjectId, ObjectKind, RevisionId};
    use fsync_core::wire::{Epoch, Seq};

    use super::*;

    fn wake_up(after: u64, seq: u64) -> WakeUp {
        WakeUp {
            after: Seq(after),
            event: RefEvent {
                tree: "docs".parse().unwrap(),
                head: Head {
                    epoch: Epoch(1),
                    seq: Seq(seq),
                    revision: RevisionId::of(&seq.to_be_bytes()),
                },
                root: ObjectId::of(ObjectKind::Directory, b"root"),
                author: "laptop".parse().unwrap(),
                trace: None,
            },
        }
    }

    async fn has_missed(ear: &Ear) -> bool {
        tokio::time::timeout(Duration::ZERO, ear.missed())
            .await
            .is_ok()
    }

    #[tokio::test]
    async fn a_wake_up_that_does_not_follow_the_one_before_was_preceded_by_a_lost_one() {
        let ear = Ear::new(Partition::nth(0));
        assert_eq!(ear.hear(wake_up(0, 1)), None, "nobody joined");
        ear.join(&"docs".parse().unwrap());
        for (after, seq) in [(4, 5), (5, 8), (5, 8), (8, 9)] {
            assert!(ear.hear(wake_up(after, seq)).is_some());
        }
        assert!(!has_missed(&ear).await);
        ear.hear(wake_up(10, 11));
        assert!(has_missed(&ear).await);
    }

    #[tokio::test]
    async fn subscriptions_that_are_made_again_may_have_missed_something() {
        let home = Partition::nth(0);
        let ear = Ear::new(home);
        ear.set_heard(home);
        assert!(!has_missed(&ear).await);
        ear.forget();
        assert_eq!(ear.differences(), (vec![home], vec![]));
        assert!(
            !has_missed(&ear).await,
            "not yet: reading now would be too early"
        );
        ear.set_heard(home);
        assert!(has_missed(&ear).await);
    }

    #[tokio::test]
    async fn a_partition_is_wanted_as_long_as_one_of_its_trees_is() {
        let tree: TreeKey = "docs".parse().unwrap();
        let home = Partition::nth(0);
        assert_ne!(Partition::of(&tree), home);
        let ear = Ear::new(home);
        ear.set_heard(home);
        ear.join(&tree);
        ear.join(&tree);
        ear.leave(&tree);
        assert_eq!(ear.differences(), (vec![Partition::of(&tree)], vec![]));
        ear.set_heard(Partition::of(&tree));
        ear.leave(&tree);
        assert_eq!(ear.differences(), (vec![], vec![Partition::of(&tree)]));
    }
}
