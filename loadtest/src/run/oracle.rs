//! The judge: from what all agents of a tree noted, whether anything was lost, came twice or went
//! back, and how long each delivery took.
//!
//! Guarantees: pure; every fault is counted on its own and none hides another. Time to a delivery
//! is from the edit's intended time to the first head, at an agent, that stands at or behind the
//! edit.
//! Does not: ask anybody. What the service says of itself is given to it.

use std::collections::{BTreeMap, HashMap, HashSet};

use fsync_core::id::{ObjectId, RevisionId};
use fsync_core::wire::{Epoch, Head, Seq};
use serde::{Deserialize, Serialize};

use super::diary::{Delivery, Diary, Edit, Micros};

/// What is known of a tree at the end.
#[derive(Debug)]
pub(super) struct Facts<'a> {
    /// The head that the service answers.
    pub(super) head: Option<Head>,
    /// All revisions of its lineage; `None` if nobody could be asked.
    pub(super) lineage: Option<&'a HashSet<RevisionId>>,
    /// What the head has in the agents' files; an agent whose file could not be read is left out.
    pub(super) contents: &'a BTreeMap<usize, Option<ObjectId>>,
    /// What its agents noted.
    pub(super) diaries: &'a [&'a Diary],
}

/// How often each thing happened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counts {
    /// Edits that the service acknowledged.
    pub(crate) acknowledged: u64,
    /// Edits that were due and never acknowledged.
    pub(crate) unacknowledged: u64,
    /// Acknowledged edits whose revision is not in the lineage.
    pub(crate) lost: u64,
    /// Files that at the end are not what their agent's last acknowledged edit made them.
    pub(crate) wrong_contents: u64,
    /// Deliveries that had to come: acknowledged edits times other agents.
    pub(crate) due: u64,
    /// Deliveries that never came.
    pub(crate) undelivered: u64,
    /// Heads that an agent got twice.
    pub(crate) twice: u64,
    /// Heads that an agent got after a later one, by what it pulled or by what it was told.
    pub(crate) backwards: u64,
    /// Places of the order that had two refs.
    pub(crate) forked: u64,
    /// Agents that did not end on the head.
    pub(crate) behind: u64,
}

impl Counts {
    /// Adds those of another tree.
    pub(super) fn add(&mut self, other: &Self) {
        self.acknowledged += other.acknowledged;
        self.unacknowledged += other.unacknowledged;
        self.lost += other.lost;
        self.wrong_contents += other.wrong_contents;
        self.due += other.due;
        self.undelivered += other.undelivered;
        self.twice += other.twice;
        self.backwards += other.backwards;
        self.forked += other.forked;
        self.behind += other.behind;
    }

    /// Returns each kind of fault with its number, zeros included.
    pub(crate) fn faults(&self) -> [(&'static str, u64); 8] {
        [
            ("acknowledged edits lost", self.lost),
            ("edits never acknowledged", self.unacknowledged),
            ("files with a wrong content at the end", self.wrong_contents),
            ("deliveries that never came", self.undelivered),
            ("heads delivered twice", self.twice),
            ("heads delivered backwards", self.backwards),
            ("places with two refs", self.forked),
            ("agents not on the head of their tree", self.behind),
        ]
    }
}

/// One edit that reached one other agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reach {
    /// When the edit was meant to happen.
    pub(super) intended: Micros,
    /// How long it took from then on.
    pub(super) took: Micros,
}

/// The judgement of one tree.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Judgement {
    /// What was counted.
    pub(super) counts: Counts,
    /// Every delivery.
    pub(super) reached: Vec<Reach>,
}

/// A place in the order of a tree whose epoch may have changed.
type Place = (usize, Seq);

/// Judges one tree.
pub(super) fn judge(facts: &Facts<'_>) -> Judgement {
    let epochs = epochs(facts.diaries);
    let mut judgement = Judgement::default();
    judge_edits(facts, &mut judgement.counts);
    judge_order(facts.diaries, &epochs, &mut judgement.counts);
    judge_ends(facts, &mut judgement.counts);
    judge_reach(facts.diaries, &epochs, &mut judgement);
    judgement
}

/// Ranks epochs by when they were first met.
fn epochs(diaries: &[&Diary]) -> HashMap<Epoch, usize> {
    let mut first: HashMap<Epoch, Micros> = HashMap::new();
    let met = diaries.iter().flat_map(|diary| {
        let got = diary.deliveries.iter().map(|d| (d.epoch, d.at));
        let acks = diary.edits.iter().filter_map(|edit| edit.ack);
        got.chain(acks.map(|ack| (ack.epoch, ack.at)))
    });
    for (epoch, at) in met {
        let first = first.entry(epoch).or_insert(at);
        *first = at.min(*first);
    }
    let mut order: Vec<(Micros, Epoch)> = first.into_iter().map(|(e, at)| (at, e)).collect();
    order.sort_by_key(|(at, epoch)| (*at, epoch.0));
    let ranked = order.into_iter().enumerate();
    ranked.map(|(rank, (_, epoch))| (epoch, rank)).collect()
}

fn judge_edits(facts: &Facts<'_>, counts: &mut Counts) {
    for diary in facts.diaries {
        counts.unacknowledged += diary.unsent;
        for edit in &diary.edits {
            match edit.ack {
                None => counts.unacknowledged += 1,
                Some(_) => {
                    counts.acknowledged += 1;
                    let lineage = facts.lineage;
                    let is_lost = lineage.is_some_and(|l| !l.contains(&edit.revision));
                    counts.lost += u64::from(is_lost);
                }
            }
        }
        // An edit whose answer never came may or may not be in the head.
        let is_certain = diary.edits.iter().all(|edit| edit.ack.is_some());
        let last = diary.edits.last().filter(|_| is_certain);
        if let (Some(last), Some(content)) = (last, facts.contents.get(&diary.agent)) {
            counts.wrong_contents += u64::from(*content != Some(last.content));
        }
    }
}

fn judge_order(diaries: &[&Diary], epochs: &HashMap<Epoch, usize>, counts: &mut Counts) {
    let mut refs: HashMap<Place, u64> = HashMap::new();
    let mut forked = HashSet::new();
    for diary in diaries {
        counts.backwards += diary.notices.backwards;
        let mut seen = HashSet::new();
        let mut newest: Option<Place> = None;
        for delivery in &diary.deliveries {
            let place = place(epochs, delivery);
            if *refs.entry(place).or_insert(delivery.mark) != delivery.mark {
                forked.insert(place);
            }
            if !seen.insert(place) {
                counts.twice += 1;
            } else if newest.is_some_and(|newest| place < newest) {
                counts.backwards += 1;
            }
            newest = newest.max(Some(place));
        }
    }
    counts.forked += forked.len() as u64;
}

fn judge_ends(facts: &Facts<'_>, counts: &mut Counts) {
    let head = facts.head.map(|head| head.revision);
    let ends = facts.diaries.iter();
    let is_on_it = |diary: &&&Diary| head.is_some() && diary.end.map(|end| end.revision) == head;
    let behind = ends.filter(|diary| !is_on_it(diary));
    counts.behind += behind.count() as u64;
}

fn judge_reach(diaries: &[&Diary], epochs: &HashMap<Epoch, usize>, judgement: &mut Judgement) {
    let mut edits: Vec<(Place, usize, &Edit)> = Vec::new();
    for diary in diaries {
        let acked = diary.edits.iter().filter_map(|edit| {
            let ack = edit.ack?;
            Some(((*epochs.get(&ack.epoch)?, ack.seq), diary.agent, edit))
        });
        edits.extend(acked);
    }
    edits.sort_by_key(|(place, _, _)| *place);
    for receiver in diaries {
        let mut at = 0;
        for (edit_place, author, edit) in &edits {
            // The first delivery at or behind a place: it only moves on as places grow.
            let is_before = |d: &Delivery| place(epochs, d) < *edit_place;
            while receiver.deliveries.get(at).is_some_and(is_before) {
                at += 1;
            }
            if *author == receiver.agent {
                continue;
            }
            judgement.counts.due += 1;
            match receiver.deliveries.get(at) {
                Some(delivery) => judgement.reached.push(Reach {
                    intended: edit.intended,
                    took: delivery.at.since(edit.intended),
                }),
                None => judgement.counts.undelivered += 1,
            }
        }
    }
}

fn place(epochs: &HashMap<Epoch, usize>, delivery: &Delivery) -> Place {
    let rank = epochs.get(&delivery.epoch).copied().unwrap_or(usize::MAX);
    (rank, delivery.seq)
}

#[cfg(test)]
mod tests;
