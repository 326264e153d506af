//! Where the demo plays: its two folders, and what server and agents keep beside them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use fsync_agent::client::ServerUrl;
use fsync_agent::control::status::shell_quoted;
use fsync_agent::marker::lock::Lock;

use crate::samples;

/// The agents and their folders.
const PARTS: [(&str, &str); 2] = [("agent-a", "folder-a"), ("agent-b", "folder-b")];
/// What server and agents keep.
const DATA: &str = ".fsync-demo";
/// The server's part of it.
const SERVER: &str = "server";
/// Names the folders that the demo made, in the data: a line of name, device, inode and birth in
/// nanoseconds for each.
const MADE: &str = "made";

/// The directories of one demo.
#[derive(Debug)]
pub(crate) struct Stage {
    dir: PathBuf,
    _lock: Lock,
}

impl Stage {
    /// Makes the directories; unless `keeps_existing`, empties them first and fills them with
    /// samples.
    pub(crate) fn set(dir: &Path, keeps_existing: bool) -> anyhow::Result<Self> {
        let data = dir.join(DATA);
        fs::create_dir_all(&data).with_context(|| format!("cannot make {}", data.display()))?;
        let lock = Lock::take(&data.join("lock"))?.with_context(|| {
            format!(
                "a demo runs in {} already; stop it first, or use another --dir",
                dir.display()
            )
        })?;
        let stage = Self {
            dir: fs::canonicalize(dir)?,
            _lock: lock,
        };
        if !keeps_existing {
            stage.empty()?;
        }
        for (_, folder) in stage.folders() {
            fs::create_dir_all(&folder)
                .with_context(|| format!("cannot make {}", folder.display()))?;
        }
        if !keeps_existing {
            stage.remember()?;
            stage.fill()?;
        }
        Ok(stage)
    }

    /// Notes that both folders are the demo's own.
    fn remember(&self) -> anyhow::Result<()> {
        let lines: String = self
            .folders()
            .filter_map(|(_, folder)| line_of(&folder))
            .collect();
        fs::write(self.data(MADE), lines).context("cannot note which folders the demo made")
    }

    /// Returns each agent's name and folder.
    pub(crate) fn folders(&self) -> impl Iterator<Item = (&'static str, PathBuf)> {
        PARTS
            .map(|(name, folder)| (name, self.dir.join(folder)))
            .into_iter()
    }

    /// Returns where the server keeps its data.
    pub(crate) fn server_data(&self) -> PathBuf {
        self.data(SERVER)
    }

    /// Returns where a part keeps its data.
    pub(crate) fn data(&self, part: &str) -> PathBuf {
        self.dir.join(DATA).join(part)
    }

    /// Returns what the newcomer shall see when all is in step.
    pub(crate) fn live_block(&self, url: &ServerUrl) -> String {
        let path = |folder: &str| shell_quoted(&self.dir.join(folder).to_string_lossy());
        let (a, b) = (path(PARTS[0].1), path(PARTS[1].1));
        format!(
            "\n\
             === Live Sync Active ===\n\
             folder A    {a}\n\
             folder B    {b}\n\
             server      {url}\n\
             Try it in another terminal:\n\
             \x20   echo hello > {a}/hello.txt; sleep 0.2; cat {b}/hello.txt\n\
             Stop with Ctrl+C; start again with --keep-existing to go on where you were.\n"
        )
    }

    /// Empties both folders and all data, after making sure that the demo made them.
    fn empty(&self) -> anyhow::Result<()> {
        let folders: Vec<PathBuf> = self.folders().map(|(_, folder)| folder).collect();
        let made = fs::read_to_string(self.data(MADE)).unwrap_or_default();
        let is_foreign = |folder: &&PathBuf| {
            let is_line = |line: String| made.lines().any(|known| known == line.trim_end());
            let is_made = line_of(folder).is_some_and(is_line);
            !is_made && !is_free(folder)
        };
        if let Some(folder) = folders.iter().find(is_foreign) {
            bail!(
                "{} holds files that this demo did not make, so it is not emptied; \
                 use --keep-existing to sync it as it is, or another --dir",
                folder.display()
            );
        }
        let data = PARTS.map(|(name, _)| self.data(name));
        for dir in folders.into_iter().chain(data).chain([self.data(SERVER)]) {
            match fs::remove_dir_all(&dir) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    return Err(e).with_context(|| format!("cannot empty {}", dir.display()));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn fill(&self) -> anyhow::Result<()> {
        for (name, folder) in self.folders() {
            samples::fill(&folder, name)
                .with_context(|| format!("cannot write samples into {}", folder.display()))?;
        }
        Ok(())
    }
}

/// Returns the line by which a directory is known again; `None` if it is none, or a link.
///
/// The inode alone does not tell: the next directory often gets the number of the one that was just
/// removed. So without birth times, as on some network file systems, none is known again.
fn line_of(folder: &Path) -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    let meta = fs::symlink_metadata(folder).ok()?;
    let name = folder.file_name()?.to_string_lossy().into_owned();
    let birth = meta.created().ok()?;
    let nanos = birth.duration_since(std::time::UNIX_EPOCH).ok()?.as_nanos();
    meta.is_dir()
        .then(|| format!("{name} {} {} {nanos}\n", meta.dev(), meta.ino()))
}

/// Returns whether nothing stands there, or a directory without anything in it.
fn is_free(folder: &Path) -> bool {
    match fs::symlink_metadata(folder) {
        Ok(meta) if meta.is_dir() => {
            fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none())
        }
        Ok(_) => false,
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    }
}

#[cfg(test)]
mod tests {
    use fsync_core::path::MARKER_DIR;

    use super::*;

    #[test]
    fn folders_are_filled_with_samples_of_every_kind() {
        let temp = tempfile::tempdir().unwrap();
        let stage = Stage::set(&temp.path().join("new/demo"), false).unwrap();
        for (name, folder) in stage.folders() {
            assert!(folder.join(format!("hello-from-{name}.txt")).is_file());
            assert!(folder.join(format!("notes/{name}/2026/plan.txt")).is_file());
            assert!(folder.join(format!("{name}-todo")).is_symlink());
        }
    }

    #[test]
    fn one_demo_at_a_time() {
        let temp = tempfile::tempdir().unwrap();
        let _running = Stage::set(temp.path(), false).unwrap();
        let error = Stage::set(temp.path(), false).unwrap_err();
        assert!(error.to_string().contains("runs in"), "{error}");
    }

    #[test]
    fn folders_of_others_are_never_emptied() {
        let temp = tempfile::tempdir().unwrap();
        let mine = temp.path().join("folder-a/mine.txt");
        fs::create_dir(temp.path().join("folder-a")).unwrap();
        fs::write(&mine, "x").unwrap();
        let error = Stage::set(temp.path(), false).unwrap_err();
        assert!(error.to_string().contains("--keep-existing"), "{error}");
        // Also after it took part in a demo, or if it is synced with another tree.
        drop(Stage::set(temp.path(), true).unwrap());
        fs::create_dir(temp.path().join("folder-a").join(MARKER_DIR)).unwrap();
        Stage::set(temp.path(), false).unwrap_err();
        assert_eq!(fs::read_to_string(&mine).unwrap(), "x");
    }

    #[test]
    fn a_folder_that_took_the_place_of_the_demos_own_is_not_emptied() {
        let temp = tempfile::tempdir().unwrap();
        drop(Stage::set(temp.path(), false).unwrap());
        let folder = temp.path().join("folder-b");
        fs::rename(&folder, temp.path().join("away")).unwrap();
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("mine.txt"), "x").unwrap();
        Stage::set(temp.path(), false).unwrap_err();
        assert!(folder.join("mine.txt").exists());
    }

    /// As after a removal: many disks give the number of the directory that went to the next one.
    #[test]
    fn a_folder_with_the_inode_of_the_demos_own_but_born_later_is_not_emptied() {
        let temp = tempfile::tempdir().unwrap();
        drop(Stage::set(temp.path(), false).unwrap());
        let note = temp.path().join(DATA).join(MADE);
        let born = |line: &str| line.rsplit_once(' ').map(|(rest, _)| format!("{rest} 1\n"));
        let made = fs::read_to_string(&note).unwrap();
        let older: String = made.lines().filter_map(born).collect();
        fs::write(&note, older).unwrap();
        Stage::set(temp.path(), false).unwrap_err();
        fs::write(&note, made).unwrap();
        Stage::set(temp.path(), false).unwrap();
    }

    #[test]
    fn folders_of_the_demo_are_emptied_unless_kept() {
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path().join("folder-a");
        drop(Stage::set(temp.path(), false).unwrap());
        fs::create_dir_all(folder.join(MARKER_DIR)).unwrap();
        fs::write(folder.join("old.txt"), "x").unwrap();
        drop(Stage::set(temp.path(), true).unwrap());
        assert!(folder.join("old.txt").exists());
        drop(Stage::set(temp.path(), false).unwrap());
        assert!(!folder.join("old.txt").exists());
        assert!(!folder.join(MARKER_DIR).exists());
    }

    #[test]
    fn the_line_to_try_can_be_pasted() {
        let temp = tempfile::tempdir().unwrap();
        let stage = Stage::set(&temp.path().join("it's here"), false).unwrap();
        let block = stage.live_block(&"http://127.0.0.1:1".parse().unwrap());
        assert!(block.contains("Live Sync Active"));
        assert!(block.contains(r"it'\''s here/folder-a'/hello.txt"));
    }
}
