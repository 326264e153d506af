//! The agent: keeps one folder in step with a tree on a server.
//!
//! Place: `main.rs` is its command line; the demo, `loadtest` and the tests use it as a library.

pub mod apply;
pub mod cli;
pub mod client;
pub mod commands;
pub mod control;
pub mod edits;
pub mod files;
pub mod folder;
pub mod marker;
pub mod progress;
pub mod rules;
pub mod run;
pub mod scan;
pub mod state;
pub mod trace;
pub mod trash;
pub mod watch;
