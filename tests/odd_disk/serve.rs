//! The kernel's questions, each answered by the backing directory and the disk's habits.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, Filesystem, FopenFlags, Generation, INodeNo,
    LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyEmpty, ReplyEntry, ReplyLseek, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow,
    WriteFlags,
};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, SeekFrom, Timespec, Timestamps};
use rustix::io::Result;

use crate::disk::{Disk, Open, listed, proc_path};
use crate::habits::{BUDGET, Budget, FAULT, POWER, READ_ONLY, error_of};
use crate::inodes::ROOT;

/// Nothing is remembered by the kernel: every question reaches the disk.
const NEVER: Duration = Duration::ZERO;
/// `O_WRONLY` and `O_RDWR`.
const WRITE_FLAGS: i32 = 3;
const SEEK_DATA: i32 = 3;
const SEEK_HOLE: i32 = 4;

fn sent(errno: rustix::io::Errno) -> Errno {
    Errno::from(io::Error::from(errno))
}

fn empty(result: Result<()>, reply: ReplyEmpty) {
    match result {
        Ok(()) => reply.ok(),
        Err(errno) => reply.error(sent(errno)),
    }
}

fn entry(result: Result<(FileAttr, u64)>, reply: ReplyEntry) {
    match result {
        Ok((attributes, generation)) => reply.entry(&NEVER, &attributes, Generation(generation)),
        Err(errno) => reply.error(sent(errno)),
    }
}

fn attr(result: Result<FileAttr>, reply: ReplyAttr) {
    match result {
        Ok(attributes) => reply.attr(&NEVER, &attributes),
        Err(errno) => reply.error(sent(errno)),
    }
}

fn opened(result: Result<u64>, reply: ReplyOpen) {
    match result {
        Ok(handle) => reply.opened(FileHandle(handle), FopenFlags::empty()),
        Err(errno) => reply.error(sent(errno)),
    }
}

fn timespec(time: Option<TimeOrNow>) -> Timespec {
    let nanos = |tv_nsec| Timespec { tv_sec: 0, tv_nsec };
    match time {
        None => nanos(rustix::fs::UTIME_OMIT),
        Some(TimeOrNow::Now) => nanos(rustix::fs::UTIME_NOW),
        Some(TimeOrNow::SpecificTime(time)) => {
            let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
            Timespec {
                tv_sec: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: i64::from(since.subsec_nanos()),
            }
        }
    }
}

impl Disk {
    fn open_file(&self, ino: INodeNo, flags: i32) -> Result<u64> {
        if flags & WRITE_FLAGS != 0 {
            self.check_writable()?;
        }
        let keep = OFlags::ACCMODE | OFlags::APPEND | OFlags::TRUNC;
        let flags = OFlags::from_bits_retain(flags.cast_unsigned()) & keep;
        let fd = rustix::fs::open(
            proc_path(&*self.fd(ino)?),
            flags | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        Ok(self.opened(Open::File(fd)))
    }

    fn with_file<T>(
        &self,
        (ino, handle): (INodeNo, FileHandle),
        work: impl FnOnce(&rustix::fd::OwnedFd) -> Result<T>,
    ) -> Result<T> {
        self.check(ino)?;
        match &*self.handle(handle.0)? {
            Open::File(fd) => work(fd),
            Open::Dir(_) => Err(rustix::io::Errno::ISDIR),
        }
    }

    /// Makes something under a name and finds it.
    fn make(
        &self,
        parent: INodeNo,
        name: &OsStr,
        make: impl FnOnce(&rustix::fd::OwnedFd, &OsStr) -> Result<()>,
    ) -> Result<(FileAttr, u64)> {
        self.check_writable()?;
        let dir = self.fd(parent)?;
        let kept = self.name(&dir, name)?;
        make(&dir, &kept)?;
        let found = self.find(parent, name)?;
        let is_dir = found.0.kind == fuser::FileType::Directory;
        self.note(|losses| {
            losses.made(self.spot(parent, &kept)?, is_dir);
            Ok(())
        })?;
        Ok(found)
    }

    fn remove(&self, parent: INodeNo, name: &OsStr, flags: AtFlags) -> Result<()> {
        self.check_writable()?;
        let dir = self.fd(parent)?;
        let spot = self.spot(parent, &self.name(&dir, name)?)?;
        let kept = self.note(|losses| losses.keep(&spot))?.flatten();
        rustix::fs::unlinkat(&dir, &spot.name, flags)?;
        self.note(|losses| {
            losses.gone(spot, kept);
            Ok(())
        })?;
        Ok(())
    }

    fn set_xattr(&self, ino: INodeNo, name: &OsStr, value: Option<&[u8]>) -> Result<()> {
        if name == FAULT {
            let fault = value.map(|value| error_of(&String::from_utf8_lossy(value)));
            self.set_fault(ino, fault.transpose()?)
        } else if name == POWER && ino.0 == ROOT {
            let seed = value.and_then(|value| std::str::from_utf8(value).ok()?.parse().ok());
            let seed = seed.ok_or(rustix::io::Errno::INVAL)?;
            self.note(|losses| losses.lose(seed)).map(drop)
        } else if name == BUDGET {
            self.set_budget(ino, value.map(Budget::parse).transpose()?)
        } else if name == READ_ONLY {
            self.set_read_only(value.is_some());
            Ok(())
        } else {
            Err(rustix::io::Errno::OPNOTSUPP)
        }
    }
}

impl Filesystem for Disk {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        entry(self.find(parent, name), reply);
    }

    fn forget(&self, _: &Request, ino: INodeNo, lookups: u64) {
        Disk::forget(self, ino.0, lookups);
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        attr(self.stat(ino), reply);
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let set = || {
            self.check_writable()?;
            let path = proc_path(&*self.fd(ino)?);
            if let Some(mode) = mode {
                rustix::fs::chmod(&path, Mode::from_raw_mode(mode & 0o7777))?;
            }
            if let Some(size) = size {
                let flags = OFlags::WRONLY | OFlags::CLOEXEC;
                self.note(|losses| losses.bytes(&self.fd(ino)?, ino.0, (size, usize::MAX)))?;
                rustix::fs::ftruncate(rustix::fs::open(&path, flags, Mode::empty())?, size)?;
            }
            if atime.is_some() || mtime.is_some() {
                let times = Timestamps {
                    last_access: timespec(atime),
                    last_modification: timespec(mtime),
                };
                rustix::fs::utimensat(CWD, &path, &times, AtFlags::empty())?;
            }
            self.stat(ino)
        };
        attr(set(), reply);
    }

    fn readlink(&self, _: &Request, ino: INodeNo, reply: ReplyData) {
        let target = self
            .fd(ino)
            .and_then(|fd| rustix::fs::readlinkat(&*fd, c"", Vec::new()));
        match target {
            Ok(target) => reply.data(target.as_bytes()),
            Err(errno) => reply.error(sent(errno)),
        }
    }

    fn mknod(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _: u32,
        reply: ReplyEntry,
    ) {
        let kind = FileType::from_raw_mode(mode);
        let mode = Mode::from_raw_mode(mode & !umask & 0o7777);
        let made = self.make(parent, name, |dir, name| {
            rustix::fs::mknodat(dir, name, kind, mode, 0)
        });
        entry(made, reply);
    }

    fn mkdir(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        let mode = Mode::from_raw_mode(mode & !umask & 0o7777);
        let made = self.make(parent, name, |dir, name| {
            rustix::fs::mkdirat(dir, name, mode)
        });
        entry(made, reply);
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        empty(self.remove(parent, name, AtFlags::empty()), reply);
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        empty(self.remove(parent, name, AtFlags::REMOVEDIR), reply);
    }

    fn symlink(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        target: &Path,
        reply: ReplyEntry,
    ) {
        let made = self.make(parent, name, |dir, name| {
            rustix::fs::symlinkat(target, dir, name)
        });
        entry(made, reply);
    }

    fn link(&self, _: &Request, ino: INodeNo, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let made = self.make(parent, name, |dir, name| {
            let from = proc_path(&*self.fd(ino)?);
            rustix::fs::linkat(CWD, from, dir, name, AtFlags::SYMLINK_FOLLOW)
        });
        entry(made, reply);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        to_parent: INodeNo,
        to_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let rename = || {
            self.check_writable()?;
            if self.habits.plain_renames && !flags.is_empty() {
                return Err(rustix::io::Errno::INVAL);
            }
            let (from, to) = (self.fd(parent)?, self.fd(to_parent)?);
            let (name, to_name) = (self.name(&from, name)?, self.name(&to, to_name)?);
            let flags = rustix::fs::RenameFlags::from_bits_retain(flags.bits());
            let spots = (self.spot(parent, &name)?, self.spot(to_parent, &to_name)?);
            let replaces = !flags.contains(rustix::fs::RenameFlags::EXCHANGE);
            let replaced = match replaces {
                true => self.note(|losses| losses.keep(&spots.1))?.flatten(),
                false => None,
            };
            rustix::fs::renameat_with(&from, name, &to, to_name, flags)?;
            self.note(|losses| {
                losses.renamed(spots, flags, replaced);
                Ok(())
            })?;
            Ok(())
        };
        empty(rename(), reply);
    }

    fn open(&self, _: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        opened(self.open_file(ino, flags.0), reply);
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let create = || {
            self.check_writable()?;
            let flags = OFlags::from_bits_retain(flags.cast_unsigned());
            let flags = flags | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let mode = Mode::from_raw_mode(mode & !umask & 0o7777);
            let dir = self.fd(parent)?;
            let kept = self.name(&dir, name)?;
            let is_new = self.find(parent, name).is_err();
            let fd = rustix::fs::openat(&dir, &kept, flags, mode)?;
            let found = self.find(parent, name)?;
            self.note(|losses| {
                if is_new {
                    losses.made(self.spot(parent, &kept)?, false);
                }
                Ok(())
            })?;
            Ok((found, self.opened(Open::File(fd))))
        };
        match create() {
            Ok(((attributes, generation), handle)) => reply.created(
                &NEVER,
                &attributes,
                Generation(generation),
                FileHandle(handle),
                FopenFlags::empty(),
            ),
            Err(errno) => reply.error(sent(errno)),
        }
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let mut buffer = vec![0; size as usize];
        let read = self.with_file((ino, handle), |fd| {
            rustix::io::pread(fd, &mut buffer[..], offset)
        });
        match read {
            Ok(read) => reply.data(&buffer[..read]),
            Err(errno) => reply.error(sent(errno)),
        }
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let written = self.with_file((ino, handle), |fd| {
            self.take_room(data.len())?;
            self.note(|losses| losses.bytes(&self.fd(ino)?, ino.0, (offset, data.len())))?;
            rustix::io::pwrite(fd, data, offset)
        });
        match written.map(u32::try_from) {
            Ok(Ok(written)) => reply.written(written),
            Ok(Err(_too_long)) => reply.error(Errno::EIO),
            Err(errno) => reply.error(sent(errno)),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.close(handle.0);
        reply.ok();
    }

    fn fsync(&self, _: &Request, ino: INodeNo, handle: FileHandle, _: bool, reply: ReplyEmpty) {
        empty(
            self.with_file((ino, handle), |_| {
                self.note(|losses| {
                    losses.file_synced(ino.0);
                    Ok(())
                })
                .map(drop)
            }),
            reply,
        );
    }

    fn opendir(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let open = || {
            self.check(ino)?;
            let listed = listed(&*self.fd(ino)?)?;
            Ok(self.opened(Open::Dir(listed)))
        };
        opened(open(), reply);
    }

    fn readdir(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let open = match self.handle(handle.0) {
            Ok(open) => open,
            Err(errno) => return reply.error(sent(errno)),
        };
        if let Open::Dir(listed) = &*open {
            let skip = usize::try_from(offset).unwrap_or(usize::MAX);
            for ((name, kind), next) in listed.iter().zip(1..).skip(skip) {
                // The number here is looked at by nobody: it is no file's.
                if reply.add(INodeNo(u64::MAX), next, *kind, name) {
                    break;
                }
            }
        }
        reply.ok();
    }

    fn releasedir(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        reply: ReplyEmpty,
    ) {
        self.close(handle.0);
        reply.ok();
    }

    fn fsyncdir(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        let synced = self.note(|losses| {
            losses.dir_synced(ino.0);
            Ok(())
        });
        empty(synced.map(drop), reply);
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let found = self
            .fd(INodeNo(ROOT))
            .and_then(|fd| rustix::fs::fstatvfs(&*fd));
        let found = match found {
            Ok(found) => found,
            Err(errno) => return reply.error(sent(errno)),
        };
        let size = u32::try_from(found.f_frsize).unwrap_or(u32::MAX);
        reply.statfs(
            found.f_blocks,
            found.f_bfree,
            found.f_bavail,
            found.f_files,
            found.f_ffree,
            size,
            255,
            size,
        );
    }

    fn lseek(
        &self,
        _: &Request,
        ino: INodeNo,
        handle: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        let at = u64::try_from(offset).unwrap_or(0);
        let to = match whence {
            SEEK_DATA => SeekFrom::Data(at),
            SEEK_HOLE => SeekFrom::Hole(at),
            _ => return reply.error(Errno::EINVAL),
        };
        match self.with_file((ino, handle), |fd| rustix::fs::seek(fd, to)) {
            Ok(found) => reply.offset(found.cast_signed()),
            Err(errno) => reply.error(sent(errno)),
        }
    }

    fn setxattr(
        &self,
        _: &Request,
        ino: INodeNo,
        name: &OsStr,
        value: &[u8],
        _: i32,
        _: u32,
        reply: ReplyEmpty,
    ) {
        empty(self.set_xattr(ino, name, Some(value)), reply);
    }

    fn removexattr(&self, _: &Request, ino: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        empty(self.set_xattr(ino, name, None), reply);
    }
}
