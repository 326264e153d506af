//! What a token says, as it travels and as it is after all rules were checked.
//!
//! ```text
//! {"iss":"fsync","aud":"fsync","sub":"anna-laptop","jti":"5f3c…","iat":1790000000,"exp":1792592000,
//!  "tenant":"default","trees":["docs:rw","notes-*:r"],"agent":"laptop"}
//! ```
//! `tenant` may be left out (then it is `default`), `agent` and `iat` too; a token without `jti` is
//! known by its hash.

use std::fmt;

use fsync_core::label::{AgentName, DEFAULT_TENANT, TenantName, TreeKey};
use fsync_core::limits;
use fsync_core::rights::{Grant, Right, Rights, TokenName};
use fsync_core::service::Now;
use serde::{Deserialize, Serialize};

use super::error::AuthError;

/// The claims as JSON; times in seconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Claims {
    pub(super) iss: String,
    #[serde(skip_deserializing)]
    pub(super) aud: String,
    pub(super) sub: TokenName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) jti: Option<TokenName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) iat: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) nbf: Option<u64>,
    pub(super) exp: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) tenant: Option<TenantName>,
    pub(super) trees: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) agent: Option<AgentName>,
}

/// Who the caller is and what he may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity(Who);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Who {
    /// Nobody was asked.
    Anyone,
    Bearer(Bearer),
}

/// What a token that was checked says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bearer {
    /// Whose it is.
    pub subject: TokenName,
    /// What it allows.
    pub rights: Rights,
    /// The only agent that may use it, if it names one.
    pub agent: Option<AgentName>,
    /// What a revocation names it by.
    pub id: TokenName,
    /// When it was made, if it says so.
    pub issued: Option<Now>,
    /// When it ends.
    pub expires: Now,
    /// Which key signed it.
    pub(super) key: String,
}

/// Milliseconds of a time in seconds.
fn millis(seconds: u64) -> Now {
    Now(seconds.saturating_mul(1000))
}

impl Identity {
    /// Everybody, where no token is asked for.
    pub(super) fn anyone() -> Self {
        Self(Who::Anyone)
    }

    /// Checks what the signature does not: rules of names and grants.
    pub(super) fn of(claims: Claims, hash: &str, key: String) -> Result<Self, AuthError> {
        let claim = |e: &dyn fmt::Display| AuthError::Claims(e.to_string());
        let tenant = match claims.tenant {
            Some(tenant) => tenant,
            None => DEFAULT_TENANT.parse().map_err(|e| claim(&e))?,
        };
        limits::check(
            "trees of one token",
            limits::TOKEN_GRANTS,
            claims.trees.len(),
        )
        .map_err(|e| claim(&e))?;
        let grants = claims.trees.iter().map(|text| text.parse::<Grant>());
        let grants: Vec<Grant> = grants.collect::<Result<_, _>>().map_err(|e| claim(&e))?;
        let id = match claims.jti {
            Some(id) => id,
            None => hash.parse().map_err(|e| claim(&e))?,
        };
        Ok(Self(Who::Bearer(Bearer {
            subject: claims.sub,
            rights: Rights::new(tenant, grants).map_err(|e| claim(&e))?,
            agent: claims.agent,
            id,
            issued: claims.iat.map(millis),
            expires: millis(claims.exp),
            key,
        })))
    }

    /// Returns what the token says; `None` where none is asked for.
    pub fn bearer(&self) -> Option<&Bearer> {
        match &self.0 {
            Who::Anyone => None,
            Who::Bearer(bearer) => Some(bearer),
        }
    }

    /// Returns the strongest right to a tree; `None` for no right at all.
    pub fn right_to(&self, tree: &TreeKey) -> Option<Right> {
        match &self.0 {
            Who::Anyone => Some(Right::Admin),
            Who::Bearer(bearer) => bearer.rights.to(tree),
        }
    }

    /// Returns whether an agent of this name may use the token.
    pub fn is_agent(&self, name: &AgentName) -> bool {
        let only = self.bearer().and_then(|bearer| bearer.agent.as_ref());
        only.is_none_or(|only| only == name)
    }

    /// Returns the subject, for logs; `-` where no token is asked for.
    pub fn subject(&self) -> &str {
        self.bearer().map_or("-", |bearer| bearer.subject.as_str())
    }
}
