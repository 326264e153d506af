//! The demo's binary: everything is in [`fsync_demo`].

use std::process::ExitCode;

fn main() -> ExitCode {
    fsync_demo::main()
}
