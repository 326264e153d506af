//! A disk that goes away under the folder, or takes no more writes.

use std::fs;

use anyhow::{Result, ensure};
use fsync_tests::System;
use fsync_tests::folder::{self, write};
use fsync_tests::launch::Kind;
use fsync_tests::wait::{PATIENCE, until};

#[test]
fn a_disk_that_is_unmounted_is_no_delete_and_goes_on_once_it_is_back() -> Result<()> {
    let system = System::new()?;
    let Some(disk) = system.mount("b", Kind::Bound)? else {
        return Ok(());
    };
    let server = system.server()?;
    let a = system.agent("a", &server)?;
    let mut b = system.agent_on(&disk, "b", &server)?;
    for n in 0..5 {
        write(&b.root, &format!("d/f{n}"), format!("content {n}"))?;
    }
    until("all is at a", PATIENCE, || folder::same(&a.root, &b.root))?;
    let before = folder::list(&a.root)?;
    disk.unmount()?;
    // What is there now is the empty directory that was mounted over.
    assert_eq!(folder::list(&b.root)?.len(), 0);
    // The marker is gone too: the state says which folder it is.
    let state = system.path("state-b");
    let state = ["--state-dir", &state.to_string_lossy()];
    let held = b.verb("flush", &[&["--timeout", "20s"][..], &state].concat())?;
    ensure!(held.code != Some(0), "{held:?}");
    b.process.line_after("held: the synced folder", PATIENCE)?;
    assert_eq!(folder::list(&a.root)?, before);
    // What others do meanwhile does not go into the empty directory.
    write(&a.root, "meanwhile", "1")?;
    a.flush()?;
    assert_eq!(b.verb("status", &state)?.code, Some(2));
    assert!(!b.root.join("meanwhile").exists());
    disk.mount_again()?;
    until("both are the same again", PATIENCE, || {
        folder::same(&a.root, &b.root)
    })?;
    assert_eq!(fs::read_to_string(b.root.join("meanwhile"))?, "1");
    assert_eq!(fs::read_to_string(a.root.join("d/f4"))?, "content 4");
    Ok(())
}

#[test]
fn a_disk_that_turns_read_only_pauses_what_comes_in_and_says_so() -> Result<()> {
    let system = System::new()?;
    let Some(disk) = system.mount("b", Kind::Odd(&[]))? else {
        return Ok(());
    };
    let server = system.server()?;
    let a = system.agent("a", &server)?;
    let mut b = system.agent_on(&disk, "b", &server)?;
    write(&a.root, "kept", "old")?;
    write(&a.root, "removed", "old")?;
    until("all is at b", PATIENCE, || folder::same(&a.root, &b.root))?;
    disk.set("", "user.readonly", Some("yes"))?;
    write(&a.root, "kept", "new")?;
    write(&a.root, "d/more", "new")?;
    fs::remove_file(a.root.join("removed"))?;
    b.process
        .line_after("paused: the disk is read-only", PATIENCE)?;
    let told: serde_json::Value = serde_json::from_str(&b.verb("status", &["--json"])?.stdout)?;
    let reason = told["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("read-only"), "{told}");
    // Nothing is taken for done, or given up: no path is blocked.
    assert_eq!(told["exceptions"].to_string(), "[]");
    assert_eq!(fs::read_to_string(b.root.join("kept"))?, "old");
    assert!(b.root.join("removed").exists());
    disk.set("", "user.readonly", None)?;
    until("both are the same again", PATIENCE, || {
        folder::same(&a.root, &b.root)
    })?;
    let told: serde_json::Value = serde_json::from_str(&b.verb("status", &["--json"])?.stdout)?;
    assert!(told["reason"].is_null(), "{told}");
    Ok(())
}
