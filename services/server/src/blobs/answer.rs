//! What a store's answers mean: read from what it said, told to the log.
//!
//! Guarantees: an object counts as gone only if the store itself says so of that object. A bucket
//! that is not there, a login that is refused, or a page that a proxy put in the way is never taken
//! for a lost object.
//! Place: asked by `blobs.rs` and `blobs/` about every error of `object_store`.

use std::error::Error as StdError;
use std::sync::Arc;

use object_store::Error;
use tracing::warn;

use super::error::{BlobError, Refusal, StoreName};
use crate::redis::RedisError;

/// Codes of S3 and its relatives, and what each means.
const REFUSALS: &[(&str, Refusal)] = &[
    ("NoSuchBucket", Refusal::Bucket),
    ("InvalidAccessKeyId", Refusal::Credentials),
    ("SignatureDoesNotMatch", Refusal::Credentials),
    ("InvalidToken", Refusal::Credentials),
    ("ExpiredToken", Refusal::Credentials),
    ("NotSignedUp", Refusal::Credentials),
    ("RequestTimeTooSkewed", Refusal::Clock),
    ("RequestExpired", Refusal::Clock),
    ("AccessDenied", Refusal::Permission),
    ("AllAccessDisabled", Refusal::Permission),
    ("PermanentRedirect", Refusal::Region),
    ("AuthorizationHeaderMalformed", Refusal::Region),
    ("IllegalLocationConstraintException", Refusal::Region),
];
/// Codes with a 4xx status by which a store says that a request did not arrive as it was sent.
const HARMED: &[&str] = &[
    "BadDigest",
    "IncompleteBody",
    "RequestTimeout",
    "XAmzContentSHA256Mismatch",
];
/// Codes by which a store says that it has no room.
const FULL: &[&str] = &[
    "QuotaExceeded",
    "XMinioStorageFull",
    "EntityTooLargeForQuota",
    "InsufficientStorage",
];
/// The only code by which a store says that an object is not there.
const NO_SUCH_KEY: &str = "NoSuchKey";
/// Where a cloud's machines are told their keys; asked last, when nothing else holds any.
const INSTANCE_METADATA: &str = "169.254.169.254";
/// What `object_store` says of a redirect without an address.
const BARE_REDIRECT: &str = "incorrectly configured region";
/// Status by which HTTP says that a store has no room.
const INSUFFICIENT_STORAGE: u16 = 507;

/// Tells the log of a failure at `path`, and returns what it means.
pub(super) fn failed(store: &StoreName, path: &str, source: Error) -> BlobError {
    let error = sorted(store, path, source);
    warn!(%error, "the blob store failed");
    error
}

/// Returns what a failure at `path` means.
fn sorted(store: &StoreName, path: &str, source: Error) -> BlobError {
    let at = place(store, path);
    if is_disk_full(&source) {
        return BlobError::Full;
    }
    if let StoreName::Local(_) = store {
        return BlobError::Store {
            at,
            source: Arc::new(source),
        };
    }
    if let StoreName::Redis(_) = store {
        return by_redis(at, source);
    }
    let answer = Answer::of(&source);
    let reason = answer.words.clone();
    if answer.status == Some(INSUFFICIENT_STORAGE) || answer.is_any(FULL) {
        return BlobError::Full;
    }
    if let Some(refusal) = answer.refusal() {
        return BlobError::Refused {
            at,
            refusal,
            reason,
        };
    }
    // A 404 that does not name the object is none of the store's: a proxy without a store behind it
    // says so.
    let is_final = match answer.status {
        Some(404) => answer.is_any(&[NO_SUCH_KEY]),
        Some(408 | 429) => false,
        Some(400..=499) => !answer.is_any(HARMED),
        // A 5xx, or the network's.
        _ => false,
    };
    match is_final {
        true => BlobError::Store {
            at,
            source: Arc::new(source),
        },
        false => BlobError::Busy { at, reason },
    }
}

/// Returns what a failure of Redis means.
fn by_redis(at: String, source: Error) -> BlobError {
    let told = match &source {
        Error::Generic { source, .. } => source.downcast_ref::<RedisError>(),
        _ => None,
    };
    match told {
        Some(RedisError::Full(_)) => BlobError::Full,
        Some(RedisError::Unreachable(reason)) => BlobError::Busy {
            at,
            reason: reason.clone(),
        },
        _ => BlobError::Store {
            at,
            source: Arc::new(source),
        },
    }
}

/// Returns how messages name a place of a store.
pub(super) fn place(store: &StoreName, path: &str) -> String {
    match path {
        "" => store.to_string(),
        path => format!("{path} in {store}"),
    }
}

/// Returns whether the store says that this object is not there.
pub(super) fn is_gone(store: &StoreName, error: &Error) -> bool {
    let Error::NotFound { .. } = error else {
        return false;
    };
    match store {
        StoreName::Local(_) | StoreName::Redis(_) => true,
        StoreName::Remote(_) => Answer::of(error).is_any(&[NO_SUCH_KEY]),
    }
}

/// What a store answered, as far as `object_store` hands it on.
struct Answer {
    status: Option<u16>,
    code: Option<String>,
    text: String,
    /// Code and message, or what else there is.
    words: String,
}

impl Answer {
    /// Reads the text of an error, which is all that is public of it: `... status code: 503 ...:
    /// <Error><Code>...`.
    fn of(error: &Error) -> Self {
        let text = error.to_string();
        let status = text.split_once("status code: ").map(|(_, rest)| rest);
        let status = status.and_then(|rest| rest.get(..3)?.parse().ok());
        let code = element(&text, "Code");
        let words = match (&code, element(&text, "Message")) {
            (Some(code), Some(message)) => format!("{code}: {message}"),
            (Some(code), None) => code.clone(),
            (None, _) => innermost(error),
        };
        Self {
            status,
            code,
            text,
            words,
        }
    }

    fn is_any(&self, codes: &[&str]) -> bool {
        self.code
            .as_deref()
            .is_some_and(|code| codes.contains(&code))
    }

    fn refusal(&self) -> Option<Refusal> {
        let known = |code: &str| REFUSALS.iter().find(|(name, _)| *name == code);
        if let Some((_, refusal)) = self.code.as_deref().and_then(known) {
            return Some(*refusal);
        }
        if self.text.contains(INSTANCE_METADATA) {
            return Some(Refusal::NoCredentials);
        }
        match self.status {
            Some(401 | 403) => Some(Refusal::Permission),
            Some(301 | 307) => Some(Refusal::Region),
            None if self.text.contains(BARE_REDIRECT) => Some(Refusal::Region),
            _ => None,
        }
    }
}

fn element(text: &str, name: &str) -> Option<String> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    let (inside, _) = rest.split_once(&format!("</{name}>"))?;
    Some(inside.to_owned())
}

/// Returns the text of the innermost cause: the outer ones repeat it.
fn innermost(error: &Error) -> String {
    let mut last: &dyn StdError = error;
    while let Some(inner) = last.source() {
        last = inner;
    }
    last.to_string()
}

fn is_disk_full(error: &Error) -> bool {
    let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(error) = cause {
        let io = error.downcast_ref::<std::io::Error>();
        if io.is_some_and(|e| e.kind() == std::io::ErrorKind::StorageFull) {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: &str, code: &str) -> Error {
        let body = format!("<Error><Code>{code}</Code><Message>words</Message></Error>");
        let text = format!("Server returned non-2xx status code: {status}: {body}");
        let source = text.into();
        match status.starts_with("404") {
            true => Error::NotFound {
                path: "p".to_owned(),
                source,
            },
            false => Error::Generic {
                store: "S3",
                source,
            },
        }
    }

    fn remote() -> StoreName {
        StoreName::Remote("s3://bucket".into())
    }

    fn of(status: &str, code: &str) -> BlobError {
        sorted(&remote(), "p", answered(status, code))
    }

    #[test]
    fn what_passes_is_busy_and_says_the_stores_words() {
        for (status, code) in [
            ("503 Service Unavailable", "SlowDown"),
            ("500 x", "InternalError"),
            ("429 x", "x"),
        ] {
            let error = of(status, code);
            assert!(
                matches!(&error, BlobError::Busy { reason, .. } if reason.contains("words")),
                "{error}"
            );
        }
        let torn = Error::Generic {
            store: "S3",
            source: "connection reset".into(),
        };
        assert!(matches!(
            sorted(&remote(), "p", torn),
            BlobError::Busy { .. }
        ));
    }

    #[test]
    fn what_an_operator_must_change_is_told_apart() {
        let refusal = |status, code| match of(status, code) {
            BlobError::Refused { refusal, .. } => Some(refusal),
            _ => None,
        };
        assert_eq!(
            refusal("404 Not Found", "NoSuchBucket"),
            Some(Refusal::Bucket)
        );
        assert_eq!(
            refusal("403 Forbidden", "SignatureDoesNotMatch"),
            Some(Refusal::Credentials)
        );
        assert_eq!(
            refusal("403 Forbidden", "RequestTimeTooSkewed"),
            Some(Refusal::Clock)
        );
        assert_eq!(
            refusal("403 Forbidden", "Whatever"),
            Some(Refusal::Permission)
        );
        assert_eq!(
            refusal("400 Bad Request", "AuthorizationHeaderMalformed"),
            Some(Refusal::Region)
        );
        assert_eq!(refusal("400 Bad Request", "Whatever"), None);
    }

    #[test]
    fn a_store_without_room_is_full() {
        assert!(matches!(
            of("507 Insufficient Storage", "XMinioStorageFull"),
            BlobError::Full
        ));
        assert!(matches!(
            of("403 Forbidden", "QuotaExceeded"),
            BlobError::Full
        ));
    }

    /// A bucket that vanished, or a proxy's own 404, must never make objects count as lost.
    #[test]
    fn only_a_missing_key_is_gone() {
        assert!(is_gone(&remote(), &answered("404 Not Found", "NoSuchKey")));
        assert!(!is_gone(
            &remote(),
            &answered("404 Not Found", "NoSuchBucket")
        ));
        let page = Error::NotFound {
            path: "p".to_owned(),
            source: "status code: 404 Not Found: <html>".into(),
        };
        assert!(!is_gone(&remote(), &page));
        assert!(matches!(
            sorted(&remote(), "p", page),
            BlobError::Busy { .. }
        ));
    }
}
