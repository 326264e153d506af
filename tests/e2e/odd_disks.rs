//! Folders on disks with odd habits: one spelling per name, coarse times, numbers that come again,
//! errors. A real agent on such a disk, and one on the usual disk.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use anyhow::{Context, Result};
use fsync_tests::folder::{self, write, write_exec};
use fsync_tests::launch::{Kind, Mount};
use fsync_tests::wait::{PATIENCE, until};
use fsync_tests::{Agent, Server, System};

/// A server, an agent `a` on the usual disk, and `b` on an odd one.
struct Pair {
    b: Agent,
    a: Agent,
    disk: Mount,
    system: System,
    server: Server,
}

impl Pair {
    /// Starts them; `None` where no such disk can be.
    fn start(habits: &[&str]) -> Result<Option<Self>> {
        let system = System::new()?;
        let Some(disk) = system.mount("b", Kind::Odd(habits))? else {
            return Ok(None);
        };
        let server = system.server()?;
        Ok(Some(Self {
            a: system.agent("a", &server)?,
            b: system.agent_on(&disk, "b", &server)?,
            disk,
            system,
            server,
        }))
    }

    fn in_step(&self) -> Result<()> {
        until("a and b are the same", PATIENCE, || {
            folder::same(&self.a.root, &self.b.root)
        })
    }

    /// Waits until both agents have done what there is to do.
    fn flush(&self) -> Result<()> {
        for agent in [&self.a, &self.b, &self.a] {
            agent.flush()?;
        }
        Ok(())
    }
}

/// Returns the names in a folder.
fn names(agent: &Agent) -> Result<Vec<String>> {
    let all = folder::list(&agent.root)?.into_keys();
    Ok(all
        .map(|path| path.to_string_lossy().into_owned())
        .collect())
}

fn exceptions(agent: &Agent) -> Result<String> {
    let status: serde_json::Value =
        serde_json::from_str(&agent.verb("status", &["--json"])?.stdout)?;
    Ok(status["exceptions"].to_string())
}

#[test]
fn an_odd_disk_without_habits_is_a_disk_like_any() -> Result<()> {
    let Some(pair) = Pair::start(&[])? else {
        return Ok(());
    };
    write(&pair.a.root, "d/from a", "1")?;
    write_exec(&pair.b.root, "from b", "2")?;
    folder::link(&pair.b.root, "link", "d/from a")?;
    write(&pair.a.root, "large", vec![7; 3_000_000])?;
    pair.in_step()?;
    write(&pair.b.root, "d/from a", "edited")?;
    fs::rename(pair.a.root.join("d"), pair.a.root.join("e"))?;
    fs::remove_file(pair.b.root.join("large"))?;
    pair.in_step()?;
    assert_eq!(names(&pair.a)?, ["e", "e/from a", "from b", "link"]);
    Ok(())
}

#[test]
fn a_rename_of_the_case_alone_is_a_rename_on_disks_that_fold_case() -> Result<()> {
    let Some(pair) = Pair::start(&["--fold-case"])? else {
        return Ok(());
    };
    write(&pair.a.root, "Foo", "1")?;
    write(&pair.a.root, "Dir/file", "2")?;
    pair.in_step()?;
    // From the usual disk to the folding one.
    fs::rename(pair.a.root.join("Foo"), pair.a.root.join("foo"))?;
    fs::rename(pair.a.root.join("Dir"), pair.a.root.join("DIR"))?;
    pair.in_step()?;
    // And back; such a disk needs a name in between.
    for (from, to) in [("foo", "FOO"), ("DIR", "dir")] {
        fs::rename(pair.b.root.join(from), pair.b.root.join("between"))?;
        fs::rename(pair.b.root.join("between"), pair.b.root.join(to))?;
    }
    pair.in_step()?;
    assert_eq!(names(&pair.a)?, ["FOO", "dir", "dir/file"]);
    Ok(())
}

#[test]
fn the_second_of_two_spellings_is_blocked_where_only_one_can_be() -> Result<()> {
    let Some(pair) = Pair::start(&["--fold-case"])? else {
        return Ok(());
    };
    write(&pair.a.root, "Foo", "large letter")?;
    pair.in_step()?;
    write(&pair.a.root, "foo", "small letter")?;
    write(&pair.a.root, "other", "goes on")?;
    pair.flush()?;
    assert_eq!(names(&pair.a)?, ["Foo", "foo", "other"]);
    assert_eq!(names(&pair.b)?, ["Foo", "other"]);
    assert_eq!(fs::read_to_string(pair.b.root.join("Foo"))?, "large letter");
    let told = exceptions(&pair.b)?;
    assert!(told.contains("foo") && told.contains("spelling"), "{told}");
    // An edit of the one goes to the one.
    write(&pair.b.root, "Foo", "edited at b")?;
    pair.flush()?;
    assert_eq!(fs::read_to_string(pair.a.root.join("Foo"))?, "edited at b");
    assert_eq!(fs::read_to_string(pair.a.root.join("foo"))?, "small letter");
    Ok(())
}

/// `é` as one letter, and as a letter with an accent after it.
const COMPOSED: &str = "caf\u{e9}";
const DECOMPOSED: &str = "cafe\u{301}";

#[test]
fn names_are_never_respelled_for_a_disk_that_composes_them() -> Result<()> {
    let Some(pair) = Pair::start(&["--compose"])? else {
        return Ok(());
    };
    write(&pair.a.root, COMPOSED, "1")?;
    pair.in_step()?;
    write(&pair.a.root, DECOMPOSED, "2")?;
    write(&pair.a.root, &format!("other {DECOMPOSED}"), "3")?;
    write(&pair.a.root, "plain", "4")?;
    pair.flush()?;
    let other = format!("other {DECOMPOSED}");
    assert_eq!(names(&pair.a)?, [DECOMPOSED, COMPOSED, &other, "plain"]);
    assert_eq!(names(&pair.b)?, [COMPOSED, "plain"]);
    assert_eq!(fs::read_to_string(pair.b.root.join(COMPOSED))?, "1");
    assert!(exceptions(&pair.b)?.contains("spelling"));
    Ok(())
}

#[test]
fn an_edit_of_the_same_size_shows_on_a_disk_with_coarse_times() -> Result<()> {
    let Some(pair) = Pair::start(&["--coarse-times"])? else {
        return Ok(());
    };
    // Ten edits within seconds, each after the one before has arrived: most of them leave size and
    // times as they were.
    for version in 0..10 {
        write(&pair.b.root, "f", format!("version {version}"))?;
        pair.in_step()?;
        write(&pair.a.root, "g", format!("version {version}"))?;
        pair.in_step()?;
    }
    assert_eq!(names(&pair.a)?, ["f", "g"]);
    Ok(())
}

#[test]
fn numbers_that_come_again_make_no_file_another() -> Result<()> {
    let Some(pair) = Pair::start(&["--reuse-inodes"])? else {
        return Ok(());
    };
    for round in 0..10 {
        // The new file has the number of the one that is gone.
        write(
            &pair.b.root,
            &format!("d{round}/f"),
            format!("content {round}"),
        )?;
        if round > 0 {
            fs::remove_dir_all(pair.b.root.join(format!("d{}", round - 1)))?;
        }
        write(
            &pair.b.root,
            &format!("e{round}"),
            format!("CONTENT {round}"),
        )?;
        pair.in_step()?;
    }
    assert_eq!(names(&pair.a)?.len(), 2 + 10);
    Ok(())
}

#[test]
fn a_file_that_cannot_be_read_is_no_delete_and_is_sent_once_it_can() -> Result<()> {
    let Some(pair) = Pair::start(&[])? else {
        return Ok(());
    };
    write(&pair.b.root, "bad", "first")?;
    write(&pair.b.root, "good", "first")?;
    pair.in_step()?;
    pair.disk.set("bad", "user.fault", Some("EIO"))?;
    fs::File::options()
        .write(true)
        .open(pair.b.root.join("bad"))?
        .set_modified(std::time::UNIX_EPOCH)?;
    write(&pair.b.root, "good", "second")?;
    pair.flush()?;
    assert_eq!(fs::read_to_string(pair.a.root.join("bad"))?, "first");
    assert_eq!(fs::read_to_string(pair.a.root.join("good"))?, "second");
    let told = exceptions(&pair.b)?;
    assert!(
        told.contains("bad") && told.contains("unreadable"),
        "{told}"
    );
    pair.disk.set("bad", "user.fault", None)?;
    write(&pair.b.root, "bad", "mended")?;
    pair.in_step()?;
    assert_eq!(exceptions(&pair.b)?, "[]");
    Ok(())
}

#[test]
fn a_quota_that_is_used_up_loses_nothing_and_goes_on_with_room() -> Result<()> {
    let Some(mut pair) = Pair::start(&[])? else {
        return Ok(());
    };
    write(&pair.a.root, "kept", "old")?;
    pair.in_step()?;
    pair.disk.set("", "user.budget", Some("EDQUOT 1000"))?;
    write(&pair.a.root, "kept", vec![b'n'; 5000])?;
    pair.b.process.line_after("no room for kept", PATIENCE)?;
    assert_eq!(fs::read_to_string(pair.b.root.join("kept"))?, "old");
    fs::rename(pair.a.root.join("kept"), pair.a.root.join("renamed"))?;
    pair.disk.set("", "user.budget", None)?;
    pair.in_step()
}

#[test]
fn a_disk_that_is_mounted_anew_is_the_same_folder() -> Result<()> {
    let Some(mut pair) = Pair::start(&[])? else {
        return Ok(());
    };
    write(&pair.a.root, "d/f", "1")?;
    pair.in_step()?;
    assert!(pair.b.process.stop()?.success());
    drop(pair.disk);
    // The device has another number now, and every file too.
    let disk = pair.system.mount("b", Kind::Odd(&[]))?;
    pair.disk = disk.context("it could be mounted before")?;
    write(&pair.disk.root()?, "d/f", "edited while nobody looked")?;
    pair.b = pair.system.agent_on(&pair.disk, "b", &pair.server)?;
    pair.in_step()?;
    assert_eq!(names(&pair.a)?, ["d", "d/f"]);
    Ok(())
}

#[test]
fn a_disk_without_exec_bits_takes_none_from_the_others() -> Result<()> {
    let Some(pair) = Pair::start(&["--no-exec"])? else {
        return Ok(());
    };
    let is_exec = |name: &str| -> Result<bool> {
        let mode = fs::metadata(pair.a.root.join(name))?.permissions().mode();
        Ok(mode & 0o100 != 0)
    };
    write_exec(&pair.a.root, "tool", "first")?;
    write(&pair.a.root, "text", "first")?;
    pair.flush()?;
    assert_eq!(fs::read_to_string(pair.b.root.join("tool"))?, "first");
    assert!(is_exec("tool")?, "what b has is no edit");
    // An edit where there is no bit leaves it as it is elsewhere.
    write(&pair.b.root, "tool", "second")?;
    write(&pair.b.root, "text", "second")?;
    pair.flush()?;
    assert_eq!(fs::read_to_string(pair.a.root.join("tool"))?, "second");
    assert!(is_exec("tool")? && !is_exec("text")?);
    Ok(())
}
