//! The system calls of an agent under attack, as `strace` sees them.

use std::fs;

use anyhow::{Context, Result};
use fsync_tests::System;
use fsync_tests::folder::write;
use fsync_tests::launch::Launch;
use fsync_tests::wait::{PATIENCE, until};

use crate::forge::{Item, Raw, dir};
use crate::server::Hostile;

/// Calls that name what they work on by a path.
const CALLS: &str = "%file";

#[test]
fn no_call_names_anything_beside_the_folder() -> Result<()> {
    let system = System::new()?;
    let log = system.path("logs").join("calls");
    let Some(traced) = Launch::traced(CALLS, &log)? else {
        return Ok(());
    };
    write(&system.path("outside"), "passwd", "root")?;
    let server = Hostile::start()?;
    let agent = system.agent_by_url(&traced, "a", (&server.url(), &[]))?;
    let evil = Raw::chunk("evil");
    let outside = system.path("outside").to_string_lossy().into_owned();
    let inside = dir(&[Item::file(b"passwd", &evil)]);
    for target in ["../outside", &outside] {
        let link = Raw::link(target.as_bytes());
        let attack = dir(&[Item::link(b"x", &link)]);
        let revision = Raw::revision(&attack, Vec::new());
        server.publish(revision, [attack, link]);
        until("the link is there", PATIENCE, || {
            Ok(fs::read_link(agent.root.join("x"))?)
        })?;
        let attack = dir(&[Item::dir(b"x", &inside)]);
        let revision = Raw::revision(&attack, Vec::new());
        server.publish(revision, [attack, inside.clone(), evil.clone()]);
        until("the file is there", PATIENCE, || {
            fs::read_link(agent.root.join("x"))
                .err()
                .context("it is a link")?;
            Ok(fs::read(agent.root.join("x/passwd"))?)
        })?;
    }
    drop(agent);
    let calls = fs::read_to_string(&log)?;
    assert!(calls.contains("renameat2"), "nothing was traced: {calls}");
    // A link's own text is no way that is gone.
    let is_text = |line: &&str| line.contains("symlinkat(") || line.contains("readlinkat(");
    let leaves = |line: &&str| line.contains(&outside) || line.contains("\"../outside");
    let breaches: Vec<_> = calls
        .lines()
        .filter(leaves)
        .filter(|l| !is_text(l))
        .collect();
    assert!(breaches.is_empty(), "{breaches:#?}");
    // Below the folder nothing is opened by a path that the kernel could follow out of it. The
    // watcher alone lists directories by their paths; it only learns where to watch.
    let root = format!("\"{}/", system.path("a").display());
    let is_harmless = |line: &&str| line.contains("/.fsync") || line.contains("O_DIRECTORY");
    let opens = |line: &&str| line.contains("openat(") && line.contains(&root);
    let breaches: Vec<_> = calls
        .lines()
        .filter(opens)
        .filter(|l| !is_harmless(l))
        .collect();
    assert!(breaches.is_empty(), "{breaches:#?}");
    assert_eq!(fs::read_to_string(system.path("outside/passwd"))?, "root");
    Ok(())
}
