//! The service: agents push to it, it merges, remembers and tells the others; one process, one
//! port, no dependency; or one of several replicas that share a Redis and a blob store.
//!
//! ```text
//! socket.rs  http/*          Socket.IO (control) and HTTP (contents)
//!      \      /
//!      tree.rs               drives core's commit machine, one task per busy tree
//!         |      \
//!         |     bus.rs       wakes other replicas; follow.rs hears them
//!      store.rs              objects by id, verified; decoded nodes cached
//!      /      \
//! journal.rs  blobs.rs       what must be remembered | contents in packs
//!      ^      ^
//!   packer.rs, gc.rs          move small objects into packs | drop what nothing reaches
//!   fsck.rs                   checks all of it, as a verb
//! ```
//!
//! Guarantees: durable, then visible, then advertised; everything is keyed by tenant.
//! Place: [`Server::start`] is used by the binary, the demo and tests.

pub mod access_log;
pub mod app;
pub mod auth;
pub mod blobs;
pub mod bus;
pub mod checkpoint;
pub mod cli;
mod clock;
pub mod cluster;
pub mod config;
pub mod drain;
pub mod follow;
pub mod fsck;
pub mod gc;
pub mod http;
pub mod journal;
pub mod limits;
pub mod listen;
pub mod metrics;
pub mod packer;
pub mod policies;
pub mod rates;
pub mod redis;
mod revoke;
pub mod socket;
pub mod store;
pub mod tree;

pub use app::{Server, StartError, run};
pub use config::Config;
