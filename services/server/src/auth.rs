//! Who calls: checks tokens, and says later whether one that was good still is.
//!
//! ```text
//! token -> header -> key (by name; its algorithm counts) -> signature, issuer, audience, times
//!       -> claims (names, grants) -> Identity -> revoked?
//! ```
//! Guarantees: without a valid token nobody gets an [`Identity`], where tokens are asked for; a
//! token that was checked costs one hash when it comes again; expiry, revocation and a withdrawn
//! key count within [`LOOK`] and a second on every replica.
//! Does not: decide what an identity may do (`access.rs` and `socket.rs` ask its rights), nor log
//! tokens, in whole or in part.
//! Tasks: `revocations` reads the journal's list every [`LOOK`]; `jwks` reads the issuer's keys; both
//! end at shutdown.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use fsync_core::limits;
use fsync_core::service::Now;
use fsync_runtime::Shutdown;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Header, Validation, decode, decode_header};
use ring::digest;
use tracing::{info, warn};

use crate::clock;
use crate::journal::Journal;

mod claims;
mod crypto;
mod error;
mod jwks;
mod keys;
mod mint;
mod revoked;

use claims::Claims;
pub use claims::{Bearer, Identity};
pub use error::AuthError;
use jwks::{Found, Jwks};
pub use jwks::{JwksUrl, JwksUrlError};
use keys::Key;
pub use keys::{SECRET_BYTES, Secret, SecretError};
pub use mint::{MintError, Minted, Order, mint};
pub use revoked::{REVOCATIONS, Revocation, Revocations, Revoked};

/// How long after it was made elsewhere a revocation counts here, but for a second.
pub const LOOK: Duration = Duration::from_secs(2);
/// How far clocks may be apart, in seconds: a token that begins so soon has begun.
const LEEWAY_SECONDS: u64 = 30;
/// Tokens that are remembered as checked; beyond that all are checked anew.
const CHECKED: usize = 8192;
/// Issuer and audience of tokens that the server makes itself.
pub const OURS: &str = "fsync";

/// Who makes tokens, and for whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audience {
    /// The claim `iss`.
    pub issuer: String,
    /// The claim `aud`.
    pub audience: String,
}

impl Default for Audience {
    fn default() -> Self {
        Self {
            issuer: OURS.to_owned(),
            audience: OURS.to_owned(),
        }
    }
}

/// Which keys sign tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Issuer {
    /// Whoever has one of these secrets.
    Secrets(Vec<Secret>),
    /// Whoever publishes keys there.
    Jwks(JwksUrl),
}

/// How tokens are checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    /// Whose signatures count.
    pub issuer: Issuer,
    /// What tokens must say of both ends.
    pub audience: Audience,
}

/// Checks callers; clones are the same thing.
#[derive(Debug, Clone)]
pub struct Auth(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// `None` where no token is asked for.
    door: Option<Door>,
    anyone: Arc<Identity>,
}

#[derive(Debug)]
struct Door {
    audience: Audience,
    keys: Keys,
    revoked: RwLock<Arc<Revocations>>,
    /// Who presented which token, by its hash; only what was good comes in.
    checked: Mutex<HashMap<TokenHash, Arc<Identity>>>,
}

type TokenHash = [u8; 32];

#[derive(Debug)]
enum Keys {
    Secrets(Vec<Key>),
    Jwks(Jwks),
}

impl Auth {
    /// Lets everybody do everything.
    pub fn open() -> Self {
        Self::new(None)
    }

    fn new(door: Option<Door>) -> Self {
        Self(Arc::new(Inner {
            door,
            anyone: Arc::new(Identity::anyone()),
        }))
    }

    /// Asks for tokens; the list of revocations is read before this returns.
    ///
    /// # Errors
    /// What to tell the operator.
    pub async fn closed(
        tokens: &Tokens,
        journal: Arc<dyn Journal>,
        tasks: &Shutdown,
    ) -> Result<Self, String> {
        crypto::install();
        let keys = match &tokens.issuer {
            Issuer::Secrets(secrets) => Keys::Secrets(secrets.iter().map(Secret::to_key).collect()),
            Issuer::Jwks(url) => {
                let jwks = Jwks::new(url.clone(), tasks)?;
                drop(tasks.spawn("jwks", jwks::run(jwks.clone(), tasks.clone())));
                Keys::Jwks(jwks)
            }
        };
        let revoked = journal.revocations(None).await.map_err(|e| e.to_string())?;
        let auth = Self::new(Some(Door {
            audience: tokens.audience.clone(),
            keys,
            revoked: RwLock::new(Arc::new(revoked.unwrap_or_default())),
            checked: Mutex::default(),
        }));
        let follow = follow(auth.clone(), journal, tasks.clone());
        drop(tasks.spawn("revocations", follow));
        Ok(auth)
    }

    /// Returns whether callers need a token.
    pub fn is_closed(&self) -> bool {
        self.0.door.is_some()
    }

    /// Says who presents a token.
    ///
    /// # Errors
    /// [`AuthError`]; nothing was made for the caller.
    pub async fn check(&self, token: Option<&str>) -> Result<Arc<Identity>, AuthError> {
        let Some(door) = &self.0.door else {
            return Ok(Arc::clone(&self.0.anyone));
        };
        let token = token.ok_or(AuthError::Missing)?;
        if token.len() > limits::TOKEN_BYTES {
            return Err(AuthError::TooLong(token.len()));
        }
        let hash = hash_of(token);
        let known = door.checked().get(&hash).cloned();
        let identity = match known {
            Some(identity) => identity,
            None => {
                let identity = Arc::new(door.verify(token, &hash).await?);
                door.remember(hash, &identity);
                identity
            }
        };
        door.still_good(&identity, clock::now())?;
        Ok(identity)
    }

    /// Says whether a token that was good still is.
    ///
    /// # Errors
    /// [`AuthError::Expired`], [`AuthError::Revoked`], [`AuthError::UnknownKey`].
    pub fn still_good(&self, identity: &Identity) -> Result<(), AuthError> {
        match &self.0.door {
            Some(door) => door.still_good(identity, clock::now()),
            None => Ok(()),
        }
    }

    /// Puts another list of revocations in place.
    fn set_revoked(&self, revoked: Revocations) {
        if let Some(door) = &self.0.door {
            info!(
                count = revoked.list.len(),
                "the list of revocations changed"
            );
            *door.revoked.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(revoked);
        }
    }
}

fn hash_of(token: &str) -> TokenHash {
    let hash = digest::digest(&digest::SHA256, token.as_bytes());
    let mut bytes = TokenHash::default();
    bytes.copy_from_slice(hash.as_ref());
    bytes
}

impl Door {
    fn checked(&self) -> MutexGuard<'_, HashMap<TokenHash, Arc<Identity>>> {
        self.checked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember(&self, hash: TokenHash, identity: &Arc<Identity>) {
        let mut checked = self.checked();
        if checked.len() >= CHECKED {
            checked.clear();
        }
        checked.insert(hash, Arc::clone(identity));
    }

    fn revoked(&self) -> Arc<Revocations> {
        let revoked = self.revoked.read();
        Arc::clone(&revoked.unwrap_or_else(PoisonError::into_inner))
    }

    fn still_good(&self, identity: &Identity, now: Now) -> Result<(), AuthError> {
        let Some(bearer) = identity.bearer() else {
            return Err(AuthError::Missing);
        };
        if bearer.expires <= now {
            return Err(AuthError::Expired);
        }
        if self.revoked().covers(bearer) {
            return Err(AuthError::Revoked);
        }
        match &self.keys {
            Keys::Jwks(jwks) if !jwks.is_known(&bearer.key) => Err(AuthError::UnknownKey),
            Keys::Jwks(_) | Keys::Secrets(_) => Ok(()),
        }
    }

    async fn verify(&self, token: &str, hash: &TokenHash) -> Result<Identity, AuthError> {
        let header = decode_header(token).map_err(|e| sort(&e))?;
        if header.crit.is_some() || header.zip.is_some() || header.enc.is_some() {
            return Err(AuthError::Malformed(
                "its header asks for what is not known here",
            ));
        }
        let key = self.key(&header).await?;
        let mut rules = Validation::new(key.algorithm);
        rules.leeway = 0;
        rules.set_issuer(&[&self.audience.issuer]);
        rules.set_audience(&[&self.audience.audience]);
        rules.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        let read = decode::<Claims>(token, &key.decoding, &rules).map_err(|e| sort(&e))?;
        let claims = read.claims;
        let latest = clock::now().0 / 1000 + LEEWAY_SECONDS;
        if claims.nbf.is_some_and(|begins| begins > latest)
            || claims.iat.is_some_and(|made| made > latest)
        {
            return Err(AuthError::NotYet);
        }
        let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        Identity::of(claims, &hex, key.name)
    }

    /// Returns the key that a header names, if its algorithm is the one that the header says.
    async fn key(&self, header: &Header) -> Result<Key, AuthError> {
        let key = match &self.keys {
            Keys::Secrets(secrets) => {
                let named = |key: &&Key| header.kid.as_ref().is_none_or(|name| *name == key.name);
                // One without a name is tried with the first: tokens made elsewhere carry none.
                secrets.iter().find(named).cloned()
            }
            Keys::Jwks(jwks) => {
                let name = header.kid.as_deref().ok_or(AuthError::UnknownKey)?;
                match jwks.key(name).await {
                    Found::Key(key) => Some(key),
                    Found::Unknown => None,
                    Found::NoKeys(reason) => return Err(AuthError::NoKeys(reason)),
                }
            }
        };
        let key = key.ok_or(AuthError::UnknownKey)?;
        match key.algorithm == header.alg {
            true => Ok(key),
            false => Err(AuthError::Signature),
        }
    }
}

/// Says what the library found, without its words: they may repeat what the token holds.
fn sort(error: &jsonwebtoken::errors::Error) -> AuthError {
    match error.kind() {
        ErrorKind::InvalidSignature
        | ErrorKind::InvalidAlgorithm
        | ErrorKind::InvalidEcdsaKey
        | ErrorKind::InvalidEddsaKey
        | ErrorKind::InvalidRsaKey(_)
        | ErrorKind::InvalidKeyFormat
        | ErrorKind::UnsupportedAlgorithm => AuthError::Signature,
        ErrorKind::ExpiredSignature => AuthError::Expired,
        ErrorKind::ImmatureSignature => AuthError::NotYet,
        ErrorKind::InvalidIssuer => AuthError::NotForUs("issuer"),
        ErrorKind::InvalidAudience => AuthError::NotForUs("audience"),
        ErrorKind::MissingRequiredClaim(name) => {
            AuthError::Claims(format!("{name} is missing or of the wrong kind"))
        }
        ErrorKind::InvalidClaimFormat(name) => {
            AuthError::Claims(format!("{name} is of the wrong kind"))
        }
        ErrorKind::Json(_) => {
            AuthError::Malformed("its header or claims are not what they must be")
        }
        _ => AuthError::Malformed("it is no JSON Web Token"),
    }
}

/// Follows the journal's list until the shutdown.
async fn follow(auth: Auth, journal: Arc<dyn Journal>, tasks: Shutdown) {
    let Some(door) = &auth.0.door else { return };
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = tasks.triggered() => return,
        }
        let known = door.revoked();
        match journal.revocations(Some(known.version)).await {
            Ok(Some(revoked)) => {
                let revoked = put_back(&*journal, &known, revoked).await;
                auth.set_revoked(revoked);
            }
            Ok(None) => {}
            // Connections go on meanwhile: nobody can change anything without the journal.
            Err(error) => warn!(%error, "the list of revocations is read later"),
        }
    }
}

/// A journal that lost its list gets it back from whoever still has it: nobody is let in again
/// because of a loss.
async fn put_back(journal: &dyn Journal, known: &Revocations, mut new: Revocations) -> Revocations {
    for (who, since) in &known.list {
        if new.list.contains_key(who) {
            continue;
        }
        warn!(%who, "the journal lost a revocation; it is written again");
        let revocation = Revocation {
            who: who.clone(),
            since_ms: since.0,
        };
        if let Err(error) = journal.revoke(revocation).await {
            warn!(%error, "a revocation could not be written again");
        }
        new.list.insert(who.clone(), *since);
    }
    new
}
