//! The product under crashes: real programs that end themselves at every point where something
//! becomes durable, visible or known.
//!
//! Needs the programs with fault points; they are built once, beside the shipped ones, with
//! `cargo build --release --workspace --bin fsync-agent-faulty --bin fsync-server-faulty
//! --features fsync-agent/fault,fsync-server/fault`.

#![allow(
    clippy::print_stdout,
    reason = "the table of points is for whoever reads the test's output"
)]

mod points;
mod run;
mod story;
