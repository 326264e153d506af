//! A disk with odd habits, for tests: a FUSE file system that passes everything through to a
//! directory, but for what its flags say.
//!
//! `odd-disk BACKING MOUNT [flags]` mounts, prints `mounted`, and serves until it is ended. It is
//! started in a mount namespace of its own (`tests/mounts.rs`), so that nobody else sees the mount
//! and it goes with its process.
//! Does not: check permissions, or keep anything but what the backing directory keeps. Inode numbers
//! are its own and begin anew with each start, as on many such file systems.

mod disk;
mod habits;
mod inodes;
mod losses;
mod serve;

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Parser;

use disk::Disk;
use habits::Habits;

#[derive(Debug, Parser)]
struct Args {
    /// Where everything is really kept
    backing: PathBuf,
    /// Where it is mounted
    mount: PathBuf,
    #[command(flatten)]
    habits: Habits,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let disk = Disk::open(&args.backing, args.habits)?;
    let mut config = fuser::Config::default();
    config.mount_options = vec![fuser::MountOption::FSName("odd-disk".to_owned())];
    let session = fuser::spawn_mount(disk, &args.mount, &config)
        .with_context(|| format!("mounting at {}", args.mount.display()))?;
    writeln!(std::io::stdout(), "mounted")?;
    session.join().context("serving the mount")
}
