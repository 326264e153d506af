//! What a loss of power takes from a disk: a record of all that was done to it and not yet made
//! durable, with how to take it back.
//!
//! Guarantees: what was synced stays: the bytes of a file by a sync of the file, names by a sync of
//! their directory. Changes of names come back in order, as a file system with a journal does it:
//! none without those before it. Of bytes that were not synced any part may be there.
//! Does not: know `syncfs`, which FUSE does not pass on; nor times and modes, which stay as set.
//! Place: [`crate::disk::Disk`] has one with `--lossy`; `setxattr` of [`crate::habits::POWER`] on the
//! root loses the power, while nobody has anything open.

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags};
use rustix::io::{Errno, Result};

use crate::disk::proc_path;

/// A name in a directory: its handle, and which directory that is.
#[derive(Debug, Clone)]
pub(crate) struct Spot {
    pub(crate) dir: Arc<OwnedFd>,
    pub(crate) number: u64,
    pub(crate) name: OsString,
}

/// Something that was done.
#[derive(Debug)]
enum Done {
    /// Bytes of a file were overwritten, cut or added.
    Bytes {
        file: Arc<OwnedFd>,
        number: u64,
        at: u64,
        old: Vec<u8>,
        old_size: u64,
    },
    /// Something new stands under a name.
    Made { at: Spot, is_dir: bool },
    /// What stood under a name is gone; a file is kept under a name of our own.
    Gone { at: Spot, kept: Option<OsString> },
    /// Something has another name; what stood there is kept.
    Renamed {
        from: Spot,
        to: Spot,
        flags: RenameFlags,
        replaced: Option<OsString>,
    },
}

/// See the module's head.
#[derive(Debug)]
pub(crate) struct Losses {
    pending: Vec<Done>,
    /// Where removed files are kept until their removal is durable.
    keep: OwnedFd,
    next: u64,
}

/// Numbers that look random.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit.max(1)
    }
}

impl Done {
    fn is_of_file(&self, wanted: u64) -> bool {
        matches!(self, Self::Bytes { number, .. } if *number == wanted)
    }

    fn is_in_dir(&self, wanted: u64) -> bool {
        match self {
            Self::Bytes { .. } => false,
            Self::Made { at, .. } | Self::Gone { at, .. } => at.number == wanted,
            Self::Renamed { from, to, .. } => from.number == wanted || to.number == wanted,
        }
    }
}

impl Losses {
    /// Starts with a disk that is durable as it is; removed files are kept in `keep`.
    pub(crate) fn new(keep: OwnedFd) -> Self {
        Self {
            pending: Vec::new(),
            keep,
            next: 0,
        }
    }

    /// Notes what a write or a cut at `at` is about to overwrite.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn bytes(
        &mut self,
        file: &Arc<OwnedFd>,
        number: u64,
        (at, count): (u64, usize),
    ) -> Result<()> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(proc_path(file), flags, Mode::empty())?;
        let old_size = u64::try_from(rustix::fs::fstat(&fd)?.st_size).unwrap_or(0);
        let left = usize::try_from(old_size.saturating_sub(at)).unwrap_or(usize::MAX);
        let mut old = vec![0; count.min(left)];
        let read = rustix::io::pread(&fd, &mut old[..], at)?;
        old.truncate(read);
        self.pending.push(Done::Bytes {
            file: Arc::clone(file),
            number,
            at,
            old,
            old_size,
        });
        Ok(())
    }

    /// Notes that something new stands under a name.
    pub(crate) fn made(&mut self, at: Spot, is_dir: bool) {
        self.pending.push(Done::Made { at, is_dir });
    }

    /// Keeps a file that is about to lose its name; a directory needs no keeping.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn keep(&mut self, at: &Spot) -> Result<Option<OsString>> {
        self.next += 1;
        let kept = OsString::from(self.next.to_string());
        match rustix::fs::linkat(&*at.dir, &at.name, &self.keep, &kept, AtFlags::empty()) {
            Ok(()) => Ok(Some(kept)),
            // A directory, or nothing.
            Err(Errno::PERM | Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// Notes that a name is gone.
    pub(crate) fn gone(&mut self, at: Spot, kept: Option<OsString>) {
        self.pending.push(Done::Gone { at, kept });
    }

    /// Notes a rename.
    pub(crate) fn renamed(
        &mut self,
        (from, to): (Spot, Spot),
        flags: RenameFlags,
        replaced: Option<OsString>,
    ) {
        self.pending.push(Done::Renamed {
            from,
            to,
            flags,
            replaced,
        });
    }

    /// The bytes of a file are durable.
    pub(crate) fn file_synced(&mut self, number: u64) {
        self.pending.retain(|done| !done.is_of_file(number));
    }

    /// The names in a directory are durable, with all changes of names before the last of them: a
    /// journal writes them in order.
    pub(crate) fn dir_synced(&mut self, number: u64) {
        let last = self.pending.iter().rposition(|done| done.is_in_dir(number));
        let Some(last) = last else { return };
        let mut at = 0;
        self.pending.retain(|done| {
            at += 1;
            at > last + 1 || matches!(done, Done::Bytes { .. })
        });
    }

    /// Loses power: what is taken back follows from the seed. Returns how much was.
    ///
    /// # Errors
    /// The system's, if the disk is not as it was left.
    pub(crate) fn lose(&mut self, seed: u64) -> Result<usize> {
        let mut chance = Chance(seed ^ 0x9e37_79b9_7f4a_7c15);
        let count = self.pending.len() as u64;
        let names_until = match chance.below(3) {
            0 => 0,
            1 => count,
            _ => chance.below(count + 1),
        };
        let bytes_of_1000 = [0, 500, 1000][usize::try_from(chance.below(3)).unwrap_or(0)];
        let mut lost = 0;
        for (at, done) in std::mem::take(&mut self.pending)
            .into_iter()
            .enumerate()
            .rev()
        {
            let is_kept = match &done {
                Done::Bytes { .. } => chance.below(1000) < bytes_of_1000,
                _ => (at as u64) < names_until,
            };
            if !is_kept {
                lost += 1;
                self.take_back(&done)?;
            }
        }
        Ok(lost)
    }

    fn take_back(&self, done: &Done) -> Result<()> {
        match done {
            Done::Bytes {
                file,
                at,
                old,
                old_size,
                ..
            } => {
                let flags = OFlags::WRONLY | OFlags::CLOEXEC;
                let fd = rustix::fs::open(proc_path(file), flags, Mode::empty())?;
                rustix::io::pwrite(&fd, old, *at)?;
                rustix::fs::ftruncate(&fd, *old_size)
            }
            Done::Made { at, is_dir } => {
                let flags = match is_dir {
                    true => AtFlags::REMOVEDIR,
                    false => AtFlags::empty(),
                };
                rustix::fs::unlinkat(&*at.dir, &at.name, flags)
            }
            Done::Gone { at, kept: None } => {
                rustix::fs::mkdirat(&*at.dir, &at.name, Mode::from_raw_mode(0o700))
            }
            Done::Gone {
                at,
                kept: Some(kept),
            } => self.give_back(at, kept),
            Done::Renamed {
                from,
                to,
                flags,
                replaced,
            } => {
                let back = *flags & RenameFlags::EXCHANGE;
                rustix::fs::renameat_with(&*to.dir, &to.name, &*from.dir, &from.name, back)?;
                match replaced {
                    Some(kept) => self.give_back(to, kept),
                    None => Ok(()),
                }
            }
        }
    }

    fn give_back(&self, at: &Spot, kept: &OsStr) -> Result<()> {
        rustix::fs::linkat(&self.keep, kept, &*at.dir, &at.name, AtFlags::empty())
    }
}

/// Opens the directory for removed files, beside the backing one.
///
/// # Errors
/// The system's.
pub(crate) fn keep_beside(backing: &std::path::Path) -> Result<OwnedFd> {
    let mut path = backing.as_os_str().to_owned();
    path.push(".removed");
    match rustix::fs::mkdir(&path, Mode::from_raw_mode(0o700)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno),
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, &path, flags, Mode::empty())
}
