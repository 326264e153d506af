//! The sample files that fill the two folders: text, a nested directory, an executable, a symlink.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

/// Fills `dir` with samples that carry `name` in theirs, so that both folders have something to
/// give.
pub(crate) fn fill(dir: &Path, name: &str) -> io::Result<()> {
    let notes = dir.join("notes").join(name);
    fs::create_dir_all(notes.join("2026"))?;
    fs::write(
        dir.join(format!("hello-from-{name}.txt")),
        format!("This file was made by {name}; fsync brought it to the other folder.\n"),
    )?;
    fs::write(
        notes.join("todo.md"),
        "- edit me in either folder\n- then look at the other one\n",
    )?;
    fs::write(
        notes.join("2026/plan.txt"),
        "directories keep their shape\n",
    )?;
    let script = dir.join(format!("{name}.sh"));
    fs::write(&script, format!("#!/bin/sh\necho \"hello from {name}\"\n"))?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    symlink(
        format!("notes/{name}/todo.md"),
        dir.join(format!("{name}-todo")),
    )
}
