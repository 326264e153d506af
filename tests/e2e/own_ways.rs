//! Files that programs keep in ways of their own: databases of several files, further names, names
//! that other systems reserve, directories that hold what is ignored.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use fsync_tests::System;
use fsync_tests::folder::{self, write};
use fsync_tests::process::run_command;
use fsync_tests::wait::{PATIENCE, until};

#[test]
fn properties_from_elsewhere_do_not_reach_a_files_other_names() -> Result<()> {
    let system = System::new()?;
    let server = system.server()?;
    let (a, b) = (system.agent("a", &server)?, system.agent("b", &server)?);
    for (name, length) in [("small", 10), ("large", 3_000_000)] {
        let outside = system.path(&format!("outside {name}"));
        fs::write(&outside, vec![b'x'; length])?;
        fs::set_permissions(&outside, fs::Permissions::from_mode(0o640))?;
        fs::hard_link(&outside, a.root.join(name))?;
        until("it is at b", PATIENCE, || folder::same(&a.root, &b.root))?;
        let before = fs::metadata(&outside)?;
        fs::set_permissions(b.root.join(name), fs::Permissions::from_mode(0o755))?;
        until("it can be executed at a", PATIENCE, || {
            let mode = fs::metadata(a.root.join(name))?.mode();
            ensure!(mode & 0o100 != 0, "its mode is {mode:o}");
            Ok(())
        })?;
        let after = fs::metadata(&outside)?;
        assert_eq!(
            (after.mode(), after.mtime_nsec(), after.len()),
            (before.mode(), before.mtime_nsec(), before.len()),
            "{name}"
        );
        assert_eq!(fs::read(&outside)?, fs::read(a.root.join(name))?);
        // They are two files now, as with a new content.
        assert_ne!(fs::metadata(a.root.join(name))?.ino(), after.ino());
    }
    system.in_step("a", "b")
}

#[test]
fn a_file_does_not_replace_a_directory_with_ignored_files() -> Result<()> {
    let system = System::new()?;
    let server = system.server()?;
    let (a, b) = (system.agent("a", &server)?, system.agent("b", &server)?);
    write(&a.root, ".fsyncignore", "*.tmp\n")?;
    write(&a.root, "d/f", "synced")?;
    system.in_step("a", "b")?;
    write(&b.root, "d/own.tmp", "never synced")?;
    b.flush()?;
    fs::remove_dir_all(a.root.join("d"))?;
    fs::write(a.root.join("d"), "now a file")?;
    write(&a.root, "other", "goes on")?;
    a.flush()?;
    until("all else goes on", PATIENCE, || {
        Ok(fs::read(b.root.join("other"))?)
    })?;
    b.flush()?;
    assert_eq!(
        fs::read_to_string(b.root.join("d/own.tmp"))?,
        "never synced"
    );
    assert!(!b.root.join("d/f").exists());
    let told = b.verb("status", &[])?.stdout;
    ensure!(told.contains("exception  d/own.tmp: ignored"), "{told}");
    // Nothing of it reaches the other side, and its file stays.
    assert_eq!(fs::read_to_string(a.root.join("d"))?, "now a file");
    Ok(())
}

#[test]
fn names_that_other_systems_reserve_are_names_here() -> Result<()> {
    let system = System::new()?;
    let server = system.server()?;
    let (a, _b) = (system.agent("a", &server)?, system.agent("b", &server)?);
    for name in [
        "CON",
        "nul.txt",
        "a:",
        "a:b",
        "dot.",
        "blank ",
        "a\\b",
        "a*?<>|\"",
        "COM1/lpt1",
    ] {
        write(&a.root, name, name)?;
    }
    system.in_step("a", "b")?;
    let told = a.verb("status", &["--json"])?.stdout;
    ensure!(told.contains("\"exception_count\":0"), "{told}");
    Ok(())
}

/// Writes into a database in WAL mode, 200 transactions, and closes it.
const WRITER: &str = "import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
db.execute('pragma journal_mode=wal')
db.execute('create table if not exists t (n integer, text text)')
for n in range(200):
    with db:
        db.execute('insert into t values (?, ?)', (n, 'x' * 500))
db.close()
";
/// Says whether a database is sound, and how many rows it has.
const READER: &str = "import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
print(db.execute('pragma integrity_check').fetchone()[0], db.execute('select count(*) from t').fetchone()[0])
";

#[test]
fn a_database_is_sound_elsewhere_once_its_program_has_closed_it() -> Result<()> {
    let system = System::new()?;
    let server = system.server()?;
    let (a, b) = (system.agent("a", &server)?, system.agent("b", &server)?);
    let python = |script: &str, path: &std::path::Path| {
        let mut command = Command::new("python3");
        command.args(["-c", script]).arg(path);
        run_command("python3", command)?.success()
    };
    let has_sqlite = Command::new("python3")
        .args(["-c", "import sqlite3"])
        .output();
    if !has_sqlite.is_ok_and(|output| output.status.success()) {
        writeln!(
            std::io::stderr(),
            "left out: there is no python3 with sqlite3"
        )?;
        return Ok(());
    }
    for round in 1..=3 {
        python(WRITER, &a.root.join("data.db"))?;
        a.flush()?;
        system.in_step("a", "b")?;
        // A copy: to open it is to write beside it.
        let copy = system.path("copy.db");
        fs::copy(b.root.join("data.db"), &copy).context("the database at b")?;
        let found = python(READER, &copy)?;
        assert_eq!(found.trim(), format!("ok {}", 200 * round));
    }
    Ok(())
}

#[test]
fn whoever_keeps_an_edit_against_a_delete_is_told() -> Result<()> {
    let system = System::new()?;
    let mut server = system.server()?;
    let a = system.agent("a", &server)?;
    let mut b = system.agent("b", &server)?;
    write(&a.root, "both", "first")?;
    system.in_step("a", "b")?;
    // Apart: one removes it, the other edits it.
    assert!(b.process.stop()?.success());
    fs::remove_file(a.root.join("both"))?;
    a.flush()?;
    write(&b.root, "both", "edited meanwhile")?;
    b = system.agent("b", &server)?;
    b.process
        .line_after("both was deleted elsewhere and edited here", PATIENCE)?;
    until("the edit is back at a", PATIENCE, || {
        let found = fs::read_to_string(a.root.join("both"))?;
        ensure!(found == "edited meanwhile", "it is {found}");
        Ok(())
    })?;
    assert!(server.process.is_running()?);
    Ok(())
}
