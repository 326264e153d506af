//! Renames on disks that know only the plain one, which replaces what stands at its end (NFS, many
//! FUSE file systems).
//!
//! Guarantees: as the flags do, a rename refuses where something stands, and an exchange leaves at
//! every moment the old or the new content at the tree's path; no inode loses its last name. A file
//! is given its second name first (`link`, which refuses by itself) and loses the first one after
//! it. A directory cannot have two names: it is looked for and renamed, and what a plain rename
//! could replace in between is an empty directory at most.
//! Does not: work where there are no hard links either; such a disk is refused by name, as before.
//! What it cannot give: a program that renames a file of its own over the path in the microseconds
//! between the last look and the exchange loses that file. Writes into the old file are kept, as its
//! inode is.
//!
//! ```text
//! exchange   stage: new, tree: old
//!   link     tree -> between        old has two names
//!   rename   stage -> tree          new is visible, old has one
//!   rename   between -> stage
//! ```
//! A crash leaves the old file under a key of an exchange, where recovery looks for users' inodes.

use rustix::fs::{AtFlags, RenameFlags};
use rustix::io::Errno;

use super::super::handle::stat_at;
use super::super::{Kind, Place, StageKey, Stat};
use super::Disk;
use super::calls::or_none;

/// Returns whether an error says that the disk does not know the flags.
pub(super) fn knows_no_flags(error: Errno) -> bool {
    matches!(error, Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP)
}

impl Disk {
    /// Does what a rename with flags does, without them.
    pub(super) fn rename_plainly(
        &self,
        from: Place<'_>,
        to: Place<'_>,
        flags: RenameFlags,
    ) -> rustix::io::Result<()> {
        match flags.contains(RenameFlags::EXCHANGE) {
            true => self.exchange_plainly(from, to),
            false => self.move_plainly(from, to),
        }
    }

    fn move_plainly(&self, from: Place<'_>, to: Place<'_>) -> rustix::io::Result<()> {
        let stat = self.stat_raw(from)?.ok_or(Errno::NOENT)?;
        if stat.kind == Kind::Dir {
            return match self.stat_raw(to)? {
                Some(_) => Err(Errno::EXIST),
                None => self.rename_over(from, to),
            };
        }
        self.link(from, to)?;
        let (dir, name) = self.parent(from)?;
        // Whoever renamed over the first name meanwhile has put another inode there.
        let is_ours = stat_at(&dir, &name).is_ok_and(|now| now.is_same_inode(&stat));
        match is_ours {
            true => rustix::fs::unlinkat(dir, name, AtFlags::empty()),
            false => Ok(()),
        }
    }

    fn exchange_plainly(&self, stage: Place<'_>, tree: Place<'_>) -> rustix::io::Result<()> {
        let old = self.stat_raw(tree)?.ok_or(Errno::NOENT)?;
        if old.kind == Kind::Dir {
            return Err(Errno::NOSYS);
        }
        let key = StageKey::exchange(old.ino);
        let between = Place::Stage(&key);
        self.link(tree, between)?;
        let is_still = self
            .stat_raw(tree)?
            .is_some_and(|now| now.is_same_inode(&old));
        let renamed = match is_still {
            true => self.rename_over(stage, tree),
            false => Err(Errno::EXIST),
        };
        if let Err(errno) = renamed {
            let (dir, name) = self.parent(between)?;
            rustix::fs::unlinkat(dir, name, AtFlags::empty())?;
            return Err(errno);
        }
        self.rename_over(between, stage)
    }

    fn link(&self, from: Place<'_>, to: Place<'_>) -> rustix::io::Result<()> {
        let (from_dir, from_name) = self.parent(from)?;
        let (to_dir, to_name) = self.parent(to)?;
        match rustix::fs::linkat(from_dir, from_name, to_dir, to_name, AtFlags::empty()) {
            // No second names here: nothing safe is left to try.
            Err(Errno::PERM | Errno::OPNOTSUPP | Errno::MLINK) => Err(Errno::NOSYS),
            linked => linked,
        }
    }

    fn rename_over(&self, from: Place<'_>, to: Place<'_>) -> rustix::io::Result<()> {
        let (from_dir, from_name) = self.parent(from)?;
        let (to_dir, to_name) = self.parent(to)?;
        rustix::fs::renameat(from_dir, from_name, to_dir, to_name)
    }

    fn stat_raw(&self, at: Place<'_>) -> rustix::io::Result<Option<Stat>> {
        let (dir, name) = self.parent(at)?;
        or_none(stat_at(dir, &name))
    }
}
