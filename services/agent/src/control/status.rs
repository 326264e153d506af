//! The state of a folder as `status` shows it.

use std::path::PathBuf;

use fsync_core::exception::Exception;
use fsync_core::label::{AgentName, TreeKey};
use fsync_core::revision::Timestamp;
use fsync_core::wire::{Head, PresenceState};
use serde::{Deserialize, Serialize};

use super::protocol::PathText;
use crate::client::ServerUrl;
pub use crate::folder::HoldKind;
use crate::progress::{Amount, Stage};

/// Most exceptions that a status lists; [`Status::exception_count`] has the whole number.
pub const LISTED_EXCEPTIONS: usize = 1000;

/// In one word, how the folder stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// The agent has not reached the server yet since it started, nor failed to.
    #[default]
    Starting,
    /// Folder and head are the same, exceptions apart.
    InStep,
    /// Changes are under way.
    Syncing,
    /// A hold waits for the user.
    Held,
    /// The server cannot be reached; local changes are kept and sent later.
    Offline,
    /// The user paused it.
    Paused,
    /// No agent runs.
    Stopped,
}

impl State {
    /// Returns the word that is shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::InStep => "in-step",
            Self::Syncing => "syncing",
            Self::Held => "held",
            Self::Offline => "offline",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }
}

/// Everything about one folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The folder.
    pub dir: PathBuf,
    /// Its tree.
    pub tree: TreeKey,
    /// Its server.
    pub server: ServerUrl,
    /// This agent's name.
    pub agent: AgentName,
    /// In one word.
    pub state: State,
    /// Why, for people, where the word needs a reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether the Socket.IO connection stands.
    pub is_connected: bool,
    /// Other agents of the tree that are connected, by name; at most
    /// [`fsync_core::limits::PRESENCE_SOCKETS`].
    #[serde(default)]
    pub agents: Vec<OtherAgent>,
    /// The tree's head as last heard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<Head>,
    /// The agent's base.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<Head>,
    /// How much the folder holds; `None` without an agent, as all that only an agent knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counts: Option<Counts>,
    /// How changes are noticed; `None` without an agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watching: Option<Watching>,
    /// Paths that are not as the head has them, [`LISTED_EXCEPTIONS`] at most.
    #[serde(default)]
    pub exceptions: Vec<ExceptionItem>,
    /// How many there are.
    pub exception_count: u64,
    /// What waits for the user.
    #[serde(default)]
    pub holds: Vec<Hold>,
    /// Conflict copies in the folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conflicts: Option<u64>,
    /// What moves at the moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transfer: Option<Transfer>,
    /// What the trash holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trash: Option<Amount>,
}

/// Another agent of the tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OtherAgent {
    /// Its name.
    pub agent: AgentName,
    /// What it is doing.
    pub state: PresenceState,
}

/// How much the folder holds and lacks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Files and links in step.
    pub files: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Local changes that the service has not acknowledged.
    pub unsent: u64,
    /// Revisions that the base is behind the head.
    pub behind: u64,
}

/// How changes in the folder are noticed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watching {
    /// How often the system lost events; everything was looked at each time.
    pub overflows: u64,
    /// Why the folder is looked at from time to time, if it is, and how often.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub polled: Option<String>,
}

/// One exception.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExceptionItem {
    /// The path.
    pub path: PathText,
    /// What it is.
    pub exception: Exception,
}

/// A stop that asks the user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Its number, for `approve` and `reject`.
    pub id: u64,
    /// What kind it is.
    pub kind: HoldKind,
    /// What happened, for people.
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
    /// How many paths it withholds.
    pub paths: u64,
    /// The command that lets it happen.
    pub approve: String,
    /// The command that takes it back; a root hold has none: it ends by itself when the folder is
    /// put back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reject: Option<String>,
}

impl Hold {
    /// Makes a hold with the commands that end it.
    pub fn new(id: u64, kind: HoldKind, reason: String, dir: &std::path::Path) -> Self {
        let dir = shell_quoted(&dir.to_string_lossy());
        Self {
            id,
            kind,
            reason,
            since: Timestamp::default(),
            paths: 0,
            approve: format!("fsync-agent approve {dir} --hold {id}"),
            reject: (kind != HoldKind::Root)
                .then(|| format!("fsync-agent reject {dir} --hold {id}")),
        }
    }

    /// Returns how it is taken back, for people.
    pub fn way_back(&self) -> &str {
        let none = "put the folder back as it was; the hold then ends by itself";
        self.reject.as_deref().unwrap_or(none)
    }
}

/// Something that moves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transfer {
    /// What.
    pub stage: Stage,
    /// How much is done.
    pub done: Amount,
    /// How much it will be, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<Amount>,
}

/// Returns a text as one word of a POSIX shell.
pub fn shell_quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%,=".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_command_of_a_hold_can_be_pasted() {
        let hold = |dir: &str| Hold::new(4, HoldKind::DeletesOut, String::new(), Path::new(dir));
        assert_eq!(hold("/a/b").approve, "fsync-agent approve /a/b --hold 4");
        assert_eq!(
            hold("/my docs/it's").way_back(),
            r"fsync-agent reject '/my docs/it'\''s' --hold 4"
        );
        let root = Hold::new(1, HoldKind::Root, String::new(), Path::new("/a"));
        assert!(root.reject.is_none() && root.way_back().contains("put the folder back"));
    }
}
