//! Two folders are the same, whatever is done in them.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use anyhow::Result;
use fsync_tests::folder::{self, link, noise, write, write_exec};
use fsync_tests::{System, wait};

#[test]
fn everything_that_a_folder_can_hold_reaches_the_other() -> Result<()> {
    let system = System::new()?;
    let server = system.server()?;
    let a = system.agent("a", &server)?;
    let b = system.agent("b", &server)?;
    write(&a.root, "plain", "text")?;
    write(&a.root, "empty file", "")?;
    write(&a.root, "deep/er/and/deeper", [0, 159, 146, 150])?;
    write_exec(&a.root, "run.sh", "#!/bin/sh\n")?;
    link(&a.root, "dangling", "no/such/thing")?;
    link(&a.root, "outside", "/etc/hostname")?;
    fs::create_dir_all(a.root.join("empty/dir"))?;
    write(&b.root, "from b", vec![7; 300_000])?;
    write(&a.root, "large", noise(1, 5_000_000))?;
    system.in_step("a", "b")
}

#[test]
fn edits_renames_and_deletes_go_both_ways() -> Result<()> {
    let system = System::new()?;
    let server = system.server()?;
    let a = system.agent("a", &server)?;
    for n in 0..20 {
        write(&a.root, &format!("dir/file-{n}"), format!("content {n}"))?;
    }
    let b = system.agent("b", &server)?;
    system.in_step("a", "b")?;
    fs::rename(a.root.join("dir"), a.root.join("renamed"))?;
    system.in_step("a", "b")?;
    write(&b.root, "renamed/file-3", "edited by b")?;
    fs::remove_file(b.root.join("renamed/file-4"))?;
    system.in_step("a", "b")?;
    fs::remove_file(a.root.join("renamed/file-5"))?;
    fs::create_dir(a.root.join("renamed/file-5"))?;
    write(
        &a.root,
        "renamed/file-5/inside",
        "a file became a directory",
    )?;
    system.in_step("a", "b")?;
    fs::set_permissions(
        a.root.join("renamed/file-6"),
        fs::Permissions::from_mode(0o755),
    )?;
    system.in_step("a", "b")?;
    assert_eq!(
        fs::read_to_string(a.root.join("renamed/file-3"))?,
        "edited by b"
    );
    assert!(!b.root.join("renamed/file-4").exists() && !b.root.join("dir").exists());
    Ok(())
}

#[test]
fn a_flush_means_that_the_other_side_can_have_it() -> Result<()> {
    let system = System::new()?;
    let server = system.server()?;
    let a = system.agent("a", &server)?;
    for n in 0..5 {
        write(&a.root, "file", format!("version {n}"))?;
        a.flush()?;
        let name = format!("copy-{n}");
        system.once(&name, &server.url, &[])?.success()?;
        folder::same(&a.root, &system.path(&name))?;
    }
    Ok(())
}

#[test]
fn once_brings_both_sides_in_step_and_ends() -> Result<()> {
    let system = System::new()?;
    let server = system.server()?;
    write(&system.folder("a")?, "from-a", "1")?;
    write(&system.folder("b")?, "from-b", "2")?;
    for name in ["a", "b", "a"] {
        system.once(name, &server.url, &[])?.success()?;
    }
    folder::same(&system.path("a"), &system.path("b"))?;
    assert_eq!(folder::list(&system.path("a"))?.len(), 2);
    Ok(())
}

#[test]
fn two_edits_of_one_file_keep_both_contents() -> Result<()> {
    let system = System::new()?;
    let server = system.server()?;
    let (a, b) = (system.folder("a")?, system.folder("b")?);
    write(&a, "notes.txt", "first")?;
    for name in ["a", "b"] {
        system.once(name, &server.url, &[])?.success()?;
    }
    write(&a, "notes.txt", "by a")?;
    write(&b, "notes.txt", "by b")?;
    for name in ["a", "b", "a"] {
        system.once(name, &server.url, &[])?.success()?;
    }
    folder::same(&a, &b)?;
    let mut texts = Vec::new();
    for path in folder::list(&a)?.keys() {
        texts.push(fs::read_to_string(a.join(path))?);
    }
    texts.sort_unstable();
    assert_eq!(texts, ["by a", "by b"]);
    assert!(
        folder::list(&a)?
            .keys()
            .any(|p| p.to_string_lossy().contains("(conflicted copy b"))
    );
    Ok(())
}

#[test]
fn a_first_contact_is_a_union_without_deletes() -> Result<()> {
    let system = System::new()?;
    let server = system.server()?;
    let a = system.agent("a", &server)?;
    write(&a.root, "same", "equal")?;
    write(&a.root, "only-a", "1")?;
    a.flush()?;
    let root = system.folder("b")?;
    write(&root, "same", "equal")?;
    write(&root, "only-b", "2")?;
    let _b = system.agent("b", &server)?;
    system.in_step("a", "b")?;
    let wanted = ["only-a", "only-b", "same"].map(std::path::PathBuf::from);
    wait::until_true("three files in both", wait::PATIENCE, || {
        folder::list(&root).is_ok_and(|all| all.into_keys().eq(wanted.clone()))
    })
}

#[test]
fn ignored_files_stay_at_home() -> Result<()> {
    let system = System::new()?;
    let server = system.server()?;
    let a = system.agent("a", &server)?;
    let b = system.agent("b", &server)?;
    write(&a.root, ".fsyncignore", "*.tmp\nbuild/\n")?;
    a.flush()?;
    write(&a.root, "x.tmp", "1")?;
    write(&a.root, "build/out", "2")?;
    write(&a.root, ".git/HEAD", "3")?;
    write(&a.root, "kept", "4")?;
    a.flush()?;
    b.flush()?;
    let names: Vec<_> = folder::list(&b.root)?.into_keys().collect();
    assert_eq!(
        names,
        [".fsyncignore", "kept"].map(std::path::PathBuf::from)
    );
    assert!(a.root.join("build/out").exists());
    Ok(())
}
