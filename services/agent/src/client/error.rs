//! What can go wrong between agent and server, by what the caller must do about it.

use std::time::Duration;

use fsync_core::id::ObjectId;
use fsync_core::wire::{ErrorBody, ErrorCode, PROTOCOL_VERSION};

use super::server_url::ServerUrl;

/// Wait before a retry when the server names none.
const DEFAULT_RETRY: Duration = Duration::from_secs(1);
/// Longest wait that a server may ask for; more would look like a dead agent.
const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// Why a request did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No answer came.
    #[error(
        "cannot reach the server at {server}: {reason}; check that fsync-server runs there and that the address is right"
    )]
    Unreachable {
        /// Where.
        server: ServerUrl,
        /// Why, down to the system's word.
        reason: String,
    },
    /// Something answers that is not fsync.
    #[error(
        "what answers at {server} is not an fsync server ({reason}); check the address and port after --server"
    )]
    NotFsync {
        /// Where.
        server: ServerUrl,
        /// What was met.
        reason: String,
    },
    /// An fsync server of another protocol version answers.
    #[error(
        "the server at {server} speaks protocol version {theirs}, this agent version {ours}; install the same release on both"
    )]
    OtherVersion {
        /// Where.
        server: ServerUrl,
        /// This agent's version.
        ours: u32,
        /// The server's.
        theirs: u32,
    },
    /// The server cannot do it now.
    #[error("the server asks to come back in {} ms: {message}", .after.as_millis())]
    Retry {
        /// When to come back.
        after: Duration,
        /// Why, in the server's words.
        message: String,
    },
    /// The server's store is full.
    #[error("the server's store is full: {message}")]
    StoreFull {
        /// When to try again.
        after: Duration,
        /// The server's words.
        message: String,
    },
    /// A commit needs objects that the server does not have.
    #[error("the server lacks {} objects of this revision", .0.len())]
    Missing(Vec<ObjectId>),
    /// The server does not have objects that were asked for.
    #[error("the server does not have {} of the objects asked for, {} first", .0.len(), .0.first().map_or_else(String::new, ObjectId::short))]
    Lost(Vec<ObjectId>),
    /// The revision to start from is not in the tree's lineage.
    #[error("the server does not know the revision to start from")]
    BaseUnknown,
    /// The upload session ended.
    #[error("the upload session has ended")]
    UploadUnknown,
    /// There is no such tree, or no right to it.
    #[error("the server denies the tree: {message}; check --tree and the token")]
    Denied {
        /// The server's words.
        message: String,
    },
    /// The token is missing or not good any more.
    #[error("the server does not take the token: {message}")]
    Token {
        /// The server's words.
        message: String,
    },
    /// The token allows to read the tree, not to change it.
    #[error("the server takes no changes from this agent: {message}")]
    ReadOnly {
        /// The server's words.
        message: String,
    },
    /// The server refused the request for good: one of both sides has a fault.
    #[error("the server refused the request ({code:?}): {message}")]
    Refused {
        /// Its code.
        code: ErrorCode,
        /// Its words.
        message: String,
    },
    /// The answer breaks the protocol, a limit or a hash.
    #[error("the server at {server} sent a bad answer to {what}: {reason}; nothing of it was used")]
    BadAnswer {
        /// Where.
        server: ServerUrl,
        /// The request.
        what: &'static str,
        /// The rule that it breaks.
        reason: String,
    },
    /// The client could not be set up.
    #[error("cannot set up the HTTP client: {0}")]
    Setup(String),
}

/// What the caller must do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextStep {
    /// Do the same again after this time.
    Retry(Duration),
    /// Do the same again after a wait that grows with each failure: nobody answered.
    Reconnect,
    /// Do something else first: send what is missing, descend from the root, open a new session.
    Repair,
    /// Tell the user; the same request will fail for ever.
    AskUser,
}

impl ClientError {
    /// Returns what the caller must do.
    pub fn next_step(&self) -> NextStep {
        match self {
            Self::Retry { after, .. } | Self::StoreFull { after, .. } => NextStep::Retry(*after),
            // A bad answer may come from a proxy or a replica that just failed; the next one may be
            // good.
            // What becomes of a token that is not taken is for the socket to say.
            Self::Unreachable { .. } | Self::BadAnswer { .. } | Self::Token { .. } => {
                NextStep::Reconnect
            }
            Self::Missing(_) | Self::Lost(_) | Self::BaseUnknown | Self::UploadUnknown => {
                NextStep::Repair
            }
            Self::NotFsync { .. }
            | Self::OtherVersion { .. }
            | Self::Denied { .. }
            | Self::ReadOnly { .. }
            | Self::Refused { .. }
            | Self::Setup(_) => NextStep::AskUser,
        }
    }

    /// Returns whether the server could not be reached or asks to come back: offline, for the
    /// status.
    pub fn is_offline(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Retry { .. })
    }

    /// Sorts an error body that the server sent.
    pub(super) fn from_body(server: &ServerUrl, body: ErrorBody) -> Self {
        let ErrorBody {
            code,
            message,
            missing,
            retry_after_ms,
        } = body;
        let after = retry_after_ms
            .map_or(DEFAULT_RETRY, Duration::from_millis)
            .min(LONGEST_RETRY);
        match code {
            ErrorCode::Unavailable | ErrorCode::Internal | ErrorCode::RateLimited => {
                Self::Retry { after, message }
            }
            ErrorCode::Unauthorized => Self::Token { message },
            ErrorCode::Forbidden => Self::ReadOnly { message },
            ErrorCode::StoreFull => Self::StoreFull { after, message },
            ErrorCode::Missing => Self::Missing(missing),
            ErrorCode::BaseUnknown => Self::BaseUnknown,
            ErrorCode::UploadUnknown => Self::UploadUnknown,
            ErrorCode::NotFound if !missing.is_empty() => Self::Lost(missing),
            ErrorCode::NotFound => Self::Denied { message },
            ErrorCode::Protocol => Self::OtherVersion {
                server: server.clone(),
                ours: PROTOCOL_VERSION,
                theirs: 0,
            },
            ErrorCode::Malformed | ErrorCode::TooLarge | ErrorCode::HashMismatch => {
                Self::Refused { code, message }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(code: ErrorCode, retry_after_ms: Option<u64>) -> NextStep {
        let server = "http://localhost:1".parse().unwrap();
        let body = ErrorBody {
            code,
            message: "m".into(),
            missing: vec![],
            retry_after_ms,
        };
        ClientError::from_body(&server, body).next_step()
    }

    #[test]
    fn every_code_says_what_to_do() {
        let wait = Duration::from_millis(7);
        for (code, step) in [
            (ErrorCode::Unavailable, NextStep::Retry(wait)),
            (ErrorCode::Internal, NextStep::Retry(wait)),
            (ErrorCode::StoreFull, NextStep::Retry(wait)),
            (ErrorCode::Missing, NextStep::Repair),
            (ErrorCode::BaseUnknown, NextStep::Repair),
            (ErrorCode::UploadUnknown, NextStep::Repair),
            (ErrorCode::NotFound, NextStep::AskUser),
            (ErrorCode::Unauthorized, NextStep::Reconnect),
            (ErrorCode::Forbidden, NextStep::AskUser),
            (ErrorCode::RateLimited, NextStep::Retry(wait)),
            (ErrorCode::Malformed, NextStep::AskUser),
            (ErrorCode::HashMismatch, NextStep::AskUser),
            (ErrorCode::TooLarge, NextStep::AskUser),
            (ErrorCode::Protocol, NextStep::AskUser),
        ] {
            assert_eq!(sorted(code, Some(7)), step, "{code:?}");
        }
    }

    #[test]
    fn a_server_cannot_put_an_agent_to_sleep_for_ever() {
        assert_eq!(
            sorted(ErrorCode::Unavailable, Some(u64::MAX)),
            NextStep::Retry(LONGEST_RETRY)
        );
    }
}
