//! Ids: BLAKE3-256 in derive-key mode, one key context per kind of thing.
//!
//! Guarantees: ids of different kinds never collide for the same bytes, so a user's file can never
//! pose as a node; an id in text is always 64 lower-case hex digits.
//! Does not: say whether an object exists anywhere.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What an object is; decides the key context of its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum ObjectKind {
    /// A run of file bytes.
    Chunk = 0,
    /// A list of chunks and holes, or a part of one.
    File = 1,
    /// The entries of a directory, or a part of them.
    Directory = 2,
    /// The target text of a symbolic link.
    Symlink = 3,
}

impl ObjectKind {
    /// Returns the kind of a code as packs store it, or `None` for an unknown one.
    pub fn from_code(code: u8) -> Option<Self> {
        [Self::Chunk, Self::File, Self::Directory, Self::Symlink]
            .into_iter()
            .find(|k| *k as u8 == code)
    }

    /// Returns whether objects of this kind are nodes (all but chunks).
    pub fn is_node(self) -> bool {
        self != Self::Chunk
    }

    fn context(self) -> &'static str {
        match self {
            Self::Chunk => "fsync 2026-11 chunk v1",
            Self::File => "fsync 2026-11 file v1",
            Self::Directory => "fsync 2026-11 directory v1",
            Self::Symlink => "fsync 2026-11 symlink v1",
        }
    }
}

const REVISION_CONTEXT: &str = "fsync 2026-11 revision v1";

/// Bytes of every id.
pub const ID_BYTES: usize = 32;

/// A text that is no id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an id is 64 hex digits, got {0:?}")]
pub struct IdError(String);

fn write_hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|b| write!(f, "{b:02x}"))
}

fn parse_hex(text: &str) -> Result<[u8; ID_BYTES], IdError> {
    let digits = text.as_bytes();
    let error = || IdError(text.chars().take(80).collect());
    if digits.len() != 2 * ID_BYTES {
        return Err(error());
    }
    let mut bytes = [0; ID_BYTES];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let value = |d: u8| match d {
            b'0'..=b'9' => Some(d - b'0'),
            b'a'..=b'f' => Some(d - b'a' + 10),
            _ => None,
        };
        let (Some(high), Some(low)) = (value(pair[0]), value(pair[1])) else {
            return Err(error());
        };
        *byte = high << 4 | low;
    }
    Ok(bytes)
}

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name([u8; ID_BYTES]);

        impl $name {
            /// Wraps raw bytes, as read from a store or a frame.
            pub const fn from_bytes(bytes: [u8; ID_BYTES]) -> Self {
                Self(bytes)
            }

            /// Wraps a slice; `None` unless it has 32 bytes.
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self)
            }

            /// Returns the raw bytes.
            pub const fn as_bytes(&self) -> &[u8; ID_BYTES] {
                &self.0
            }

            /// Returns the first eight hex digits, for people.
            pub fn short(&self) -> String {
                self.to_string()[..8].to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex(&self.0[..4], f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                parse_hex(text).map(Self)
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.to_string()
            }
        }
    };
}

id_type! {
    /// The address of an object: a chunk or a node.
    ObjectId
}

id_type! {
    /// The address of a revision: a *ref*, the only thing that is multicast.
    RevisionId
}

impl ObjectId {
    /// Computes the id of an object's bytes.
    pub fn of(kind: ObjectKind, bytes: &[u8]) -> Self {
        Self(blake3::derive_key(kind.context(), bytes))
    }

    /// Returns eight bytes of the id as a number, `window` 0 to 3; used to place split boundaries.
    pub fn window(&self, window: usize) -> u64 {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&self.0[8 * (window & 3)..][..8]);
        u64::from_be_bytes(bytes)
    }
}

impl RevisionId {
    /// Computes the id of an encoded revision.
    pub fn of(bytes: &[u8]) -> Self {
        Self(blake3::derive_key(REVISION_CONTEXT, bytes))
    }
}
