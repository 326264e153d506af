//! Names and paths that are valid by construction.
//!
//! Guarantees: a [`Name`] is one component that no file system call can read as anything else (not
//! empty, no `/`, no NUL, not `.` or `..`, at most 255 bytes, and not the agent's own `.fsync`); a
//! [`RelPath`] is a sequence of such names below the root. Both hold bytes, not text: Linux names
//! need not be UTF-8.
//! Does not: touch a disk, know about links, or judge names for other platforms (the agent does).

use std::borrow::Cow;
use std::fmt;

use crate::limits::{self, LimitError};

/// The agent's own directory at the root of a synced folder; never part of a tree, in any letter
/// case.
pub const MARKER_DIR: &str = ".fsync";

/// Why bytes are not a name or path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// The name has no byte, or the path an empty component.
    #[error("a name is empty")]
    Empty,
    /// The name is `.` or `..`.
    #[error("a name is {0:?}, which no tree may contain")]
    Dots(String),
    /// The name holds `/` or NUL.
    #[error("the name {0:?} holds a separator or NUL")]
    Forbidden(String),
    /// The name is the agent's own directory.
    #[error("the name {0:?} is reserved for the agent")]
    Reserved(String),
    /// A length is over its limit.
    #[error(transparent)]
    Limit(#[from] LimitError),
}

/// One component of a path.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Box<[u8]>);

impl Name {
    /// Validates bytes as a name.
    ///
    /// # Errors
    /// [`PathError`] that says which rule is broken.
    pub fn new(bytes: impl Into<Box<[u8]>>) -> Result<Self, PathError> {
        let bytes = bytes.into();
        check_name(&bytes)?;
        Ok(Self(bytes))
    }

    /// Returns the bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns the name for people; bytes that are not UTF-8 are replaced.
    pub fn to_string_lossy(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }
}

fn check_name(bytes: &[u8]) -> Result<(), PathError> {
    let text = || String::from_utf8_lossy(bytes).into_owned();
    limits::check("name length in bytes", limits::NAME_BYTES, bytes.len())?;
    match bytes {
        b"" => Err(PathError::Empty),
        b"." | b".." => Err(PathError::Dots(text())),
        _ if bytes.iter().any(|b| matches!(b, b'/' | 0)) => Err(PathError::Forbidden(text())),
        _ if bytes.eq_ignore_ascii_case(MARKER_DIR.as_bytes()) => Err(PathError::Reserved(text())),
        _ => Ok(()),
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_string_lossy())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_string_lossy(), f)
    }
}

/// A path below the root of a tree: names joined by `/`; the root itself is the empty path.
#[derive(Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RelPath(Vec<u8>);

impl RelPath {
    /// Returns the root.
    pub const fn root() -> Self {
        Self(Vec::new())
    }

    /// Parses names joined by `/`; the empty text is the root.
    ///
    /// # Errors
    /// [`PathError`] of the first name that is not valid, or of a limit.
    pub fn parse(bytes: &[u8]) -> Result<Self, PathError> {
        if bytes.is_empty() {
            return Ok(Self::root());
        }
        limits::check("path length in bytes", limits::PATH_BYTES, bytes.len())?;
        let mut depth = 0;
        for name in bytes.split(|b| *b == b'/') {
            check_name(name)?;
            depth += 1;
        }
        limits::check("path depth in names", limits::PATH_DEPTH, depth)?;
        Ok(Self(bytes.to_vec()))
    }

    /// Returns the path of `name` inside this directory.
    #[must_use]
    pub fn join(&self, name: &Name) -> Self {
        let mut bytes = Vec::with_capacity(self.0.len() + 1 + name.as_bytes().len());
        bytes.extend_from_slice(&self.0);
        if !bytes.is_empty() {
            bytes.push(b'/');
        }
        bytes.extend_from_slice(name.as_bytes());
        Self(bytes)
    }

    /// Returns the path of `tail` below this directory.
    #[must_use]
    pub fn concat(&self, tail: &Self) -> Self {
        tail.names()
            .fold(self.clone(), |path, name| path.join(&name))
    }

    /// Returns the directory and the name; `None` for the root.
    pub fn split_last(&self) -> Option<(Self, Name)> {
        if self.is_root() {
            return None;
        }
        let cut = self.0.iter().rposition(|b| *b == b'/');
        let (dir, name) = match cut {
            Some(at) => (&self.0[..at], &self.0[at + 1..]),
            None => (&[][..], &self.0[..]),
        };
        Some((Self(dir.to_vec()), Name(name.into())))
    }

    /// Returns the directory that holds this path; `None` for the root.
    pub fn parent(&self) -> Option<Self> {
        self.split_last().map(|(dir, _)| dir)
    }

    /// Returns the names from the root down.
    pub fn names(&self) -> impl DoubleEndedIterator<Item = Name> + '_ {
        self.0
            .split(|b| *b == b'/')
            .filter(|n| !n.is_empty())
            .map(|n| Name(n.into()))
    }

    /// Returns how many names the path has.
    pub fn depth(&self) -> usize {
        self.names().count()
    }

    /// Returns whether this is the root.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns whether `self` is `dir` or lies below it.
    pub fn is_within(&self, dir: &Self) -> bool {
        dir.is_root()
            || self.0 == dir.0
            || (self.0.starts_with(&dir.0) && self.0.get(dir.0.len()) == Some(&b'/'))
    }

    /// Returns what is left of `self` below `dir`; `None` if it does not lie within.
    pub fn strip_prefix(&self, dir: &Self) -> Option<Self> {
        if !self.is_within(dir) {
            return None;
        }
        if dir.is_root() {
            return Some(self.clone());
        }
        Some(Self(
            self.0.get(dir.0.len() + 1..).unwrap_or_default().to_vec(),
        ))
    }

    /// Returns the bytes, names joined by `/`.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() {
            return f.write_str(".");
        }
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Debug for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}
