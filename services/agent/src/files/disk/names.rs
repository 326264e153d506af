//! Disks on which two spellings are one name: those that fold case, or compose letters and accents.
//!
//! Guarantees: what is found under a name of the tree stands there in just this spelling, in every
//! component; what is put under a name is kept in this spelling, or not put at all and told of.
//! Does not: decide which spelling is right. The first one stays, others are blocked on such a disk
//! and live on everywhere else.
//! Cost: nothing but a look when the folder is opened; on such a disk, each look lists directories.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use fsync_core::path::RelPath;
use rustix::fs::{AtFlags, Mode, OFlags, RawDir, RenameFlags};
use rustix::io::Errno;

use super::super::handle::{open_below, stat_at};
use super::super::{FilesError, Place, Problem, Result, StageKey, Stat};
use super::calls::or_none;
use super::{Disk, LIST_BUFFER_BYTES};

/// An accent apart from its letter, and in one with it.
const APART: &str = "probe-e\u{301}";
const COMPOSED: &str = "probe-\u{e9}";
/// The stage in other letters.
const STAGE_FOLDED: &str = "STAGE";

/// How a disk tells names apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spelling {
    /// By their bytes.
    Exact,
    /// Some spellings are one name.
    Folded,
}

impl Spelling {
    /// Finds out how the disk of the agent's own directory does it.
    pub(super) fn of(marker: impl AsFd) -> Self {
        let finds = |name: &str| stat_at(&marker, name.as_bytes()).is_ok();
        let is_folded = finds(STAGE_FOLDED) || {
            // Where nothing can be made, nothing can be put in the wrong spelling either.
            let made = rustix::fs::mkdirat(&marker, APART, Mode::from_raw_mode(0o700));
            let is_composed = matches!(made, Ok(()) | Err(Errno::EXIST)) && finds(COMPOSED);
            if let Err(error) = rustix::fs::unlinkat(&marker, APART, AtFlags::REMOVEDIR) {
                tracing::debug!(%error, "the probe of names stays");
            }
            is_composed
        };
        match is_folded {
            true => Self::Folded,
            false => Self::Exact,
        }
    }
}

/// Returns the error of a name that the disk keeps, or has, in another spelling.
pub(super) fn other_spelling(op: &'static str, at: Place<'_>) -> FilesError {
    FilesError {
        op,
        path: at.to_string(),
        problem: Problem::NotStorable,
        source: io::Error::other(
            "this disk takes another spelling of the name for the same; rename one of the two",
        ),
    }
}

impl Disk {
    /// Returns whether a place of the tree stands there in just this spelling; always so on disks
    /// that tell names apart.
    pub(super) fn is_spelled(&self, at: Place<'_>) -> rustix::io::Result<bool> {
        let Place::Tree(path) = at else {
            return Ok(true);
        };
        if self.spelling == Spelling::Exact {
            return Ok(true);
        }
        let mut dir = RelPath::root();
        for name in path.names() {
            let flags = OFlags::PATH | OFlags::DIRECTORY;
            let opened = match open_below(&self.root, dir.as_bytes(), flags) {
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(false),
                opened => opened?,
            };
            if !has_name(&opened, name.as_bytes())? {
                return Ok(false);
            }
            dir = dir.join(&name);
        }
        Ok(true)
    }

    /// Returns what the disk finds under a name, in whatever spelling.
    fn raw_stat(&self, at: Place<'_>) -> rustix::io::Result<Option<Stat>> {
        or_none(
            self.open_at(at, OFlags::PATH)
                .and_then(|fd| stat_at(fd, b"")),
        )
    }

    /// Renames to a name that nothing stands under in any spelling, or that is another spelling of
    /// the same thing's own; takes it back if the disk keeps another spelling than was asked for.
    pub(super) fn rename_spelled(&self, from: Place<'_>, to: Place<'_>) -> Result<()> {
        let op = "rename";
        let fails = |errno| super::fails(op, format!("{from} to {to}"))(errno);
        let there = self.raw_stat(to).map_err(fails)?;
        if let Some(there) = there
            && !self.is_spelled(to).map_err(fails)?
        {
            let own = self.raw_stat(from).map_err(fails)?;
            if !own.is_some_and(|own| own.is_same_inode(&there)) {
                return Err(other_spelling(op, to));
            }
            // One name to the disk: by way of the stage, from where recovery gives it back.
            let key = StageKey::respelled(there.ino);
            let between = Place::Stage(&key);
            self.rename_raw(from, between, RenameFlags::NOREPLACE)
                .map_err(fails)?;
            if let Err(errno) = self.rename_raw(between, to, RenameFlags::NOREPLACE) {
                self.rename_raw(between, from, RenameFlags::NOREPLACE)
                    .map_err(fails)?;
                return Err(fails(errno));
            }
            return Ok(());
        }
        self.rename_raw(from, to, RenameFlags::NOREPLACE)
            .map_err(fails)?;
        if self.is_spelled(to).map_err(fails)? {
            return Ok(());
        }
        self.rename_raw(to, from, RenameFlags::NOREPLACE)
            .map_err(fails)?;
        Err(other_spelling(op, to))
    }
}

fn has_name(dir: &OwnedFd, name: &[u8]) -> rustix::io::Result<bool> {
    // A handle of its own: one that is a place only cannot be listed.
    let dir = open_below(dir, b"", OFlags::RDONLY | OFlags::DIRECTORY)?;
    let mut buffer = vec![MaybeUninit::uninit(); LIST_BUFFER_BYTES];
    let mut entries = RawDir::new(&dir, &mut buffer);
    while let Some(entry) = entries.next() {
        if entry?.file_name().to_bytes() == name {
            return Ok(true);
        }
    }
    Ok(false)
}
