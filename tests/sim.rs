//! The seeded simulator: the product's own folders, states and service in virtual time, over
//! simulated disks and network.
//!
//! Guarantees: everything follows from the seed; the same seed gives the same log. Only the world
//! is simulated: scan, apply, engine, merge, commits and subscriptions are the code that agents and
//! servers run.
//! Does not: simulate Socket.IO or HTTP; a request is a message that may be lost on its way there
//! or back.
//! Place: the bin `sim` runs many seeds, the test `sim` a fixed number and all regressions.
//!
//! ```text
//! hand (user) -> volume -> watcher --Change--> agent: Folder over SimFiles and a State that crashes
//!                                                  |  ^ messages: delay, loss, doubles, disorder
//!                                                  v  |
//!                                              server: service over a Ledger
//! ```

pub mod acts;
pub mod audit;
pub mod backend;
pub mod check;
pub mod event;
pub mod files;
pub mod follow;
pub mod hand;
pub mod inodes;
pub mod kept;
pub mod log;
pub mod machine;
pub mod net;
pub mod replicas;
pub mod rng;
pub mod run;
pub mod server;
pub mod site;
pub mod tape;
pub mod volume;
pub mod ways;
pub mod world;
