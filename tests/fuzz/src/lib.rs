//! What several targets share.

pub mod bytes;
pub mod file;
pub mod forge;
pub mod journal;
pub mod mend;
pub mod shape;
