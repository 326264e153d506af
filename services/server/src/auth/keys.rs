//! The keys that sign tokens: a secret shared by those who make them and those who check them, or
//! an issuer's public keys.
//!
//! Guarantees: the algorithm belongs to the key; what a token's header says can only fail to match
//! it. A secret is never an issuer's key and no public key is ever used as a secret.

use std::fmt;
use std::path::{Path, PathBuf};

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};
use ring::rand::{SecureRandom, SystemRandom};
use ring::{digest, hmac};

/// Fewest bytes of a secret: as many as its hash has, RFC 7518 section 3.2.
pub const SECRET_BYTES: usize = 32;
/// What two secrets sign to show that they are the same.
const SAME: &[u8] = b"fsync";
/// Most bytes of a secret's file; more is another file.
const SECRET_FILE_BYTES: u64 = 64 * 1024;

/// Why a secret's file cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// It cannot be read.
    #[error("the key file {path} cannot be read: {reason}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// It is too short to be safe.
    #[error(
        "the key in {path} has {bytes} bytes, and {SECRET_BYTES} are the least: make one with \
         `fsync-server token --new-key --key-file FILE`"
    )]
    Short {
        /// Which.
        path: PathBuf,
        /// Its length.
        bytes: usize,
    },
    /// Others may read it.
    #[error("the key file {path} may be read by everybody: chmod 600 {path}")]
    Open {
        /// Which.
        path: PathBuf,
    },
}

/// A secret that makes and checks tokens.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    bytes: Vec<u8>,
    name: String,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret").field("name", &self.name).finish()
    }
}

impl Secret {
    /// Returns whether a text is this secret; takes as long for any text of the same length.
    pub fn is(&self, text: &str) -> bool {
        let key = |bytes: &[u8]| hmac::Key::new(hmac::HMAC_SHA256, bytes);
        let ours = hmac::sign(&key(&self.bytes), SAME);
        hmac::verify(&key(text.trim().as_bytes()), SAME, ours.as_ref()).is_ok()
    }

    /// Reads the first line of a file.
    ///
    /// # Errors
    /// [`SecretError`].
    pub fn read(path: &Path) -> Result<Self, SecretError> {
        use std::os::unix::fs::PermissionsExt;
        let failed = |reason: &dyn fmt::Display| SecretError::Read {
            path: path.to_owned(),
            reason: reason.to_string(),
        };
        let about = std::fs::metadata(path).map_err(|e| failed(&e))?;
        if about.len() > SECRET_FILE_BYTES {
            return Err(failed(&format!("it has over {SECRET_FILE_BYTES} bytes")));
        }
        if about.permissions().mode() & 0o007 != 0 {
            return Err(SecretError::Open {
                path: path.to_owned(),
            });
        }
        let bytes = std::fs::read(path).map_err(|e| failed(&e))?;
        let bytes = bytes.trim_ascii().to_vec();
        if bytes.len() < SECRET_BYTES {
            return Err(SecretError::Short {
                path: path.to_owned(),
                bytes: bytes.len(),
            });
        }
        Ok(Self::new(bytes))
    }

    fn new(bytes: Vec<u8>) -> Self {
        // Names the key without telling anything of it.
        let hash = digest::digest(&digest::SHA256, &[b"fsync key name ", &bytes[..]].concat());
        let name = hash.as_ref().iter().take(8);
        let name = name.map(|byte| format!("{byte:02x}")).collect();
        Self { bytes, name }
    }

    /// Makes a new one; its text is what a file holds.
    ///
    /// # Errors
    /// If the system has no randomness.
    pub fn make() -> Result<String, String> {
        let mut bytes = [0; SECRET_BYTES];
        let filled = SystemRandom::new().fill(&mut bytes);
        filled.map_err(|_unspecified| "the system gives no randomness".to_owned())?;
        Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Returns its name, which tokens carry as `kid`.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn to_key(&self) -> Key {
        Key {
            name: self.name.clone(),
            algorithm: Algorithm::HS256,
            decoding: DecodingKey::from_secret(&self.bytes),
        }
    }

    pub(super) fn to_signing(&self) -> EncodingKey {
        EncodingKey::from_secret(&self.bytes)
    }
}

/// One key that checks signatures.
#[derive(Clone)]
pub(super) struct Key {
    pub(super) name: String,
    pub(super) algorithm: Algorithm,
    pub(super) decoding: DecodingKey,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Key");
        shown.field("name", &self.name);
        shown.field("algorithm", &self.algorithm).finish()
    }
}
