//! What users did and saw.

use std::collections::BTreeSet;
use std::fmt;

/// Names of the files; all lie at the top of the folder.
pub const PATHS: [&str; 3] = ["a.txt", "b.txt", "c.txt"];

/// The content of a file: each write of a run has its own; 0 is no file at all.
pub type Value = u16;
/// No file.
pub const NOTHING: Value = 0;

/// Something that a user did, with what was seen of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A look at a path.
    Read {
        /// Whose folder.
        user: usize,
        /// Which path.
        path: usize,
        /// What was there.
        saw: Value,
    },
    /// A write, or a delete where the value is [`NOTHING`].
    Write {
        /// Whose folder.
        user: usize,
        /// Which path.
        path: usize,
        /// What was written.
        value: Value,
        /// What was there before.
        over: Value,
        /// Whether the file that was written to stood at the path when the write was done. If not,
        /// the tool was at the same path at the same time, and the value may be anywhere.
        is_sure: bool,
    },
    /// A rename onto a free name.
    Rename {
        /// Whose folder.
        user: usize,
        /// The old path.
        from: usize,
        /// The new path.
        to: usize,
    },
}

impl Event {
    /// Returns the paths that it is about.
    pub fn paths(&self) -> Vec<usize> {
        match *self {
            Self::Read { path, .. } | Self::Write { path, .. } => vec![path],
            Self::Rename { from, to, .. } => vec![from, to],
        }
    }
}

/// What stood in a folder when the tool said that it was quiet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settled {
    /// By path.
    pub values: [Value; PATHS.len()],
    /// Contents of conflict copies.
    pub copies: BTreeSet<Value>,
}

/// What happened between two quiet moments.
#[derive(Debug, Clone, Default)]
pub struct Round {
    /// How it began.
    pub before: Settled,
    /// What users did, in order.
    pub events: Vec<Event>,
    /// How it ended.
    pub after: Settled,
}

fn value(value: Value) -> String {
    match value {
        NOTHING => "nothing".to_owned(),
        value => format!("v{value}"),
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Read { user, path, saw } => {
                write!(f, "user {user} reads {}: {}", PATHS[path], value(saw))
            }
            Self::Write {
                user,
                path,
                value: NOTHING,
                over,
                ..
            } => write!(
                f,
                "user {user} deletes {}, which held {}",
                PATHS[path],
                value(over)
            ),
            Self::Write {
                user,
                path,
                value: new,
                over,
                is_sure,
            } => {
                let (path, new, over) = (PATHS[path], value(new), value(over));
                write!(f, "user {user} writes {path}: {new} over {over}")?;
                f.write_str(if is_sure {
                    ""
                } else {
                    " (as the tool replaced it)"
                })
            }
            Self::Rename { user, from, to } => {
                write!(f, "user {user} renames {} to {}", PATHS[from], PATHS[to])
            }
        }
    }
}

impl fmt::Display for Settled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values = PATHS.iter().zip(self.values);
        let there = values.map(|(path, found)| format!("{path}={}", value(found)));
        let copies = self
            .copies
            .iter()
            .map(|copy| format!("copy={}", value(*copy)));
        f.write_str(&there.chain(copies).collect::<Vec<_>>().join(" "))
    }
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  all hold  {}", self.before)?;
        for event in &self.events {
            writeln!(f, "  {event}")?;
        }
        write!(f, "  all hold  {}", self.after)
    }
}
