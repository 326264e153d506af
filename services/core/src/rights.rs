//! Who may do what to which tree: the grants of a token, as text and as values.
//!
//! ```text
//! docs:r           read the tree docs of the token's tenant
//! team/docs:rw     read and write it, in tenant team (which must be the token's)
//! notes-*:rw       all trees whose names begin with notes-
//! *:admin          all trees of the token's tenant
//! ```
//! Guarantees: a grant never reaches another tenant than the token's; what no grant names is not
//! allowed; of several grants for one tree the strongest counts.
//! Does not: know what a token is, who made it, or how long it is good.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::label::{LabelError, TenantName, TreeKey, TreeName};
use crate::limits::{self, LimitError};

/// What may be done to a tree; each right includes those before it. In JSON `read`, `write` or
/// `admin`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Right {
    /// See heads, history and contents, and who else is there.
    Read,
    /// Commit and upload.
    Write,
    /// Manage the tree itself.
    Admin,
}

impl Right {
    /// All rights, the weakest first.
    pub const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Admin];

    /// Returns the word that stands in tokens.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "r",
            Self::Write => "rw",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a text is no grant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// There is no right behind the name, or one that does not exist.
    #[error("{0:?} names no right: write NAME:r, NAME:rw or NAME:admin, as in docs:rw")]
    Right(String),
    /// The name is none.
    #[error("{0}; a * may stand at its end")]
    Name(#[from] LabelError),
    /// The grant is about another tenant.
    #[error("{grant} is in another tenant than the token, which is for tenant {tenant}")]
    Tenant {
        /// The grant.
        grant: String,
        /// Whose the token is.
        tenant: TenantName,
    },
    /// There are too many.
    #[error(transparent)]
    TooMany(#[from] LimitError),
}

/// Which names a grant is about.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Names {
    One(TreeName),
    /// Every name that begins so; empty for all.
    Prefix(String),
}

/// A right to one tree, or to those whose names begin alike, of the token's tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Grant {
    tenant: Option<TenantName>,
    names: Names,
    right: Right,
}

impl FromStr for Grant {
    type Err = GrantError;

    fn from_str(text: &str) -> Result<Self, GrantError> {
        let no_right = || GrantError::Right(text.chars().take(limits::LABEL_BYTES * 2).collect());
        let (name, right) = text.rsplit_once(':').ok_or_else(no_right)?;
        let right = match right {
            "r" | "read" => Right::Read,
            "rw" | "write" => Right::Write,
            "admin" => Right::Admin,
            _ => return Err(no_right()),
        };
        let (tenant, name) = match name.split_once('/') {
            Some((tenant, name)) => (Some(tenant.parse()?), name),
            None => (None, name),
        };
        let names = match name.strip_suffix('*') {
            None => Names::One(name.parse()?),
            Some("") => Names::Prefix(String::new()),
            Some(prefix) => Names::Prefix(prefix.parse::<TreeName>()?.to_string()),
        };
        Ok(Self {
            tenant,
            names,
            right,
        })
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(tenant) = &self.tenant {
            write!(f, "{tenant}/")?;
        }
        match &self.names {
            Names::One(name) => write!(f, "{name}:{}", self.right),
            Names::Prefix(prefix) => write!(f, "{prefix}*:{}", self.right),
        }
    }
}

impl TryFrom<String> for Grant {
    type Error = GrantError;

    fn try_from(text: String) -> Result<Self, GrantError> {
        text.parse()
    }
}

impl From<Grant> for String {
    fn from(grant: Grant) -> Self {
        grant.to_string()
    }
}

impl Grant {
    fn covers(&self, name: &TreeName) -> bool {
        match &self.names {
            Names::One(one) => one == name,
            Names::Prefix(prefix) => name.as_str().starts_with(prefix.as_str()),
        }
    }
}

/// All grants of one token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rights {
    tenant: TenantName,
    grants: Vec<Grant>,
}

impl Rights {
    /// Joins grants to a tenant.
    ///
    /// # Errors
    /// [`GrantError::Tenant`] for one that names another tenant, [`GrantError::TooMany`].
    pub fn new(tenant: TenantName, grants: Vec<Grant>) -> Result<Self, GrantError> {
        limits::check("trees of one token", limits::TOKEN_GRANTS, grants.len())?;
        let is_other = |grant: &&Grant| grant.tenant.as_ref().is_some_and(|t| *t != tenant);
        if let Some(other) = grants.iter().find(is_other) {
            return Err(GrantError::Tenant {
                grant: other.to_string(),
                tenant,
            });
        }
        Ok(Self { tenant, grants })
    }

    /// Returns the tenant.
    pub fn tenant(&self) -> &TenantName {
        &self.tenant
    }

    /// Returns the grants.
    pub fn grants(&self) -> &[Grant] {
        &self.grants
    }

    /// Returns the strongest right to a tree; `None` for no right at all.
    pub fn to(&self, tree: &TreeKey) -> Option<Right> {
        if tree.tenant != self.tenant {
            return None;
        }
        let covering = self.grants.iter().filter(|grant| grant.covers(&tree.name));
        covering.map(|grant| grant.right).max()
    }
}

/// A short text without spaces and control characters: a subject, or the id of a token.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TokenName(String);

/// A text that is no subject and no id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a subject or id of a token has 1 to {} bytes without spaces",
    limits::TOKEN_NAME_BYTES
)]
pub struct TokenNameError;

impl TokenName {
    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TokenName {
    type Err = TokenNameError;

    fn from_str(text: &str) -> Result<Self, TokenNameError> {
        let is_good = !text.is_empty()
            && text.len() <= limits::TOKEN_NAME_BYTES
            && text.chars().all(|c| !c.is_control() && !c.is_whitespace());
        is_good.then(|| Self(text.to_owned())).ok_or(TokenNameError)
    }
}

impl TryFrom<String> for TokenName {
    type Error = TokenNameError;

    fn try_from(text: String) -> Result<Self, TokenNameError> {
        text.parse()
    }
}

impl From<TokenName> for String {
    fn from(name: TokenName) -> Self {
        name.0
    }
}

impl fmt::Display for TokenName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
