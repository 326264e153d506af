//! The product as its users have it: real binaries, real folders, real sockets.
//!
//! `long` runs on real trees and takes minutes; `tests/run --quick` leaves it out.

mod bad_input;
mod buckets;
mod demo;
mod hard_cases;
mod in_step;
mod long;
mod lost;
mod odd_disks;
mod permissions;
mod replicas;
mod restarts;
mod server_power;
mod small_disk;
mod verbs;
