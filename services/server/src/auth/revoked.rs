//! Which tokens were shut out: what a revocation is, and the list that every check reads.
//!
//! Guarantees: a token is shut out by its id, or by its owner if it was made before its owner was
//! shut out; the list is bounded, and a revocation that does not fit is refused, never dropped.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use fsync_core::label::TenantName;
use fsync_core::rights::{TokenName, TokenNameError};
use fsync_core::service::Now;
use serde::{Deserialize, Serialize};

use super::claims::Bearer;

/// Most revocations that are kept: every replica holds them all, at about 100 bytes each.
pub const REVOCATIONS: usize = 100_000;

/// Who is shut out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Revoked {
    /// One token.
    Token(TokenName),
    /// All tokens of a subject that were made before.
    Subject(TenantName, TokenName),
}

impl fmt::Display for Revoked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(id) => write!(f, "token:{id}"),
            Self::Subject(tenant, subject) => write!(f, "subject:{tenant}/{subject}"),
        }
    }
}

impl FromStr for Revoked {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let told = |e: TokenNameError| e.to_string();
        if let Some(id) = text.strip_prefix("token:") {
            return Ok(Self::Token(id.parse().map_err(told)?));
        }
        let subject = text
            .strip_prefix("subject:")
            .and_then(|rest| rest.split_once('/'));
        let (tenant, subject) = subject.ok_or("a revocation names a token or a subject")?;
        let tenant = tenant.parse::<TenantName>().map_err(|e| e.to_string())?;
        Ok(Self::Subject(tenant, subject.parse().map_err(told)?))
    }
}

impl TryFrom<String> for Revoked {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Revoked> for String {
    fn from(revoked: Revoked) -> Self {
        revoked.to_string()
    }
}

/// A revocation as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// Who.
    pub who: Revoked,
    /// Since when, in milliseconds since 1970.
    pub since_ms: u64,
}

/// All revocations, and how often they changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Revocations {
    /// Another number means another list.
    pub version: u64,
    /// Since when who is shut out.
    pub list: BTreeMap<Revoked, Now>,
}

impl Revocations {
    /// Returns whether a token is shut out.
    pub(super) fn covers(&self, bearer: &Bearer) -> bool {
        if self.list.is_empty() {
            return false;
        }
        if self.list.contains_key(&Revoked::Token(bearer.id.clone())) {
            return true;
        }
        let tenant = bearer.rights.tenant().clone();
        let subject = Revoked::Subject(tenant, bearer.subject.clone());
        let since = self.list.get(&subject);
        // Times in tokens are whole seconds: one made in the same second is shut out too.
        since.is_some_and(|since| bearer.issued.is_none_or(|issued| issued <= *since))
    }
}
