//! What one virtual agent notes while it runs; the oracle reads it afterwards.
//!
//! Guarantees: noting is a push to a list in memory: no lock, no I/O, so that watching costs those
//! who are measured next to nothing.

use std::time::Instant;

use fsync_core::id::{ObjectId, RevisionId};
use fsync_core::wire::{Epoch, Head, Seq};

/// Microseconds since the run began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Micros(pub(super) u64);

impl Micros {
    /// Returns it in seconds.
    pub(super) fn seconds(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// Returns the time since an earlier one.
    pub(super) fn since(self, earlier: Self) -> Self {
        Self(self.0.saturating_sub(earlier.0))
    }
}

/// The one clock of a run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock(Instant);

impl Clock {
    /// Starts at 0 now.
    pub(super) fn start() -> Self {
        Self(Instant::now())
    }

    /// Returns the time.
    pub(super) fn now(self) -> Micros {
        self.of(Instant::now())
    }

    /// Returns the time of a moment.
    pub(super) fn of(self, moment: Instant) -> Micros {
        let since = moment.saturating_duration_since(self.0);
        Micros(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
    }

    /// Returns the moment of a time.
    pub(super) fn moment(self, time: Micros) -> Instant {
        self.0 + std::time::Duration::from_micros(time.0)
    }
}

/// An edit and what became of it.
#[derive(Debug, Clone)]
pub(super) struct Edit {
    /// When it was meant to happen.
    pub(super) intended: Micros,
    /// When its commit was first sent.
    pub(super) sent: Micros,
    /// The new content of the agent's file.
    pub(super) content: ObjectId,
    /// Its revision.
    pub(super) revision: RevisionId,
    /// The service's answer; `None` if it never came.
    pub(super) ack: Option<Ack>,
}

/// The service has an edit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ack {
    /// When the answer came.
    pub(super) at: Micros,
    /// Order that the seq belongs to.
    pub(super) epoch: Epoch,
    /// Place of the edit's revision in the lineage.
    pub(super) seq: Seq,
}

/// A head that an agent has got: announced, pulled and verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Delivery {
    /// When all of it was there.
    pub(super) at: Micros,
    /// The head's order.
    pub(super) epoch: Epoch,
    /// The head's place.
    pub(super) seq: Seq,
    /// Eight bytes of the ref: enough to see two refs at one place, at a fourth of the memory.
    pub(super) mark: u64,
}

impl Delivery {
    /// Notes that a head is there.
    pub(super) fn of(head: &Head, at: Micros) -> Self {
        let mut mark = [0; 8];
        mark.copy_from_slice(&head.revision.as_bytes()[..8]);
        Self {
            at,
            epoch: head.epoch,
            seq: head.seq,
            mark: u64::from_be_bytes(mark),
        }
    }
}

/// A time without a subscription.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outage {
    /// When it was lost.
    pub(super) lost: Micros,
    /// When heads came again; `None` if they never did.
    pub(super) back: Option<Micros>,
}

/// Refs that came over a socket.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Notices {
    /// All.
    pub(super) refs: u64,
    /// Told before on the same connection.
    pub(super) repeated: u64,
    /// Older than one told before on the same connection.
    pub(super) backwards: u64,
}

/// What one agent noted.
#[derive(Debug, Default)]
pub(super) struct Diary {
    /// Which agent.
    pub(super) agent: usize,
    /// Its edits, in order.
    pub(super) edits: Vec<Edit>,
    /// Edits that were due and never sent.
    pub(super) unsent: u64,
    /// What it has got, in order.
    pub(super) deliveries: Vec<Delivery>,
    /// When it was not connected.
    pub(super) outages: Vec<Outage>,
    /// How long each new socket took until it had joined.
    pub(super) handshakes: Vec<Micros>,
    /// What its sockets told.
    pub(super) notices: Notices,
    /// Where it ended.
    pub(super) end: Option<Head>,
}
