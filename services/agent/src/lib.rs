//! The agent: keeps one folder in step with a tree on a server.

pub mod client;
