//! The simulator's own tests.

mod contract;
