//! Progress that remembers the transfer under way, for `status`, and passes everything on.

use std::sync::{Arc, Mutex, PoisonError};

use super::{Event, Progress};
use crate::control::status::Transfer;

/// See the module's head.
#[derive(Debug)]
pub struct Latest {
    shown: Arc<dyn Progress>,
    transfer: Mutex<Option<Transfer>>,
}

impl Latest {
    /// Passes events on to `shown`.
    pub fn new(shown: Arc<dyn Progress>) -> Self {
        Self {
            shown,
            transfer: Mutex::default(),
        }
    }

    /// Returns what moves at the moment.
    pub fn transfer(&self) -> Option<Transfer> {
        self.transfer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Progress for Latest {
    fn report(&self, event: &Event) {
        let now = match event {
            Event::Progress { stage, done, total } => Some(Some(Transfer {
                stage: *stage,
                done: *done,
                total: *total,
            })),
            // Not every stage tells its end; whatever moved has ended when the state changes.
            Event::Finished { .. } | Event::State { .. } | Event::Disconnected { .. } => Some(None),
            Event::Connected { .. } | Event::Notice { .. } => None,
        };
        if let Some(now) = now {
            *self.transfer.lock().unwrap_or_else(PoisonError::into_inner) = now;
        }
        self.shown.report(event);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Amount, Quiet, Stage};
    use super::*;
    use crate::control::State;

    #[test]
    fn a_transfer_is_remembered_until_it_ends() {
        let latest = Latest::new(Arc::new(Quiet));
        assert_eq!(latest.transfer(), None);
        let done = Amount { items: 1, bytes: 2 };
        let (stage, total) = (Stage::Download, None);
        latest.report(&Event::Progress { stage, done, total });
        assert_eq!(latest.transfer().map(|t| t.done), Some(done));
        let (state, reason) = (State::InStep, String::new());
        latest.report(&Event::State { state, reason });
        assert_eq!(latest.transfer(), None);
    }
}
