//! Canonical deterministic CBOR (RFC 8949 section 4.2.1): shortest integers, definite lengths, one
//! encoding per value.
//!
//! Guarantees: [`decode`] accepts bytes only if the value encodes to exactly those bytes again.
//! Used by nodes and revisions; every shape is documented where it is encoded.

use std::convert::Infallible;

use minicbor::{Decoder, Encoder};

/// An encoder into memory; it cannot fail.
pub type Writer = Encoder<Vec<u8>>;
/// The error type of a write into memory, which never happens.
pub type WriteResult = Result<(), minicbor::encode::Error<Infallible>>;

/// Why bytes are not a canonical encoding.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The CBOR itself or its shape is wrong.
    #[error("malformed {what}: {reason}")]
    Malformed {
        /// What was read.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The value is right, but this is not its one encoding.
    #[error("{0} is not in its canonical encoding")]
    NotCanonical(&'static str),
    /// A limit is broken.
    #[error(transparent)]
    Limit(#[from] crate::limits::LimitError),
}

impl DecodeError {
    /// Makes a [`DecodeError::Malformed`].
    #[expect(
        clippy::needless_pass_by_value,
        reason = "callers hand over errors that they are done with"
    )]
    pub fn malformed(what: &'static str, reason: impl ToString) -> Self {
        Self::Malformed {
            what,
            reason: reason.to_string(),
        }
    }
}

/// Encodes by `write`, which cannot fail in memory.
pub fn encode(write: impl FnOnce(&mut Writer) -> WriteResult) -> Vec<u8> {
    let mut writer = Encoder::new(Vec::with_capacity(256));
    match write(&mut writer) {
        Ok(()) => writer.into_writer(),
        Err(error) => unreachable!("writing to memory failed: {error}"),
    }
}

/// Decodes by `read` and checks that all bytes were used and that `encode` gives the same bytes
/// again.
///
/// # Errors
/// [`DecodeError`] naming `what`.
pub fn decode<T>(
    what: &'static str,
    bytes: &[u8],
    read: impl FnOnce(&mut Decoder<'_>) -> Result<T, DecodeError>,
    encode: impl FnOnce(&T) -> Vec<u8>,
) -> Result<T, DecodeError> {
    let mut decoder = Decoder::new(bytes);
    let value = read(&mut decoder)?;
    if decoder.position() != bytes.len() || encode(&value) != bytes {
        return Err(DecodeError::NotCanonical(what));
    }
    Ok(value)
}

/// Reads a definite array header and checks its length against `limit`.
///
/// # Errors
/// [`DecodeError`] naming `what`.
pub fn array(what: &'static str, d: &mut Decoder<'_>, limit: usize) -> Result<usize, DecodeError> {
    let length = d.array().map_err(|e| DecodeError::malformed(what, e))?;
    let length = length.ok_or_else(|| DecodeError::malformed(what, "indefinite length"))?;
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    crate::limits::check(what, limit, length)?;
    Ok(length)
}
