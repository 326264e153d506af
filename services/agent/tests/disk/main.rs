//! The disk side on a real folder: scan, apply, recovery, trash, large files, state.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on may end where it stands"
)]

mod apply;
mod containment;
mod engines;
mod fixture;
mod holds;
mod large;
mod moves;
mod recovery;
mod scan;
mod state;
