//! Processes end in the middle, in any way: what was saved is never lost.

use std::fs;

use anyhow::Result;
use fsync_tests::folder::{self, write};
use fsync_tests::{System, wait};

#[test]
fn a_server_that_was_killed_has_all_that_it_acknowledged() -> Result<()> {
    let system = System::new()?;
    let mut server = system.server()?;
    let a = system.agent("a", &server)?;
    for n in 0..50 {
        write(&a.root, &format!("{n}"), format!("content {n}"))?;
    }
    a.flush()?;
    server.process.kill()?;
    let again = system.server_on(server.address(), &[])?;
    system.once("b", &again.url, &[])?.success()?;
    folder::same(&a.root, &system.path("b"))
}

#[test]
fn agents_come_back_by_themselves_when_the_server_does() -> Result<()> {
    let system = System::new()?;
    let mut server = system.server()?;
    let a = system.agent("a", &server)?;
    let b = system.agent("b", &server)?;
    write(&a.root, "before", "1")?;
    system.in_step("a", "b")?;
    assert!(server.process.stop()?.success());
    write(&a.root, "while it was away", "2")?;
    write(&b.root, "there too", "3")?;
    let _again = system.server_on(server.address(), &[])?;
    system.in_step("a", "b")?;
    assert_eq!(folder::list(&b.root)?.len(), 3);
    Ok(())
}

#[test]
fn an_agent_that_was_killed_goes_on_without_a_conflict_with_itself() -> Result<()> {
    let system = System::new()?;
    let server = system.server()?;
    let a = system.agent("a", &server)?;
    for n in 0..300 {
        write(&a.root, &format!("d{}/f{n}", n % 7), format!("content {n}"))?;
    }
    a.flush()?;
    for round in 0..4 {
        let mut b = system.agent("b", &server)?;
        let wanted = 20 + 60 * round;
        wait::until_true("some files are there", wait::PATIENCE, || {
            folder::list(&b.root).is_ok_and(|all| all.len() > wanted)
        })?;
        b.process.kill()?;
    }
    let _b = system.agent("b", &server)?;
    system.in_step("a", "b")?;
    let copies = folder::list(&a.root)?
        .into_keys()
        .filter(|path| path.to_string_lossy().contains("conflicted"))
        .count();
    assert_eq!(copies, 0);
    Ok(())
}

#[test]
fn a_killed_sender_sends_the_rest_later() -> Result<()> {
    let system = System::new()?;
    let server = system.server()?;
    for n in 0..500 {
        write(
            &system.folder("a")?,
            &format!("f{n}"),
            format!("content {n}"),
        )?;
    }
    let mut a = system.agent("a", &server)?;
    a.process.line(wait::PATIENCE)?;
    a.process.kill()?;
    fs::remove_file(a.root.join("f7"))?;
    write(&a.root, "f8", "edited while nobody looked")?;
    let _a = system.agent("a", &server)?;
    let _b = system.agent("b", &server)?;
    system.in_step("a", "b")?;
    assert!(!system.path("b").join("f7").exists());
    Ok(())
}

#[test]
fn a_lost_state_is_rebuilt_without_any_delete() -> Result<()> {
    let system = System::new()?;
    let server = system.server()?;
    write(&system.folder("a")?, "kept", "1")?;
    for name in ["a", "b"] {
        system.once(name, &server.url, &[])?.success()?;
    }
    fs::remove_dir_all(system.path("state-b"))?;
    write(&system.path("b"), "new", "2")?;
    for name in ["b", "a"] {
        system.once(name, &server.url, &[])?.success()?;
    }
    folder::same(&system.path("a"), &system.path("b"))?;
    assert_eq!(folder::list(&system.path("a"))?.len(), 2);
    Ok(())
}
