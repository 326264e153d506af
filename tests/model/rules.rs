//! The rules that the model holds a tool to, and what it means to break one.

use std::fmt;

/// A rule that can be waived, to see which one a history breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Rule {
    /// Of two edits that did not know of one another both are kept: one at the path, one beside it.
    ConcurrentEditsAreKept = 1,
    /// An edit that was not sent yet is not replaced.
    UnsentEditsAreKept = 2,
    /// An edit beats a delete that did not know of it.
    EditsBeatDeletes = 4,
    /// What was replaced or deleted does not come back.
    NothingComesBack = 8,
    /// A conflict copy is made only where two edits did not know of one another.
    CopiesNeedAConflict = 16,
}

/// All rules that can be waived.
pub const RULES: [Rule; 5] = [
    Rule::ConcurrentEditsAreKept,
    Rule::EditsBeatDeletes,
    Rule::UnsentEditsAreKept,
    Rule::NothingComesBack,
    Rule::CopiesNeedAConflict,
];

/// Rules that are not asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Waived(u8);

impl Waived {
    /// Returns these and one more.
    #[must_use]
    pub fn and(self, rule: Rule) -> Self {
        Self(self.0 | rule as u8)
    }

    /// Returns whether a rule is waived.
    pub fn has(self, rule: Rule) -> bool {
        self.0 & rule as u8 != 0
    }

    /// Returns the rules.
    pub fn rules(self) -> impl Iterator<Item = Rule> {
        RULES.into_iter().filter(move |rule| self.has(*rule))
    }

    /// Returns every set of one rule, then every set of two.
    pub fn ladder() -> impl Iterator<Item = Self> {
        let one = RULES.into_iter().map(|rule| Self::default().and(rule));
        let two = RULES.into_iter().enumerate().flat_map(|(at, rule)| {
            let later = RULES.into_iter().skip(at + 1);
            later.map(move |other| Self::default().and(rule).and(other))
        });
        one.chain(two)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ConcurrentEditsAreKept => "of two concurrent edits both are kept",
            Self::UnsentEditsAreKept => "an edit that was not sent yet is not replaced",
            Self::EditsBeatDeletes => "an edit beats a concurrent delete",
            Self::NothingComesBack => "what was replaced or deleted does not come back",
            Self::CopiesNeedAConflict => "a conflict copy needs a conflict",
        })
    }
}

impl fmt::Display for Waived {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self.rules().map(|rule| rule.to_string()).collect();
        f.write_str(&names.join("; "))
    }
}
