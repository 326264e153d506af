//! Names of trees, tenants and agents: short ASCII labels that are safe in URLs, keys and file
//! names.
//!
//! Guarantees: 1 to 64 bytes of `a-z A-Z 0-9 . _ -`, the first one a letter or digit. A [`TreeKey`]
//! is always tenant and tree; a tree named without a tenant belongs to tenant `default`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::limits;

/// The tenant of a tree that is named without one.
pub const DEFAULT_TENANT: &str = "default";
/// The author of revisions that the service makes when it merges.
pub const MERGE_AUTHOR: &str = "merge";

/// A text that is no label.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not a valid {what}: use 1 to 64 of the characters a-z A-Z 0-9 . _ -, \
     starting with a letter or digit"
)]
pub struct LabelError {
    what: &'static str,
    text: String,
}

fn check_label(what: &'static str, text: &str) -> Result<(), LabelError> {
    let is_valid = (1..=limits::LABEL_BYTES).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    if is_valid {
        return Ok(());
    }
    Err(LabelError {
        what,
        text: text.chars().take(80).collect(),
    })
}

macro_rules! label_type {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Returns the text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = LabelError;
            fn from_str(text: &str) -> Result<Self, LabelError> {
                check_label($what, text)?;
                Ok(Self(text.to_owned()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = LabelError;
            fn try_from(text: String) -> Result<Self, LabelError> {
                check_label($what, &text)?;
                Ok(Self(text))
            }
        }

        impl From<$name> for String {
            fn from(label: $name) -> Self {
                label.0
            }
        }
    };
}

label_type! {
    /// A tenant: the first part of a tree's key and of every stored key.
    TenantName, "tenant name"
}
label_type! {
    /// A tree's name inside its tenant.
    TreeName, "tree name"
}
label_type! {
    /// An agent's name, as it stands in revisions and conflict copies.
    AgentName, "agent name"
}

impl AgentName {
    /// Returns the author of merges that the service makes.
    pub fn merge() -> Self {
        Self(MERGE_AUTHOR.to_owned())
    }

    /// Makes a name of any text: what a label may not hold becomes `-`, what is too long is cut.
    pub fn from_lossy(text: &str) -> Self {
        let mut name: String = text
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') {
                    c
                } else {
                    '-'
                }
            })
            .skip_while(|c| !c.is_ascii_alphanumeric())
            .take(limits::LABEL_BYTES)
            .collect();
        if name.is_empty() {
            "agent".clone_into(&mut name);
        }
        Self(name)
    }
}

/// A tree's identity on the service: `tenant/name`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TreeKey {
    /// Whose tree it is.
    pub tenant: TenantName,
    /// Its name inside the tenant.
    pub name: TreeName,
}

impl fmt::Display for TreeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.tenant, self.name)
    }
}

impl FromStr for TreeKey {
    type Err = LabelError;
    fn from_str(text: &str) -> Result<Self, LabelError> {
        let (tenant, name) = text.split_once('/').unwrap_or((DEFAULT_TENANT, text));
        Ok(Self {
            tenant: tenant.parse()?,
            name: name.parse()?,
        })
    }
}

impl TryFrom<String> for TreeKey {
    type Error = LabelError;
    fn try_from(text: String) -> Result<Self, LabelError> {
        text.parse()
    }
}

impl From<TreeKey> for String {
    fn from(key: TreeKey) -> Self {
        key.to_string()
    }
}
