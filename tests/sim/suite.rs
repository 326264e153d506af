//! The simulator's own tests.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on may end where it stands, and says where that is"
)]

mod contract;
mod power;
mod regressions;
mod unusable;
mod verify;
