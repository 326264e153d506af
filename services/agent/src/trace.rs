//! The two traces that a folder works on: that of what was saved here, and that of what comes in.
//!
//! Guarantees: a change that turns out to be none (an agent sees its own writes, too) makes no
//! trace: times are noted, and spans are made of them once something is sent.

use std::time::SystemTime;

use fsync_runtime::span;
use fsync_runtime::trace::{self, Attribute};
use tracing::Span;

/// See the module's head.
#[derive(Debug, Default)]
pub struct Traces {
    /// When the watcher told of the first change that is not sent yet.
    detected: Option<SystemTime>,
    /// From when to when the folder was read since.
    hashed: Option<(SystemTime, SystemTime)>,
    /// Paths that the watcher told of.
    paths: usize,
    /// Where the trace of what was saved goes on.
    ours: Option<String>,
    /// Where the trace of the head goes on.
    theirs: Option<String>,
}

impl Traces {
    /// The watcher told of changes.
    pub(crate) fn detected(&mut self, paths: usize) {
        self.paths += paths;
        self.detected.get_or_insert_with(SystemTime::now);
    }

    /// Runs a scan and notes its time.
    pub(crate) fn hashing<T>(&mut self, scan: impl FnOnce() -> T) -> T {
        let from = SystemTime::now();
        let scanned = scan();
        let first = self.hashed.map_or(from, |(first, _)| first);
        self.hashed = Some((first, SystemTime::now()));
        scanned
    }

    /// The folder is as the head has it: what was noted led to nothing.
    pub(crate) fn settled(&mut self) {
        (self.detected, self.hashed, self.paths) = (None, None, 0);
    }

    /// A revision is sent: returns where its trace goes on. One that is sent again goes on where it
    /// was.
    pub(crate) fn sent(&mut self) -> Option<String> {
        let Some((from, to)) = self.hashed.take() else {
            return self.ours.clone();
        };
        let detected = self.detected.take().unwrap_or(from);
        let paths = [Attribute::count(
            "fsync.paths",
            std::mem::take(&mut self.paths),
        )];
        let root = trace::record("agent.detect", None, (detected, from), &paths);
        trace::record("agent.hash", root.as_deref(), (from, to), &[]);
        self.ours = root;
        self.ours.clone()
    }

    /// A head came, with its trace if it has one.
    pub fn heard(&mut self, context: Option<String>) {
        self.theirs = context;
    }

    /// Returns where the trace of the head goes on.
    pub fn theirs(&self) -> Option<String> {
        self.theirs.clone()
    }

    /// Makes the span of steps that bring the folder to the head.
    pub(crate) fn applying(&self, paths: usize) -> Span {
        let Some(context) = &self.theirs else {
            return Span::none();
        };
        let span = span!("agent.apply", fsync.paths = paths);
        trace::follow(&span, Some(context));
        span
    }
}
