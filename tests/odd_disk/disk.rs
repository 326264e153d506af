//! The disk itself: backing files by number, names by its habits, faults and room.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context;
use fuser::{FileAttr, FileType, INodeNo};
use rustix::fs::{AtFlags, Dir, Mode, OFlags, Statx, StatxFlags};
use rustix::io::{Errno, Result};

use crate::habits::{Budget, Habits};
use crate::inodes::{Inodes, ROOT};
use crate::losses::{Losses, Spot, keep_beside};

/// What the kernel has open.
#[derive(Debug)]
pub(crate) enum Open {
    /// A file.
    File(OwnedFd),
    /// A directory, as it was listed when it was opened.
    Dir(Vec<(OsString, FileType)>),
}

/// A mounted disk.
#[derive(Debug)]
pub(crate) struct Disk {
    pub(crate) habits: Habits,
    inodes: Mutex<Inodes>,
    budget: Mutex<Option<Budget>>,
    losses: Option<Mutex<Losses>>,
    is_read_only: AtomicBool,
    open: Mutex<HashMap<u64, Arc<Open>>>,
    next_open: AtomicU64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Disk {
    /// Opens the backing directory.
    ///
    /// # Errors
    /// The system's, with the path.
    pub(crate) fn open(backing: &Path, habits: Habits) -> anyhow::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(backing, flags, Mode::empty())
            .with_context(|| backing.display().to_string())?;
        let stat = look(&root)?;
        let losses = habits.lossy.then(|| keep_beside(backing));
        Ok(Self {
            habits,
            inodes: Mutex::new(Inodes::new(root, key(&stat))),
            budget: Mutex::new(None),
            losses: losses
                .transpose()?
                .map(|keep| Mutex::new(Losses::new(keep))),
            is_read_only: AtomicBool::new(false),
            open: Mutex::new(HashMap::new()),
            next_open: AtomicU64::new(1),
        })
    }

    /// Returns the backing file of a number.
    ///
    /// # Errors
    /// As of [`Inodes::get`].
    pub(crate) fn fd(&self, number: INodeNo) -> Result<Arc<OwnedFd>> {
        Ok(lock(&self.inodes).get(number.0)?.fd.clone())
    }

    /// Returns the name under which the backing directory has what `name` means here; a new one as
    /// it will be kept.
    ///
    /// # Errors
    /// As of [`Habits::kept`], or the system's.
    pub(crate) fn name(&self, dir: &OwnedFd, name: &OsStr) -> Result<OsString> {
        let kept = self.habits.kept(name)?;
        if !self.habits.has_twins() {
            return Ok(kept);
        }
        let twin = listed(dir)?.into_iter().map(|(name, _)| name);
        let mut twins = twin.filter(|found| self.habits.is_same(found, &kept));
        Ok(twins.next().unwrap_or(kept))
    }

    /// Finds what stands under a name.
    ///
    /// # Errors
    /// `ENOENT` if nothing does, or the system's.
    pub(crate) fn find(&self, dir: INodeNo, name: &OsStr) -> Result<(FileAttr, u64)> {
        let dir = self.fd(dir)?;
        let name = self.name(&dir, name)?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&dir, &name, flags, Mode::empty())?;
        let stat = look(&fd)?;
        let mut inodes = lock(&self.inodes);
        let number = inodes.known(fd, key(&stat));
        let generation = inodes.get(number)?.generation;
        Ok((self.attributes(number, &stat), generation))
    }

    /// Returns what a file is.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn stat(&self, number: INodeNo) -> Result<FileAttr> {
        let fd = self.fd(number)?;
        let stat = look(&fd)?;
        Ok(self.attributes(number.0, &stat))
    }

    fn attributes(&self, number: u64, stat: &Statx) -> FileAttr {
        let time = |t: &rustix::fs::StatxTimestamp| self.habits.time(t.tv_sec, t.tv_nsec);
        let mode = u32::from(stat.stx_mode);
        let kind = kind_of(rustix::fs::FileType::from_raw_mode(mode));
        let mode = self
            .habits
            .mode(mode & 0o7777, kind == FileType::RegularFile);
        FileAttr {
            ino: INodeNo(number),
            size: stat.stx_size,
            blocks: stat.stx_blocks,
            atime: time(&stat.stx_atime),
            mtime: time(&stat.stx_mtime),
            ctime: time(&stat.stx_ctime),
            crtime: std::time::UNIX_EPOCH,
            kind,
            perm: u16::try_from(mode).unwrap_or(0),
            nlink: stat.stx_nlink,
            uid: stat.stx_uid,
            gid: stat.stx_gid,
            rdev: 0,
            blksize: stat.stx_blksize,
            flags: 0,
        }
    }

    /// The kernel forgets a file.
    pub(crate) fn forget(&self, number: u64, lookups: u64) {
        let mut inodes = lock(&self.inodes);
        let Ok(inode) = inodes.get(number) else {
            return;
        };
        let is_gone = look(&inode.fd).is_ok_and(|stat| stat.stx_nlink == 0);
        inodes.forget(number, lookups, (is_gone, self.habits.reuse_inodes));
    }

    /// Fails as the file does.
    ///
    /// # Errors
    /// Its fault.
    pub(crate) fn check(&self, number: INodeNo) -> Result<()> {
        match lock(&self.inodes).get(number.0)?.fault {
            Some(fault) => Err(fault),
            None => Ok(()),
        }
    }

    /// Sets or ends the fault of a file.
    ///
    /// # Errors
    /// As of [`Inodes::get`].
    pub(crate) fn set_fault(&self, number: INodeNo, fault: Option<Errno>) -> Result<()> {
        lock(&self.inodes).get_mut(number.0)?.fault = fault;
        Ok(())
    }

    /// Sets or ends the limit of what can be written.
    ///
    /// # Errors
    /// `EINVAL` for another file than the root.
    pub(crate) fn set_budget(&self, number: INodeNo, budget: Option<Budget>) -> Result<()> {
        match number.0 {
            ROOT => *lock(&self.budget) = budget,
            _ => return Err(Errno::INVAL),
        }
        Ok(())
    }

    /// Notes what is done, where power may be lost.
    ///
    /// # Errors
    /// As of `note`.
    pub(crate) fn note<T>(&self, note: impl FnOnce(&mut Losses) -> Result<T>) -> Result<Option<T>> {
        let noted = self.losses.as_ref().map(|losses| note(&mut lock(losses)));
        noted.transpose()
    }

    /// Returns a name in a directory.
    ///
    /// # Errors
    /// As of [`Inodes::get`].
    pub(crate) fn spot(&self, dir: INodeNo, name: &OsStr) -> Result<Spot> {
        Ok(Spot {
            dir: self.fd(dir)?,
            number: dir.0,
            name: name.to_owned(),
        })
    }

    /// Makes the disk read-only, or ends that.
    pub(crate) fn set_read_only(&self, is_read_only: bool) {
        self.is_read_only.store(is_read_only, Ordering::Release);
    }

    /// Fails while the disk is read-only.
    ///
    /// # Errors
    /// `EROFS`.
    pub(crate) fn check_writable(&self) -> Result<()> {
        match self.is_read_only.load(Ordering::Acquire) {
            true => Err(Errno::ROFS),
            false => Ok(()),
        }
    }

    /// Takes room for a write.
    ///
    /// # Errors
    /// As of [`Budget::take`], or of [`Disk::check_writable`].
    pub(crate) fn take_room(&self, bytes: usize) -> Result<()> {
        self.check_writable()?;
        lock(&self.budget)
            .as_mut()
            .map_or(Ok(()), |budget| budget.take(bytes))
    }

    /// Remembers something that the kernel opened.
    pub(crate) fn opened(&self, open: Open) -> u64 {
        let handle = self.next_open.fetch_add(1, Ordering::Relaxed);
        lock(&self.open).insert(handle, Arc::new(open));
        handle
    }

    /// Returns what the kernel opened.
    ///
    /// # Errors
    /// `EBADF` if it is closed.
    pub(crate) fn handle(&self, handle: u64) -> Result<Arc<Open>> {
        lock(&self.open).get(&handle).cloned().ok_or(Errno::BADF)
    }

    /// Closes what the kernel opened.
    pub(crate) fn close(&self, handle: u64) {
        lock(&self.open).remove(&handle);
    }
}

/// Returns a path that leads to an open file, whatever it is.
pub(crate) fn proc_path(fd: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

fn look(fd: &OwnedFd) -> Result<Statx> {
    rustix::fs::statx(fd, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)
}

fn key(stat: &Statx) -> (u64, u64) {
    let dev = rustix::fs::makedev(stat.stx_dev_major, stat.stx_dev_minor);
    (dev, stat.stx_ino)
}

/// Lists a backing directory.
///
/// # Errors
/// The system's.
pub(crate) fn listed(dir: &OwnedFd) -> Result<Vec<(OsString, FileType)>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = rustix::fs::openat(dir.as_fd(), c".", flags, Mode::empty())?;
    let mut listed = Vec::new();
    for entry in Dir::new(dir)? {
        let entry = entry?;
        let name = OsString::from_vec(entry.file_name().to_bytes().to_vec());
        let is_dots = [".", ".."]
            .iter()
            .any(|dots| name.as_bytes() == dots.as_bytes());
        if !is_dots {
            listed.push((name, kind_of(entry.file_type())));
        }
    }
    Ok(listed)
}

fn kind_of(kind: rustix::fs::FileType) -> FileType {
    use rustix::fs::FileType as Kind;
    match kind {
        Kind::Directory => FileType::Directory,
        Kind::Symlink => FileType::Symlink,
        Kind::Fifo => FileType::NamedPipe,
        Kind::Socket => FileType::Socket,
        Kind::CharacterDevice => FileType::CharDevice,
        Kind::BlockDevice => FileType::BlockDevice,
        Kind::RegularFile | Kind::Unknown => FileType::RegularFile,
    }
}
