//! Folders to measure with: many small files, and large random ones.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::random::Random;

const BUFFER_BYTES: usize = 1024 * 1024;

/// The shape of a folder of small files.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    /// Directories, all in the folder itself.
    pub(crate) dirs: usize,
    /// Files in each.
    pub(crate) files: usize,
    /// Bytes in each.
    pub(crate) bytes: usize,
}

impl Shape {
    /// Returns the number of files.
    pub(crate) fn count(self) -> usize {
        self.dirs * self.files
    }

    /// Returns a directory of it.
    pub(crate) fn dir(root: &Path, dir: usize) -> PathBuf {
        root.join(format!("d{dir:04}"))
    }

    /// Returns a file of it.
    pub(crate) fn file(root: &Path, dir: usize, file: usize) -> PathBuf {
        Self::dir(root, dir).join(format!("f{file:05}.dat"))
    }

    /// Returns all files of it.
    pub(crate) fn all(self, root: &Path) -> impl Iterator<Item = PathBuf> + '_ {
        (0..self.dirs).flat_map(move |d| (0..self.files).map(move |f| Self::file(root, d, f)))
    }

    /// Writes it into `root`, which is created.
    ///
    /// # Errors
    /// If the disk does not take it.
    pub(crate) fn write(self, root: &Path, random: &mut Random) -> Result<()> {
        for dir in 0..self.dirs {
            let dir = Self::dir(root, dir);
            fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
        }
        for path in self.all(root) {
            let bytes = random.bytes(self.bytes);
            fs::write(&path, bytes).with_context(|| path.display().to_string())?;
        }
        Ok(())
    }
}

/// Writes a file of random bytes.
///
/// # Errors
/// If the disk does not take it.
pub(crate) fn write_large(path: &Path, bytes: u64, random: &mut Random) -> Result<()> {
    let mut file = File::create(path).with_context(|| path.display().to_string())?;
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut left = bytes;
    while left > 0 {
        let len = usize::try_from(left)
            .unwrap_or(BUFFER_BYTES)
            .min(BUFFER_BYTES);
        random.fill(&mut buffer[..len]);
        file.write_all(&buffer[..len])?;
        left -= len as u64;
    }
    Ok(())
}
