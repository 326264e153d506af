//! The disk side on a real folder: scan, apply, recovery, trash, large files, state.

mod apply;
mod fixture;
mod large;
mod scan;
mod state;
