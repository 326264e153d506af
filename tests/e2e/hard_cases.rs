//! Cases that break other tools, each with real agents on real disks.

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use fsync_tests::folder::{self, link, write};
use fsync_tests::launch::Launch;
use fsync_tests::process::run;
use fsync_tests::wait::{PATIENCE, until, until_true};
use fsync_tests::{Agent, Server, System};
use rustix::process::Signal;
use serde_json::Value;

fn json(agent: &Agent, verb: &str) -> Result<Value> {
    let finished = agent.verb(verb, &["--json"])?;
    serde_json::from_str(&finished.stdout).with_context(|| format!("{finished:?}"))
}

/// Returns how many revisions the tree has.
fn revisions(agent: &Agent) -> Result<u64> {
    let status = json(agent, "status")?;
    Ok(status["head"]["seq"].as_u64().unwrap_or(0))
}

/// Waits until a file has a text.
fn until_text(agent: &Agent, path: &str, text: &str) -> Result<()> {
    until(&format!("{path} is {text:?}"), PATIENCE, || {
        let found = fs::read_to_string(agent.root.join(path))?;
        ensure!(found == text, "it is {found:?}");
        Ok(())
    })
}

#[test]
fn what_moves_into_or_out_of_what_is_ignored_is_kept_on_this_disk() -> Result<()> {
    let system = System::new()?;
    let server = system.server()?;
    let (a, b) = (system.agent("a", &server)?, system.agent("b", &server)?);
    write(&a.root, ".fsyncignore", "build/\n")?;
    write(&a.root, "build/out", "made here")?;
    write(&a.root, "shared", "text")?;
    write(&a.root, "dir/shared too", "text")?;
    a.flush()?;
    b.flush()?;
    // Out of it: created. Into it: gone for the others, not from this disk.
    fs::rename(a.root.join("build/out"), a.root.join("out"))?;
    fs::rename(a.root.join("shared"), a.root.join("build/shared"))?;
    fs::rename(a.root.join("dir"), a.root.join("build/dir"))?;
    until_text(&b, "out", "made here")?;
    until_true("what was moved away is gone at b", PATIENCE, || {
        !b.root.join("shared").exists() && !b.root.join("dir").exists()
    })?;
    b.flush()?;
    assert!(!b.root.join("build").exists());
    for name in ["build/shared", "build/dir/shared too"] {
        assert_eq!(fs::read_to_string(a.root.join(name))?, "text");
    }
    Ok(())
}

#[test]
fn a_loop_of_links_is_text_like_any_link() -> Result<()> {
    let system = System::new()?;
    let server = system.server()?;
    let a = system.agent("a", &server)?;
    let _b = system.agent("b", &server)?;
    link(&a.root, "one", "two")?;
    link(&a.root, "two", "one")?;
    link(&a.root, "itself", "itself")?;
    link(&a.root, "dir/up", "..")?;
    write(&a.root, "dir/file", "1")?;
    system.in_step("a", "b")
}

#[test]
fn hard_links_are_files_of_their_own_to_others() -> Result<()> {
    let system = System::new()?;
    let server = system.server()?;
    let (a, b) = (system.agent("a", &server)?, system.agent("b", &server)?);
    write(&a.root, "one", "first")?;
    fs::hard_link(a.root.join("one"), a.root.join("two"))?;
    system.in_step("a", "b")?;
    assert_eq!(fs::metadata(b.root.join("one"))?.nlink(), 1);
    // Written through one name, it is another content under both.
    write(&a.root, "one", "second")?;
    a.flush()?;
    until_text(&b, "one", "second")?;
    until_text(&b, "two", "second")?;
    // What comes from elsewhere is put under its own name alone.
    write(&b.root, "two", "third")?;
    until_text(&a, "two", "third")?;
    assert_eq!(fs::read_to_string(a.root.join("one"))?, "second");
    Ok(())
}

#[test]
fn one_save_of_an_editor_is_one_revision() -> Result<()> {
    let system = System::new()?;
    let server = system.server()?;
    let (a, b) = (system.agent("a", &server)?, system.agent("b", &server)?);
    write(&a.root, "notes.txt", "version 0")?;
    system.in_step("a", "b")?;
    let saves: [fn(&Agent, &str) -> Result<()>; 4] = [vim, emacs, jetbrains, truncating];
    for (number, save) in (1..).zip(saves) {
        // A busy machine can stop the editor in the middle of a save for longer than an agent
        // waits, and then the half of it is a revision: but not three times in a row.
        let mut made = Vec::new();
        while made.len() < 3 && made.last() != Some(&1) {
            let before = revisions(&a)?;
            let text = format!("version {number}.{}", made.len());
            save(&a, &text)?;
            a.flush()?;
            until_text(&b, "notes.txt", &text)?;
            made.push(revisions(&a)? - before);
        }
        assert_eq!(made.last(), Some(&1), "save {number}: {made:?}");
        let names: Vec<_> = folder::list(&b.root)?.into_keys().collect();
        assert_eq!(
            names,
            [std::path::PathBuf::from("notes.txt")],
            "save {number}"
        );
    }
    Ok(())
}

/// A probe for a writable directory, the old file put aside, a new one, the old one removed.
fn vim(agent: &Agent, text: &str) -> Result<()> {
    write(&agent.root, "4913", "")?;
    fs::remove_file(agent.root.join("4913"))?;
    write(&agent.root, ".notes.txt.swp", "of the editor")?;
    fs::rename(agent.root.join("notes.txt"), agent.root.join("notes.txt~"))?;
    write(&agent.root, "notes.txt", text)?;
    fs::remove_file(agent.root.join("notes.txt~"))?;
    Ok(fs::remove_file(agent.root.join(".notes.txt.swp"))?)
}

/// A lock that is a dangling link.
fn emacs(agent: &Agent, text: &str) -> Result<()> {
    link(&agent.root, ".#notes.txt", "user@host.1:1")?;
    write(&agent.root, "notes.txt", text)?;
    Ok(fs::remove_file(agent.root.join(".#notes.txt"))?)
}

fn jetbrains(agent: &Agent, text: &str) -> Result<()> {
    write(&agent.root, "notes.txt___jb_tmp___", text)?;
    fs::rename(
        agent.root.join("notes.txt"),
        agent.root.join("notes.txt___jb_old___"),
    )?;
    fs::rename(
        agent.root.join("notes.txt___jb_tmp___"),
        agent.root.join("notes.txt"),
    )?;
    Ok(fs::remove_file(agent.root.join("notes.txt___jb_old___"))?)
}

/// Empty for a moment, then written.
fn truncating(agent: &Agent, text: &str) -> Result<()> {
    let mut file = fs::File::create(agent.root.join("notes.txt"))?;
    Ok(file.write_all(text.as_bytes())?)
}

#[test]
fn a_log_that_grows_all_the_time_holds_nothing_up() -> Result<()> {
    let system = System::new()?;
    let server = system.server()?;
    let (a, b) = (system.agent("a", &server)?, system.agent("b", &server)?);
    let mut log = fs::File::create(a.root.join("log"))?;
    for round in 0..5 {
        write(&a.root, "other", round.to_string())?;
        until("the other file is there", PATIENCE, || {
            // A line with each look, so with less than a pause between two.
            writeln!(log, "one more line")?;
            let found = fs::read_to_string(b.root.join("other"))?;
            ensure!(found == round.to_string(), "it is {found}");
            Ok(())
        })?;
    }
    drop(log);
    system.in_step("a", "b")
}

#[test]
fn times_of_the_future_and_of_long_ago_hide_no_edit() -> Result<()> {
    let system = System::new()?;
    let server = system.server()?;
    let (a, b) = (system.agent("a", &server)?, system.agent("b", &server)?);
    let day = Duration::from_secs(86_400);
    let times = [
        SystemTime::now() + 36_500 * day,
        SystemTime::UNIX_EPOCH,
        SystemTime::now() + day,
    ];
    for (number, time) in times.into_iter().enumerate() {
        for (from, to) in [(&a, &b), (&b, &a)] {
            let text = format!("{number} of {}", from.root.display());
            write(&from.root, "f", &text)?;
            let file = fs::File::options().write(true).open(from.root.join("f"))?;
            file.set_modified(time)?;
            until_text(to, "f", &text)?;
        }
    }
    assert_eq!(folder::list(&a.root)?.len(), 1);
    Ok(())
}

#[test]
fn a_path_longer_than_one_system_call_takes_reaches_the_other() -> Result<()> {
    let system = System::new()?;
    let server = system.server()?;
    let (a, b) = (system.agent("a", &server)?, system.agent("b", &server)?);
    // Below a limit of what a path may be, above what one call takes: made step by step.
    let name = "n".repeat(200);
    let make = |root: &std::path::Path| -> Result<rustix::fd::OwnedFd> {
        use rustix::fs::{Mode, OFlags};
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let mut dir = rustix::fs::open(root, flags, Mode::empty())?;
        for _ in 0..21 {
            match rustix::fs::mkdirat(&dir, &name, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            dir = rustix::fs::openat(&dir, &name, flags, Mode::empty())?;
        }
        Ok(dir)
    };
    let deepest = make(&a.root)?;
    let flags = rustix::fs::OFlags::CREATE | rustix::fs::OFlags::WRONLY;
    let mode = rustix::fs::Mode::from_raw_mode(0o644);
    let file = rustix::fs::openat(&deepest, "f", flags, mode)?;
    fs::File::from(file).write_all(b"deep")?;
    write(&a.root, "plain", "1")?;
    a.flush()?;
    until_text(&b, "plain", "1")?;
    b.flush()?;
    let there = make(&b.root)?;
    let flags = rustix::fs::OFlags::RDONLY;
    match rustix::fs::openat(&there, "f", flags, rustix::fs::Mode::empty()) {
        Ok(file) => assert_eq!(std::io::read_to_string(fs::File::from(file))?, "deep"),
        // Too long for a tree: then it is said.
        Err(_missing) => {
            let text = a.verb("status", &[])?.stdout;
            assert!(text.contains("a path of "), "{text}");
        }
    }
    Ok(())
}

#[test]
fn a_sparse_file_of_a_tebibyte_costs_what_is_in_it() -> Result<()> {
    let system = System::new()?;
    let server = system.server()?;
    let (a, b) = (system.agent("a", &server)?, system.agent("b", &server)?);
    let size = 1 << 40;
    let mut file = fs::File::create(a.root.join("image"))?;
    file.set_len(size)?;
    file.seek(SeekFrom::Start(size / 2))?;
    file.write_all(b"in the middle")?;
    drop(file);
    a.flush()?;
    until_true("the image is there", PATIENCE, || {
        fs::metadata(b.root.join("image")).is_ok_and(|meta| meta.len() == size)
    })?;
    let meta = fs::metadata(b.root.join("image"))?;
    assert!(meta.blocks() * 512 < 16 << 20, "{} blocks", meta.blocks());
    let mut file = fs::File::open(b.root.join("image"))?;
    file.seek(SeekFrom::Start(size / 2))?;
    let mut text = [0; 13];
    std::io::Read::read_exact(&mut file, &mut text)?;
    assert_eq!(&text, b"in the middle");
    Ok(())
}

#[test]
fn changes_that_overflow_the_kernels_queue_are_found() -> Result<()> {
    let system = System::new()?;
    let server = system.server()?;
    let (a, b) = (system.agent("a", &server)?, system.agent("b", &server)?);
    write(&a.root, "x", "1")?;
    write(&a.root, "y", "1")?;
    write(&a.root, "edited last", "old")?;
    system.in_step("a", "b")?;
    let most = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events")?;
    let most: usize = most.trim().parse()?;
    a.process.signal(Signal::STOP)?;
    // Two files in turn: equal events one after the other would be one.
    for round in 0..=most / 2 {
        for name in ["x", "y"] {
            write(&a.root, name, round.to_string())?;
        }
    }
    write(&a.root, "made last", "new")?;
    write(&a.root, "edited last", "new")?;
    a.process.signal(Signal::CONT)?;
    until_text(&b, "made last", "new")?;
    until_text(&b, "edited last", "new")?;
    system.in_step("a", "b")
}

#[test]
fn without_watches_the_rest_is_watched_and_the_limit_is_named() -> Result<()> {
    let system = System::new()?;
    let Some(few) = Launch::with_watches(20)? else {
        return Ok(());
    };
    let server = system.server()?;
    let root = system.folder("a")?;
    for n in 0..60 {
        write(&root, &format!("d{n}/f"), "old")?;
    }
    let mut a = system.agent_by(&few, "a", &server, &[])?;
    let b = system.agent("b", &server)?;
    system.in_step("a", "b")?;
    for n in 0..60 {
        write(&root, &format!("d{n}/f"), "new")?;
    }
    // A flush looks everywhere; without it the look comes within a minute.
    a.flush()?;
    b.flush()?;
    folder::same(&a.root, &b.root)?;
    assert!(a.process.stop()?.success());
    let said = a.process.stderr();
    assert!(
        said.contains("sysctl fs.inotify.max_user_watches"),
        "{said}"
    );
    Ok(())
}

/// Stops the server, collects all that is not the head, and starts it again.
fn collect_all(system: &System, server: &mut Server) -> Result<Server> {
    let keep = [
        "--retain",
        "0s",
        "--retain-revisions",
        "1",
        "--gc-grace",
        "0s",
    ];
    server.process.stop()?;
    let data = system.path("data");
    let mut args = vec!["gc".as_ref(), "--data-dir".as_ref(), data.as_os_str()];
    args.extend(keep.iter().map(std::ffi::OsStr::new));
    run("fsync-server", args)?.success()?;
    system.server_on(server.address(), &[])
}

#[test]
fn an_agent_whose_base_was_collected_deletes_nothing() -> Result<()> {
    let system = System::new()?;
    let mut server = system.server()?;
    let a = system.agent("a", &server)?;
    write(&a.root, "removed at a", "1")?;
    write(&a.root, "edited by both", "1")?;
    a.flush()?;
    system.once("b", &server.url, &[])?.success()?;
    fs::remove_file(a.root.join("removed at a"))?;
    write(&a.root, "edited by both", "by a")?;
    a.flush()?;
    write(&a.root, "new at a", "2")?;
    a.flush()?;
    let server = collect_all(&system, &mut server)?;
    let root = system.path("b");
    fs::remove_file(root.join("removed at a"))?;
    write(&root, "removed at a", "and edited by b")?;
    write(&root, "edited by both", "by b")?;
    write(&root, "new at b", "3")?;
    let b = system.agent("b", &server)?;
    system.in_step("a", "b")?;
    b.flush()?;
    let mut texts = Vec::new();
    for path in folder::list(&root)?.keys() {
        texts.push(fs::read_to_string(root.join(path))?);
    }
    texts.sort_unstable();
    assert_eq!(texts, ["2", "3", "and edited by b", "by a", "by b"]);
    Ok(())
}
