//! What is said about an object: its condition `Ready`, the reason for it, and the event when it
//! changes.
//!
//! Guarantees: a condition keeps the time of its last change while its status is the same; a reason
//! is one word of a closed set.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

/// Type of the one condition that both kinds have.
pub const READY: &str = "Ready";

/// Why an object is ready or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The service holds what the object says.
    Applied,
    /// The Secret holds a good token.
    Issued,
    /// The object says something that cannot be.
    Invalid,
    /// Another, older object is about the same tree.
    Conflict,
    /// The Secret's name belongs to somebody else's Secret.
    SecretTaken,
    /// The server does not answer, or says that it cannot now.
    Unreachable,
    /// The server does not take the controller's credential.
    Unauthorized,
    /// What answers has no admin API, or another one.
    Unsupported,
    /// The server says no, and would say so again.
    Refused,
}

impl Reason {
    /// Returns the word that stands in conditions, events and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "Applied",
            Self::Issued => "Issued",
            Self::Invalid => "Invalid",
            Self::Conflict => "Conflict",
            Self::SecretTaken => "SecretTaken",
            Self::Unreachable => "Unreachable",
            Self::Unauthorized => "Unauthorized",
            Self::Unsupported => "Unsupported",
            Self::Refused => "Refused",
        }
    }

    /// Returns whether an object with this reason is ready.
    pub fn is_ready(self) -> bool {
        matches!(self, Self::Applied | Self::Issued)
    }
}

/// A finding about an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Why.
    pub reason: Reason,
    /// The same, for people: what is wrong and what to do.
    pub message: String,
}

impl Finding {
    /// Joins both.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
        }
    }

    /// Returns the condition that says so, beside what was said before.
    pub fn condition(
        &self,
        before: &[Condition],
        generation: Option<i64>,
        now: Timestamp,
    ) -> Condition {
        let status = if self.reason.is_ready() {
            "True"
        } else {
            "False"
        };
        let same = ready(before).filter(|old| old.status == status);
        Condition {
            type_: READY.to_owned(),
            status: status.to_owned(),
            reason: self.reason.as_str().to_owned(),
            message: self.message.clone(),
            observed_generation: generation,
            last_transition_time: same.map_or(Time(now), |old| old.last_transition_time.clone()),
        }
    }

    /// Returns whether it is news: another status or reason than before.
    pub fn is_news(&self, before: &[Condition]) -> bool {
        ready(before).is_none_or(|old| old.reason != self.reason.as_str())
    }
}

/// Returns the condition `Ready`.
pub fn ready(conditions: &[Condition]) -> Option<&Condition> {
    conditions.iter().find(|one| one.type_ == READY)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_time_changes_only_with_the_status() {
        let away = Finding::new(Reason::Unreachable, "no answer");
        let first = away.condition(&[], Some(1), at(10));
        assert_eq!(
            (first.status.as_str(), first.last_transition_time.0),
            ("False", at(10))
        );

        let invalid = Finding::new(Reason::Invalid, "bad name");
        let second = invalid.condition(std::slice::from_ref(&first), Some(2), at(20));
        assert_eq!(
            (second.reason.as_str(), second.last_transition_time.0),
            ("Invalid", at(10))
        );

        let good = Finding::new(Reason::Applied, "fine");
        let third = good.condition(&[second], Some(2), at(30));
        assert_eq!(
            (third.status.as_str(), third.last_transition_time.0),
            ("True", at(30))
        );
    }

    #[test]
    fn another_message_alone_is_no_news() {
        let one = Finding::new(Reason::Unreachable, "no answer in 10 s");
        let before = [one.condition(&[], None, at(1))];
        assert!(one.is_news(&[]));
        assert!(!Finding::new(Reason::Unreachable, "refused").is_news(&before));
        assert!(Finding::new(Reason::Invalid, "x").is_news(&before));
    }
}
