//! What tests of the whole system need: real processes, real folders, comparison and waiting.
//!
//! Guarantees: processes are started from this build's target directory, on free ports, in
//! temporary directories, and end by their process id with the value that started them; nothing
//! here sleeps to let something happen, [`wait::until`] asks until it has.
//! Does not: know the product's packages; it drives the binaries as a user does. [`sim`] alone runs
//! the product's own code, in virtual time.
//! Place: used by `e2e` and by the load test's own checks.

pub mod folder;
pub mod ingress;
pub mod launch;
pub mod model;
pub mod otlp;
pub mod process;
pub mod proxy;
pub mod redis;
pub mod s3;
pub mod seed;
pub mod sim;
pub mod system;
pub mod wait;

pub use system::{Agent, Server, System};
