//! Changes that no event tells of: they are found, and `status` says how.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fsync_tests::folder::write;
use fsync_tests::launch::{Kind, Launch};
use fsync_tests::process::run_command;
use fsync_tests::wait::{PATIENCE, until};
use fsync_tests::{Agent, System};

/// How long a look at everything may be away: a minute, and the look.
const NEXT_LOOK: Duration = Duration::from_secs(100);

fn watching(agent: &Agent) -> Result<serde_json::Value> {
    let status: serde_json::Value =
        serde_json::from_str(&agent.verb("status", &["--json"])?.stdout)?;
    Ok(status["watching"].clone())
}

#[test]
fn a_disk_that_tells_of_no_changes_is_looked_at_every_minute() -> Result<()> {
    let system = System::new()?;
    let Some(disk) = system.mount("b", Kind::Odd(&[]))? else {
        return Ok(());
    };
    let server = system.server()?;
    let a = system.agent("a", &server)?;
    let b = system.agent_on(&disk, "b", &server)?;
    write(&b.root, "seen", "1")?;
    until("seen is at a", NEXT_LOOK, || {
        Ok(fs::read(a.root.join("seen"))?)
    })?;
    let told = watching(&b)?;
    let polled = told["polled"].as_str().context("it is polled")?;
    assert!(
        polled.contains("FUSE") && polled.contains("every 60 s"),
        "{polled}"
    );
    assert!(watching(&a)?["polled"].is_null());
    let shown = b.verb("status", &[])?.success()?;
    assert!(shown.contains("watching   FUSE does not tell"), "{shown}");
    // As another machine would: below the mount, so that no event is raised.
    write(&disk.backing(), "unseen", "2")?;
    // However busy the folder is meanwhile.
    let mut number = 0;
    until("unseen is at a", NEXT_LOOK, || {
        number += 1;
        write(&b.root, "busy", number.to_string())?;
        Ok(fs::read(a.root.join("unseen"))?)
    })?;
    Ok(())
}

#[test]
fn what_is_not_watched_is_found_within_a_minute() -> Result<()> {
    let system = System::new()?;
    let Some(few) = Launch::with_watches(10)? else {
        return Ok(());
    };
    let server = system.server()?;
    let root = system.folder("a")?;
    for n in 0..30 {
        write(&root, &format!("d{n}/f"), "old")?;
    }
    let a = system.agent_by(&few, "a", &server, &[])?;
    let b = system.agent("b", &server)?;
    system.in_step("a", "b")?;
    let polled = watching(&a)?["polled"].to_string();
    assert!(
        polled.contains("sysctl fs.inotify.max_user_watches"),
        "{polled}"
    );
    for n in 0..30 {
        write(&root, &format!("d{n}/f"), "new")?;
    }
    until("all are new at b", NEXT_LOOK, || {
        for n in 0..30 {
            let found = fs::read_to_string(b.root.join(format!("d{n}/f")))?;
            ensure!(found == "new", "d{n}: {found}");
        }
        Ok(())
    })
}

#[test]
fn events_that_were_lost_are_counted() -> Result<()> {
    let system = System::new()?;
    let server = system.server()?;
    let a = system.agent("a", &server)?;
    assert_eq!(watching(&a)?["overflows"], 0);
    let most = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events")?;
    let most: usize = most.trim().parse()?;
    a.process.signal(rustix::process::Signal::STOP)?;
    // Twice as many as fit: what was read before the stop took effect does not count.
    for round in 0..=most {
        for name in ["x", "y"] {
            write(&a.root, name, round.to_string())?;
        }
    }
    a.process.signal(rustix::process::Signal::CONT)?;
    a.flush()?;
    // The word of it stands behind all events that did fit.
    until("the overflow is counted", PATIENCE, || {
        let told = watching(&a)?;
        ensure!(told["overflows"].as_u64() >= Some(1), "{told}");
        Ok(())
    })?;
    let shown = a.verb("status", &[])?.success()?;
    assert!(shown.contains("overflows"), "{shown}");
    Ok(())
}

/// Writes into a file through a mapping: nothing is opened for writing, no event is raised.
const MAPPED: &str = "import mmap, sys
f = open(sys.argv[1], 'r+b')
m = mmap.mmap(f.fileno(), 0)
m[0:3] = b'new'
m.flush()
print('written', flush=True)
sys.stdin.read()
";

#[test]
fn what_is_written_through_a_mapping_is_found_by_the_next_look() -> Result<()> {
    let system = System::new()?;
    let server = system.server()?;
    let (a, b) = (system.agent("a", &server)?, system.agent("b", &server)?);
    write(&a.root, "mapped", "old content")?;
    system.in_step("a", "b")?;
    let mut python = Command::new("python3");
    if !python
        .arg("--version")
        .output()
        .is_ok_and(|o| o.status.success())
    {
        writeln!(
            std::io::stderr(),
            "left out: there is no python3 to map a file with"
        )?;
        return Ok(());
    }
    // The mapping is open, so nothing but the write itself can be noticed.
    let mut writer = Command::new("python3");
    writer.args(["-c", MAPPED]).arg(a.root.join("mapped"));
    writer.stdin(Stdio::null());
    assert!(
        run_command("python3", writer)?
            .success()?
            .contains("written")
    );
    a.flush()?;
    until("the new content is at b", NEXT_LOOK, || {
        let found = fs::read_to_string(b.root.join("mapped"))?;
        ensure!(found == "new content", "{found}");
        Ok(())
    })
}
