//! Makes tokens: `fsync-server token`.

use std::time::Duration;

use fsync_core::label::{AgentName, TenantName};
use fsync_core::rights::{Grant, GrantError, Rights, TokenName, TokenNameError};
use fsync_core::service::Now;
use jsonwebtoken::{Algorithm, Header, encode};

use super::claims::Claims;
use super::keys::Secret;
use super::{Audience, crypto};
use crate::clock;

/// What a token is to say.
#[derive(Debug, Clone)]
pub struct Order {
    /// Whose it is.
    pub subject: TokenName,
    /// Which tenant it is for.
    pub tenant: TenantName,
    /// What it allows.
    pub grants: Vec<Grant>,
    /// The only agent that may use it.
    pub agent: Option<AgentName>,
    /// How long it is good.
    pub ttl: Duration,
    /// Who makes it, and for whom.
    pub audience: Audience,
}

/// Why no token was made.
#[derive(Debug, thiserror::Error)]
pub enum MintError {
    /// The grants do not fit the tenant.
    #[error(transparent)]
    Grant(#[from] GrantError),
    /// A token without a tree would be of no use.
    #[error("the token would allow nothing: give --tree NAME:rw, as often as needed")]
    NoTree,
    /// It would be over at once.
    #[error("--ttl must be at least a second")]
    Short,
    /// It could not be signed.
    #[error("the token cannot be signed: {0}")]
    Sign(String),
}

/// A new token.
#[derive(Debug)]
pub struct Minted {
    /// Its text.
    pub text: String,
    /// What a revocation names it by.
    pub id: TokenName,
    /// When it was made.
    pub issued: Now,
    /// When it ends.
    pub expires: Now,
}

/// Makes a token.
///
/// # Errors
/// [`MintError`].
pub fn mint(secret: &Secret, order: Order) -> Result<Minted, MintError> {
    crypto::install();
    if order.grants.is_empty() {
        return Err(MintError::NoTree);
    }
    if order.ttl < Duration::from_secs(1) {
        return Err(MintError::Short);
    }
    let rights = Rights::new(order.tenant, order.grants)?;
    let id = format!("{:032x}", clock::random_u128());
    let id: TokenName = id
        .parse()
        .map_err(|e: TokenNameError| MintError::Sign(e.to_string()))?;
    let now = clock::now().0 / 1000;
    let expires = now.saturating_add(order.ttl.as_secs());
    let claims = Claims {
        iss: order.audience.issuer,
        aud: order.audience.audience,
        sub: order.subject,
        jti: Some(id.clone()),
        iat: Some(now),
        nbf: None,
        exp: expires,
        tenant: Some(rights.tenant().clone()),
        trees: rights.grants().iter().map(Grant::to_string).collect(),
        agent: order.agent,
    };
    let mut header = Header::new(Algorithm::HS256);
    header.kid = Some(secret.name().to_owned());
    let text = encode(&header, &claims, &secret.to_signing());
    let text = text.map_err(|e| MintError::Sign(e.to_string()))?;
    let at = |seconds: u64| Now(seconds.saturating_mul(1000));
    Ok(Minted {
        text,
        id,
        issued: at(now),
        expires: at(expires),
    })
}
