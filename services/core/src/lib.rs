//! The heart of fsync: data model, merge, planner, sync engine and service logic, all of it pure.
//!
//! Guarantees: no I/O, no async, no clock, no randomness (`clippy.toml` holds the line), so agents,
//! replicas and the simulator run the very same code and one input always gives one output.
//! Place: every other package builds on this one; it knows none of them.
//!
//! Words, used alike in code, metrics, logs and documents: *tree* (a shared folder on the service),
//! *chunk*, *node*, *object* (chunk or node), *revision* and its hash, the *ref*; *head* (epoch,
//! seq, ref), *base*, *synced tree*, *exception*, *replica*, *pack*, *conflict copy*, *hold*.

pub mod admin;
pub mod cbor;
pub mod changed;
pub mod chunk;
pub mod clock;
pub mod compare;
pub mod conflict;
pub mod engine;
pub mod exception;
pub mod filelist;
pub mod hints;
pub mod id;
pub mod label;
pub mod limits;
pub mod merge;
pub mod mutant;
pub mod node;
pub mod nodes;
pub mod pack;
pub mod path;
pub mod plan;
pub mod revision;
pub mod rights;
pub mod seek;
pub mod service;
pub mod split;
pub mod trace;
pub mod tree;
pub mod wire;
