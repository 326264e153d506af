//! Whether two folders are equal: names, kinds, contents, exec bits, link targets.
//!
//! Does not: look at times, other permission bits or owners, which are not synced (mtime is, but a
//! touch is not a change); look at `.fsync` at the root, which is each agent's own.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

const BUFFER_BYTES: usize = 256 * 1024;
const EXEC_BIT: u32 = 0o100;

/// Compares two folders; returns the number of files and links.
///
/// # Errors
/// With the first path that differs, and how. The run is void then.
pub(crate) fn equal(left: &Path, right: &Path) -> Result<u64> {
    let mut count = 0;
    let mut dirs = vec![(left.to_owned(), right.to_owned())];
    let mut is_root = true;
    while let Some((left, right)) = dirs.pop() {
        let (ours, theirs) = (list(&left, is_root)?, list(&right, is_root)?);
        is_root = false;
        let missing = ours.keys().find(|name| !theirs.contains_key(*name));
        let surplus = theirs.keys().find(|name| !ours.contains_key(*name));
        let alone = missing.map(|name| (name, &left));
        if let Some((name, dir)) = alone.or(surplus.map(|name| (name, &right))) {
            bail!("only one folder has {}", dir.join(name).display());
        }
        for (name, ours) in &ours {
            let (left, right) = (left.join(name), right.join(name));
            let is_same = is_same((&left, ours), (&right, &theirs[name]))?;
            ensure!(is_same, "{} and {} differ", left.display(), right.display());
            if ours.is_dir() {
                dirs.push((left, right));
            } else {
                count += 1;
            }
        }
    }
    Ok(count)
}

fn list(dir: &Path, is_root: bool) -> Result<BTreeMap<OsString, Metadata>> {
    let entries = fs::read_dir(dir).with_context(|| dir.display().to_string())?;
    let mut list = BTreeMap::new();
    for entry in entries {
        let entry = entry?;
        if is_root && entry.file_name() == ".fsync" {
            continue;
        }
        list.insert(entry.file_name(), entry.metadata()?);
    }
    Ok(list)
}

fn is_same(left: (&Path, &Metadata), right: (&Path, &Metadata)) -> Result<bool> {
    if left.1.file_type() != right.1.file_type() {
        return Ok(false);
    }
    if left.1.is_symlink() {
        return Ok(fs::read_link(left.0)? == fs::read_link(right.0)?);
    }
    if left.1.is_dir() {
        return Ok(true);
    }
    let is_exec = |meta: &Metadata| meta.permissions().mode() & EXEC_BIT != 0;
    Ok(left.1.len() == right.1.len()
        && is_exec(left.1) == is_exec(right.1)
        && is_same_content(left.0, right.0)?)
}

/// Returns whether two files hold the same bytes.
///
/// # Errors
/// If one cannot be read.
pub(crate) fn is_same_content(left: &Path, right: &Path) -> Result<bool> {
    let open = |path: &Path| File::open(path).with_context(|| path.display().to_string());
    let (mut left, mut right) = (open(left)?, open(right)?);
    let (mut ours, mut theirs) = (vec![0; BUFFER_BYTES], vec![0; BUFFER_BYTES]);
    loop {
        let (a, b) = (fill(&mut left, &mut ours)?, fill(&mut right, &mut theirs)?);
        if ours[..a] != theirs[..b] {
            return Ok(false);
        }
        if a == 0 {
            return Ok(true);
        }
    }
}

fn fill(file: &mut File, buffer: &mut [u8]) -> Result<usize> {
    let mut len = 0;
    while len < buffer.len() {
        match file.read(&mut buffer[len..])? {
            0 => break,
            more => len += more,
        }
    }
    Ok(len)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A change to a folder, and whether it makes it another.
    type Row = (&'static str, fn(&Path), bool);

    const ROWS: &[Row] = &[
        ("nothing", |_| (), true),
        (
            "content",
            |d| fs::write(d.join("sub/f"), b"y").unwrap(),
            false,
        ),
        (
            "size",
            |d| fs::write(d.join("sub/f"), b"xx").unwrap(),
            false,
        ),
        (
            "name",
            |d| fs::rename(d.join("sub/f"), d.join("sub/g")).unwrap(),
            false,
        ),
        (
            "one more",
            |d| fs::create_dir(d.join("sub/dir")).unwrap(),
            false,
        ),
        (
            "exec bit",
            |d| fs::set_permissions(d.join("sub/f"), PermissionsExt::from_mode(0o755)).unwrap(),
            false,
        ),
        (
            "read bit",
            |d| fs::set_permissions(d.join("sub/f"), PermissionsExt::from_mode(0o600)).unwrap(),
            true,
        ),
        (
            "marker",
            |d| fs::create_dir(d.join(".fsync")).unwrap(),
            true,
        ),
        (
            "marker below",
            |d| fs::create_dir(d.join("sub/.fsync")).unwrap(),
            false,
        ),
    ];

    fn folder() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("sub")).unwrap();
        fs::write(dir.path().join("sub/f"), b"x").unwrap();
        std::os::unix::fs::symlink("sub", dir.path().join("link")).unwrap();
        dir
    }

    #[test]
    fn every_synced_difference_is_seen() {
        for (what, change, is_equal) in ROWS {
            let (left, right) = (folder(), folder());
            change(right.path());
            assert_eq!(
                equal(left.path(), right.path()).is_ok(),
                *is_equal,
                "{what}"
            );
            assert_eq!(
                equal(right.path(), left.path()).is_ok(),
                *is_equal,
                "{what}"
            );
        }
    }
}
