//! Why the service refuses a request, by what the caller must do.

use crate::id::{ObjectId, RevisionId};
use crate::label::TreeKey;
use crate::limits::{self, LimitError};
use crate::nodes::NodesError;
use crate::wire::{ErrorBody, ErrorCode};

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ServiceError {
    /// Send these objects and try again.
    #[error("{} objects that the revision needs are not here: send them and commit again", .0.len())]
    Missing(Vec<ObjectId>),
    /// Objects of the tree that the service lost; agents are asked for them.
    #[error("{} objects of the tree are lost; agents that have them are asked to send them again", .0.len())]
    Lost(Vec<ObjectId>),
    /// Start from another base.
    #[error(
        "revision {0} is not in the tree's lineage, or its contents were dropped: start from the head without a base"
    )]
    BaseUnknown(RevisionId),
    /// What was sent breaks a rule; sending it again is pointless.
    #[error("the request is not valid: {0}")]
    Invalid(String),
    /// A limit was passed.
    #[error(transparent)]
    TooLarge(#[from] LimitError),
    /// The tree is busy: come back.
    #[error("the service is busy: {reason}; try again in {retry_after_ms} ms")]
    Unavailable {
        /// What it is busy with.
        reason: String,
        /// When to come back, in milliseconds.
        retry_after_ms: u64,
    },
    /// The upload session ended.
    #[error("upload session {0} is not open: open a new one and send its objects again")]
    UploadUnknown(u64),
    /// No such thing for this caller.
    #[error("{0} is not here")]
    NotFound(String),
    /// The store has no room.
    #[error(
        "the service's store is full: {0}; nothing was changed, free space on the server and try again"
    )]
    StoreFull(String),
    /// The tree may have no more.
    #[error(
        "tree {tree} has {used} of the {quota} bytes that its quota allows, history included: raise the quota, or remove \
         files and wait until their history is dropped"
    )]
    Quota {
        /// Which.
        tree: TreeKey,
        /// What is stored for it, in bytes.
        used: u64,
        /// What may be, in bytes.
        quota: u64,
    },
    /// The service failed.
    #[error("the service failed: {0}; its log says more")]
    Internal(String),
}

impl ServiceError {
    /// Returns the wire code.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Missing(_) => ErrorCode::Missing,
            Self::BaseUnknown(_) => ErrorCode::BaseUnknown,
            Self::Invalid(_) => ErrorCode::Malformed,
            Self::TooLarge(_) => ErrorCode::TooLarge,
            Self::Unavailable { .. } => ErrorCode::Unavailable,
            Self::UploadUnknown(_) => ErrorCode::UploadUnknown,
            Self::NotFound(_) | Self::Lost(_) => ErrorCode::NotFound,
            Self::StoreFull(_) | Self::Quota { .. } => ErrorCode::StoreFull,
            Self::Internal(_) => ErrorCode::Internal,
        }
    }

    /// Returns the error as it stands in answers.
    pub fn to_body(&self) -> ErrorBody {
        ErrorBody {
            code: self.code(),
            message: self.to_string(),
            missing: match self {
                Self::Missing(ids) | Self::Lost(ids) => {
                    ids.iter().take(limits::REQUEST_OBJECTS).copied().collect()
                }
                _ => Vec::new(),
            },
            retry_after_ms: match self {
                Self::Unavailable { retry_after_ms, .. } => Some(*retry_after_ms),
                _ => None,
            },
        }
    }
}

impl From<NodesError> for ServiceError {
    fn from(error: NodesError) -> Self {
        match error {
            NodesError::Limit(limit) => Self::TooLarge(limit),
            NodesError::Missing(_) | NodesError::Store(_) => Self::Internal(error.to_string()),
            NodesError::Invalid { .. } | NodesError::Decode { .. } => {
                Self::Invalid(error.to_string())
            }
        }
    }
}
