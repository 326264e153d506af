//! Follows the heads that other replicas move: by the bus, and by reading them when that is due.
//!
//! Guarantees: a head that a wake-up did not bring is found when the bus says that something was
//! missed, and else within [`Bus::poll_every`]; all trees with agents here cost one round trip.
//! Tasks: `follow`, started by `app.rs`, ends at shutdown.

use std::time::Duration;

use fsync_runtime::Shutdown;
use tokio::time::{Instant, sleep_until};
use tracing::debug;

use crate::bus::{Bus, Wake};
use crate::clock;
use crate::socket::Sockets;

/// Shortest time between two looks, however much was missed.
const PAUSE: Duration = Duration::from_millis(500);
/// Time until a look that failed is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// Looks of many replicas spread over this part of the time between two.
const JITTER_MS: u64 = 1000;

/// Follows until the shutdown.
pub async fn run(bus: &dyn Bus, sockets: Sockets, tasks: Shutdown) {
    let mut last = Instant::now();
    let mut due = next_look(bus);
    loop {
        let look = async {
            match due {
                Some(due) => sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            wake = bus.next() => match wake {
                Wake::Moved(event) => sockets.moved(event),
                Wake::Missed => {
                    let soon = Instant::now().max(last + PAUSE);
                    due = Some(due.map_or(soon, |due| due.min(soon)));
                }
            },
            () = look => {
                let looked = sockets.look().await;
                last = Instant::now();
                due = match looked {
                    Ok(()) => next_look(bus),
                    Err(error) => {
                        debug!(%error, "heads are read later");
                        Some(last + AGAIN)
                    }
                };
            }
            () = tasks.triggered() => return,
        }
    }
}

fn next_look(bus: &dyn Bus) -> Option<Instant> {
    let jitter = Duration::from_millis(clock::random_u64() % JITTER_MS);
    Some(Instant::now() + bus.poll_every()? + jitter)
}
