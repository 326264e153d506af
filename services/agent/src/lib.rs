//! The agent: keeps one folder in step with a tree on a server.

pub mod cli;
pub mod client;
pub mod commands;
pub mod control;
pub mod edits;
pub mod files;
pub mod marker;
pub mod progress;
pub mod rules;
pub mod run;
pub mod scan;
pub mod state;
