//! What a running `sync` tells the person or program in front of it.
//!
//! Guarantees: reporting never blocks the sync on the terminal's width or speed beyond one write;
//! plain and JSON lines about one stage come once a second at most. Does not: decide anything; the
//! driver only calls [`Progress::report`].

mod bars;
mod latest;
mod lines;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::client::ServerUrl;
use crate::control::State;
pub use bars::Bars;
pub use latest::Latest;
pub(crate) use lines::amount;
pub use lines::{Json, Lines};

/// What is being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// The folder is looked through.
    Scan,
    /// Contents go to the server.
    Upload,
    /// Contents come from the server.
    Download,
}

impl Stage {
    /// Returns the word that is shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scan => "scan",
            Self::Upload => "upload",
            Self::Download => "download",
        }
    }
}

/// A number of things and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amount {
    /// Files or objects.
    pub items: u64,
    /// Bytes.
    pub bytes: u64,
}

/// Something worth telling.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// A stage goes on; the amounts are since its start.
    Progress {
        /// Which.
        stage: Stage,
        /// What is done.
        done: Amount,
        /// What it will be, where that is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        total: Option<Amount>,
    },
    /// A stage ended.
    Finished {
        /// Which.
        stage: Stage,
        /// What was done.
        done: Amount,
    },
    /// The connection to the server stands.
    Connected {
        /// Which server.
        server: ServerUrl,
    },
    /// It does not any more; it is made again.
    Disconnected {
        /// Which server.
        server: ServerUrl,
    },
    /// The folder's state changed.
    State {
        /// To what.
        state: State,
        /// Why, for people; empty where the word says it all.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        reason: String,
    },
    /// Something that the user should read: a hold with its command, a conflict, a new exception.
    Notice {
        /// For people.
        message: String,
    },
}

/// Takes events; called from any thread.
pub trait Progress: Send + Sync + std::fmt::Debug {
    /// Shows an event.
    fn report(&self, event: &Event);
}

/// Shows nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Quiet;

impl Progress for Quiet {
    fn report(&self, _event: &Event) {}
}

/// Picks the way of showing: JSON lines if asked for, bars on a terminal, plain lines otherwise.
pub fn choose(wants_json: bool) -> Arc<dyn Progress> {
    use std::io::IsTerminal;
    if wants_json {
        return Arc::new(Json::new(std::io::stdout()));
    }
    if std::io::stderr().is_terminal() {
        return Arc::new(Bars::new());
    }
    Arc::new(Lines::new(std::io::stdout()))
}
