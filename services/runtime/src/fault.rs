//! Named points at which a process of the crash tests' own build ends itself, as `kill -9` would.
//!
//! Guarantees: without the feature `fault` both functions are empty and inlined, so that nothing of
//! this is in a shipped program. With it, the process ends at the chosen call: what the calling
//! thread would have done next never happens.
//! Place: agent and server call it around each step that makes something durable, visible or known
//! to others; `tests/crash` goes through [`Point::ALL`]. Only this file reads the two variables.
//!
//! ```text
//! FSYNC_FAULT=exchange.before:2    ends the process when it is about to exchange for the second time
//! FSYNC_FAULT_LOG=FILE             appends the name of each call that is reached, a line each
//! ```

use std::fmt;

/// The program that comes to a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// `fsync-agent`, where edits are made.
    Sender,
    /// `fsync-agent`, where they arrive.
    Receiver,
    /// `fsync-server`.
    Server,
}

/// Which side of what happens at a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// It is about to happen.
    Before,
    /// It has happened.
    After,
}

impl Side {
    /// Both, in order.
    pub const BOTH: [Self; 2] = [Self::Before, Self::After];
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Before => "before",
            Self::After => "after",
        })
    }
}

macro_rules! points {
    ($($(#[$doc:meta])+ $point:ident $name:literal $program:ident,)+) => {
        /// What happens at a point.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Point {
            $($(#[$doc])+ $point,)+
        }

        impl Point {
            /// All points.
            pub const ALL: &'static [Self] = &[$(Self::$point),+];

            /// Returns its name.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$point => $name,)+
                }
            }

            /// Returns which program comes to it in the crash tests.
            pub fn program(self) -> Program {
                match self {
                    $(Self::$point => Program::$program,)+
                }
            }
        }
    };
}

points! {
    /// A folder's configuration is written, in its marker and beside its state.
    Marker "marker" Sender,
    /// What an interrupted apply left is settled in the state.
    Recover "recover" Receiver,
    /// A user's file that stands in the stage goes to the trash.
    Rescue "rescue" Receiver,
    /// What a scan found is recorded.
    ScanRecord "scan-record" Sender,
    /// What a scan did not find again is forgotten.
    ScanEnd "scan-end" Sender,
    /// The unsent revision is recorded.
    PushRecord "push-record" Sender,
    /// What was put off until effects were handed out is made durable.
    Settle "settle" Sender,
    /// A commit is sent and answered.
    PushSend "push-send" Sender,
    /// The acknowledged revision becomes the base.
    Base "base" Sender,
    /// Nodes of a delta are kept.
    KeepNodes "keep-nodes" Receiver,
    /// A small file is staged.
    Stage "stage" Receiver,
    /// Staged files are made durable.
    StageSync "stage-sync" Receiver,
    /// Chunks of a large file are written to the stage.
    LargeWrite "large-write" Receiver,
    /// What is written of a large file is recorded.
    LargeNote "large-note" Receiver,
    /// The intents of a batch are made durable.
    Intents "intents" Receiver,
    /// A new file is put in its place.
    Create "create" Receiver,
    /// A new content and a user's file change places.
    Exchange "exchange" Receiver,
    /// A file that was replaced or removed goes to the trash.
    Trash "trash" Receiver,
    /// A file or directory is renamed.
    Move "move" Receiver,
    /// A directory is made.
    MakeDir "make-dir" Receiver,
    /// A directory is removed.
    RemoveDir "remove-dir" Receiver,
    /// Exec bit and time are set.
    Meta "meta" Receiver,
    /// Rows and trees of a batch's steps are recorded.
    Rows "rows" Receiver,
    /// Directories are made durable.
    DirsSync "dirs-sync" Receiver,
    /// Intents are cleared.
    IntentsEnd "intents-end" Receiver,
    /// A pack is written to the blob store, and is durable there.
    BlobPut "blob-put" Server,
    /// A group of writes is committed to the journal.
    JournalCommit "journal-commit" Server,
    /// The author of a commit is answered.
    Answer "answer" Server,
    /// A new head is told to all listeners.
    Multicast "multicast" Server,
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Does `work`, which is what happens at a point.
#[inline(always)]
pub fn around<T>(point: Point, work: impl FnOnce() -> T) -> T {
    before(point);
    let done = work();
    after(point);
    done
}

/// What happens at a point is about to.
#[inline(always)]
pub fn before(point: Point) {
    reach(point, Side::Before);
}

/// What happens at a point has happened, or failed.
#[inline(always)]
pub fn after(point: Point) {
    reach(point, Side::After);
}

#[cfg(not(feature = "fault"))]
#[inline(always)]
fn reach(_point: Point, _side: Side) {}

#[cfg(feature = "fault")]
use armed::reach;

#[cfg(feature = "fault")]
mod armed {
    use std::fs::File;
    use std::io::Write;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    use rustix::process::{Signal, getpid, kill_process};

    use super::{Point, Side};

    static ARMED: OnceLock<Armed> = OnceLock::new();

    struct Armed {
        /// Name of the call at which the process ends, and how many of it are left.
        call: Option<(String, AtomicU64)>,
        log: Option<File>,
    }

    fn armed() -> Armed {
        let call = std::env::var("FSYNC_FAULT").ok();
        let call = call.map(|text| {
            let (name, hit) = text.split_once(':').unwrap_or((&text, "1"));
            (name.to_owned(), AtomicU64::new(hit.parse().unwrap_or(1)))
        });
        let log = std::env::var_os("FSYNC_FAULT_LOG");
        let open = |path| File::options().create(true).append(true).open(path).ok();
        Armed {
            call,
            log: log.and_then(open),
        }
    }

    pub(super) fn reach(point: Point, side: Side) {
        let armed = ARMED.get_or_init(armed);
        let name = format!("{point}.{side}");
        if let Some(mut log) = armed.log.as_ref() {
            // A test that finds its log short fails by that.
            drop(log.write_all(format!("{name}\n").as_bytes()));
        }
        if let Some((wanted, left)) = &armed.call
            && *wanted == name
            && left.fetch_sub(1, Ordering::Relaxed) == 1
        {
            if kill_process(getpid(), Signal::KILL).is_err() {
                std::process::abort();
            }
            loop {
                std::thread::park();
            }
        }
    }
}
