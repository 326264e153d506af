//! What users wrote, path by path: what a folder may hold at any moment, and what it must hold in
//! the end.
//!
//! Guarantees: every check reads the whole folder; what stands at a path that no user ever named,
//! such as a conflict copy, fails each of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use fsync_tests::folder::{self, Item};

/// What stood at a path; `None`: nothing.
type Version = Option<Kept>;

/// A file's content.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Kept {
    bytes: Vec<u8>,
    exec: bool,
}

/// Up to which version each path is acknowledged.
pub(super) type Mark = BTreeMap<PathBuf, usize>;

/// Every version of every path, oldest first.
#[derive(Debug, Default)]
pub(super) struct Story(BTreeMap<PathBuf, Vec<Version>>);

impl Story {
    fn tell(&mut self, path: impl Into<PathBuf>, version: Version) {
        self.0.entry(path.into()).or_default().push(version);
    }

    fn last(&self, path: &Path) -> Option<&Kept> {
        self.0.get(path)?.last()?.as_ref()
    }

    /// A user writes a file.
    pub(super) fn write(&mut self, root: &Path, path: &str, bytes: Vec<u8>) -> Result<()> {
        folder::write(root, path, &bytes)?;
        let exec = self.last(Path::new(path)).is_some_and(|kept| kept.exec);
        self.tell(path, Some(Kept { bytes, exec }));
        Ok(())
    }

    /// A user makes a file executable.
    pub(super) fn make_exec(&mut self, root: &Path, path: &str) -> Result<()> {
        fs::set_permissions(root.join(path), fs::Permissions::from_mode(0o755))?;
        let kept = self.last(Path::new(path)).context("it was written")?;
        let bytes = kept.bytes.clone();
        self.tell(path, Some(Kept { bytes, exec: true }));
        Ok(())
    }

    /// A user removes a file or a directory with all in it.
    pub(super) fn remove(&mut self, root: &Path, path: &str) -> Result<()> {
        let at = root.join(path);
        match at.is_dir() {
            true => fs::remove_dir_all(at)?,
            false => fs::remove_file(at)?,
        }
        for (path, _) in self.below(path) {
            self.tell(path, None);
        }
        Ok(())
    }

    /// A user renames a file or a directory.
    pub(super) fn rename(&mut self, root: &Path, from: &str, to: &str) -> Result<()> {
        fs::rename(root.join(from), root.join(to))?;
        for (path, kept) in self.below(from) {
            let rest = path.strip_prefix(from)?;
            let new = match rest.as_os_str().is_empty() {
                true => PathBuf::from(to),
                false => Path::new(to).join(rest),
            };
            self.tell(new, Some(kept));
            self.tell(path, None);
        }
        Ok(())
    }

    fn below(&self, path: &str) -> Vec<(PathBuf, Kept)> {
        let all = self.0.keys().filter(|at| at.starts_with(path));
        let there = all.filter_map(|at| Some((at.clone(), self.last(at)?.clone())));
        there.collect()
    }

    /// Returns how far everything is told.
    pub(super) fn mark(&self) -> Mark {
        let last = |(path, versions): (&PathBuf, &Vec<Version>)| (path.clone(), versions.len() - 1);
        self.0.iter().map(last).collect()
    }

    /// Every file is as some user once saved it.
    pub(super) fn check_whole(&self, root: &Path) -> Result<()> {
        self.check_since(root, &Mark::new())
    }

    /// Every path is as it was at a mark, or as some user saved it later.
    pub(super) fn check_since(&self, root: &Path, mark: &Mark) -> Result<()> {
        let mut found = files(root)?;
        for (path, versions) in &self.0 {
            let since = mark.get(path).copied();
            let found = found.remove(path);
            // Of what is not acknowledged yet nothing need be there.
            let is_allowed = versions
                .iter()
                .skip(since.unwrap_or(0))
                .any(|v| *v == found)
                || since.is_none() && found.is_none();
            ensure!(
                is_allowed,
                "{} holds {} in {}, which is none of its {} versions from {since:?} on",
                path.display(),
                describe(found.as_ref()),
                root.display(),
                versions.len()
            );
        }
        match found.keys().next() {
            None => Ok(()),
            Some(path) => bail!("nobody ever made {} in {}", path.display(), root.display()),
        }
    }

    /// The folder is what users made of it, directories included.
    pub(super) fn check_end(&self, root: &Path) -> Result<()> {
        self.check_since(root, &self.mark())?;
        let there = self.0.keys().filter(|path| self.last(path).is_some());
        let wanted: BTreeSet<&Path> = there
            .flat_map(|path| path.ancestors().skip(1))
            .filter(|dir| !dir.as_os_str().is_empty())
            .collect();
        let listed = folder::list(root)?;
        let dirs = listed.iter().filter(|(_, item)| **item == Item::Dir);
        let dirs: BTreeSet<&Path> = dirs.map(|(path, _)| path.as_path()).collect();
        ensure!(dirs == wanted, "directories {dirs:?} instead of {wanted:?}");
        Ok(())
    }
}

fn describe(kept: Option<&Kept>) -> String {
    kept.map_or("nothing".to_owned(), |kept| {
        let start = &kept.bytes[..kept.bytes.len().min(40)];
        let start = String::from_utf8_lossy(start);
        format!("{} bytes, {start:?}, exec {}", kept.bytes.len(), kept.exec)
    })
}

fn files(root: &Path) -> Result<BTreeMap<PathBuf, Kept>> {
    let mut found = BTreeMap::new();
    for (path, item) in folder::list(root)? {
        match item {
            Item::Dir => {}
            Item::File { exec, .. } => {
                let bytes = fs::read(root.join(&path))?;
                found.insert(path, Kept { bytes, exec });
            }
            other => bail!("{}: {other:?}, which nobody made", path.display()),
        }
    }
    Ok(found)
}
