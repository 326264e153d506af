//! `loadtest`: measures the real programs from outside. See [`bench`].

mod bench;
mod cli;
mod floor;
mod forward;
mod machine;
mod process;
mod random;
mod report;
mod stats;
mod trees;
mod usage;
mod verify;
mod watch;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
