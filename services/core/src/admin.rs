//! The admin API, as it travels: what the controller tells a server about trees and tokens, and what
//! it is told.
//!
//! ```text
//! GET    /admin/v1/trees/{tenant}/{tree}          -> TreeStatus
//! PUT    /admin/v1/trees/{tenant}/{tree}/policy   Policy     -> 204
//! DELETE /admin/v1/trees/{tenant}/{tree}/policy   -> 204, also if there was none
//! POST   /admin/v1/tokens                         TokenOrder -> IssuedToken
//! POST   /admin/v1/tokens/revoke                  Revoke     -> 204
//! POST   /admin/v1/gc                             -> 202; 409 where one runs already
//! ```
//! Every request carries `authorization: Bearer <admin credential>`; every error is an
//! [`crate::wire::ErrorBody`] with its status. The server has these paths on its admin port only, and
//! only if it was given a credential.
//! Guarantees: what was parsed keeps its rules; unknown fields are refused, so that a server that is
//! older than its controller says so instead of dropping what it was told.

use serde::{Deserialize, Serialize};

use crate::label::{AgentName, TenantName, TreeKey};
use crate::limits;
use crate::rights::{Grant, Right, TokenName};
use crate::service::Now;
use crate::wire::Head;

/// What all paths of the admin API begin with.
pub const ROOT: &str = "/admin/v1";
/// Makes tokens.
pub const TOKENS: &str = "/admin/v1/tokens";
/// Shuts tokens out.
pub const REVOKE: &str = "/admin/v1/tokens/revoke";
/// Starts a collection of garbage.
pub const GC: &str = "/admin/v1/gc";

/// Returns the path of a tree.
pub fn tree_path(tree: &TreeKey) -> String {
    format!("{ROOT}/trees/{tree}")
}

/// Returns the path of a tree's policy.
pub fn policy_path(tree: &TreeKey) -> String {
    format!("{}/policy", tree_path(tree))
}

/// What is to hold for one tree, in place of or beside what the server is set to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Of the history, in place of what the server keeps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<TreeRetention>,
    /// Most bytes that may be stored for the tree, its history included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota_bytes: Option<u64>,
    /// Who may use the tree, beside those whose tokens say so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub access: Vec<Access>,
}

/// How long what of a tree's history is kept; what is not given is as the server is set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TreeRetention {
    /// Revisions younger than this keep their contents, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_seconds: Option<u64>,
    /// So many newest revisions keep their contents, however old.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revisions: Option<u64>,
}

/// One subject of the tree's tenant and what it may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Access {
    /// Whom tokens name.
    pub subject: TokenName,
    /// What he may do.
    pub right: Right,
}

impl Policy {
    /// Returns what a subject may do because of this policy.
    pub fn right_of(&self, subject: &TokenName) -> Option<Right> {
        let of = |access: &&Access| access.subject == *subject;
        let rights = self.access.iter().filter(of).map(|access| access.right);
        rights.max()
    }

    /// Checks the numbers of things in it.
    ///
    /// # Errors
    /// [`limits::LimitError`] names the limit.
    pub fn check(&self) -> Result<(), limits::LimitError> {
        let subjects = "subjects of a policy";
        limits::check(subjects, limits::POLICY_SUBJECTS, self.access.len())
    }
}

/// How a tree is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeStatus {
    /// The head; `None` while nothing was ever committed.
    pub head: Option<Head>,
    /// When the head was committed, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed_ms: Option<Now>,
    /// Bytes that are stored for the tree, its history included.
    pub bytes: u64,
    /// Objects that are stored for the tree, its history included.
    pub objects: u64,
    /// Agents that listen to it at the replica that answers.
    pub agents: u64,
    /// Its policy, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Policy>,
}

/// What a new token is to say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenOrder {
    /// Whose it is.
    pub subject: TokenName,
    /// Which tenant it is for.
    pub tenant: TenantName,
    /// What it allows, as in `docs:rw`; at most [`limits::TOKEN_GRANTS`].
    pub trees: Vec<Grant>,
    /// The only agent that may use it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentName>,
    /// How long it is good, in seconds.
    pub ttl_seconds: u64,
}

/// A new token.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssuedToken {
    /// Its text; nobody can ask for it again.
    pub token: String,
    /// What a revocation names it by.
    pub id: TokenName,
    /// When it was made, in milliseconds since 1970.
    pub issued_ms: Now,
    /// When it ends, in milliseconds since 1970.
    pub expires_ms: Now,
}

/// Without the token's text.
impl std::fmt::Debug for IssuedToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IssuedToken")
            .field("id", &self.id)
            .field("expires_ms", &self.expires_ms)
            .finish_non_exhaustive()
    }
}

/// Shuts one token out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revoke {
    /// The token's id.
    pub id: TokenName,
}
