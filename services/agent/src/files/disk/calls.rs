//! Single calls on handles, as [`super::Disk`] needs them.
//!
//! Guarantees: nothing here takes a path of more than one component but below a handle.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use fsync_core::node::Mtime;
use rustix::fs::{AtFlags, Mode, OFlags, RawDir, Timespec, Timestamps};
use rustix::io::Errno;

use super::super::handle::{fails, fails_io, open_below, stat_at};
use super::super::{Meta, Result, Stat};
use super::{LIST_BUFFER_BYTES, SYNC_THREADS};

/// A file that is made and removed when a folder is opened.
const EXEC_PROBE: &str = "probe-exec";

pub(super) fn open_own(dir: BorrowedFd<'_>, name: &str, shown: &str) -> Result<OwnedFd> {
    match rustix::fs::mkdirat(dir, name, Mode::from_raw_mode(0o700)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(fails("make the agent's directory in", shown)(errno)),
    }
    open_below(dir, name.as_bytes(), OFlags::RDONLY | OFlags::DIRECTORY)
        .map_err(fails("open the agent's directory in", shown))
}

pub(super) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|b| *b == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (&[], path),
    }
}

pub(super) fn make_dirs(base: BorrowedFd<'_>, dir: &[u8]) -> rustix::io::Result<()> {
    let mut at = open_below(base, b"", OFlags::PATH | OFlags::DIRECTORY)?;
    for name in dir.split(|b| *b == b'/') {
        match rustix::fs::mkdirat(&at, name, Mode::from_raw_mode(0o700)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
        at = open_below(at, name, OFlags::PATH | OFlags::DIRECTORY)?;
    }
    Ok(())
}

/// Sets properties; returns what the file is then.
pub(super) fn apply_meta(fd: &OwnedFd, meta: &Meta) -> rustix::io::Result<Stat> {
    set_mtime(fd, meta.mtime)?;
    let now = stat_at(fd, b"")?;
    let base = meta.like.unwrap_or(now.mode) & 0o777;
    // Who may read may execute.
    let mode = match meta.exec {
        true => base | 0o100 | (base & 0o444) >> 2,
        false => base & !0o111,
    };
    if mode == now.mode {
        return Ok(now);
    }
    rustix::fs::fchmod(fd, Mode::from_raw_mode(mode))?;
    stat_at(fd, b"")
}

fn set_mtime(fd: &OwnedFd, mtime: Mtime) -> rustix::io::Result<()> {
    let omit = Timespec {
        tv_sec: 0,
        tv_nsec: rustix::fs::UTIME_OMIT,
    };
    let mtime = Timespec {
        tv_sec: mtime.0.div_euclid(1_000_000_000),
        tv_nsec: mtime.0.rem_euclid(1_000_000_000),
    };
    let times = Timestamps {
        last_access: omit,
        last_modification: mtime,
    };
    rustix::fs::futimens(fd, &times)
}

pub(super) fn write_all(fd: &OwnedFd, mut offset: u64, mut bytes: &[u8]) -> rustix::io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::pwrite(fd, bytes, offset) {
            Ok(0) => return Err(Errno::IO),
            Ok(written) => {
                bytes = &bytes[written..];
                offset += written as u64;
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Runs `work` over all items on a few threads; the first error wins.
pub(super) fn in_parallel<T: Sync>(
    items: &[T],
    work: impl Fn(&T) -> Result<()> + Sync,
) -> Result<()> {
    let share = items.len().div_ceil(SYNC_THREADS).max(1);
    if items.len() <= 1 {
        return items.iter().try_for_each(work);
    }
    std::thread::scope(|scope| {
        let threads: Vec<_> = items
            .chunks(share)
            .map(|part| scope.spawn(|| part.iter().try_for_each(&work)))
            .collect();
        threads
            .into_iter()
            .try_for_each(|thread| match thread.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            })
    })
}

pub(super) fn or_none(result: rustix::io::Result<Stat>) -> rustix::io::Result<Option<Stat>> {
    match result {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(errno) => Err(errno),
    }
}

pub(super) fn list_names(dir: BorrowedFd<'_>) -> rustix::io::Result<Vec<String>> {
    // A handle of its own: a directory's read position belongs to the handle.
    let fd = open_below(dir, b"", OFlags::RDONLY | OFlags::DIRECTORY)?;
    let mut buffer = vec![MaybeUninit::uninit(); LIST_BUFFER_BYTES];
    let mut entries = RawDir::new(&fd, &mut buffer);
    let mut names = Vec::new();
    while let Some(entry) = entries.next() {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    Ok(names)
}

pub(super) fn sync_all(fd: &OwnedFd, shown: impl ToString) -> Result<()> {
    let duplicate: io::Result<OwnedFd> = fd.try_clone();
    duplicate
        .and_then(|fd| std::fs::File::from(fd).sync_all())
        .map_err(fails_io("make durable", shown))
}

/// Finds out whether the disk of the agent's own directory keeps exec bits; one that nothing can be
/// made on is taken for a usual one.
pub(super) fn keeps_exec(marker: impl AsFd) -> bool {
    let is_kept = || -> rustix::io::Result<bool> {
        let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let off = Mode::from_raw_mode(0o600);
        let probe = rustix::fs::openat(&marker, EXEC_PROBE, flags, off)?;
        let mut answers = [false, true].into_iter().map(|exec| {
            let mode = if exec {
                Mode::from_raw_mode(0o700)
            } else {
                off
            };
            rustix::fs::fchmod(&probe, mode)?;
            Ok((rustix::fs::fstat(&probe)?.st_mode & 0o100 != 0) == exec)
        });
        answers.try_fold(true, |all, kept: rustix::io::Result<bool>| Ok(all && kept?))
    };
    let is_kept = is_kept().unwrap_or(true);
    if let Err(error) = rustix::fs::unlinkat(&marker, EXEC_PROBE, AtFlags::empty()) {
        tracing::debug!(%error, "the probe of exec bits stays");
    }
    is_kept
}
