//! The real file system: `openat2` below a handle of the root, `renameat2`, `statx`, `syncfs`.
//!
//! Guarantees: containment. Each call opens the directory it works in afresh, below the root's
//! handle, through no link; a directory that a user moves away meanwhile is never worked in by its
//! old handle. With the files below it the only one of the agent that touches `std::fs` or rustix.

mod calls;
mod events;
mod names;
mod renames;

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use fsync_core::path::{MARKER_DIR, Name, RelPath};
use rustix::fs::{AtFlags, Mode, OFlags, RawDir, RenameFlags};
use rustix::io::Errno;

use super::handle::{DiskFile, fails, fails_io, open_below, stat_at, stat_c};
use super::{Files, Kind, Listed, Meta, Opened, Place, Rename, Result, StageKey, Stat, TrashSlot};
use calls::{
    apply_meta, in_parallel, keeps_exec, list_names, make_dirs, open_own, or_none, split, sync_all,
    write_all,
};
use names::{Spelling, other_spelling};

pub(crate) use events::without_events;

/// Up to this many files are made durable one by one, in parallel; above it one `syncfs` is
/// cheaper.
const SYNC_SINGLY: usize = 8;
/// Threads that make files durable at once: the journal groups what comes together.
const SYNC_THREADS: usize = 4;
const LIST_BUFFER_BYTES: usize = 32 * 1024;
const STAGE_DIR: &str = "stage";
const TRASH_DIR: &str = "trash";

/// A synced folder on disk.
#[derive(Debug)]
pub struct Disk {
    path: PathBuf,
    root: OwnedFd,
    stage: OwnedFd,
    trash: OwnedFd,
    spelling: Spelling,
    keeps_exec: bool,
}

impl Disk {
    /// Opens the folder at `path` and makes its stage and trash.
    ///
    /// # Errors
    /// [`FilesError`](super::FilesError) if it is no directory, cannot be read or cannot be
    /// written.
    pub fn open(path: &Path) -> Result<Self> {
        let shown = path.display().to_string();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(path, flags, Mode::empty()).map_err(fails("open", &shown))?;
        let marker = open_own(root.as_fd(), MARKER_DIR, &shown)?;
        let stage = open_own(marker.as_fd(), STAGE_DIR, &shown)?;
        let trash = open_own(marker.as_fd(), TRASH_DIR, &shown)?;
        Ok(Self {
            path: path.to_owned(),
            root,
            stage,
            trash,
            spelling: Spelling::of(&marker),
            keeps_exec: keeps_exec(&marker),
        })
    }

    /// Splits a place into the handle that it is below of, the directory and the name.
    fn locate(&self, at: Place<'_>) -> (BorrowedFd<'_>, Vec<u8>, Vec<u8>) {
        match at {
            Place::Tree(path) => {
                let (dir, name) = split(path.as_bytes());
                (self.root.as_fd(), dir.to_vec(), name.to_vec())
            }
            Place::Stage(key) => (self.stage.as_fd(), Vec::new(), key.as_str().into()),
            Place::Trash(slot, path) => {
                let mut full = slot.to_string().into_bytes();
                if !path.is_root() {
                    full.push(b'/');
                    full.extend_from_slice(path.as_bytes());
                }
                let (dir, name) = split(&full);
                (self.trash.as_fd(), dir.to_vec(), name.to_vec())
            }
        }
    }

    /// Opens the directory that holds the place; returns it with the place's name.
    fn parent(&self, at: Place<'_>) -> rustix::io::Result<(Holder<'_>, Vec<u8>)> {
        let (base, dir, name) = self.locate(at);
        if name.is_empty() {
            return Err(Errno::BUSY);
        }
        if dir.is_empty() {
            return Ok((Holder::Base(base), name));
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        match open_below(base, &dir, flags) {
            Err(Errno::NOENT) if matches!(at, Place::Trash(..)) => {
                make_dirs(base, &dir)?;
                open_below(base, &dir, flags).map(|fd| (Holder::Below(fd), name))
            }
            opened => opened.map(|fd| (Holder::Below(fd), name)),
        }
    }

    fn open_at(&self, at: Place<'_>, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let (base, mut path, name) = self.locate(at);
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(&name);
        open_below(base, &path, flags)
    }

    fn rename_raw(
        &self,
        from: Place<'_>,
        to: Place<'_>,
        flags: RenameFlags,
    ) -> rustix::io::Result<()> {
        let (from_dir, from_name) = self.parent(from)?;
        let (to_dir, to_name) = self.parent(to)?;
        match rustix::fs::renameat_with(from_dir, from_name, to_dir, to_name, flags) {
            Err(errno) if renames::knows_no_flags(errno) => self.rename_plainly(from, to, flags),
            renamed => renamed,
        }
    }

    fn open_staged(&self, key: &StageKey, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let flags = flags | OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        rustix::fs::openat(&self.stage, key.as_str(), flags, Mode::from_raw_mode(0o666))
    }
}

/// The directory that holds a place: one of the handles that are always open, or one opened for
/// this call.
enum Holder<'a> {
    Base(BorrowedFd<'a>),
    Below(OwnedFd),
}

impl AsFd for Holder<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Base(fd) => *fd,
            Self::Below(fd) => fd.as_fd(),
        }
    }
}

impl Files for Disk {
    fn now(&self) -> i64 {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.map_or(0, |d| i64::try_from(d.as_nanos()).unwrap_or(i64::MAX))
    }

    fn keeps_exec(&self) -> bool {
        self.keeps_exec
    }

    fn free_bytes(&self) -> Option<u64> {
        let disk = rustix::fs::fstatvfs(&self.stage).ok()?;
        Some(disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    fn root(&self) -> Result<Stat> {
        let shown = self.path.display();
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(&self.path, flags, Mode::empty())
            .map_err(fails("open the synced folder", &shown))?;
        stat_at(root, b"").map_err(fails("look at the synced folder", &shown))
    }

    fn list(&self, dir: Place<'_>) -> Result<Vec<Listed>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let fd = self.open_at(dir, flags).map_err(fails("list", dir))?;
        let mut buffer = vec![MaybeUninit::uninit(); LIST_BUFFER_BYTES];
        let mut entries = RawDir::new(&fd, &mut buffer);
        let mut listed = Vec::new();
        while let Some(entry) = entries.next() {
            let entry = entry.map_err(fails("list", dir))?;
            let Ok(name) = Name::new(entry.file_name().to_bytes()) else {
                continue;
            };
            let stat = or_none(stat_c(&fd, entry.file_name()));
            if let Some(stat) = stat.map_err(fails("look at what is in", dir))? {
                listed.push(Listed { name, stat });
            }
        }
        listed.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(listed)
    }

    fn stat(&self, at: Place<'_>) -> Result<Option<Stat>> {
        let (base, dir, name) = self.locate(at);
        // A staged file, or one right below the root: nothing to open on the way.
        let found = match dir.is_empty() && !name.is_empty() {
            true => stat_at(base, &name),
            false => self
                .open_at(at, OFlags::PATH)
                .and_then(|fd| stat_at(fd, b"")),
        };
        let found = or_none(found).map_err(fails("look at", at))?;
        let is_there = found.is_some() && self.is_spelled(at).map_err(fails("look at", at))?;
        Ok(found.filter(|_| is_there))
    }

    fn stat_all(&self, dir: &RelPath, names: &[Name]) -> Result<Vec<Option<Stat>>> {
        if self.spelling == Spelling::Folded {
            let look = |name: &Name| self.stat(Place::Tree(&dir.join(name)));
            return names.iter().map(look).collect();
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let dir = match open_below(&self.root, dir.as_bytes(), flags) {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(vec![None; names.len()]),
            opened => opened.map_err(fails("open", dir))?,
        };
        let look =
            |name: &Name| or_none(stat_at(&dir, name.as_bytes())).map_err(fails("look at", name));
        names.iter().map(look).collect()
    }

    fn open(&self, at: Place<'_>) -> Result<Box<dyn Opened>> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        // Looked at first: opening a device can have effects, and a FIFO is never to be held open.
        let is_file = self.stat(at)?.is_some_and(|s| s.kind == Kind::File);
        let opened = match is_file {
            true => self.open_at(at, flags),
            false => Err(Errno::NOENT),
        };
        let file = DiskFile {
            fd: opened.map_err(fails("open", at))?,
            path: at.to_string(),
        };
        match file.stat()?.kind {
            Kind::File => Ok(Box::new(file)),
            _ => Err(fails("open", at)(Errno::NOENT)),
        }
    }

    fn read_link(&self, at: Place<'_>) -> Result<Vec<u8>> {
        let (dir, name) = self.parent(at).map_err(fails("read the link", at))?;
        match rustix::fs::readlinkat(dir, name, Vec::new()) {
            Ok(target) => Ok(target.into_bytes()),
            Err(Errno::INVAL) => Err(fails("read the link", at)(Errno::NOENT)),
            Err(errno) => Err(fails("read the link", at)(errno)),
        }
    }

    fn stage(&self, key: &StageKey, bytes: &[u8], meta: &Meta) -> Result<Stat> {
        let write = || {
            let fd = self.open_staged(key, OFlags::CREATE | OFlags::TRUNC)?;
            write_all(&fd, 0, bytes)?;
            apply_meta(&fd, meta)
        };
        write().map_err(fails("write", Place::Stage(key)))
    }

    fn stage_link(&self, key: &StageKey, target: &[u8]) -> Result<()> {
        rustix::fs::symlinkat(target, &self.stage, key.as_str())
            .map_err(fails("make the link", Place::Stage(key)))
    }

    fn stage_write(&self, key: &StageKey, offset: u64, bytes: &[u8]) -> Result<()> {
        let write = || {
            let fd = self.open_staged(key, OFlags::CREATE)?;
            write_all(&fd, offset, bytes)
        };
        write().map_err(fails("write", Place::Stage(key)))
    }

    fn stage_finish(&self, key: &StageKey, size: u64, meta: &Meta) -> Result<()> {
        let finish = || {
            let fd = self.open_staged(key, OFlags::CREATE)?;
            rustix::fs::ftruncate(&fd, size)?;
            apply_meta(&fd, meta).map(drop)
        };
        finish().map_err(fails("finish", Place::Stage(key)))
    }

    fn staged(&self) -> Result<Vec<StageKey>> {
        let names = list_names(self.stage.as_fd()).map_err(fails("list", ".fsync/stage"))?;
        Ok(names.iter().filter_map(|n| StageKey::parse(n)).collect())
    }

    fn sync_staged(&self, keys: &[StageKey]) -> Result<()> {
        if keys.len() > SYNC_SINGLY {
            return rustix::fs::syncfs(&self.stage).map_err(fails("make durable", ".fsync/stage"));
        }
        in_parallel(keys, |key| {
            let opened = self.open_at(Place::Stage(key), OFlags::RDONLY | OFlags::NONBLOCK);
            match opened {
                // A link: its name is all there is to it, the stage's own sync covers it.
                Err(Errno::LOOP) => sync_all(&self.stage, Place::Stage(key)),
                opened => sync_all(&opened.map_err(fails("open", Place::Stage(key)))?, ""),
            }
        })
    }

    fn sync_dirs(&self, dirs: &[RelPath]) -> Result<()> {
        if dirs.len() > SYNC_SINGLY {
            return rustix::fs::syncfs(&self.root).map_err(fails("make durable", "the folder"));
        }
        in_parallel(dirs, |dir| {
            match self.open_at(Place::Tree(dir), OFlags::RDONLY | OFlags::DIRECTORY) {
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(()),
                opened => sync_all(&opened.map_err(fails("open", dir))?, dir),
            }
        })
    }

    fn rename(&self, from: Place<'_>, to: Place<'_>, how: Rename) -> Result<()> {
        let flags = match how {
            Rename::NoReplace => RenameFlags::NOREPLACE,
            Rename::Exchange => RenameFlags::EXCHANGE,
        };
        if self.spelling == Spelling::Folded
            && how == Rename::NoReplace
            && matches!(to, Place::Tree(_))
        {
            return self.rename_spelled(from, to);
        }
        self.rename_raw(from, to, flags)
            .map_err(fails("rename", format!("{from} to {to}")))
    }

    fn make_dir(&self, at: Place<'_>) -> Result<()> {
        let make = || {
            let (dir, name) = self.parent(at)?;
            rustix::fs::mkdirat(dir, name, Mode::from_raw_mode(0o777))
        };
        let op = "make the directory";
        let made = make();
        if !matches!(made, Ok(()) | Err(Errno::EXIST)) {
            return made.map_err(fails(op, at));
        }
        if self.is_spelled(at).map_err(fails(op, at))? {
            return made.map_err(fails(op, at));
        }
        if made.is_ok() {
            self.remove_dir(at)?;
        }
        Err(other_spelling(op, at))
    }

    fn remove_dir(&self, at: Place<'_>) -> Result<()> {
        let remove = || {
            let (dir, name) = self.parent(at)?;
            match rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR) {
                Err(Errno::EXIST) => Err(Errno::NOTEMPTY),
                done => done,
            }
        };
        remove().map_err(fails("remove the directory", at))
    }

    fn remove_file(&self, at: Place<'_>) -> Result<()> {
        if matches!(at, Place::Tree(_)) {
            return Err(fails("unlink in the tree", at)(Errno::NOSYS));
        }
        let remove = || {
            let (dir, name) = self.parent(at)?;
            rustix::fs::unlinkat(dir, name, AtFlags::empty())
        };
        remove().map_err(fails("remove", at))
    }

    fn set_meta(&self, at: Place<'_>, meta: &Meta) -> Result<()> {
        let set = || {
            let fd = self.open_at(at, OFlags::RDONLY | OFlags::NONBLOCK)?;
            match stat_at(&fd, b"")?.kind {
                Kind::File => apply_meta(&fd, meta).map(drop),
                _ => Err(Errno::NOENT),
            }
        };
        set().map_err(fails("set the properties of", at))
    }

    fn trash_slots(&self) -> Result<Vec<TrashSlot>> {
        let names = list_names(self.trash.as_fd()).map_err(fails("list", ".fsync/trash"))?;
        let mut slots: Vec<_> = names.iter().filter_map(|n| TrashSlot::parse(n)).collect();
        slots.sort_unstable();
        Ok(slots)
    }
}

/// What one look at an absolute path tells; for the watcher, whose events do not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Glance {
    /// A directory.
    Dir,
    /// A regular file of one name.
    File,
    /// Anything else, or nothing.
    Other,
}

/// Looks at an absolute path, not through a link.
pub(crate) fn glance(path: &Path) -> Glance {
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => Glance::Dir,
        Ok(found) if found.is_file() && std::os::unix::fs::MetadataExt::nlink(&found) == 1 => {
            Glance::File
        }
        _ => Glance::Other,
    }
}

/// Renames a damaged file so that a fresh one can take its place; returns its new path.
///
/// # Errors
/// [`FilesError`](super::FilesError) of the rename.
pub(crate) fn move_aside(path: &Path) -> Result<PathBuf> {
    let mut number = 0;
    let mut aside = path.to_owned();
    while aside.exists() {
        number += 1;
        aside = path.with_extension(format!("damaged-{number}"));
    }
    std::fs::rename(path, &aside).map_err(fails_io("move aside", path.display()))?;
    Ok(aside)
}
