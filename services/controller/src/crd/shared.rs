//! What both kinds have in common: rights, conditions, and how schemas say it.

use std::borrow::Cow;

use fsync_core::rights::Right;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// Characters of a label, as `core/label.rs` has them.
pub(super) const LABEL: &str = "^[A-Za-z0-9][A-Za-z0-9._-]*$";
/// A label, or the beginning of one and a star.
pub(super) const LABEL_PATTERN: &str = "^[A-Za-z0-9*][A-Za-z0-9._*-]*$";
/// A duration as Go and Kubernetes write it.
pub(super) const GO_DURATION: &str = "^([0-9]+(h|m|s))+$";
/// A duration as the server's flags take it.
pub(super) const DURATION: &str = "^[0-9]{1,9}[smhd]$";
/// Name of a Secret.
pub(super) const OBJECT_NAME: &str = "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$";
/// Most entries of an access list.
pub(super) const RIGHTS: usize = Right::ALL.len();

/// One word of a list of rights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RightWord {
    /// See heads, history and contents.
    Read,
    /// Commit and upload; includes reading.
    Write,
    /// Manage the tree; includes writing.
    Admin,
}

impl From<RightWord> for Right {
    fn from(word: RightWord) -> Self {
        match word {
            RightWord::Read => Self::Read,
            RightWord::Write => Self::Write,
            RightWord::Admin => Self::Admin,
        }
    }
}

// Derived, each word would be a schema of its own, which no definition may hold.
impl JsonSchema for RightWord {
    fn schema_name() -> Cow<'static, str> {
        "RightWord".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "enum": ["read", "write", "admin"]})
    }
}

/// Returns the strongest of a list of rights.
pub(crate) fn strongest(words: &[RightWord]) -> Option<Right> {
    words.iter().copied().map(Right::from).max()
}

/// Schema of conditions, as all kinds of Kubernetes have them.
pub(super) fn conditions(_generator: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 16,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "required": ["type", "status", "lastTransitionTime", "reason", "message"],
            "properties": {
                "type": {"type": "string", "maxLength": 316},
                "status": {"type": "string", "enum": ["True", "False", "Unknown"]},
                "observedGeneration": {"type": "integer", "format": "int64", "minimum": 0},
                "lastTransitionTime": {"type": "string", "format": "date-time"},
                "reason": {"type": "string", "minLength": 1, "maxLength": 1024},
                "message": {"type": "string", "maxLength": 32768},
            },
        },
    })
}

/// Schema of a point in time.
pub(super) fn time(_generator: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "format": "date-time"})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_strongest_right_counts() {
        use RightWord::{Admin, Read, Write};
        assert_eq!(strongest(&[]), None);
        assert_eq!(strongest(&[Read]), Some(Right::Read));
        assert_eq!(strongest(&[Write, Read]), Some(Right::Write));
        assert_eq!(strongest(&[Read, Admin]), Some(Right::Admin));
    }
}
