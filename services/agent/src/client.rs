//! The agent's side of the network: contents over HTTP, control over Socket.IO.
//!
//! Guarantees: what comes back was verified (hashes, lengths, limits) before a caller sees it; each
//! error says by its class what the caller must do. Does not: decide what to send or fetch, keep
//! state, or retry by itself (the socket's reconnecting apart); the folder's driver does.
//! Place: used by the folder driver, the command line and the load test; knows only core and
//! runtime.

pub mod backoff;
pub mod error;
pub mod http;
pub mod packs;
pub mod server_url;
pub mod socket;
pub mod token;
pub mod transfer;

pub use error::{ClientError, NextStep};
pub use http::Http;
pub use packs::{PackStream, Wanted};
pub use server_url::{ServerUrl, UrlError};
pub use socket::{Socket, SocketEvent};
pub use token::{Token, TokenError, TokenSource};
