//! The controller: keeps trees and tokens of an fsync service as objects of Kubernetes say.
//!
//! ```text
//!  SyncTree, AgentToken --watch--> reconcile --admin API--> server
//!        ^                            |
//!        +---- status, events --------+--> Secret (token, server URL)
//! ```
//! Guarantees: it holds no Redis, no bucket and no signing key: whatever it wants it asks of the
//! server's admin API (`core/admin.rs`); it acts only while it holds its Lease; an object that is
//! not valid gets a condition and an event and harms no other; no token and no credential is ever
//! logged.
//! Does not: make the kinds (the chart `fsync-crds` does), or do anything where they are missing.
//! Place: `app.rs` has the wiring, [`tree`] and [`token`] what is done for one object; in each
//! `desired.rs` is pure.

pub mod app;
pub mod cli;
pub mod condition;
pub mod context;
pub mod crd;
mod gc;
mod go_duration;
mod kinds;
pub mod lease;
pub mod metrics;
pub mod pace;
pub mod server;
pub mod token;
pub mod tree;
mod unreadable;
