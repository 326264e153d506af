//! What every fsync process needs whatever it does: orderly ends, logs, the TLS provider, shared
//! flags, traces, the admin port, and the crash tests' fault points.
//!
//! Guarantees: tasks start in [`shutdown`] only, so that every process can end all of them; logs go
//! to stderr only, so that stdout stays the contract of each binary.
//! Does not: know anything about trees or sync; `fsync-core` and this package do not know one
//! another.
//! Place: used by server, agent, demo, load test and tests.

#[cfg(feature = "admin")]
pub mod admin;
pub mod args;
pub mod crypto;
pub mod fault;
pub mod metrics;
pub mod shutdown;
pub mod telemetry;
pub mod trace;

pub use args::{LogArgs, LogFormat, duration};
pub use shutdown::Shutdown;
#[doc(hidden)]
pub use tracing;
