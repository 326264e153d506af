//! What the end of a job means for the next one.
//!
//! Guarantees: every end makes a comparison due or names what comes next, so nothing is forgotten;
//! what cannot be done now is tried again later and later, and holds up nothing else.
//! Place: [`Engine::handle`] gives it the outcomes; what is started next is decided there.

use std::time::Duration;

use super::{BUSY_RETRY, Compared, Engine, Failure, RENAME_TOLD, RETRY_MIN, STALE_FREE, backoff};
use crate::clock::Moment;
use crate::path::RelPath;
use crate::wire::Head;

impl Engine {
    pub(super) fn look_at(&mut self, paths: Vec<RelPath>, now: Moment) {
        paths
            .into_iter()
            .for_each(|path| self.changes.stale(path, now));
    }

    /// What finds the folder changed again and again waits longer and longer, as for a file that is
    /// written all the time; once does not count: a program saves beside a file and renames over
    /// it.
    fn pace_stale(&mut self, is_stale: bool, now: Moment) {
        self.stale_rounds = if is_stale { self.stale_rounds + 1 } else { 0 };
        if let Some(more) = self.stale_rounds.checked_sub(STALE_FREE) {
            self.retry_at = Some(now.after(backoff(more)));
        }
    }

    pub(super) fn scanned(&mut self, busy: Vec<RelPath>, now: Moment) {
        busy.into_iter()
            .for_each(|path| self.changes.retry(path, BUSY_RETRY, now));
        self.done();
    }

    pub(super) fn compared(&mut self, compared: Compared, now: Moment) {
        self.job = None;
        self.next = None;
        // Also the answer of a push that could not be made of what is here.
        self.has_pending = false;
        match compared {
            Compared::InStep => {
                self.failures = 0;
                self.stale_rounds = 0;
                self.is_in_step = true;
            }
            Compared::Wait(until) => self.compare_at = Some(until.max(now.after(RETRY_MIN / 4))),
            Compared::BaseDropped => self.is_compare_due = true,
            other => self.next = Some(other),
        }
    }

    pub(super) fn done(&mut self) {
        self.job = None;
        self.failures = 0;
        self.is_compare_due = true;
    }

    pub(super) fn failed(&mut self, failure: Failure, now: Moment) {
        self.job = None;
        self.is_compare_due = true;
        let pause = backoff(self.failures);
        match failure {
            Failure::Retry(at_least) => {
                self.failures += 1;
                self.retry_at = Some(now.after(pause.max(at_least)));
            }
            Failure::Unreachable => {
                self.failures += 1;
                self.retry_at = Some(now.after(pause));
            }
            Failure::Again => {}
            Failure::BaseLost => self.is_base_lost = true,
        }
    }

    pub(super) fn pushed(&mut self, head: Head) {
        self.has_pending = false;
        self.applied_last = false;
        self.observe(Some(head), false);
        self.done();
    }

    pub(super) fn push_dropped(&mut self) {
        self.has_pending = false;
        self.done();
    }

    pub(super) fn push_impossible(&mut self, stale: Vec<RelPath>, now: Moment) {
        self.has_pending = false;
        self.pace_stale(true, now);
        self.look_at(stale, now);
        self.done();
    }

    pub(super) fn applied(&mut self, stale: Vec<RelPath>, now: Moment) {
        self.applied_last = true;
        self.pace_stale(!stale.is_empty(), now);
        if !stale.is_empty() {
            // Until they are scanned the same steps would fail again and again.
            let look = now.after(RENAME_TOLD);
            self.retry_at = Some(self.retry_at.map_or(look, |at| at.max(look)));
            self.look_at(stale, look);
        }
        self.done();
    }

    pub(super) fn interrupted(&mut self, stale: Vec<RelPath>, pause: Duration, now: Moment) {
        // What cannot be applied for long must not keep edits from the service.
        self.applied_last = true;
        self.look_at(stale, now);
        self.failed(Failure::Retry(pause), now);
    }
}
