//! The agent's local control: a Unix socket in the state directory, one JSON line per request and
//! per response.
//!
//! Guarantees: only the owner of the state directory can connect; a request is at most
//! [`LINE_BYTES`] long; a client that goes away, stalls or sends nonsense harms nobody else.
//! Does not: carry out requests; it hands them to the folder's driver as [`Command`]s and sends
//! back its answers.
//! Place: `server` runs inside `sync`, `client` inside every other verb; both speak the types of
//! `protocol`.

pub mod client;
pub mod protocol;
pub mod server;
pub mod status;

pub use client::{ControlError, ask};
pub use protocol::{Failure, FailureKind, PathText, Request, Response};
pub use server::{Command, serve};
pub use status::{State, Status};

/// Longest line of either side, in bytes: a status with many exceptions fits.
pub const LINE_BYTES: u64 = 16 * 1024 * 1024;
