//! Handles of the disk: opening below the root, statx, errors with paths.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use fsync_core::limits::CHUNK_MAX_BYTES;
use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, SeekFrom, Statx, StatxFlags};
use rustix::io::Errno;

use super::{FilesError, Kind, Opened, Problem, Result, Stat};

/// Longest path that one system call takes, with room for a name.
const CALL_PATH_BYTES: usize = 3 * 1024;

/// Returns a function that turns a system error into one that says what was tried where.
pub(super) fn fails(op: &'static str, path: impl ToString) -> impl FnOnce(Errno) -> FilesError {
    move |errno| FilesError {
        op,
        path: path.to_string(),
        problem: classify(errno),
        source: errno.into(),
    }
}

pub(super) fn fails_io(
    op: &'static str,
    path: impl ToString,
) -> impl FnOnce(io::Error) -> FilesError {
    move |source| FilesError {
        op,
        path: path.to_string(),
        problem: Errno::from_io_error(&source).map_or(Problem::Io, classify),
        source,
    }
}

fn classify(errno: Errno) -> Problem {
    match errno {
        // A link or file where a directory must be: the tree changed under us.
        Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV => match errno {
            Errno::XDEV => Problem::NotStorable,
            _ => Problem::NotFound,
        },
        Errno::EXIST | Errno::ISDIR => Problem::Exists,
        Errno::NOTEMPTY => Problem::NotEmpty,
        Errno::ACCESS | Errno::PERM => Problem::Denied,
        Errno::ROFS => Problem::ReadOnly,
        Errno::NOSPC | Errno::DQUOT => Problem::NoSpace,
        Errno::NAMETOOLONG | Errno::FBIG | Errno::ILSEQ | Errno::MLINK => Problem::NotStorable,
        Errno::BUSY | Errno::AGAIN | Errno::MFILE | Errno::NFILE | Errno::TXTBSY => Problem::Busy,
        Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS => Problem::Unsupported,
        _ => Problem::Io,
    }
}

/// Opens `path` below `dir`, never through a link, never out of it; paths of any length.
pub(super) fn open_below(
    dir: impl AsFd,
    path: &[u8],
    flags: OFlags,
) -> rustix::io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let open = |dir: &dyn Fn(&[u8], OFlags) -> rustix::io::Result<OwnedFd>, part: &[u8]| {
        dir(if part.is_empty() { b"." } else { part }, flags)
    };
    if path.len() <= CALL_PATH_BYTES {
        return open(
            &|part, flags| rustix::fs::openat2(&dir, part, flags, Mode::empty(), resolve),
            path,
        );
    }
    let cut = path[..CALL_PATH_BYTES]
        .iter()
        .rposition(|b| *b == b'/')
        .ok_or(Errno::NAMETOOLONG)?;
    let through = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let next = rustix::fs::openat2(&dir, &path[..cut], through, Mode::empty(), resolve)?;
    open_below(next, &path[cut + 1..], flags)
}

const STAT_MASK: StatxFlags = StatxFlags::BASIC_STATS.union(StatxFlags::BTIME);

/// Looks at `name` in `dir`, or at `dir` itself for an empty name.
pub(super) fn stat_at(dir: impl AsFd, name: &[u8]) -> rustix::io::Result<Stat> {
    let mut flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    if name.is_empty() {
        flags |= AtFlags::EMPTY_PATH;
    }
    rustix::fs::statx(dir, name, flags, STAT_MASK).map(|stat| to_stat(&stat))
}

pub(super) fn stat_c(dir: impl AsFd, name: &std::ffi::CStr) -> rustix::io::Result<Stat> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    rustix::fs::statx(dir, name, flags, STAT_MASK).map(|stat| to_stat(&stat))
}

fn to_stat(stat: &Statx) -> Stat {
    let mode = u32::from(stat.stx_mode);
    let nanos = |t: &rustix::fs::StatxTimestamp| {
        t.tv_sec
            .saturating_mul(1_000_000_000)
            .saturating_add(i64::from(t.tv_nsec))
    };
    let has_btime = StatxFlags::from_bits_retain(stat.stx_mask).contains(StatxFlags::BTIME);
    Stat {
        kind: match rustix::fs::FileType::from_raw_mode(mode) {
            rustix::fs::FileType::RegularFile => Kind::File,
            rustix::fs::FileType::Directory => Kind::Dir,
            rustix::fs::FileType::Symlink => Kind::Symlink,
            _ => Kind::Other,
        },
        dev: rustix::fs::makedev(stat.stx_dev_major, stat.stx_dev_minor),
        ino: stat.stx_ino,
        size: stat.stx_size,
        mtime: nanos(&stat.stx_mtime),
        ctime: nanos(&stat.stx_ctime),
        btime: has_btime.then(|| nanos(&stat.stx_btime)),
        mode: mode & 0o7777,
        nlink: u64::from(stat.stx_nlink),
    }
}

/// A regular file, open for reading.
#[derive(Debug)]
pub(super) struct DiskFile {
    pub(super) fd: OwnedFd,
    pub(super) path: String,
}

impl Opened for DiskFile {
    fn stat(&self) -> Result<Stat> {
        stat_at(&self.fd, b"").map_err(fails("look at", &self.path))
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let length = buffer.len().min(CHUNK_MAX_BYTES);
        loop {
            match rustix::io::pread(&self.fd, &mut buffer[..length], offset) {
                Err(Errno::INTR) => {}
                read => return read.map_err(fails("read", &self.path)),
            }
        }
    }

    fn next_data(&self, offset: u64) -> Result<Option<u64>> {
        match rustix::fs::seek(&self.fd, SeekFrom::Data(offset)) {
            Ok(at) => Ok(Some(at)),
            Err(Errno::NXIO) => Ok(None),
            // A file system that knows no holes: all is data.
            Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) => Ok(Some(offset)),
            Err(errno) => Err(fails("seek in", &self.path)(errno)),
        }
    }
}
