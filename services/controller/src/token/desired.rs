//! What an `AgentToken` asks for, what its Secret holds, and what is to be done about the
//! difference. Pure.
//!
//! ```text
//! Secret   data         token, server
//!          annotations  fsync.dev/token-id     names the token for a revocation
//!                       fsync.dev/order        names what it was ordered as: changes with the spec
//!                       fsync.dev/issued-at, fsync.dev/expires-at
//!                       fsync.dev/token-digest of the token's text: a Secret that somebody edited
//! ```
//! Guarantees: a token that the controller gave out is in the Secret, in the status, or both, until
//! it has ended or is revoked: whatever the Secret holds is written into the status before it is
//! replaced ([`account`]).

use std::collections::BTreeMap;
use std::time::Duration;

use fsync_core::admin::{IssuedToken, TokenOrder};
use fsync_core::label::{LabelError, TenantName};
use fsync_core::rights::{Grant, GrantError, Rights, TokenName, TokenNameError};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::{Resource, ResourceExt};

use crate::crd::{
    AgentToken, AgentTokenSpec, AgentTokenStatus, EarlierToken, TokenTree, strongest,
};
use crate::go_duration;
use crate::server::BaseUrl;
use crate::tree::desired::time;

/// Key of the token in a Secret.
pub const TOKEN_KEY: &str = "token";
/// Key of the server's URL in a Secret.
pub const SERVER_KEY: &str = "server";
const ID: &str = "fsync.dev/token-id";
const ORDER: &str = "fsync.dev/order";
const ISSUED: &str = "fsync.dev/issued-at";
const EXPIRES: &str = "fsync.dev/expires-at";
const DIGEST: &str = "fsync.dev/token-digest";
/// A token is used for so long at least: whoever asks for less would make one after the other.
const SHORTEST_USE: Duration = Duration::from_secs(60);
/// Part of a token's time before whose end it is replaced, if the spec does not say.
const ROTATE_PART: u32 = 3;
/// Most earlier tokens that are left to run out; older ones are revoked.
pub const EARLIER: usize = 32;
/// Hex digits of a hash that tell one order from another.
const HASH_DIGITS: usize = 32;

/// What is ordered, and where it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// What the token is to say.
    pub order: TokenOrder,
    /// Names the order: another one for every other spec.
    pub mark: String,
    /// So long before its end a token is replaced.
    pub rotate_before: Duration,
    /// The Secret's name.
    pub secret: String,
}

/// Why a spec cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// The subject is none.
    #[error("spec.subject: {0}")]
    Subject(#[from] TokenNameError),
    /// The tenant is none.
    #[error("spec.tenant: {0}")]
    Tenant(#[from] LabelError),
    /// A tree or its rights cannot be.
    #[error("spec.trees[{at}]: {source}")]
    Tree {
        /// Which entry.
        at: usize,
        /// What is wrong.
        #[source]
        source: GrantError,
    },
    /// An entry says nothing.
    #[error("spec.trees[{at}].rights is empty: name read, write or admin")]
    Rights {
        /// Which entry.
        at: usize,
    },
    /// There is no tree, or there are too many.
    #[error("spec.trees: {0}")]
    Trees(String),
    /// A duration is none.
    #[error("spec.{field} is {text:?}, and must be a duration such as 720h or 90m")]
    Duration {
        /// Which field.
        field: &'static str,
        /// What it says.
        text: String,
    },
    /// A token would be replaced as soon as it is made.
    #[error("spec.rotateBefore leaves a token less than 60 s: make it shorter, or spec.ttl longer")]
    Use,
}

/// Returns what a spec asks for; `name` is the object's.
///
/// # Errors
/// [`Invalid`] names the field: tell the user.
pub fn wanted(name: &str, spec: &AgentTokenSpec) -> Result<Wanted, Invalid> {
    let tenant: TenantName = spec.tenant.parse()?;
    let grants = spec.trees.iter().enumerate();
    let grants: Vec<Grant> = grants
        .map(|(at, tree)| grant(at, tree))
        .collect::<Result<_, _>>()?;
    if grants.is_empty() {
        return Err(Invalid::Trees("name at least one".to_owned()));
    }
    let rights = Rights::new(tenant, grants).map_err(|e| Invalid::Trees(e.to_string()))?;
    let ttl = duration("ttl", &spec.ttl)?;
    let rotate_before = match &spec.rotate_before {
        Some(text) => duration("rotateBefore", text)?,
        None => ttl / ROTATE_PART,
    };
    if ttl < rotate_before + SHORTEST_USE {
        return Err(Invalid::Use);
    }
    let order = TokenOrder {
        subject: spec.subject.parse()?,
        tenant: rights.tenant().clone(),
        trees: rights.grants().to_vec(),
        agent: None,
        ttl_seconds: ttl.as_secs(),
    };
    let secret = spec.secret_name.clone().unwrap_or_else(|| name.to_owned());
    Ok(Wanted {
        mark: mark(&order, &secret),
        order,
        rotate_before,
        secret,
    })
}

fn grant(at: usize, tree: &TokenTree) -> Result<Grant, Invalid> {
    let right = strongest(&tree.rights).ok_or(Invalid::Rights { at })?;
    let grant = format!("{}:{right}", tree.name).parse();
    grant.map_err(|source| Invalid::Tree { at, source })
}

fn duration(field: &'static str, text: &str) -> Result<Duration, Invalid> {
    go_duration::parse(text).ok_or_else(|| Invalid::Duration {
        field,
        text: text.to_owned(),
    })
}

fn mark(order: &TokenOrder, secret: &str) -> String {
    // The order is plain data: it can always be written.
    let order = serde_json::to_string(order).unwrap_or_default();
    digest(&format!("{order} {secret}"))
}

fn digest(text: &str) -> String {
    let hex = blake3::hash(text.as_bytes()).to_hex();
    hex[..HASH_DIGITS].to_owned()
}

/// What a Secret says of its token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Names it for a revocation.
    pub id: String,
    /// Names what it was ordered as.
    pub mark: String,
    /// When it was made.
    pub issued: Timestamp,
    /// When it ends.
    pub expires: Timestamp,
    /// Whether the token's text is there, as it was made.
    pub is_whole: bool,
    /// What it says of where the server is.
    pub server: Option<String>,
}

/// Returns what a Secret of ours says; `None` if it holds no token that was made by us.
pub fn held(secret: &Secret) -> Option<Held> {
    let notes = secret.annotations();
    let note = |key| notes.get(key).cloned();
    let time = |key| note(key)?.parse::<Timestamp>().ok();
    let text = |key| {
        let bytes = secret.data.as_ref()?.get(key)?;
        String::from_utf8(bytes.0.clone()).ok()
    };
    Some(Held {
        id: note(ID)?,
        mark: note(ORDER)?,
        issued: time(ISSUED)?,
        expires: time(EXPIRES)?,
        is_whole: text(TOKEN_KEY).map(|token| digest(&token)) == note(DIGEST),
        server: text(SERVER_KEY),
    })
}

/// Returns whether a Secret is the object's own.
pub fn is_ours(secret: &Secret, token: &AgentToken) -> bool {
    let uid = token.uid();
    let owners = secret.owner_references();
    uid.is_some() && owners.iter().any(|owner| Some(&owner.uid) == uid.as_ref())
}

/// Why a token is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// There is none, or somebody damaged it.
    Missing,
    /// It was ordered as something else.
    Changed,
    /// Its end is near.
    Due,
}

impl Cause {
    /// Returns the word for metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Changed => "changed",
            Self::Due => "due",
        }
    }
}

/// What a Secret needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Nothing.
    Nothing,
    /// The server is elsewhere now; the token stays.
    Address,
    /// A new token.
    Token(Cause),
}

/// Returns what a Secret needs.
pub fn need(wanted: &Wanted, held: Option<&Held>, server: &BaseUrl, now: Timestamp) -> Need {
    let Some(held) = held else {
        return Need::Token(Cause::Missing);
    };
    if held.mark != wanted.mark {
        return Need::Token(Cause::Changed);
    }
    if !held.is_whole {
        return Need::Token(Cause::Missing);
    }
    if now >= due(held, wanted.rotate_before) {
        return Need::Token(Cause::Due);
    }
    match held.server.as_deref() == Some(server.as_str()) {
        true => Need::Nothing,
        false => Need::Address,
    }
}

/// Returns when a token is replaced. A server may give less time than was asked for: a token is
/// still used for [`SHORTEST_USE`].
pub fn due(held: &Held, rotate_before: Duration) -> Timestamp {
    let before = SignedDuration::try_from(rotate_before).unwrap_or(SignedDuration::MAX);
    let due = held.expires.checked_sub(before).unwrap_or(Timestamp::MIN);
    let used = SignedDuration::try_from(SHORTEST_USE).unwrap_or(SignedDuration::ZERO);
    due.max(held.issued.checked_add(used).unwrap_or(Timestamp::MAX))
}

/// What is to be written down of tokens, and what is to be revoked first.
#[derive(Debug, Clone, PartialEq)]
pub struct Account {
    /// To be shut out.
    pub revoke: Vec<String>,
    /// Still good, and left to run out.
    pub earlier: Vec<EarlierToken>,
}

/// Returns what becomes of the tokens that a status names, once the Secret holds `held`: those of
/// another order are revoked, those of the same run out.
pub fn account(status: &AgentTokenStatus, held: &Held, now: Timestamp) -> Account {
    let mut earlier = good(status, now);
    earlier.retain(|one| one.id != held.id);
    if status.order.as_ref() != Some(&held.mark) {
        return Account {
            revoke: earlier.into_iter().map(|one| one.id).collect(),
            earlier: Vec::new(),
        };
    }
    let surplus = earlier.len().saturating_sub(EARLIER);
    let revoke = earlier.drain(..surplus).map(|one| one.id).collect();
    Account { revoke, earlier }
}

/// Returns the tokens that a status names and that have not ended, the oldest first.
pub fn good(status: &AgentTokenStatus, now: Timestamp) -> Vec<EarlierToken> {
    let current = status.token_id.clone().map(|id| EarlierToken {
        id,
        // Without a time it is better to revoke it than to forget it.
        expires_at: status.expires_at.clone().unwrap_or(Time(Timestamp::MAX)),
    });
    let all = status.earlier.iter().cloned().chain(current);
    all.filter(|one| one.expires_at.0 > now).collect()
}

/// Writes into a status what the Secret holds.
pub fn record(status: &mut AgentTokenStatus, held: &Held, secret: &str, account: Account) {
    status.secret_name = Some(secret.to_owned());
    status.token_id = Some(held.id.clone());
    status.order = Some(held.mark.clone());
    status.issued_at = Some(Time(held.issued));
    status.expires_at = Some(Time(held.expires));
    status.earlier = account.earlier;
}

/// Returns the Secret of a new token.
pub fn secret(token: &AgentToken, wanted: &Wanted, issued: &IssuedToken, at: &BaseUrl) -> Secret {
    let stamp = |ms: u64| time(ms).map(|at| at.0.to_string()).unwrap_or_default();
    let notes = [
        (ID, issued.id.to_string()),
        (ORDER, wanted.mark.clone()),
        (ISSUED, stamp(issued.issued_ms.0)),
        (EXPIRES, stamp(issued.expires_ms.0)),
        (DIGEST, digest(&issued.token)),
    ];
    let notes = notes.map(|(key, value)| (key.to_owned(), value));
    let data = [
        (TOKEN_KEY, issued.token.clone()),
        (SERVER_KEY, at.to_string()),
    ];
    let data = data.map(|(key, value)| (key.to_owned(), ByteString(value.into_bytes())));
    Secret {
        metadata: ObjectMeta {
            name: Some(wanted.secret.clone()),
            namespace: token.namespace(),
            annotations: Some(BTreeMap::from(notes)),
            owner_references: Some(token.controller_owner_ref(&()).into_iter().collect()),
            ..ObjectMeta::default()
        },
        type_: Some("Opaque".to_owned()),
        data: Some(BTreeMap::from(data)),
        ..Secret::default()
    }
}

/// Returns a Secret with the server's new URL, everything else as it was.
pub fn moved(old: &Secret, token: &AgentToken, at: &BaseUrl) -> Secret {
    let keeps = |key: &String| key.starts_with("fsync.dev/");
    let notes = old.annotations().iter().filter(|(key, _)| keeps(key));
    let mut data = BTreeMap::new();
    if let Some(text) = old.data.as_ref().and_then(|data| data.get(TOKEN_KEY)) {
        data.insert(TOKEN_KEY.to_owned(), text.clone());
    }
    let url = ByteString(at.as_str().as_bytes().to_vec());
    data.insert(SERVER_KEY.to_owned(), url);
    Secret {
        metadata: ObjectMeta {
            name: old.metadata.name.clone(),
            namespace: old.metadata.namespace.clone(),
            annotations: Some(notes.map(|(k, v)| (k.clone(), v.clone())).collect()),
            owner_references: Some(token.controller_owner_ref(&()).into_iter().collect()),
            ..ObjectMeta::default()
        },
        type_: Some("Opaque".to_owned()),
        data: Some(data),
        ..Secret::default()
    }
}

/// Returns an id as the server takes it; `None` for a text that it never gave out.
pub fn id(text: &str) -> Option<TokenName> {
    text.parse().ok()
}

#[cfg(test)]
mod tests;
