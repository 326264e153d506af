//! Why a request to the server had no success, by what to do about it.

use fsync_core::wire::ErrorCode;

use super::CredentialError;
use crate::condition::{Finding, Reason};

/// Why a request to the admin API had no success.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Nobody answered: come back.
    #[error("the server does not answer: {0}")]
    NoAnswer(String),
    /// It answered that it cannot now: come back.
    #[error("the server cannot now ({status}): {message}")]
    Busy {
        /// HTTP status.
        status: u16,
        /// What it says.
        message: String,
    },
    /// It does not take the credential: somebody must give both the same.
    #[error(
        "the server does not take the credential of --admin-token-file: give both the same. {0}"
    )]
    Unauthorized(String),
    /// There is no credential to send.
    #[error(transparent)]
    Credential(#[from] CredentialError),
    /// What answers is no server with this admin API.
    #[error("what answers has no admin API of this version: {0}")]
    Unsupported(String),
    /// It says no, and would say so again.
    #[error("the server refuses ({status}): {message}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// What it says, for programs.
        code: Option<ErrorCode>,
        /// What it says, for people.
        message: String,
    },
}

impl ServerError {
    /// Takes an error of the HTTP client, whose own text names the URL and hides the cause.
    pub(super) fn no_answer(error: reqwest::Error) -> Self {
        let error = error.without_url();
        let mut cause: &dyn std::error::Error = &error;
        while let Some(next) = cause.source() {
            cause = next;
        }
        Self::NoAnswer(cause.to_string())
    }

    /// Returns the word for conditions.
    pub fn reason(&self) -> Reason {
        match self {
            Self::NoAnswer(_) | Self::Busy { .. } => Reason::Unreachable,
            Self::Unauthorized(_) | Self::Credential(_) => Reason::Unauthorized,
            Self::Unsupported(_) => Reason::Unsupported,
            Self::Refused { .. } => Reason::Refused,
        }
    }

    /// Returns what is said about the object that needed it.
    pub fn finding(&self) -> Finding {
        Finding::new(self.reason(), self.to_string())
    }
}
