//! A tool that is wrong: whichever file is newer takes the place of the other, without a word.
//!
//! Place: shows that the model finds what is broken. Its rules are those of a copy job that runs
//! both ways.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::time::SystemTime;

use anyhow::Result;
use tempfile::TempDir;

use super::tool::{REPLICAS, Tool};

/// See the module's head.
#[derive(Debug)]
pub struct Mirror {
    dir: TempDir,
}

impl Mirror {
    /// Makes its directory.
    ///
    /// # Errors
    /// The system's.
    pub fn new() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        Ok(Self { dir })
    }
}

impl Tool for Mirror {
    fn name(&self) -> Result<String> {
        Ok("mirror".to_owned())
    }

    fn folder(&self, replica: usize) -> PathBuf {
        self.dir.path().join(replica.to_string())
    }

    fn start(&mut self, _replica: usize) -> Result<()> {
        Ok(())
    }

    fn stop(&mut self, _replica: usize) -> Result<()> {
        Ok(())
    }

    fn quiet(&mut self) -> Result<()> {
        let mut names: BTreeSet<OsString> = BTreeSet::new();
        for replica in 0..REPLICAS {
            for entry in fs::read_dir(self.folder(replica))? {
                names.insert(entry?.file_name());
            }
        }
        for name in names {
            let paths: Vec<PathBuf> = (0..REPLICAS).map(|r| self.folder(r).join(&name)).collect();
            let time = |path: &&PathBuf| fs::metadata(path).and_then(|meta| meta.modified()).ok();
            let newest = paths.iter().max_by_key(time).filter(|path| path.exists());
            let Some(newest) = newest else { continue };
            let (bytes, modified) = (fs::read(newest)?, time(&newest));
            for path in paths.iter().filter(|path| *path != newest) {
                fs::write(path, &bytes)?;
                let file = fs::File::options().write(true).open(path)?;
                file.set_modified(modified.unwrap_or(SystemTime::UNIX_EPOCH))?;
            }
        }
        Ok(())
    }

    fn original(&self, _name: &str) -> Option<String> {
        None
    }

    fn is_own(&self, _name: &str) -> bool {
        false
    }
}
