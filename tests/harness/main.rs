//! The harness itself: what it compares and how it waits.

use std::fs;
use std::time::Duration;

use anyhow::{Result, anyhow};
use fsync_tests::{folder, wait};
use tempfile::{TempDir, tempdir};

/// One folder with everything that is compared.
fn sample() -> Result<TempDir> {
    let dir = tempdir()?;
    folder::write(dir.path(), "a/b/text", "hello")?;
    folder::write_exec(dir.path(), "run.sh", "#!/bin/sh\n")?;
    folder::link(dir.path(), "a/link", "b/text")?;
    fs::create_dir(dir.path().join("empty"))?;
    Ok(dir)
}

#[test]
fn equal_folders_have_no_difference() -> Result<()> {
    let (a, b) = (sample()?, sample()?);
    folder::write(b.path(), ".fsync/config.json", "the agent's own")?;
    folder::same(a.path(), b.path())
}

#[test]
fn every_difference_is_named() -> Result<()> {
    let (a, b) = (sample()?, sample()?);
    folder::write(b.path(), "a/b/text", "hellO")?;
    folder::write(b.path(), "new", "")?;
    folder::write(b.path(), "a/.fsync", "only the root's is the agent's")?;
    fs::remove_file(b.path().join("a/link"))?;
    folder::link(b.path(), "a/link", "b/other")?;
    fs::remove_dir(b.path().join("empty"))?;
    fs::remove_file(b.path().join("run.sh"))?;
    folder::write(b.path(), "run.sh", "#!/bin/sh\n")?;
    let found = folder::differences(a.path(), b.path())?;
    let paths: Vec<&str> = found
        .iter()
        .filter_map(|line| line.split(':').next())
        .collect();
    assert_eq!(
        paths,
        ["a/b/text", "a/link", "empty", "run.sh", "a/.fsync", "new"]
    );
    Ok(())
}

#[test]
fn waiting_ends_with_the_first_yes() -> Result<()> {
    let mut asked = 0;
    wait::until_true("the third time", wait::PATIENCE, || {
        asked += 1;
        asked == 3
    })?;
    assert_eq!(asked, 3);
    Ok(())
}

#[test]
fn waiting_in_vain_says_for_what_and_why() {
    let ask = || Err::<(), _>(anyhow!("no such file"));
    let error = wait::until("the file is there", Duration::ZERO, ask);
    let text = error.map_or_else(|e| format!("{e:#}"), |()| String::new());
    assert_eq!(text, "not after 0ns: the file is there: no such file");
}
