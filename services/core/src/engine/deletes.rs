//! The delete hold: when a burst of deletes stops and asks the user.
//!
//! Deletes are counted over a sliding window against the tree at its start. Few pass at once; from
//! [`BURST_FROM`] on they wait until the burst ends and are then judged as a whole: more than half
//! of the tree and more than [`HOLD_FROM`] files are held. Only the deletes in question are
//! withheld, all else flows.

use std::time::Duration;

use crate::clock::Moment;

/// Length of the window.
const WINDOW: Duration = Duration::from_secs(30);
/// From so many deletes on, they wait for the end of the burst.
pub const BURST_FROM: u64 = 50;
/// A burst has ended when no delete came for so long.
const BURST_QUIET: Duration = Duration::from_millis(500);
/// Holds need more deleted files than this.
pub const HOLD_FROM: u64 = 20;

/// What happens to the deletes that wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// They go through.
    Pass,
    /// The burst goes on: judge again then.
    Wait(Moment),
    /// The user must decide.
    Hold,
}

/// Deletes of one direction, over time.
#[derive(Debug, Default, Clone)]
pub struct DeleteWindow {
    start: Option<Moment>,
    files_at_start: u64,
    passed: u64,
    waiting: u64,
    last_growth: Moment,
}

impl DeleteWindow {
    /// Judges `waiting` deleted files that were not confirmed yet; the tree holds `files` files,
    /// those included.
    pub fn judge(&mut self, waiting: u64, files: u64, now: Moment) -> Verdict {
        if waiting == 0 {
            self.waiting = 0;
            return Verdict::Pass;
        }
        if self.start.is_none_or(|start| now.since(start) > WINDOW) {
            *self = Self {
                start: Some(now),
                files_at_start: files,
                ..Self::default()
            };
        }
        self.files_at_start = self.files_at_start.max(files);
        if waiting > self.waiting {
            self.last_growth = now;
        }
        self.waiting = waiting;
        let total = self.passed + waiting;
        let burst_end = self.last_growth.after(BURST_QUIET);
        if total >= BURST_FROM && now < burst_end {
            return Verdict::Wait(burst_end);
        }
        if total > HOLD_FROM && total * 2 > self.files_at_start {
            return Verdict::Hold;
        }
        Verdict::Pass
    }

    /// Counts deletes that went through after a [`Verdict::Pass`].
    pub fn confirm(&mut self, count: u64) {
        self.passed += count;
        self.waiting = 0;
    }

    /// Forgets what was counted: the user decided.
    pub fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_deletes_pass_at_once() {
        assert_eq!(
            DeleteWindow::default().judge(20, 20, Moment(0)),
            Verdict::Pass
        );
        assert_eq!(
            DeleteWindow::default().judge(49, 1_000, Moment(0)),
            Verdict::Pass
        );
    }

    #[test]
    fn more_than_half_and_more_than_twenty_hold() {
        let mut window = DeleteWindow::default();
        assert_eq!(window.judge(21, 40, Moment(0)), Verdict::Hold);
        assert_eq!(
            DeleteWindow::default().judge(21, 43, Moment(0)),
            Verdict::Pass
        );
    }

    #[test]
    fn a_burst_waits_for_its_end_and_is_judged_as_a_whole() {
        let mut window = DeleteWindow::default();
        assert_eq!(window.judge(10, 100, Moment(0)), Verdict::Pass);
        window.confirm(10);
        assert_eq!(
            window.judge(45, 90, Moment(100)),
            Verdict::Wait(Moment(600))
        );
        assert_eq!(
            window.judge(60, 90, Moment(300)),
            Verdict::Wait(Moment(800))
        );
        assert_eq!(window.judge(60, 90, Moment(800)), Verdict::Hold);
    }

    #[test]
    fn the_window_slides() {
        let mut window = DeleteWindow::default();
        assert_eq!(window.judge(20, 40, Moment(0)), Verdict::Pass);
        window.confirm(20);
        assert_eq!(window.judge(15, 20, Moment(40_000)), Verdict::Pass);
    }
}
