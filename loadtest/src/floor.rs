//! What the disk itself takes for the same writes: the floor that durable syncing stands on.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::fs::syncfs;

use crate::random::Random;
use crate::trees::Shape;

/// Files that are made durable by one flush.
const GROUP: usize = 256;
const BUFFER_BYTES: usize = 1024 * 1024;

/// Flushes all that waits on the disk of `dir`, so that nobody is charged for what others wrote.
///
/// # Errors
/// If `dir` cannot be opened or the disk fails.
pub(crate) fn settle(dir: &Path) -> Result<()> {
    let dir = File::open(dir).with_context(|| dir.display().to_string())?;
    Ok(syncfs(dir)?)
}

/// Times one durable save: write, sync the data, rename.
///
/// # Errors
/// If the disk does not take it.
pub(crate) fn save(dir: &Path, bytes: &[u8]) -> Result<Duration> {
    let (temporary, path) = (dir.join("saved.tmp"), dir.join("saved"));
    let start = Instant::now();
    let mut file = File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    drop(file);
    fs::rename(temporary, path)?;
    Ok(start.elapsed())
}

/// Times writing a tree with group commit: 256 temporary files, one flush of the file system, their
/// renames, and at the end the directories.
///
/// # Errors
/// If the disk does not take it.
pub(crate) fn tree(root: &Path, shape: Shape, random: &mut Random) -> Result<Duration> {
    let bytes = random.bytes(shape.bytes);
    fs::create_dir(root)?;
    settle(root)?;
    let start = Instant::now();
    let dirs: Vec<PathBuf> = (0..shape.dirs).map(|dir| Shape::dir(root, dir)).collect();
    dirs.iter().try_for_each(fs::create_dir)?;
    let disk = File::open(root)?;
    let paths: Vec<PathBuf> = shape.all(root).collect();
    for group in paths.chunks(GROUP) {
        let staged: Vec<_> = group
            .iter()
            .map(|path| path.with_extension("tmp"))
            .collect();
        staged.iter().try_for_each(|path| fs::write(path, &bytes))?;
        syncfs(&disk)?;
        staged
            .iter()
            .zip(group)
            .try_for_each(|(from, to)| fs::rename(from, to))?;
    }
    for dir in dirs.iter().map(PathBuf::as_path).chain([root]) {
        File::open(dir)?.sync_all()?;
    }
    Ok(start.elapsed())
}

/// Times writing a large file twice, each time made durable; `source` is read as the syncing has
/// to.
///
/// # Errors
/// If the disk does not take it.
pub(crate) fn twice(dir: &Path, source: &Path) -> Result<Duration> {
    settle(dir)?;
    let start = Instant::now();
    for name in ["first", "second"] {
        let mut from = File::open(source)?;
        let mut to = File::create(dir.join(name))?;
        copy(&mut from, &mut to)?;
        to.sync_all()?;
    }
    let elapsed = start.elapsed();
    for name in ["first", "second"] {
        fs::remove_file(dir.join(name))?;
    }
    Ok(elapsed)
}

/// Writes through a buffer, as a program does that looks at what it writes; `std::io::copy` would
/// let the kernel copy.
fn copy(from: &mut File, to: &mut File) -> Result<()> {
    use std::io::Read;
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(()),
            len => to.write_all(&buffer[..len])?,
        }
    }
}
