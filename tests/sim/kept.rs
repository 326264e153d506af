//! What survives an agent's process: its state, as rows in memory or as the bytes below the
//! product's database.
//!
//! Rows keep the same rules and cost a fraction; [`BYTES_ONE_IN`] worlds have bytes all the same,
//! so that the database is in it too.

use std::sync::{Arc, Mutex, PoisonError};

use fsync_agent::state::{Memory, State, StateError};

use super::backend::Platter;

/// One in so many worlds keeps states in the product's database.
pub const BYTES_ONE_IN: u64 = 10;

/// See the module's head. Clones are the same.
#[derive(Debug, Clone)]
pub enum Kept {
    /// Rows in memory.
    Rows(Arc<Mutex<Memory>>),
    /// The storage of a database.
    Bytes(Platter),
}

impl Kept {
    /// Returns an empty one, as worlds of this seed have them.
    pub fn of_seed(seed: u64) -> Self {
        match seed.is_multiple_of(BYTES_ONE_IN) {
            true => Self::Bytes(Platter::default()),
            false => Self::Rows(Arc::default()),
        }
    }

    /// Opens the state.
    ///
    /// # Errors
    /// [`StateError`]: what is there is no state.
    pub fn open(&self) -> Result<State, StateError> {
        match self {
            Self::Rows(rows) => {
                State::open_in(rows.lock().unwrap_or_else(PoisonError::into_inner).clone())
            }
            Self::Bytes(platter) => State::open_with(platter.open()),
        }
    }

    /// Ends the owner at once: what it still does nobody will see. With a power loss all that was
    /// not durable is gone.
    pub fn crash(&self, is_power_loss: bool) {
        match self {
            Self::Rows(rows) => {
                let mut rows = rows.lock().unwrap_or_else(PoisonError::into_inner);
                *rows = rows.crash(is_power_loss);
            }
            Self::Bytes(platter) => platter.crash(is_power_loss),
        }
    }

    /// Forgets everything, as when the disk with the state is lost.
    pub fn lose(&self) {
        match self {
            Self::Rows(rows) => {
                *rows.lock().unwrap_or_else(PoisonError::into_inner) = Memory::default();
            }
            Self::Bytes(platter) => platter.lose(),
        }
    }
}
