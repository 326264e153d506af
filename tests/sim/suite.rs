//! The simulator's own tests.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on may end where it stands"
)]

mod contract;
