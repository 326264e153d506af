//! A black-box model of file synchronisation: users read, write, delete and rename on real folders,
//! a real tool keeps them in step, and only what the users saw counts.
//!
//! What a tool does in between cannot be seen. It is conjectured: at any moment a replica may send
//! a path ("up") or take one ("down"), by the rules of [`explain`]. A history that no conjecture
//! explains is a violation: a value was lost, came from nowhere, came back, or the replicas did not
//! come in step though the tool said that it was quiet.
//!
//! Guarantees: what users do follows from the seed; when it meets what the tool does is real time,
//! so a seed that failed may pass the next time. Its history is shrunk and told whole.
//! Does not: know how a tool works; a tool is a [`tool::Tool`] with five verbs.
//! Place: the bin `model` runs any tool, the test `model` this one, for a short time.
//!
//! Source: Hughes, Pierce, Arts, Norell, "Mysteries of DropBox: Property-Based Testing of a
//! Distributed Synchronization Service" (ICST 2016). Added here: deletes and renames of several
//! paths, edits that follow a rename.

pub mod explain;
pub mod fsync;
pub mod history;
pub mod http;
pub mod judge;
pub mod mirror;
pub mod rules;
pub mod run;
pub mod silent;
pub mod syncthing;
pub mod tool;
pub mod unison;
pub mod user;
