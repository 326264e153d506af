//! Looks for a conjecture that explains a round.
//!
//! Guarantees: complete. If no order of unseen steps fits what users saw, the answer says so.
//! Paths that no rename connects are looked at alone; within them unseen steps are tried depth
//! first, each state once per event.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::history::{Event, NOTHING, Round, Value};
use super::rules::Waived;
use super::silent::{N, Small, State, VALUES};

/// States after which a search is given up.
const STATES_MAX: usize = 3_000_000;

/// Outcome of a search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// There is a conjecture.
    Explained,
    /// There is none.
    Impossible,
    /// There were too many to look at all.
    Unknown,
}

/// Returns whether a round can be explained.
pub fn explain(round: &Round, waived: Waived) -> Answer {
    let answers = parts(round).into_iter().map(|part| search(&part, waived));
    answers
        .max_by_key(|answer| match answer {
            Answer::Explained => 0,
            Answer::Unknown => 1,
            Answer::Impossible => 2,
        })
        .unwrap_or(Answer::Explained)
}

/// Splits a round into parts that have no path in common; a copy belongs to the part where its
/// value was written, or to all if to none.
pub fn parts(round: &Round) -> Vec<Round> {
    let mut group: [usize; N] = std::array::from_fn(|path| path);
    for event in &round.events {
        if let Event::Rename { from, to, .. } = event {
            let (old, new) = (group[*to], group[*from]);
            group
                .iter_mut()
                .filter(|g| **g == old)
                .for_each(|g| *g = new);
        }
    }
    let groups: BTreeSet<usize> = group.iter().copied().collect();
    let part = |of: usize| {
        let is_here = |path: usize| group[path] == of;
        let mut part = round.clone();
        part.events
            .retain(|event| event.paths().into_iter().all(is_here));
        for path in (0..N).filter(|path| !is_here(*path)) {
            part.before.values[path] = NOTHING;
            part.after.values[path] = NOTHING;
        }
        let known = values(&part);
        let others = round.clone();
        let elsewhere = &values(&others) - &known;
        part.before.copies.clear();
        part.after.copies = &(&round.after.copies - &round.before.copies) - &elsewhere;
        part
    };
    groups.into_iter().map(part).collect()
}

/// Returns the values that users knew of.
fn values(round: &Round) -> BTreeSet<Value> {
    let written = round.events.iter().map(|event| match event {
        Event::Write { value, .. } => *value,
        _ => NOTHING,
    });
    let mut all: BTreeSet<Value> = round.before.values.into_iter().chain(written).collect();
    all.remove(&NOTHING);
    all
}

/// The values of one part by small numbers.
struct Numbers(BTreeMap<Value, Small>);

impl Numbers {
    fn new(round: &Round) -> Option<Self> {
        let known = values(round);
        let numbers = known.into_iter().zip(1..);
        let numbers: BTreeMap<Value, Small> = numbers.collect();
        (numbers.len() <= VALUES).then_some(Self(numbers))
    }

    /// Returns the number of a value; `None` for one from nowhere.
    fn small(&self, value: Value) -> Option<Small> {
        match value {
            NOTHING => Some(0),
            value => self.0.get(&value).copied(),
        }
    }

    fn all(&self, values: [Value; N]) -> Option<[Small; N]> {
        let mut small = [0; N];
        for (to, value) in small.iter_mut().zip(values) {
            *to = self.small(value)?;
        }
        Some(small)
    }
}

fn search(round: &Round, waived: Waived) -> Answer {
    let Some(numbers) = Numbers::new(round) else {
        return Answer::Unknown;
    };
    let bits = |bits: u64, copy: &Value| Some(bits | 1 << numbers.small(*copy)?);
    let copies = round.after.copies.iter().try_fold(0, bits);
    let ends = (
        numbers.all(round.before.values),
        numbers.all(round.after.values),
        copies,
    );
    let (Some(before), Some(after), Some(copies)) = ends else {
        return Answer::Impossible;
    };
    let mut seen: HashSet<(usize, State)> = HashSet::new();
    let mut open = vec![(0, State::new(before))];
    while let Some((at, state)) = open.pop() {
        if seen.len() > STATES_MAX {
            return Answer::Unknown;
        }
        if !seen.insert((at, state.clone())) {
            continue;
        }
        open.extend(state.steps(waived).into_iter().map(|next| (at, next)));
        match round.events.get(at) {
            // Last in, first out: an event that fits is taken before anything is conjectured.
            Some(event) => {
                let next = after_event(&state, event, &numbers);
                open.extend(next.into_iter().map(|next| (at + 1, next)));
            }
            None if state.is_settled(&after, copies) => return Answer::Explained,
            None => {}
        }
    }
    Answer::Impossible
}

/// Returns the states that a user's doing leads to; none if what was seen does not fit.
fn after_event(state: &State, event: &Event, numbers: &Numbers) -> Vec<State> {
    match *event {
        Event::Read { user, path, saw } => {
            let fits = Some(state.local[user][path]) == numbers.small(saw);
            fits.then(|| state.clone()).into_iter().collect()
        }
        Event::Write {
            user,
            path,
            value,
            over,
            is_sure,
        } => {
            let (Some(new), Some(over)) = (numbers.small(value), numbers.small(over)) else {
                return Vec::new();
            };
            let write_at = |path: usize| {
                let mut next = state.clone();
                next.local[user][path] = new;
                next
            };
            if is_sure {
                let fits = state.local[user][path] == over;
                return fits.then(|| write_at(path)).into_iter().collect();
            }
            // The file had gone to another name, or away, or the tool was a moment later.
            let holders = (0..N).filter(|at| state.local[user][*at] == over);
            holders.map(write_at).chain([state.clone()]).collect()
        }
        Event::Rename { user, from, to } => {
            let (is_there, is_free) = (state.local[user][from] != 0, state.local[user][to] == 0);
            let mut next = state.clone();
            next.rename(user, from, to);
            (is_there && is_free).then_some(next).into_iter().collect()
        }
    }
}
