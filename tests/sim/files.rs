//! [`Files`] over a simulated disk.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fsync_agent::files::{
    Files, Kind, Listed, Meta, Opened, Place, Problem, Rename, Result, StageKey, Stat, TrashSlot,
};
use fsync_core::path::{Name, RelPath};

use super::inodes::{Body, Bytes, Ino};
use super::volume::{RENAME, Volume, fail};

/// A handle of a disk; agent, user and world share it.
#[derive(Debug, Clone)]
pub struct SimFiles(Arc<Mutex<Volume>>);

impl SimFiles {
    /// Makes a handle.
    pub fn new(volume: Volume) -> Self {
        Self(Arc::new(Mutex::new(volume)))
    }

    /// Returns the disk itself.
    pub fn volume(&self) -> MutexGuard<'_, Volume> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a call of the agent.
    fn enter(&self, op: &'static str, at: &dyn ToString) -> Result<MutexGuard<'_, Volume>> {
        let mut volume = self.volume();
        volume.enter(op, at)?;
        Ok(volume)
    }
}

fn apply_meta(volume: &mut Volume, ino: Ino, meta: &Meta) {
    let (now, mtime) = (volume.stamp(), volume.as_kept(meta.mtime.0));
    let keeps_exec = volume.ways.keeps_exec;
    let inode = volume.inodes.get_mut(ino);
    let base = meta.like.unwrap_or(inode.mode) & 0o777;
    inode.mode = match meta.exec && keeps_exec {
        true => base | 0o100 | (base & 0o444) >> 2,
        false => base & !0o111,
    };
    inode.mtime = mtime;
    inode.ctime = now;
}

fn names_of(volume: &Volume, dir: Ino) -> impl Iterator<Item = String> + '_ {
    let names = volume.inodes.entries(dir).into_iter().flatten();
    names.map(|(name, _)| String::from_utf8_lossy(name).into_owned())
}

impl Files for SimFiles {
    fn now(&self) -> i64 {
        self.volume().now()
    }

    fn threads(&self) -> usize {
        1
    }

    fn keeps_exec(&self) -> bool {
        self.volume().ways.keeps_exec
    }

    fn root(&self) -> Result<Stat> {
        let volume = self.enter("open the synced folder", &".")?;
        Ok(volume.inodes.stat(volume.root))
    }

    fn list(&self, dir: Place<'_>) -> Result<Vec<Listed>> {
        let volume = self.enter("list", &dir)?;
        let ino = volume.existing("list", dir)?;
        let Some(entries) = volume.inodes.entries(ino) else {
            return Err(fail("list", dir, Problem::NotFound));
        };
        let listed = entries.iter().filter_map(|(name, ino)| {
            let name = Name::new(name.as_slice()).ok()?;
            let stat = volume.inodes.stat(*ino);
            Some(Listed { name, stat })
        });
        Ok(listed.collect())
    }

    fn stat(&self, at: Place<'_>) -> Result<Option<Stat>> {
        let volume = self.enter("look at", &at)?;
        Ok(volume.find(at).map(|ino| volume.inodes.stat(ino)))
    }

    fn open(&self, at: Place<'_>) -> Result<Box<dyn Opened>> {
        let mut volume = self.enter("open", &at)?;
        let ino = volume.existing("open", at)?;
        if !matches!(volume.inodes.get(ino).body, Body::File(_)) {
            return Err(fail("open", at, Problem::NotFound));
        }
        if volume.inodes.get(ino).mode & 0o400 == 0 {
            return Err(fail("open", at, Problem::Denied));
        }
        volume.inodes.open(ino);
        drop(volume);
        let (files, path) = (self.clone(), at.to_string());
        Ok(Box::new(Handle { files, ino, path }))
    }

    fn read_link(&self, at: Place<'_>) -> Result<Vec<u8>> {
        let volume = self.enter("read the link", &at)?;
        let ino = volume.existing("read the link", at)?;
        match &volume.inodes.get(ino).body {
            Body::Link(target) => Ok(target.clone()),
            _ => Err(fail("read the link", at, Problem::NotFound)),
        }
    }

    fn stage(&self, key: &StageKey, bytes: &[u8], meta: &Meta) -> Result<Stat> {
        let at = Place::Stage(key);
        let mut volume = self.enter("write", &at)?;
        volume.check_space("write", &at)?;
        let ino = volume.staged_file(at)?;
        if let Body::File(content) = &mut volume.inodes.get_mut(ino).body {
            *content = Bytes::default();
            content.write(0, bytes);
        }
        apply_meta(&mut volume, ino, meta);
        Ok(volume.inodes.stat(ino))
    }

    fn stage_link(&self, key: &StageKey, target: &[u8]) -> Result<()> {
        const OP: &str = "make the link";
        let at = Place::Stage(key);
        let mut volume = self.enter(OP, &at)?;
        let (dir, name) = volume.parent(OP, at)?;
        if volume.find(at).is_some() {
            return Err(fail(OP, at, Problem::Exists));
        }
        let now = volume.stamp();
        let ino = volume.inodes.make(Body::Link(target.to_vec()), now);
        volume.inodes.link(dir, &name, ino, now);
        Ok(())
    }

    fn stage_write(&self, key: &StageKey, offset: u64, bytes: &[u8]) -> Result<()> {
        let at = Place::Stage(key);
        let mut volume = self.enter("write", &at)?;
        volume.check_space("write", &at)?;
        let ino = volume.staged_file(at)?;
        let now = volume.stamp();
        let inode = volume.inodes.get_mut(ino);
        if let Body::File(content) = &mut inode.body {
            content.write(offset, bytes);
        }
        (inode.mtime, inode.ctime) = (now, now);
        Ok(())
    }

    fn stage_finish(&self, key: &StageKey, size: u64, meta: &Meta) -> Result<()> {
        let at = Place::Stage(key);
        let mut volume = self.enter("finish", &at)?;
        let ino = volume.staged_file(at)?;
        if let Body::File(content) = &mut volume.inodes.get_mut(ino).body {
            content.resize(size);
        }
        apply_meta(&mut volume, ino, meta);
        Ok(())
    }

    fn staged(&self) -> Result<Vec<StageKey>> {
        let volume = self.enter("list", &".fsync/stage")?;
        let names = names_of(&volume, volume.stage);
        Ok(names.filter_map(|name| StageKey::parse(&name)).collect())
    }

    fn sync_staged(&self, keys: &[StageKey]) -> Result<()> {
        let mut volume = self.enter("make durable", &".fsync/stage")?;
        let open = |key: &StageKey| volume.existing("open", Place::Stage(key));
        let files: Vec<Ino> = keys.iter().map(open).collect::<Result<_>>()?;
        volume.sync_files(&files);
        Ok(())
    }

    fn sync_dirs(&self, dirs: &[RelPath]) -> Result<()> {
        self.enter("make durable", &"the folder")?.sync_dirs(dirs);
        Ok(())
    }

    fn rename(&self, from: Place<'_>, to: Place<'_>, how: Rename) -> Result<()> {
        let mut volume = self.enter(RENAME, &from)?;
        volume.check_permission(RENAME, from)?;
        volume.check_permission(RENAME, to)?;
        volume.rename(from, to, how)
    }

    fn make_dir(&self, at: Place<'_>) -> Result<()> {
        let mut volume = self.enter("make the directory", &at)?;
        volume.check_permission("make the directory", at)?;
        volume.make_dir(at)
    }

    fn remove_dir(&self, at: Place<'_>) -> Result<()> {
        let mut volume = self.enter("remove the directory", &at)?;
        volume.check_permission("remove the directory", at)?;
        volume.remove(at, Kind::Dir)
    }

    fn remove_file(&self, at: Place<'_>) -> Result<()> {
        if matches!(at, Place::Tree(_)) {
            return Err(fail("unlink in the tree", at, Problem::Unsupported));
        }
        self.enter("remove", &at)?.remove(at, Kind::File)
    }

    fn set_meta(&self, at: Place<'_>, meta: &Meta) -> Result<()> {
        const OP: &str = "set the properties of";
        let mut volume = self.enter(OP, &at)?;
        let ino = volume.existing(OP, at)?;
        if !matches!(volume.inodes.get(ino).body, Body::File(_)) {
            return Err(fail(OP, at, Problem::NotFound));
        }
        apply_meta(&mut volume, ino, meta);
        volume.touched(at);
        Ok(())
    }

    fn trash_slots(&self) -> Result<Vec<TrashSlot>> {
        let volume = self.enter("list", &".fsync/trash")?;
        let names = names_of(&volume, volume.trash);
        let mut slots: Vec<_> = names.filter_map(|name| TrashSlot::parse(&name)).collect();
        slots.sort_unstable();
        Ok(slots)
    }
}

/// A file held open: it reads the inode, whatever happens to the name.
#[derive(Debug)]
struct Handle {
    files: SimFiles,
    ino: Ino,
    path: String,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.files.volume().inodes.close(self.ino);
    }
}

impl Opened for Handle {
    fn stat(&self) -> Result<Stat> {
        let volume = self.files.enter("look at", &self.path)?;
        Ok(volume.inodes.stat(self.ino))
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let volume = self.files.enter("read", &self.path)?;
        match &volume.inodes.get(self.ino).body {
            Body::File(bytes) => {
                let most = buffer.len().min(volume.read_most);
                Ok(bytes.read(offset, &mut buffer[..most]))
            }
            _ => Ok(0),
        }
    }

    fn next_data(&self, offset: u64) -> Result<Option<u64>> {
        let volume = self.files.enter("seek in", &self.path)?;
        match &volume.inodes.get(self.ino).body {
            Body::File(bytes) => Ok(bytes.next_data(offset)),
            _ => Ok(None),
        }
    }
}
