//! The end of a replica that others stand in for: agents are sent to them one by one, so that they
//! are not stormed.
//!
//! ```text
//! SIGTERM -> readiness off -> lead -> a goodbye for each socket, spread over the drain time
//!         -> the listener closes, uploads in flight end
//! ```
//!
//! Guarantees: ends as soon as no socket and no transfer is left; takes no new socket meanwhile.
//! Without a drain time all of it happens at once.

use std::time::Duration;

use fsync_core::wire::{Bye, ByeCode};
use fsync_runtime::admin::Health;
use tokio::time::{Instant, sleep_until};
use tracing::info;

use crate::clock;
use crate::config::Drain;
use crate::http::gate::Gate;
use crate::socket::Sockets;

/// Agents come back after this time, in milliseconds, plus jitter.
const BACK_MS: u64 = 200;
const BACK_JITTER_MS: u64 = 800;
/// How often it is looked whether anything is left to wait for.
const LOOK: Duration = Duration::from_millis(50);

/// Sends everybody away.
pub async fn drain(sockets: &Sockets, gate: &Gate, health: &Health, how: Drain) {
    health.ending();
    sockets.close_door();
    if !how.over.is_zero() {
        info!(sockets = sockets.count(), ?how, "draining");
        wait(Instant::now() + how.lead, || is_left(sockets, gate)).await;
        one_by_one(sockets, how.over).await;
        wait(Instant::now() + how.over, || is_left(sockets, gate)).await;
    }
    sockets.end(bye());
}

async fn one_by_one(sockets: &Sockets, over: Duration) {
    let all = sockets.numbers();
    let count = u32::try_from(all.len()).unwrap_or(u32::MAX).max(1);
    let start = Instant::now();
    for (at, number) in (0_u32..).zip(all) {
        let due = start + over.mul_f64(f64::from(at) / f64::from(count));
        wait(due, || sockets.count() > 0).await;
        sockets.leave(number, bye());
    }
}

fn is_left(sockets: &Sockets, gate: &Gate) -> bool {
    sockets.count() > 0 || !gate.is_idle()
}

/// Waits until a moment, or until there is nothing more to wait for.
async fn wait(until: Instant, is_left: impl Fn() -> bool) {
    while is_left() && Instant::now() < until {
        sleep_until((Instant::now() + LOOK).min(until)).await;
    }
}

fn bye() -> Bye {
    Bye {
        code: ByeCode::Shutdown,
        reason: "the server is shutting down: reconnect".to_owned(),
        retry_after_ms: Some(BACK_MS + clock::random_u64() % BACK_JITTER_MS),
    }
}
