//! What the verbs ask a running agent, and what it answers.
//!
//! Shape: `{"request":"restore","path":"a/b","at":"1f2e..."}` -> `{"response":"restored",...}`. New
//! verbs add a variant each; an agent that does not know a request answers
//! [`FailureKind::Unknown`].

use std::fmt;

use fsync_core::id::RevisionId;
use fsync_core::path::{PathError, RelPath};
use fsync_core::revision::Timestamp;
use fsync_core::wire::{Head, LogItem};
use serde::{Deserialize, Serialize};

use super::status::Status;

/// A question or order of a verb.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case")]
pub enum Request {
    /// What is the state?
    Status,
    /// Answer when all that was saved before is durable on the service and the head of this moment
    /// is applied.
    Flush,
    /// The newest revisions.
    Log {
        /// Only revisions that changed this path or something below it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        path: Option<PathText>,
        /// At most so many.
        limit: usize,
    },
    /// Bring an earlier version back as a new change.
    Restore {
        /// What to restore; the root for everything.
        path: PathText,
        /// The revision to take it from; without one, the newest version that differs from the
        /// present one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at: Option<RevisionId>,
    },
    /// Which conflict copies are there?
    Conflicts,
    /// Read all files: is everything as it was recorded?
    Verify,
    /// Let the held changes happen.
    Approve {
        /// One hold; without it, all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hold: Option<u64>,
    },
    /// Give up what was changed here and may not be sent.
    Revert {
        /// Only this path and what is below it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        path: Option<PathText>,
    },
    /// Take the held changes back.
    Reject {
        /// One hold; without it, all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hold: Option<u64>,
    },
}

/// An agent's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "response", rename_all = "kebab-case")]
pub enum Response {
    /// To [`Request::Status`].
    Status(Box<Status>),
    /// To [`Request::Flush`].
    Flushed {
        /// The head that is on the disk now; `None` while the tree is empty and was never committed
        /// to.
        head: Option<Head>,
    },
    /// To [`Request::Log`], newest first.
    Log {
        /// The revisions.
        items: Vec<LogItem>,
    },
    /// To [`Request::Restore`].
    Restored {
        /// What was restored.
        path: PathText,
        /// The revision that it was taken from.
        at: RevisionId,
        /// Paths that changed by it.
        changed: u64,
    },
    /// To [`Request::Conflicts`].
    Conflicts {
        /// The conflict copies, by path.
        items: Vec<ConflictCopy>,
    },
    /// To [`Request::Verify`].
    Verified(Verified),
    /// To [`Request::Approve`] and [`Request::Reject`].
    Released {
        /// The holds that ended.
        holds: Vec<u64>,
    },
    /// To [`Request::Revert`].
    Reverted {
        /// How many paths get the tree's version.
        paths: u64,
    },
    /// The request was not carried out.
    Failed(Failure),
}

/// What verifying a folder found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    /// Files and links that were read and are right.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Paths that changed and were not looked at by the agent yet: no findings.
    pub waiting: u64,
    /// Paths that the agent knows not to be here as the head has them; `status` lists them.
    pub excepted: u64,
    /// Findings, by path; not all if there are many.
    pub findings: Vec<Finding>,
    /// Findings in all.
    pub found: u64,
}

/// Something that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Where; the root for the whole folder.
    pub path: PathText,
    /// For programs.
    pub kind: FindingKind,
    /// What, why and what to do, for people.
    pub message: String,
}

/// What kind of finding it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FindingKind {
    /// Another content than was recorded, without a sign that the file was written.
    Rotten,
    /// The disk does not give the content.
    Unreadable,
    /// Index and tree differ.
    Index,
    /// The folder is not what the head says.
    Head,
}

/// A conflict copy that stands in the folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConflictCopy {
    /// The path that won.
    pub path: PathText,
    /// Where the losing version stands.
    pub copy: PathText,
    /// Who made the losing version, as its name says.
    pub agent: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its modification time.
    pub modified: Timestamp,
}

/// Why a request was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// For programs and the exit code.
    pub kind: FailureKind,
    /// What, where, why and what to do, for people.
    pub message: String,
}

/// What kind of failure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    /// The agent does not know the request.
    Unknown,
    /// The request does not fit the state, for instance no such path or hold.
    Refused,
    /// A hold stands in the way and needs the user.
    Held,
    /// The server cannot be reached.
    Offline,
    /// The agent is ending.
    Stopping,
    /// The agent failed; its log says more.
    Internal,
}

impl Failure {
    /// Makes a failure.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }
}

/// A path in JSON: its text if it is UTF-8, else `{"hex": ...}`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "PathJson", into = "PathJson")]
pub struct PathText(pub RelPath);

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum PathJson {
    Text(String),
    Bytes { hex: String },
}

impl From<PathText> for PathJson {
    fn from(path: PathText) -> Self {
        let bytes = path.0.as_bytes();
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_not_text) => Self::Bytes {
                hex: bytes.iter().map(|b| format!("{b:02x}")).collect(),
            },
        }
    }
}

impl TryFrom<PathJson> for PathText {
    type Error = String;
    fn try_from(json: PathJson) -> Result<Self, String> {
        let path = match json {
            PathJson::Text(text) => RelPath::parse(text.as_bytes()),
            PathJson::Bytes { hex } => RelPath::parse(&from_hex(&hex)?),
        };
        path.map(Self).map_err(|e: PathError| e.to_string())
    }
}

fn from_hex(hex: &str) -> Result<Vec<u8>, String> {
    let digits = hex.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return Err("hex digits come in pairs".to_owned());
    }
    let value = |d: u8| char::from(d).to_digit(16);
    digits
        .chunks_exact(2)
        .map(|pair| {
            let byte = value(pair[0]).zip(value(pair[1])).map(|(h, l)| h * 16 + l);
            byte.and_then(|b| u8::try_from(b).ok())
                .ok_or_else(|| format!("{hex:?} is not hex"))
        })
        .collect()
}

impl From<RelPath> for PathText {
    fn from(path: RelPath) -> Self {
        Self(path)
    }
}

impl fmt::Display for PathText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_have_one_shape() {
        let restore = Request::Restore {
            path: PathText(RelPath::parse(b"a/b").unwrap()),
            at: None,
        };
        let json = serde_json::to_string(&restore).unwrap();
        assert_eq!(json, r#"{"request":"restore","path":"a/b"}"#);
        assert_eq!(serde_json::from_str::<Request>(&json).unwrap(), restore);
        let json = serde_json::to_string(&Request::Status).unwrap();
        assert_eq!(json, r#"{"request":"status"}"#);
        let approve: Request = serde_json::from_str(r#"{"request":"approve","hold":3}"#).unwrap();
        assert_eq!(approve, Request::Approve { hold: Some(3) });
    }

    #[test]
    fn failures_and_nested_answers_survive_the_line() {
        let failed = Response::Failed(Failure::new(FailureKind::Held, "m"));
        let json = serde_json::to_string(&failed).unwrap();
        assert_eq!(json, r#"{"response":"failed","kind":"held","message":"m"}"#);
        assert_eq!(serde_json::from_str::<Response>(&json).unwrap(), failed);
    }

    #[test]
    fn names_that_are_not_text_survive_json() {
        for bytes in [&b"caf\xc3\xa9"[..], b"\xff\xfe/x", b""] {
            let path = PathText(RelPath::parse(bytes).unwrap());
            let json = serde_json::to_string(&path).unwrap();
            assert_eq!(serde_json::from_str::<PathText>(&json).unwrap(), path);
        }
    }

    #[test]
    fn paths_that_leave_the_folder_are_refused() {
        for json in [
            r#""../x""#,
            r#""/x""#,
            r#""a//b""#,
            r#"{"hex":"2e2e"}"#,
            r#"{"hex":"x"}"#,
        ] {
            assert!(serde_json::from_str::<PathText>(json).is_err(), "{json}");
        }
    }
}
