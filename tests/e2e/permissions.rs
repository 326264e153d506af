//! What the agent may not read or write, as a plain user: nothing is taken for deleted, all else
//! goes on, and it is told.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::Result;
use fsync_tests::folder::write;
use fsync_tests::launch::Launch;
use fsync_tests::wait::{PATIENCE, until};
use fsync_tests::{Agent, System};

fn set_mode(path: &Path, mode: u32) -> Result<()> {
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(mode))?)
}

/// Waits until `status` names a path and a reason.
fn until_told(agent: &Agent, words: &[&str]) -> Result<()> {
    until("status tells of it", PATIENCE, || {
        let text = agent.verb("status", &[])?.stdout;
        let is_told = words.iter().all(|word| text.contains(word));
        is_told.then_some(()).ok_or_else(|| anyhow::anyhow!(text))
    })
}

#[test]
fn what_may_not_be_read_is_no_delete_and_all_else_goes_on() -> Result<()> {
    let system = System::new()?;
    let server = system.server()?;
    let a = system.agent_by(&Launch::as_plain_user(), "a", &server, &[])?;
    let b = system.agent("b", &server)?;
    write(&a.root, "secret", "1")?;
    write(&a.root, "dir/file", "2")?;
    system.in_step("a", "b")?;
    write(&a.root, "secret", "edited, then closed")?;
    set_mode(&a.root.join("secret"), 0o000)?;
    set_mode(&a.root.join("dir"), 0o000)?;
    write(&a.root, "other", "goes on")?;
    a.flush()?;
    b.flush()?;
    until_told(&a, &["secret: cannot be read", "dir: cannot be read"])?;
    assert!(b.root.join("secret").exists());
    assert_eq!(fs::read_to_string(b.root.join("dir/file"))?, "2");
    assert_eq!(fs::read_to_string(b.root.join("other"))?, "goes on");
    set_mode(&a.root.join("dir"), 0o755)?;
    set_mode(&a.root.join("secret"), 0o644)?;
    system.in_step("a", "b")
}

#[test]
fn what_may_not_be_written_is_blocked_and_named_and_all_else_goes_on() -> Result<()> {
    let system = System::new()?;
    let server = system.server()?;
    let a = system.agent("a", &server)?;
    let b = system.agent_by(&Launch::as_plain_user(), "b", &server, &[])?;
    write(&a.root, "closed/file", "old")?;
    write(&a.root, "read-only", "old")?;
    system.in_step("a", "b")?;
    set_mode(&b.root.join("closed"), 0o555)?;
    set_mode(&b.root.join("read-only"), 0o444)?;
    write(&a.root, "closed/file", "new")?;
    write(&a.root, "closed/further", "new")?;
    write(&a.root, "read-only", "new")?;
    a.flush()?;
    until_told(&b, &["closed/file: blocked", "closed/further: blocked"])?;
    assert_eq!(fs::read_to_string(b.root.join("closed/file"))?, "old");
    // A file is replaced, not written: its permissions stay.
    until("the file is replaced", PATIENCE, || {
        let text = fs::read_to_string(b.root.join("read-only"))?;
        anyhow::ensure!(text == "new", text);
        Ok(())
    })?;
    let mode = fs::metadata(b.root.join("read-only"))?.permissions().mode();
    assert_eq!(mode & 0o777, 0o444);
    // What is blocked here is gone for nobody.
    a.flush()?;
    assert_eq!(fs::read_to_string(a.root.join("closed/further"))?, "new");
    // Once it may be written the agent goes on by itself.
    set_mode(&b.root.join("closed"), 0o755)?;
    system.in_step("a", "b")
}

#[test]
fn what_is_blocked_follows_the_head_and_stays_an_edit_if_it_is_one() -> Result<()> {
    let system = System::new()?;
    let server = system.server()?;
    let a = system.agent("a", &server)?;
    let b = system.agent_by(&Launch::as_plain_user(), "b", &server, &[])?;
    for name in ["changed twice", "removed", "edited here"] {
        write(&a.root, &format!("closed/{name}"), "old")?;
    }
    system.in_step("a", "b")?;
    set_mode(&b.root.join("closed"), 0o555)?;
    write(&a.root, "closed/changed twice", "second")?;
    write(&a.root, "closed/edited here", "second")?;
    fs::remove_file(a.root.join("closed/removed"))?;
    a.flush()?;
    until_told(
        &b,
        &[
            "closed/changed twice: blocked",
            "closed/edited here: blocked",
        ],
    )?;
    write(&a.root, "closed/changed twice", "third")?;
    // The directory may not be changed, but what is in it may be written.
    write(&b.root, "closed/edited here", "by b")?;
    a.flush()?;
    b.flush()?;
    set_mode(&b.root.join("closed"), 0o755)?;
    system.in_step("a", "b")?;
    assert_eq!(
        fs::read_to_string(b.root.join("closed/changed twice"))?,
        "third"
    );
    assert!(!b.root.join("closed/removed").exists());
    let all = fs::read_dir(a.root.join("closed"))?;
    let mut texts = Vec::new();
    for entry in all {
        texts.push(fs::read_to_string(entry?.path())?);
    }
    texts.sort();
    assert_eq!(texts, ["by b", "second", "third"], "both versions are kept");
    Ok(())
}
