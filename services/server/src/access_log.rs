//! The access log: who did what to which tree, denied attempts included, as structured lines with
//! the target [`TARGET`].
//!
//! ```text
//! INFO fsync::audit: allowed subject="anna" action="commit" tree=default/docs …
//! WARN fsync::audit: denied subject="-" action="GET" place="/v1/trees/…" reason="expired" count=3
//! ```
//! Guarantees: no line holds a token, a key or contents. Changes are told one by one; of denied
//! attempts [`TOLD_PER_SECOND`] a second, and how many were left out, so that an attack does not
//! fill the disk.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use fsync_core::label::TreeKey;
use tracing::{info, warn};

/// The target of all lines.
pub const TARGET: &str = "fsync::audit";
/// Denied attempts that are told in one second.
const TOLD_PER_SECOND: u64 = 50;

/// An attempt that was not allowed.
#[derive(Debug, Clone, Copy)]
pub struct Attempt<'a> {
    /// Who tried; `-` for nobody that is known.
    pub subject: &'a str,
    /// What was tried.
    pub action: &'a str,
    /// Where: a path without its query, or an address.
    pub place: &'a str,
    /// At which tree, if one was named.
    pub tree: Option<&'a TreeKey>,
    /// Why not, in a word.
    pub reason: &'a str,
}

/// Tells of something that was done.
pub fn allowed(subject: &str, action: &'static str, tree: &TreeKey, what: &str) {
    info!(target: TARGET, subject, action, %tree, what, "allowed");
}

/// Tells of something that was not.
pub fn denied(attempt: &Attempt<'_>) {
    let Some(left_out) = pace() else { return };
    let Attempt {
        subject,
        action,
        place,
        tree,
        reason,
    } = attempt;
    let tree = tree.map(tracing::field::display);
    warn!(target: TARGET, subject, action, place, tree, reason, left_out, "denied");
}

#[derive(Debug)]
struct Pace {
    since: Option<Instant>,
    told: u64,
    left_out: u64,
}

/// One for the process, as the log is.
static PACE: Mutex<Pace> = Mutex::new(Pace {
    since: None,
    told: 0,
    left_out: 0,
});

/// Returns how many were left out before this one; `None` if this one is left out too.
fn pace() -> Option<u64> {
    let mut pace = PACE.lock().unwrap_or_else(PoisonError::into_inner);
    let now = Instant::now();
    if pace
        .since
        .is_none_or(|since| now - since >= Duration::from_secs(1))
    {
        pace.since = Some(now);
        pace.told = 0;
    }
    if pace.told >= TOLD_PER_SECOND {
        pace.left_out += 1;
        return None;
    }
    pace.told += 1;
    Some(std::mem::take(&mut pace.left_out))
}
