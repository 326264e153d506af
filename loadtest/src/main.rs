//! `loadtest`: measures the real programs from outside. See [`mod@bench`] for folders on one machine and
//! [`run`] for thousands of virtual agents.

mod bench;
mod cli;
mod compare;
mod floor;
mod forward;
mod machine;
mod process;
mod random;
mod report;
mod run;
mod stats;
mod trees;
mod usage;
mod verify;
mod watch;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
