//! The product as its users have it: real binaries, real folders, real sockets.
//!
//! `long` runs on real trees and takes minutes; `tests/run --quick` leaves it out.

mod access;
mod bad_input;
mod buckets;
mod clocks;
mod collection;
mod demo;
mod hard_cases;
mod in_step;
mod long;
mod lost;
mod metrics;
mod mounts;
mod odd_disks;
mod own_ways;
mod permissions;
mod readers;
mod replicas;
mod restarts;
mod server_power;
mod silence;
mod small_disk;
mod twins;
mod verbs;
mod watching;
