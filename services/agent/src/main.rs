//! The agent's binary: everything is in [`fsync_agent::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    fsync_agent::cli::main()
}
