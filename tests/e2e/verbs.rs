//! The agent's verbs on a running agent.

use std::fs;

use anyhow::{Context, Result};
use fsync_tests::folder::write;
use fsync_tests::{Agent, System, wait};
use serde_json::Value;

fn json(agent: &Agent, verb: &str, args: &[&str]) -> Result<Value> {
    let all: Vec<&str> = args.iter().copied().chain(["--json"]).collect();
    let finished = agent.verb(verb, &all)?;
    serde_json::from_str(&finished.stdout).with_context(|| format!("{finished:?}"))
}

#[test]
fn status_tells_how_the_folder_stands() -> Result<()> {
    let system = System::new()?;
    let server = system.server()?;
    let mut a = system.agent("a", &server)?;
    write(&a.root, "f", "1")?;
    a.flush()?;
    let status = json(&a, "status", &[])?;
    assert_eq!(status["state"], "in-step", "{status}");
    assert_eq!(
        (&status["tree"], &status["agent"]),
        (&"default/docs".into(), &"a".into())
    );
    assert_eq!(status["counts"]["bytes"], 1, "{status}");
    assert_eq!(status["trash"]["items"], 0, "{status}");
    write(&a.root, ".fsync/trash/99999999999999-0/d/x", "abc")?;
    let trash = &json(&a, "status", &[])?["trash"];
    assert_eq!((&trash["items"], &trash["bytes"]), (&1.into(), &3.into()));
    let text = a.verb("status", &[])?.success()?;
    assert!(
        text.contains("default/docs") && text.contains("connected"),
        "{text}"
    );
    assert!(a.process.stop()?.success());
    let stopped = json(&a, "status", &[])?;
    assert_eq!(stopped["state"], "stopped", "{stopped}");
    let unknown = ["counts", "trash", "conflicts"];
    assert!(
        unknown.iter().all(|name| stopped.get(name).is_none()),
        "{stopped}"
    );
    Ok(())
}

#[test]
fn status_names_the_trees_other_agents() -> Result<()> {
    let system = System::new()?;
    let server = system.server()?;
    let a = system.agent("a", &server)?;
    let mut b = system.agent("b", &server)?;
    write(&a.root, "f", "1")?;
    let agents = |agent: &Agent| json(agent, "status", &[]).map(|status| status["agents"].clone());
    let others = |name: &str| serde_json::json!([{"agent": name, "state": "in-step"}]);
    for (agent, other) in [(&a, "b"), (&b, "a")] {
        wait::until_true("the other is listed", wait::PATIENCE, || {
            agents(agent).is_ok_and(|agents| agents == others(other))
        })?;
    }
    let text = a.verb("status", &[])?.success()?;
    assert!(text.contains("agents     b in-step\n"), "{text}");
    assert!(b.process.stop()?.success());
    wait::until_true("who left is not listed", wait::PATIENCE, || {
        agents(&a).is_ok_and(|agents| agents == serde_json::json!([]))
    })
}

#[test]
fn history_is_listed_and_brought_back() -> Result<()> {
    let system = System::new()?;
    let server = system.server()?;
    let a = system.agent("a", &server)?;
    for text in ["one", "two"] {
        write(&a.root, "f", text)?;
        a.flush()?;
    }
    let log = json(&a, "log", &[])?;
    let items = log
        .as_array()
        .or_else(|| log["items"].as_array())
        .context("a list")?;
    assert_eq!(items.len(), 2, "{log}");
    a.verb("restore", &["--path", "f"])?.success()?;
    wait::until_true("the first version is back", wait::PATIENCE, || {
        fs::read_to_string(a.root.join("f")).is_ok_and(|text| text == "one")
    })?;
    fs::remove_file(a.root.join("f"))?;
    a.flush()?;
    a.verb("restore", &["--path", "f"])?.success()?;
    wait::until_true("the deleted file is back", wait::PATIENCE, || {
        a.root.join("f").exists()
    })
}

#[test]
fn verifying_reads_every_file() -> Result<()> {
    let system = System::new()?;
    let server = system.server()?;
    let mut a = system.agent("a", &server)?;
    write(&a.root, "d/f", "123")?;
    write(&a.root, "g", "45")?;
    std::os::unix::fs::symlink("g", a.root.join("link"))?;
    a.flush()?;
    let finished = a.verb("verify", &["--json"])?;
    let verified: Value = serde_json::from_str(&finished.stdout)?;
    let expected = serde_json::json!({
        "files": 3, "bytes": 6, "waiting": 0, "excepted": 0, "findings": [], "found": 0
    });
    assert_eq!((finished.code, verified), (Some(0), expected));
    let text = a.verb("verify", &[])?.success()?;
    assert_eq!(text.trim(), "3 files, 6 B are as recorded");
    assert!(a.process.stop()?.success());
    let finished = a.verb("verify", &[])?;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(finished.stderr.contains("no agent runs"), "{finished:?}");
    Ok(())
}

#[test]
fn conflict_copies_are_listed() -> Result<()> {
    let system = System::new()?;
    let server = system.server()?;
    write(&system.folder("a")?, "f", "a")?;
    write(&system.folder("b")?, "f", "b")?;
    system.once("a", &server.url, &[])?.success()?;
    let b = system.agent("b", &server)?;
    b.flush()?;
    let list = json(&b, "conflicts", &[])?;
    let items = list
        .as_array()
        .or_else(|| list["items"].as_array())
        .context("a list")?;
    assert_eq!(items.len(), 1, "{list}");
    assert_eq!(items[0]["path"], "f");
    Ok(())
}

/// A hold begins when more than half of the 81 files are gone: so many deletes at least are not
/// carried out then.
const HELD_LEAST: usize = 40;

/// Returns how many of the deleted files a folder has.
fn left(agent: &Agent) -> usize {
    fs::read_dir(agent.root.join("d")).map_or(0, Iterator::count)
}

/// Fills a folder, lets both be in step, and deletes everything in the first.
fn delete_all(system: &System, a: &Agent) -> Result<()> {
    for n in 0..80 {
        write(&a.root, &format!("d/{n}"), n.to_string())?;
    }
    write(&a.root, "one more", "so that the root is not empty")?;
    system.in_step("a", "b")?;
    fs::remove_dir_all(a.root.join("d"))?;
    Ok(())
}

fn until_state(agent: &Agent, state: &str) -> Result<()> {
    wait::until_true(&format!("the state is {state}"), wait::PATIENCE, || {
        json(agent, "status", &[]).is_ok_and(|status| status["state"] == state)
    })
}

#[test]
fn a_mass_delete_waits_for_approval_and_then_happens() -> Result<()> {
    let system = System::new()?;
    let server = system.server()?;
    let mut a = system.agent("a", &server)?;
    let b = system.agent("b", &server)?;
    delete_all(&system, &a)?;
    until_state(&a, "held")?;
    assert_eq!(a.verb("status", &[])?.code, Some(2));
    assert_eq!(a.verb("flush", &[])?.code, Some(2));
    write(&a.root, "other work", "goes on")?;
    wait::until_true("the rest flows", wait::PATIENCE, || {
        b.root.join("other work").exists()
    })?;
    // The other agent hears of it, and the message counts all that is held.
    wait::until_true("a is shown as held", wait::PATIENCE, || {
        json(&b, "status", &[]).is_ok_and(|status| status["agents"][0]["state"] == "held")
    })?;
    let paths = json(&a, "status", &[])?["holds"][0]["paths"].clone();
    a.process
        .line_after(&format!("held: deletes of {paths} files"), wait::PATIENCE)?;
    assert!(left(&b) >= HELD_LEAST, "{} files left", left(&b));
    assert!(
        !a.root.join("d").exists(),
        "what was deleted is not made again"
    );
    let other = a.verb("approve", &["--hold", "3"])?;
    assert_eq!(other.code, Some(1), "{other:?}");
    assert!(other.stderr.contains("there is no hold 3"), "{other:?}");
    a.verb("approve", &["--hold", "2"])?.success()?;
    system.in_step("a", "b")?;
    assert_eq!(left(&b), 0);
    Ok(())
}

#[test]
fn a_mass_delete_that_is_rejected_is_taken_back() -> Result<()> {
    let system = System::new()?;
    let server = system.server()?;
    let a = system.agent("a", &server)?;
    let b = system.agent("b", &server)?;
    delete_all(&system, &a)?;
    until_state(&a, "held")?;
    a.verb("reject", &[])?.success()?;
    wait::until_true("the files are back", wait::PATIENCE, || {
        left(&a) >= HELD_LEAST
    })?;
    system.in_step("a", "b")?;
    assert!(left(&b) >= HELD_LEAST, "{} files left", left(&b));
    Ok(())
}

#[test]
fn an_emptied_root_is_never_taken_for_a_delete() -> Result<()> {
    let system = System::new()?;
    let server = system.server()?;
    let a = system.agent("a", &server)?;
    let b = system.agent("b", &server)?;
    write(&a.root, "f", "1")?;
    system.in_step("a", "b")?;
    let away = system.path("away");
    fs::rename(&a.root, &away)?;
    fs::create_dir(&a.root)?;
    write(&b.root, "g", "2")?;
    b.flush()?;
    assert!(b.root.join("f").exists());
    assert_eq!(fs::read_dir(&a.root)?.count(), 0);
    Ok(())
}

#[test]
fn another_directory_is_the_folder_once_it_is_approved() -> Result<()> {
    let system = System::new()?;
    let server = system.server()?;
    let a = system.agent("a", &server)?;
    let b = system.agent("b", &server)?;
    write(&a.root, "kept", "1")?;
    write(&a.root, "gone", "2")?;
    system.in_step("a", "b")?;
    let away = system.path("away");
    let state = system.path("state-a");
    let state = ["--state-dir", state.to_str().context("a name in UTF-8")?];
    fs::rename(&a.root, &away)?;
    write(&a.root, "kept", "1")?;
    write(&a.root, "new", "3")?;
    let status = || Ok::<_, anyhow::Error>(a.verb("status", &state)?.stdout);
    wait::until_true("the root is held", wait::PATIENCE, || {
        status().is_ok_and(|text| text.contains("replaced by another directory"))
    })?;
    let held = status()?;
    assert!(
        held.contains(&format!("--state-dir {}", state[1])),
        "{held}"
    );
    a.verb("approve", &state)?.success()?;
    system.in_step("a", "b")?;
    assert!(b.root.join("new").exists() && !b.root.join("gone").exists());
    // From now on both ways go by the new directory.
    write(&b.root, "to a", "4")?;
    write(&a.root, "to b", "5")?;
    system.in_step("a", "b")?;
    assert!(!away.join("to a").exists());
    Ok(())
}

#[test]
fn old_trash_expires_but_a_late_write_becomes_a_conflict_copy() -> Result<()> {
    let system = System::new()?;
    let server = system.server()?;
    system.folder("a")?;
    system.once("a", &server.url, &[])?.success()?;
    let root = system.path("a");
    write(&root, ".fsync/trash/1000-0/d/old", "o")?;
    let long_ago = std::time::UNIX_EPOCH;
    let old = fs::File::options()
        .write(true)
        .open(root.join(".fsync/trash/1000-0/d/old"))?;
    old.set_modified(long_ago)?;
    write(
        &root,
        ".fsync/trash/2000-0/late.txt",
        "written after it was taken away",
    )?;
    let a = system.agent("a", &server)?;
    wait::until_true("the trash is empty", wait::PATIENCE, || {
        fs::read_dir(root.join(".fsync/trash")).is_ok_and(|mut left| left.next().is_none())
    })?;
    a.flush()?;
    let list = json(&a, "conflicts", &[])?;
    assert_eq!(list[0]["path"], "late.txt", "{list}");
    assert!(
        !root.join("d").exists(),
        "what is merely old does not come back"
    );
    Ok(())
}

#[test]
fn a_restored_revision_changes_what_differs_and_keeps_what_came_later() -> Result<()> {
    let system = System::new()?;
    let server = system.server()?;
    let a = system.agent("a", &server)?;
    write(&a.root, "same", "1")?;
    write(&a.root, "changed", "old")?;
    a.flush()?;
    let at = json(&a, "log", &[])?[0]["seq"].to_string();
    write(&a.root, "changed", "new")?;
    write(&a.root, "later", "2")?;
    a.flush()?;
    let restored = json(&a, "restore", &["--at", &at])?;
    assert_eq!(restored["changed"], 1, "{restored}");
    assert_eq!(fs::read_to_string(a.root.join("changed"))?, "old");
    assert!(a.root.join("later").exists());
    Ok(())
}

#[test]
fn a_flush_without_a_server_says_so_and_ends_at_its_timeout() -> Result<()> {
    let system = System::new()?;
    let mut server = system.server()?;
    let mut a = system.agent("a", &server)?;
    a.flush()?;
    assert!(server.process.stop()?.success());
    a.process.line_after("offline", wait::PATIENCE)?;
    let finished = a.verb("flush", &["--timeout", "3s"])?;
    assert_eq!(finished.code, Some(3), "{finished:?}");
    assert!(
        finished.stderr.contains("cannot be reached"),
        "{finished:?}"
    );
    assert!(finished.stderr.contains("--timeout"), "{finished:?}");
    Ok(())
}
