//! Judges a round: explained, or which rules it breaks, with the least of it that shows that.

use std::fmt;

use super::explain::{Answer, explain, parts};
use super::history::{Event, Round, Value};
use super::rules::Waived;

/// What a round came to.
#[derive(Debug, Clone)]
pub enum Verdict {
    /// A conjecture explains it.
    Explained,
    /// The search was given up.
    Unknown,
    /// It breaks rules.
    Broken(Box<Breach>),
}

/// What rules are broken, and how.
#[derive(Debug, Clone)]
pub struct Breach {
    /// The rules that are broken, at least; empty if no set of rules explains it.
    pub rules: Waived,
    /// Copies that stood before and are gone.
    pub lost_copies: Vec<Value>,
    /// What is left of the round without what does not matter.
    pub round: Round,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.lost_copies.is_empty() {
            writeln!(f, "a conflict copy stays: {:?} are gone", self.lost_copies)?;
        } else if self.rules.rules().next().is_none() {
            writeln!(f, "nothing explains this, whatever rule is waived")?;
        } else {
            writeln!(f, "broken: {}", self.rules)?;
        }
        write!(f, "{}", self.round)
    }
}

/// Judges a round.
pub fn judge(round: &Round) -> Verdict {
    let lost = &round.before.copies - &round.after.copies;
    if !lost.is_empty() {
        return Verdict::Broken(Box::new(Breach {
            rules: Waived::default(),
            lost_copies: lost.into_iter().collect(),
            round: round.clone(),
        }));
    }
    let strict = |part: &Round| explain(part, Waived::default());
    match strict(round) {
        Answer::Explained => return Verdict::Explained,
        Answer::Unknown => return Verdict::Unknown,
        Answer::Impossible => {}
    }
    let bad = parts(round)
        .into_iter()
        .find(|part| strict(part) == Answer::Impossible);
    let round = without_reads(bad.unwrap_or_else(|| round.clone()));
    let explains = |waived: &Waived| explain(&round, *waived) == Answer::Explained;
    let rules = Waived::ladder().find(explains).unwrap_or_default();
    Verdict::Broken(Box::new(Breach {
        rules,
        lost_copies: Vec::new(),
        round,
    }))
}

/// Leaves out each look without which the round is as impossible: to have seen less can only make
/// it easier to explain.
fn without_reads(mut round: Round) -> Round {
    for at in (0..round.events.len()).rev() {
        if !matches!(round.events[at], Event::Read { .. }) {
            continue;
        }
        let mut less = round.clone();
        less.events.remove(at);
        if explain(&less, Waived::default()) == Answer::Impossible {
            round = less;
        }
    }
    round
}
