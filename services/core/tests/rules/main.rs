//! The rules of the core as tests: one binary, one module per concept.
//!
//! Tables show what a rule says, properties that it holds everywhere; `golden` pins every encoding
//! for ever. Each module says `cfg(test)`, so that clippy allows `unwrap` in fixtures too.

#[cfg(test)]
mod bombs;
#[cfg(test)]
mod canopy;
#[cfg(test)]
mod chunk;
#[cfg(test)]
mod engine;
#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod folder;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod hub;
#[cfg(test)]
mod label;
#[cfg(test)]
mod merge;
#[cfg(test)]
mod merge_properties;
#[cfg(test)]
mod node;
#[cfg(test)]
mod pack;
#[cfg(test)]
mod path;
#[cfg(test)]
mod plan;
#[cfg(test)]
mod revision;
#[cfg(test)]
mod rights;
#[cfg(test)]
mod seek;
#[cfg(test)]
mod sketch;
#[cfg(test)]
mod strategies;
#[cfg(test)]
mod tree;
