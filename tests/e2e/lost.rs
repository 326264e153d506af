//! The server loses what it stored: agents that have it send it again, and until one does, all else
//! goes on.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use fsync_tests::folder::{self, noise, write};
use fsync_tests::{Agent, Server, System, wait};
use serde_json::Value;

/// Returns the pack files of the server's store.
fn packs(system: &System) -> Result<Vec<PathBuf>> {
    let root = system.path("data/blobs/packs");
    let is_pack = |path: &PathBuf| path.is_file();
    let all = folder::list(&root)?.into_keys();
    Ok(all.map(|path| root.join(path)).filter(is_pack).collect())
}

/// Stops the server, harms its packs, and starts it again where agents look for it.
fn harm(system: &System, server: &mut Server, harm: fn(&Path) -> Result<()>) -> Result<Server> {
    server.process.stop()?;
    let packs = packs(system)?;
    assert!(!packs.is_empty(), "nothing is in a pack");
    packs.iter().try_for_each(|pack| harm(pack))?;
    system.server_on(server.address(), &[])
}

fn remove(pack: &Path) -> Result<()> {
    Ok(fs::remove_file(pack)?)
}

fn corrupt(pack: &Path) -> Result<()> {
    let mut bytes = fs::read(pack)?;
    bytes.iter_mut().step_by(64).for_each(|byte| *byte ^= 0x55);
    Ok(fs::write(pack, bytes)?)
}

fn cut_short(pack: &Path) -> Result<()> {
    let bytes = fs::read(pack)?;
    let half = bytes.get(..bytes.len() / 2).context("half of it")?;
    Ok(fs::write(pack, half)?)
}

/// Two agents in step; packs are harmed; a third agent gets everything from the two.
fn comes_back(how: fn(&Path) -> Result<()>) -> Result<()> {
    let system = System::new()?;
    let mut server = system.server()?;
    let root = system.folder("a")?;
    write(&root, "large", noise(1, 3_000_000))?;
    for n in 0..40 {
        write(&root, &format!("d{}/f{n}", n % 3), noise(100 + n, 9_000))?;
    }
    let a = system.agent("a", &server)?;
    a.flush()?;
    let _b = system.agent("b", &server)?;
    write(&a.root, "small, kept in the journal", "text")?;
    system.in_step("a", "b")?;
    a.flush()?;
    let server = harm(&system, &mut server, how)?;
    let c = system.agent("c", &server)?;
    system.in_step("a", "c")?;
    c.flush()?;
    // What was sent again is stored for good.
    system.once("d", &server.url, &[])?.success()?;
    folder::same(&system.path("a"), &system.path("d"))
}

#[test]
fn packs_that_are_gone_come_back_from_agents() -> Result<()> {
    comes_back(remove)
}

#[test]
fn packs_that_rotted_come_back_from_agents() -> Result<()> {
    comes_back(corrupt)
}

#[test]
fn packs_that_were_cut_short_come_back_from_agents() -> Result<()> {
    comes_back(cut_short)
}

fn status(agent: &Agent) -> Result<Value> {
    let finished = agent.verb("status", &["--json"])?;
    serde_json::from_str(&finished.stdout).with_context(|| format!("{finished:?}"))
}

/// Spoils the stored content of `lost.bin`, and nothing else.
fn spoil_one(pack: &Path) -> Result<()> {
    let mut bytes = fs::read(pack)?;
    let start = noise(7, 64);
    if let Some(at) = bytes.windows(64).position(|window| window == start) {
        bytes[at] ^= 1;
    }
    Ok(fs::write(pack, bytes)?)
}

#[test]
fn what_nobody_has_is_named_and_all_else_goes_on() -> Result<()> {
    let system = System::new()?;
    let mut server = system.server()?;
    let root = system.folder("a")?;
    write(&root, "lost.bin", noise(7, 50_000))?;
    write(&root, "large", noise(8, 1_000_000))?;
    write(&root, "small", "text")?;
    let mut a = system.agent("a", &server)?;
    a.flush()?;
    assert!(a.process.stop()?.success());
    let server = harm(&system, &mut server, spoil_one)?;
    let mut c = system.agent("c", &server)?;
    c.process.line_after(
        "the service has lost the contents of lost.bin",
        wait::PATIENCE,
    )?;
    let reason = status(&c)?["reason"].to_string();
    assert!(reason.contains("lost.bin"), "{reason}");
    wait::until_true("the rest is there", wait::PATIENCE, || {
        c.root.join("large").exists() && c.root.join("small").exists()
    })?;
    assert!(!c.root.join("lost.bin").exists());
    write(&c.root, "from c", "goes on")?;
    // Who cannot wait is told, and has the rest.
    let once = system.once("d", &server.url, &[])?;
    assert_eq!(once.code, Some(1), "{once:?}");
    assert!(once.stderr.contains("lost.bin"), "{once:?}");
    assert!(system.path("d/large").exists() && !system.path("d/lost.bin").exists());
    // The agent that has it comes back: it gets what is new, and sends what was lost.
    let _a = system.agent("a", &server)?;
    system.in_step("a", "c")?;
    assert!(c.root.join("lost.bin").exists() && root.join("from c").exists());
    c.flush()?;
    assert_eq!(status(&c)?["reason"], Value::Null);
    Ok(())
}
