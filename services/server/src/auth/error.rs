//! Why a token is not taken.

use std::time::Duration;

use fsync_core::wire::{ErrorBody, ErrorCode};

/// What is wrong with a token; never holds the token or a part of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// There is none.
    #[error(
        "this server asks for a token: give one with --token-file, or store it with `fsync-agent login`"
    )]
    Missing,
    /// It is too long.
    #[error("the token has {0} bytes, the limit is {limit}", limit = fsync_core::limits::TOKEN_BYTES)]
    TooLong(usize),
    /// It is no JSON Web Token, or one with parts that nobody here understands.
    #[error("the token cannot be read: {0}")]
    Malformed(&'static str),
    /// No key of this name signs for this server.
    #[error("the token is signed with a key that this server does not know")]
    UnknownKey,
    /// The signature is not the key's.
    #[error("the token's signature is wrong")]
    Signature,
    /// It came from somebody else, or is for somebody else.
    #[error("the token's {0} is not the one that this server takes")]
    NotForUs(&'static str),
    /// Its time is over.
    #[error("the token expired: get a new one")]
    Expired,
    /// Its time has not come.
    #[error("the token is not valid yet: check the clocks")]
    NotYet,
    /// It, or its owner, was shut out.
    #[error("the token was revoked: ask for a new one")]
    Revoked,
    /// A claim breaks a rule.
    #[error("the token's claims are not valid: {0}")]
    Claims(String),
    /// The issuer's keys cannot be read.
    #[error("the keys of the tokens' issuer cannot be read now: {0}")]
    NoKeys(String),
}

/// When to come back while the issuer's keys cannot be read.
const KEYS_BACK: Duration = Duration::from_secs(5);

impl AuthError {
    /// Returns the word for logs.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Missing => "no token",
            Self::TooLong(_) => "too long",
            Self::Malformed(_) => "malformed",
            Self::UnknownKey => "unknown key",
            Self::Signature => "signature",
            Self::NotForUs(_) => "not for us",
            Self::Expired => "expired",
            Self::NotYet => "not yet",
            Self::Revoked => "revoked",
            Self::Claims(_) => "claims",
            Self::NoKeys(_) => "no keys",
        }
    }

    /// Returns the wire code.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::NoKeys(_) => ErrorCode::Unavailable,
            _ => ErrorCode::Unauthorized,
        }
    }

    /// Returns the error as it stands in answers.
    pub fn to_body(&self) -> ErrorBody {
        let back = u64::try_from(KEYS_BACK.as_millis()).unwrap_or(u64::MAX);
        ErrorBody {
            code: self.code(),
            message: self.to_string(),
            missing: Vec::new(),
            retry_after_ms: matches!(self, Self::NoKeys(_)).then_some(back),
        }
    }
}
