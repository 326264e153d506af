//! The server's metrics: every name, and what it counts.
//!
//! Guarantees: labels are from small, fixed sets; never a tree, tenant or agent. Units are those of
//! Prometheus: seconds and bytes.
//! Place: recorded where things happen, read on the admin port (`/metrics`). README's table is
//! checked against [`TABLE`].

use std::sync::LazyLock;
use std::time::Duration;

use opentelemetry::metrics::{Counter, Histogram};
use opentelemetry::{KeyValue, global};

/// Name of each metric as Prometheus shows it, its type, and what it says.
pub const TABLE: &[(&str, &str, &str)] = &[
    (
        "http_server_request_duration_seconds",
        "histogram",
        "requests by `http_route`, `http_request_method`, `http_response_status_code`",
    ),
    (
        "fsync_connections",
        "gauge",
        "agents that are connected, or wait with a request",
    ),
    (
        "fsync_commits_total",
        "counter",
        "revisions by `outcome`: head, merged, done, refused",
    ),
    (
        "fsync_commit_batch",
        "histogram",
        "pushes that shared one move of the head",
    ),
    (
        "fsync_journal_cas_duration_seconds",
        "histogram",
        "one move of a head in the journal",
    ),
    (
        "fsync_refs_multicast_total",
        "counter",
        "heads that were told to listeners of this replica",
    ),
    (
        "fsync_refs_coalesced_total",
        "counter",
        "refs that a newer one replaced before a slow reader took it",
    ),
    (
        "fsync_slow_disconnects_total",
        "counter",
        "readers that were closed because they took nothing",
    ),
    (
        "fsync_position_repairs_total",
        "counter",
        "heads that no wake-up brought, found by reading",
    ),
    (
        "fsync_blob_duration_seconds",
        "histogram",
        "calls to the blob store by `op`: put, get",
    ),
    (
        "fsync_blob_bytes_total",
        "counter",
        "bytes to and from the blob store by `op`",
    ),
    (
        "fsync_breaches_total",
        "counter",
        "requests that broke a rule",
    ),
    (
        "fsync_redis_selfecho_age_seconds",
        "gauge",
        "time since the replica last heard itself; 0 without Redis",
    ),
    (
        "fsync_gc_runs_total",
        "counter",
        "garbage collections by `result`: ok, failed",
    ),
    (
        "fsync_gc_objects_total",
        "counter",
        "objects that collections dropped",
    ),
    (
        "fsync_gc_packs_deleted_total",
        "counter",
        "packs that collections deleted",
    ),
];

/// Bounds of durations, in seconds.
const SECONDS: [f64; 14] = [
    0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];
/// Bounds of small numbers.
const COUNTS: [f64; 7] = [1.0, 2.0, 4.0, 8.0, 16.0, 64.0, 256.0];

/// What is recorded; see [`TABLE`].
#[derive(Debug)]
pub(crate) struct Metrics {
    requests: Histogram<f64>,
    commits: Counter<u64>,
    batch: Histogram<u64>,
    cas: Histogram<f64>,
    multicasts: Counter<u64>,
    coalesced: Counter<u64>,
    slow: Counter<u64>,
    repairs: Counter<u64>,
    blob_duration: Histogram<f64>,
    blob_bytes: Counter<u64>,
    breaches: Counter<u64>,
    gc_runs: Counter<u64>,
    gc_objects: Counter<u64>,
    gc_packs: Counter<u64>,
}

static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::new);

/// Returns the process's metrics.
pub(crate) fn metrics() -> &'static Metrics {
    &METRICS
}

/// What is done with the blob store.
#[derive(Debug, Clone, Copy)]
pub(crate) enum BlobOp {
    /// A pack is stored.
    Put,
    /// Runs of a pack are read.
    Get,
}

impl Metrics {
    fn new() -> Self {
        let meter = global::meter("fsync-server");
        let counter = |name: &'static str| meter.u64_counter(name).build();
        let seconds = |name: &'static str| {
            let builder = meter.f64_histogram(name).with_unit("s");
            builder.with_boundaries(SECONDS.to_vec()).build()
        };
        Self {
            requests: seconds("http.server.request.duration"),
            commits: counter("fsync.commits"),
            batch: meter
                .u64_histogram("fsync.commit.batch")
                .with_boundaries(COUNTS.to_vec())
                .build(),
            cas: seconds("fsync.journal.cas.duration"),
            multicasts: counter("fsync.refs.multicast"),
            coalesced: counter("fsync.refs.coalesced"),
            slow: counter("fsync.slow.disconnects"),
            repairs: counter("fsync.position.repairs"),
            blob_duration: seconds("fsync.blob.duration"),
            blob_bytes: meter.u64_counter("fsync.blob.bytes").build(),
            breaches: counter("fsync.breaches"),
            gc_runs: counter("fsync.gc.runs"),
            gc_objects: counter("fsync.gc.objects"),
            gc_packs: counter("fsync.gc.packs.deleted"),
        }
    }

    /// A request was answered.
    pub(crate) fn request(&self, method: &'static str, route: &str, status: u16, took: Duration) {
        let labels = [
            KeyValue::new("http.request.method", method),
            KeyValue::new("http.route", route.to_owned()),
            KeyValue::new("http.response.status_code", i64::from(status)),
        ];
        self.requests.record(took.as_secs_f64(), &labels);
    }

    /// A push ended.
    pub(crate) fn commit(&self, outcome: &'static str) {
        self.commits.add(1, &[KeyValue::new("outcome", outcome)]);
    }

    /// The journal answered a compare-and-set for so many pushes.
    pub(crate) fn cas(&self, pushes: usize, took: Duration) {
        self.batch.record(pushes as u64, &[]);
        self.cas.record(took.as_secs_f64(), &[]);
    }

    /// Listeners were told of a head.
    pub(crate) fn multicast(&self) {
        self.multicasts.add(1, &[]);
    }

    /// Newer refs replaced older ones.
    pub(crate) fn coalesced(&self, refs: u64) {
        self.coalesced.add(refs, &[]);
    }

    /// A slow reader was closed.
    pub(crate) fn slow(&self) {
        self.slow.add(1, &[]);
    }

    /// Heads were found that no wake-up brought.
    pub(crate) fn repaired(&self, heads: u64) {
        self.repairs.add(heads, &[]);
    }

    /// The blob store answered.
    pub(crate) fn blob(&self, op: BlobOp, bytes: u64, took: Duration) {
        let op = match op {
            BlobOp::Put => "put",
            BlobOp::Get => "get",
        };
        let labels = [KeyValue::new("op", op)];
        self.blob_duration.record(took.as_secs_f64(), &labels);
        self.blob_bytes.add(bytes, &labels);
    }

    /// A request broke a rule.
    pub(crate) fn breach(&self) {
        self.breaches.add(1, &[]);
    }

    /// A garbage collection ended.
    pub(crate) fn collected(&self, result: &'static str, objects: u64, packs: usize) {
        self.gc_runs.add(1, &[KeyValue::new("result", result)]);
        self.gc_objects.add(objects, &[]);
        self.gc_packs.add(packs as u64, &[]);
    }
}

/// Has the number of connections and the age of the last self-echo read when somebody asks.
pub(crate) fn observe(
    connections: impl Fn() -> usize + Send + Sync + 'static,
    echo_age: impl Fn() -> Duration + Send + Sync + 'static,
) {
    let meter = global::meter("fsync-server");
    // The provider keeps the callbacks.
    meter
        .u64_observable_gauge("fsync.connections")
        .with_callback(move |gauge| gauge.observe(connections() as u64, &[]))
        .build();
    meter
        .f64_observable_gauge("fsync.redis.selfecho.age")
        .with_unit("s")
        .with_callback(move |gauge| gauge.observe(echo_age().as_secs_f64(), &[]))
        .build();
}

#[cfg(test)]
mod tests {
    use super::TABLE;

    #[test]
    fn the_readme_has_the_table() {
        const README: &str = include_str!("../../../README.md");
        for (name, kind, says) in TABLE {
            let row = format!("| `{name}` | {kind} | {says} |");
            assert!(README.contains(&row), "README lacks: {row}");
        }
    }
}
