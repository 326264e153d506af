//! The machine of a server loses its power: what was acknowledged is there, whatever part of what the
//! server had not synced is gone.

use std::fs;

use anyhow::{Context, Result, ensure};
use fsync_tests::folder::{self, Item, write};
use fsync_tests::launch::{Kind, Launch};
use fsync_tests::process::binary;
use fsync_tests::{System, wait};

/// Losses of power, each with another part of what was not synced.
const SEEDS: u64 = 6;
/// The attribute that takes the power: see `odd_disk/habits.rs`.
const POWER: &str = "user.power";

/// Checks the data directory of a server that does not run.
fn fsck(system: &System, launch: &Launch) -> Result<()> {
    let mut command = launch.command(binary("fsync-server")?);
    command
        .arg("fsck")
        .arg("--data-dir")
        .arg(system.path("data"));
    let output = command.output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "fsck: {text}{errors}");
    Ok(())
}

/// Says whether the system allows such a disk.
fn lose_power(seed: u64) -> Result<bool> {
    let system = System::new()?;
    let Some(disk) = system.mount("data", Kind::Odd(&["--lossy"]))? else {
        return Ok(false);
    };
    let launch = disk.launch();
    let mut server = system.server_by(&launch, "127.0.0.1:0")?;
    let mut a = system.agent("a", &server)?;
    for n in 0..20 {
        write(&a.root, &format!("d{}/{n}", n % 3), format!("content {n}"))?;
    }
    write(&a.root, "large", vec![7; 3_000_000])?;
    a.flush()?;
    write(&a.root, "d0/0", "edited")?;
    fs::rename(a.root.join("d1"), a.root.join("moved"))?;
    a.flush()?;
    let acknowledged = system.path("acknowledged");
    copy(&a.root, &acknowledged)?;
    // On its way: there or not, but never half.
    for n in 0..5 {
        write(
            &a.root,
            &format!("late{n}"),
            format!("late {n}").repeat(1000),
        )?;
    }
    server.process.kill()?;
    a.process.kill()?;
    disk.set("", POWER, Some(&seed.to_string()))?;
    fsck(&system, &launch).context("right after")?;
    let mut again = system.server_by(&launch, server.address())?;
    system.once("b", &again.url, &[])?.success()?;
    for (path, item) in folder::list(&acknowledged)? {
        if matches!(item, Item::File { .. }) {
            let (was, is) = (acknowledged.join(&path), system.path("b").join(&path));
            let is = fs::read(&is).with_context(|| format!("{} is gone", path.display()))?;
            ensure!(is == fs::read(was)?, "{} is another", path.display());
        }
    }
    // Whoever knows more brings the rest, and there is no conflict about it.
    let a = system.agent("a", &again)?;
    let b = system.agent("b", &again)?;
    wait::until("a and b are the same", wait::PATIENCE, || {
        folder::same(&a.root, &b.root)
    })?;
    let is_copy = |path: &std::path::PathBuf| path.to_string_lossy().contains("conflicted");
    ensure!(!folder::list(&b.root)?.keys().any(is_copy), "a conflict");
    drop((a, b));
    ensure!(again.process.stop()?.success());
    fsck(&system, &launch).context("at the end")?;
    Ok(true)
}

fn copy(from: &std::path::Path, to: &std::path::Path) -> Result<()> {
    let all = std::process::Command::new("cp")
        .arg("-a")
        .arg(from)
        .arg(to)
        .status()?;
    ensure!(all.success(), "cp");
    fs::remove_dir_all(to.join(".fsync"))?;
    Ok(())
}

#[test]
fn a_server_that_loses_its_power_has_all_that_it_acknowledged() -> Result<()> {
    for seed in 0..SEEDS {
        if !lose_power(seed).with_context(|| format!("seed {seed}"))? {
            break;
        }
    }
    Ok(())
}
