//! Folders as values: write them, and compare them byte by byte.
//!
//! Compared are names, kinds, contents, exec bits, link targets and empty directories; the agent's
//! own `.fsync` at the root is left out, modification times are compared on demand.

use std::collections::BTreeMap;
use std::fs::{self, DirEntry};
use std::io::{BufReader, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::process::open;

/// The agent's own directory at the root.
pub const MARKER: &str = ".fsync";
const EXEC: u32 = 0o100;
/// Differences that an error lists.
const SHOWN: usize = 20;

/// What stands at a path, but for a file's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A directory.
    Dir,
    /// A regular file.
    File {
        /// Length in bytes.
        size: u64,
        /// Whether the owner may execute it.
        exec: bool,
    },
    /// A symbolic link and its target.
    Link(PathBuf),
    /// Anything else.
    Other,
}

/// Returns everything below a root by path, without the agent's own directory.
///
/// # Errors
/// The system's, with the path. Something that vanishes meanwhile is an error.
pub fn list(root: &Path) -> Result<BTreeMap<PathBuf, Item>> {
    let mut all = BTreeMap::new();
    let mut dirs = vec![PathBuf::new()];
    while let Some(dir) = dirs.pop() {
        let at = root.join(&dir);
        for entry in fs::read_dir(&at).with_context(|| at.display().to_string())? {
            let entry = entry?;
            let path = dir.join(entry.file_name());
            if path == Path::new(MARKER) {
                continue;
            }
            let item = item(&entry)?;
            if item == Item::Dir {
                dirs.push(path.clone());
            }
            all.insert(path, item);
        }
    }
    Ok(all)
}

fn item(entry: &DirEntry) -> Result<Item> {
    let path = entry.path();
    let meta = fs::symlink_metadata(&path).with_context(|| path.display().to_string())?;
    let kind = meta.file_type();
    Ok(if kind.is_dir() {
        Item::Dir
    } else if kind.is_symlink() {
        Item::Link(fs::read_link(&path).with_context(|| path.display().to_string())?)
    } else if kind.is_file() {
        Item::File {
            size: meta.size(),
            exec: meta.permissions().mode() & EXEC != 0,
        }
    } else {
        Item::Other
    })
}

/// Returns each path where two folders differ, with what stands on both sides.
///
/// # Errors
/// The system's, with the path.
pub fn differences(a: &Path, b: &Path) -> Result<Vec<String>> {
    let (left, right) = (list(a)?, list(b)?);
    let mut found = Vec::new();
    for (path, item) in &left {
        match right.get(path) {
            Some(other) if other != item => {
                found.push(format!(
                    "{}: {item:?} here, {other:?} there",
                    path.display()
                ));
            }
            Some(Item::File { .. }) if !is_same_file(&a.join(path), &b.join(path))? => {
                found.push(format!("{}: other bytes", path.display()));
            }
            Some(_) => {}
            None => found.push(format!("{}: only in {}", path.display(), a.display())),
        }
    }
    let only_right = right.keys().filter(|path| !left.contains_key(*path));
    found.extend(only_right.map(|p| format!("{}: only in {}", p.display(), b.display())));
    Ok(found)
}

/// Returns an error that lists the differences if there are any.
///
/// # Errors
/// The differences, or the system's.
pub fn same(a: &Path, b: &Path) -> Result<()> {
    let found = differences(a, b)?;
    if found.is_empty() {
        return Ok(());
    }
    let shown = found
        .iter()
        .take(SHOWN)
        .cloned()
        .collect::<Vec<_>>()
        .join("\n  ");
    bail!("{} differences:\n  {shown}", found.len())
}

fn is_same_file(a: &Path, b: &Path) -> Result<bool> {
    let (mut a, mut b) = (BufReader::new(open(a)?), BufReader::new(open(b)?));
    let (mut left, mut right) = ([0; 64 * 1024], [0; 64 * 1024]);
    loop {
        let count = a.read(&mut left)?;
        if count == 0 {
            return Ok(b.read(&mut right)? == 0);
        }
        if b.read_exact(&mut right[..count]).is_err() || left[..count] != right[..count] {
            return Ok(false);
        }
    }
}

/// Writes a file, making the directories on the way.
///
/// # Errors
/// The system's, with the path.
pub fn write(root: &Path, path: &str, bytes: impl AsRef<[u8]>) -> Result<()> {
    let path = root.join(path);
    make_parents(&path)?;
    fs::write(&path, bytes).with_context(|| path.display().to_string())
}

/// Writes an executable file, making the directories on the way.
///
/// # Errors
/// The system's, with the path.
pub fn write_exec(root: &Path, path: &str, bytes: impl AsRef<[u8]>) -> Result<()> {
    write(root, path, bytes)?;
    let path = root.join(path);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
        .with_context(|| path.display().to_string())
}

/// Makes a symbolic link, making the directories on the way.
///
/// # Errors
/// The system's, with the path.
pub fn link(root: &Path, path: &str, target: &str) -> Result<()> {
    let path = root.join(path);
    make_parents(&path)?;
    symlink(target, &path).with_context(|| path.display().to_string())
}

fn make_parents(path: &Path) -> Result<()> {
    let dir = path.parent().context("a path below a root has a parent")?;
    fs::create_dir_all(dir).with_context(|| dir.display().to_string())
}

/// Returns bytes that are cut into several chunks and that no other seed gives.
pub fn noise(seed: u32, length: usize) -> Vec<u8> {
    let mut state = seed;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(next).take(length).collect()
}
