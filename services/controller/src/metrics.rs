//! The controller's metrics: every name, and what it counts.
//!
//! Guarantees: labels are from small, fixed sets; never a name of an object, tree or tenant.

use std::sync::LazyLock;
use std::time::Duration;

use opentelemetry::metrics::{Counter, Gauge, Histogram};
use opentelemetry::{KeyValue, global};

/// Name of each metric as Prometheus shows it, its type, and what it says.
pub const TABLE: &[(&str, &str, &str)] = &[
    (
        "fsync_controller_reconciles_total",
        "counter",
        "looks at an object by `kind` and `result`: a condition's reason, or error",
    ),
    (
        "fsync_controller_reconcile_duration_seconds",
        "histogram",
        "one look at an object by `kind`",
    ),
    (
        "fsync_controller_tokens_minted_total",
        "counter",
        "tokens that were made by `cause`: missing, changed, due",
    ),
    (
        "fsync_controller_tokens_revoked_total",
        "counter",
        "tokens that were shut out",
    ),
    (
        "fsync_controller_gc_starts_total",
        "counter",
        "orders to collect garbage by `result`: started, running, failed",
    ),
    (
        "fsync_controller_leader",
        "gauge",
        "1 while this replica holds the Lease",
    ),
    (
        "fsync_controller_kinds_missing",
        "gauge",
        "kinds that are not installed yet",
    ),
];

/// Bounds of durations, in seconds.
const SECONDS: [f64; 10] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 20.0];

/// Kind of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A `SyncTree`.
    Tree,
    /// An `AgentToken`.
    Token,
}

impl Kind {
    /// Returns its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tree => "SyncTree",
            Self::Token => "AgentToken",
        }
    }
}

struct Metrics {
    reconciles: Counter<u64>,
    duration: Histogram<f64>,
    minted: Counter<u64>,
    revoked: Counter<u64>,
    gc: Counter<u64>,
    leader: Gauge<u64>,
    missing: Gauge<u64>,
}

// Made at the first use, which comes after telemetry has started.
static METRICS: LazyLock<Metrics> = LazyLock::new(|| {
    let meter = global::meter("fsync-controller");
    Metrics {
        reconciles: meter.u64_counter("fsync_controller_reconciles").build(),
        duration: meter
            .f64_histogram("fsync_controller_reconcile_duration")
            .with_unit("s")
            .with_boundaries(SECONDS.to_vec())
            .build(),
        minted: meter.u64_counter("fsync_controller_tokens_minted").build(),
        revoked: meter.u64_counter("fsync_controller_tokens_revoked").build(),
        gc: meter.u64_counter("fsync_controller_gc_starts").build(),
        leader: meter.u64_gauge("fsync_controller_leader").build(),
        missing: meter.u64_gauge("fsync_controller_kinds_missing").build(),
    }
});

/// An object was looked at, with this result.
pub(crate) fn reconciled(kind: Kind, result: &'static str) {
    let labels = [
        KeyValue::new("kind", kind.as_str()),
        KeyValue::new("result", result),
    ];
    METRICS.reconciles.add(1, &labels);
}

/// A look at an object took so long.
pub(crate) fn took(kind: Kind, time: Duration) {
    let labels = [KeyValue::new("kind", kind.as_str())];
    METRICS.duration.record(time.as_secs_f64(), &labels);
}

/// A token was made.
pub(crate) fn minted(cause: &'static str) {
    METRICS.minted.add(1, &[KeyValue::new("cause", cause)]);
}

/// A token was shut out.
pub(crate) fn revoked() {
    METRICS.revoked.add(1, &[]);
}

/// A collection of garbage was ordered.
pub(crate) fn gc(result: &'static str) {
    METRICS.gc.add(1, &[KeyValue::new("result", result)]);
}

/// Whether this replica holds the Lease.
pub(crate) fn leader(is_leader: bool) {
    METRICS.leader.record(u64::from(is_leader), &[]);
}

/// So many kinds are not installed.
pub(crate) fn kinds_missing(count: usize) {
    METRICS.missing.record(count as u64, &[]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_in_the_charts_readme_is_this_one() {
        let readme = include_str!("../../../charts/fsync/README.md");
        for (name, kind, what) in TABLE {
            let row = format!("| `{name}` | {kind} | {what} |");
            assert!(readme.contains(&row), "{row}");
        }
    }
}
