//! The arrows of the architecture, read from manifests and sources: who may depend on whom, who may
//! name what.
//!
//! A breach is an architecture decision: change the code, or change the table here together with
//! ARCHITECTURE.md.

mod arrows;
mod sources;
