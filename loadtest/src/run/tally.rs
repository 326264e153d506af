//! Counters that everything in a run adds to and the progress line reads.
//!
//! Guarantees: adding is one atomic operation; reasons of failures are kept by their text, a bounded
//! number of them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Different reasons that are kept; the further ones are only counted.
const REASONS: usize = 40;
/// Characters of a reason.
const REASON_CHARS: usize = 240;

/// A number that goes up and down.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    /// Adds.
    pub(super) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// Takes one off.
    pub(super) fn take(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// Keeps the largest.
    pub(super) fn at_least(&self, value: u64) {
        self.0.fetch_max(value, Ordering::Relaxed);
    }

    /// Returns it.
    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a run counts while it goes on.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Agents with a subscription that was answered.
    pub(super) connected: Count,
    /// Agents that have been on a head since the start.
    pub(super) ready: Count,
    /// Edits whose time has come.
    pub(super) due: Count,
    /// Edits that were acknowledged or given up.
    pub(super) settled: Count,
    /// Edits that were acknowledged.
    pub(super) acknowledged: Count,
    /// Edits that were given up.
    pub(super) given_up: Count,
    /// Heads that agents pulled.
    pub(super) pulled: Count,
    /// Bytes of packs that agents sent.
    pub(super) sent_bytes: Count,
    /// Bytes of objects that agents got.
    pub(super) got_bytes: Count,
    /// Requests that were made again.
    pub(super) retries: Count,
    /// Edits that the generator gave out more than its tolerance after their time.
    pub(super) misses: Count,
    /// The latest of them, in microseconds.
    pub(super) worst_miss: Count,
    reasons: Mutex<BTreeMap<String, u64>>,
}

impl Tally {
    /// Notes why something failed or was made again.
    pub(super) fn note(&self, reason: impl std::fmt::Display) {
        let text = without_waits(&reason.to_string());
        let text: String = text.chars().take(REASON_CHARS).collect();
        let mut reasons = self.reasons.lock().unwrap_or_else(PoisonError::into_inner);
        let text = match reasons.len() < REASONS || reasons.contains_key(&text) {
            true => text,
            false => "others".to_owned(),
        };
        *reasons.entry(text).or_default() += 1;
    }

    /// Returns all reasons with how often each was met.
    pub(super) fn reasons(&self) -> BTreeMap<String, u64> {
        self.reasons
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// Replaces each number of milliseconds: waits are random, and would make each reason another.
fn without_waits(text: &str) -> String {
    let words: Vec<&str> = text.split(' ').collect();
    let is_wait = |at: usize| {
        let next = words.get(at + 1).copied().unwrap_or_default();
        next.trim_end_matches([':', ',', ';', '.']) == "ms" && words[at].parse::<u64>().is_ok()
    };
    let shown = words
        .iter()
        .enumerate()
        .map(|(at, word)| match is_wait(at) {
            true => "some",
            false => *word,
        });
    shown.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_that_differ_in_a_wait_are_one() {
        let tally = Tally::default();
        for wait in [7, 70, 700] {
            tally.note(format!(
                "come back in {wait} ms: busy, 3 at once; in {wait} ms"
            ));
        }
        let expected = "come back in some ms: busy, 3 at once; in some ms".to_owned();
        assert_eq!(tally.reasons(), BTreeMap::from([(expected, 3)]));
    }

    #[test]
    fn reasons_are_bounded() {
        let tally = Tally::default();
        (0..1000).for_each(|number| tally.note(number));
        assert_eq!(tally.reasons().len(), REASONS + 1);
        assert_eq!(tally.reasons().values().sum::<u64>(), 1000);
    }
}
