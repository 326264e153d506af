//! A clock that jumps under a running agent, by years, both ways.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use fsync_tests::folder::write;
use fsync_tests::wait::{PATIENCE, until};
use fsync_tests::{Agent, System};

/// Where Debian's `libfaketime` is; other systems have it elsewhere.
const LIBRARIES: [&str; 3] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/faketime/libfaketimeMT.so.1",
];

fn library() -> Result<Option<&'static str>> {
    let found = LIBRARIES.into_iter().find(|path| Path::new(path).exists());
    if found.is_none() {
        writeln!(
            std::io::stderr(),
            "left out: there is no libfaketime to move a clock with"
        )?;
    }
    Ok(found)
}

/// Starts an agent whose clock a file says.
fn agent_by_clock(system: &System, url: &str, (library, clock): (&str, &PathBuf)) -> Result<Agent> {
    fs::write(clock, "+0")?;
    let environment = [
        ("LD_PRELOAD", library),
        ("FAKETIME_TIMESTAMP_FILE", &clock.to_string_lossy()),
        ("FAKETIME_NO_CACHE", "1"),
        // Waiting is by the other clock, which does not jump.
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ("NO_FAKE_STAT", "1"),
    ];
    let mut agent = system.launch_agent("a", url, &[], &environment)?;
    agent.process.line_after("connected to ", PATIENCE)?;
    Ok(agent)
}

#[test]
fn a_clock_that_jumps_hides_no_edit_and_stops_nothing() -> Result<()> {
    let Some(library) = library()? else {
        return Ok(());
    };
    let system = System::new()?;
    let server = system.server()?;
    let clock = system.path("clock");
    let mut a = agent_by_clock(&system, &server.url, (library, &clock))?;
    let b = system.agent("b", &server)?;
    write(&a.root, "from a", "0")?;
    system.in_step("a", "b")?;
    for (round, jump) in ["+3y", "-10y", "+0", "+1d", "-1h", "+80y"]
        .into_iter()
        .enumerate()
    {
        fs::write(&clock, jump)?;
        // Edits of the same length both ways, and a removal that is no ghost.
        for (from, to, name) in [(&a, &b, "from a"), (&b, &a, "from b")] {
            let text = format!("{round} with {jump:>4}");
            write(&from.root, name, &text)?;
            until(&format!("{name} is {text}"), PATIENCE, || {
                let found = fs::read_to_string(to.root.join(name))?;
                ensure!(found == text, "it is {found}");
                Ok(())
            })?;
        }
        fs::remove_file(b.root.join("from b"))?;
        until("it is gone at a", PATIENCE, || {
            ensure!(!a.root.join("from b").exists(), "still there");
            Ok(())
        })?;
        ensure!(a.process.is_running()?, "the agent has ended after {jump}");
    }
    a.flush()?;
    let said = a.process.stderr();
    ensure!(!said.contains("panicked"), "{said}");
    Ok(())
}
