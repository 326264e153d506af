//! What people are told of watching: how often the system lost events, and why the folder is looked
//! at from time to time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Shared by the watcher, which writes it, and `status`, which reads it.
#[derive(Debug, Clone, Default)]
pub struct WatchReport(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    overflows: AtomicU64,
    polled: Mutex<Option<String>>,
}

impl WatchReport {
    /// Returns how often events were lost since the start; everything was looked at each time.
    pub fn overflows(&self) -> u64 {
        self.0.overflows.load(Ordering::Relaxed)
    }

    /// Returns why the folder is looked at from time to time, if it is.
    pub fn polled(&self) -> Option<String> {
        let polled = self.0.polled.lock();
        polled.unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn overflowed(&self) {
        self.0.overflows.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn polls(&self, why: String) {
        let polled = self.0.polled.lock();
        *polled.unwrap_or_else(PoisonError::into_inner) = Some(why);
    }
}
