//! The server from outside: real requests and sockets against a server on a free port.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on may end where it stands"
)]

mod admin;
mod agent;
mod auth;
mod blobs;
mod bus;
mod checkpoints;
mod contract;
mod door;
mod drain;
mod flood;
mod fsck;
mod gc;
mod hostile;
mod http;
mod redis;
mod s3;
mod socket;
mod tls;
