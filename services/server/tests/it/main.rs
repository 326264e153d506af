//! The server from outside: real requests and sockets against a server on a free port.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on may end where it stands"
)]

mod agent;
mod blobs;
mod bus;
mod checkpoints;
mod contract;
mod drain;
mod fsck;
mod gc;
mod http;
mod redis;
mod s3;
mod socket;
