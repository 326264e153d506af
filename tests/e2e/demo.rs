//! The newcomer's one command.

use std::path::Path;

use anyhow::Result;
use fsync_tests::folder::{same, write};
use fsync_tests::process::Process;
use fsync_tests::{System, wait};

#[test]
fn the_demo_keeps_two_folders_in_step_until_it_is_stopped() -> Result<()> {
    let system = System::new()?;
    let dir = system.path("demo");
    let args = ["--dir".as_ref(), dir.as_os_str()];
    let mut demo = Process::start("fsync-demo", args, &system.path("logs"))?;
    demo.line_after("Live Sync Active", wait::PATIENCE)?;
    let (a, b) = (dir.join("folder-a"), dir.join("folder-b"));
    until_same(&a, &b)?;
    write(&a, "hello.txt", "hello")?;
    write(&b, "back.txt", "and back")?;
    wait::until_true("both files are in both", wait::PATIENCE, || {
        a.join("back.txt").exists() && b.join("hello.txt").exists()
    })?;
    until_same(&a, &b)?;
    assert!(demo.stop()?.success());
    Ok(())
}

fn until_same(a: &Path, b: &Path) -> Result<()> {
    wait::until("both folders are the same", wait::PATIENCE, || same(a, b))
}
