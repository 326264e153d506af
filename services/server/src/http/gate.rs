//! Room for bodies in memory: a request waits until what it brings or takes fits, and is turned
//! away if too many wait.
//!
//! Guarantees: bodies and answers in work never take more than [`ROOM_BYTES`]; at most [`WAITING`]
//! requests wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use fsync_core::limits;
use fsync_core::service::error::ServiceError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::clock;

/// Bytes of bodies and answers in work at the same time.
pub const ROOM_BYTES: usize = 4 * limits::PACK_BODY_BYTES;
/// Requests that wait for room.
const WAITING: usize = 512;
/// What one permit stands for, in bytes.
const UNIT_BYTES: usize = 64 * 1024;
const RETRY_MIN_MS: u64 = 200;
const RETRY_JITTER_MS: u64 = 800;

/// Counts room.
#[derive(Debug, Clone)]
pub struct Gate {
    room: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            room: Arc::new(Semaphore::new(ROOM_BYTES / UNIT_BYTES)),
            waiting: Arc::default(),
        }
    }
}

/// Leaves the queue, in whatever way the wait ended.
struct InQueue<'a>(&'a AtomicUsize);

impl Drop for InQueue<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Gate {
    /// Waits for room for `bytes`; it is given back when the permit is dropped.
    ///
    /// # Errors
    /// [`ServiceError::Unavailable`] if too many wait already.
    pub async fn enter(&self, bytes: usize) -> Result<OwnedSemaphorePermit, ServiceError> {
        let units = bytes.div_ceil(UNIT_BYTES).clamp(1, ROOM_BYTES / UNIT_BYTES);
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        let queue = InQueue(&self.waiting);
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= WAITING {
            return Err(busy());
        }
        let permit = Arc::clone(&self.room).acquire_many_owned(units).await;
        drop(queue);
        permit.map_err(|_closed| busy())
    }
}

impl Gate {
    /// Returns whether nothing is in work and nobody waits.
    pub fn is_idle(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) == 0
            && self.room.available_permits() == ROOM_BYTES / UNIT_BYTES
    }
}

fn busy() -> ServiceError {
    ServiceError::Unavailable {
        reason: "too many transfers at once".to_owned(),
        retry_after_ms: RETRY_MIN_MS + clock::random_u64() % RETRY_JITTER_MS,
    }
}
