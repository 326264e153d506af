//! Why the blob store could not do it, by what the caller must do.
//!
//! Place: made by `blobs/answer.rs` and `blobs.rs`; turned into an answer to agents here, once.

use std::fmt;
use std::sync::Arc;

use fsync_core::service::error::ServiceError;
use object_store::Error;

use crate::clock;

/// Shortest time after which a request comes back that the store did not answer, and jitter, in
/// milliseconds.
const BACK_MS: u64 = 1000;
const BACK_JITTER_MS: u64 = 2000;

/// What a store is called in messages, and whether a network lies before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum StoreName {
    /// On this machine.
    Local(Arc<str>),
    /// Behind a network: what fails may pass.
    Remote(Arc<str>),
    /// In Redis.
    Redis(Arc<str>),
}

impl fmt::Display for StoreName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Local(name) | Self::Remote(name) | Self::Redis(name)) = self;
        f.write_str(name)
    }
}

/// What an operator has to change before a store serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// There is no such bucket.
    Bucket,
    /// The keys are unknown or wrong.
    Credentials,
    /// No keys were found.
    NoCredentials,
    /// This machine's clock differs from the store's.
    Clock,
    /// The keys are good, but may not do this.
    Permission,
    /// The bucket is elsewhere.
    Region,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bucket => "there is no such bucket: create it, or name another one in --blobs",
            Self::Credentials => {
                "it does not accept the credentials: check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the \
                 profile in ~/.aws/credentials"
            }
            Self::NoCredentials => {
                "there are no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or put a profile in \
                 ~/.aws/credentials (AWS_PROFILE names it)"
            }
            Self::Clock => {
                "the clock of this machine differs too much from the store's: set it (timedatectl set-ntp true)"
            }
            Self::Permission => {
                "the credentials may not do this: allow s3:ListBucket on the bucket and s3:GetObject, s3:PutObject, \
                 s3:DeleteObject, s3:AbortMultipartUpload below the prefix"
            }
            Self::Region => "the bucket is in another region: name it, as in --blobs s3://BUCKET?region=eu-central-1",
        })
    }
}

/// Why the blob store could not do it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BlobError {
    /// The store has no room.
    #[error("the blob store is full")]
    Full,
    /// The store does not serve now; come back.
    #[error("the blob store does not serve now, at {at}: {reason}")]
    Busy {
        /// Where.
        at: String,
        /// The store's words, or the network's.
        reason: String,
    },
    /// The store refuses until an operator has changed something.
    #[error("the blob store refuses, at {at}: {refusal} ({reason})")]
    Refused {
        /// Where.
        at: String,
        /// What to change.
        refusal: Refusal,
        /// The store's words.
        reason: String,
    },
    /// The store failed.
    #[error("the blob store failed at {at}: {source}")]
    Store {
        /// Where.
        at: String,
        /// Why.
        #[source]
        source: Arc<Error>,
    },
    /// A pack's footer cannot be read.
    #[error("pack {path} is damaged: {reason}")]
    Damaged {
        /// Which.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },
}

impl From<BlobError> for ServiceError {
    fn from(error: BlobError) -> Self {
        match error {
            BlobError::Full => Self::StoreFull(error.to_string()),
            // What it is and where stands in the log; agents need not know the bucket.
            BlobError::Busy { .. } | BlobError::Refused { .. } => Self::Unavailable {
                reason: "the blob store does not serve now".to_owned(),
                retry_after_ms: BACK_MS + clock::random_u64() % BACK_JITTER_MS,
            },
            BlobError::Store { .. } | BlobError::Damaged { .. } => {
                Self::Internal(error.to_string())
            }
        }
    }
}
