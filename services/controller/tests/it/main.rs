//! Reconciles, against an API server of the tests and a server's admin API of the tests: what is
//! asked of whom, in which order, whatever they answer.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on may end where it stands"
)]

mod admin;
mod api;
mod tokens;
mod trees;
