//! What a user's programs do to a simulated disk, call by call; the watcher hears of it.

use std::collections::BTreeMap;

use fsync_agent::files::Place;
use fsync_core::engine::changes::ChangeKind;
use fsync_core::path::{Name, RelPath};

use super::inodes::{Body, Bytes, Ino};
use super::volume::Volume;

impl Volume {
    /// Returns all paths of the tree, in order.
    pub fn paths(&self) -> Vec<RelPath> {
        let mut paths = Vec::new();
        self.gather(self.root, &RelPath::root(), &mut paths);
        paths
    }

    fn gather(&self, dir: Ino, path: &RelPath, out: &mut Vec<RelPath>) {
        for (name, ino) in self.inodes.entries(dir).into_iter().flatten() {
            let Ok(name) = Name::new(name.as_slice()) else {
                continue;
            };
            let below = path.join(&name);
            out.push(below.clone());
            self.gather(*ino, &below, out);
        }
    }

    /// Returns the path of an inode.
    pub(super) fn path_of(&self, ino: Ino) -> Option<RelPath> {
        self.paths().into_iter().find(|p| self.at(p) == Some(ino))
    }

    /// Replaces the content of a file.
    pub(super) fn user_fill(&mut self, ino: Ino, bytes: &[u8]) {
        let now = self.stamp();
        let inode = self.inodes.get_mut(ino);
        if let Body::File(content) = &mut inode.body {
            *content = Bytes::default();
            content.write(0, bytes);
        }
        (inode.mtime, inode.ctime) = (now, now);
    }

    /// Makes or overwrites a file.
    pub(super) fn user_write(&mut self, path: &RelPath, bytes: &[u8]) {
        let ino = match self.at(path) {
            Some(ino) => ino,
            None => match self.user_link_new(path, Body::File(Bytes::default())) {
                Some(ino) => ino,
                None => return,
            },
        };
        self.user_fill(ino, bytes);
        self.note(path, ChangeKind::Unfinished);
        self.note(path, ChangeKind::Finished);
    }

    /// Makes something at a free path.
    pub(super) fn user_link_new(&mut self, path: &RelPath, body: Body) -> Option<Ino> {
        let (dir, name) = self.parent("make", Place::Tree(path)).ok()?;
        if self.inodes.child(dir, &name).is_some() {
            return None;
        }
        let now = self.stamp();
        let ino = self.inodes.make(body, now);
        self.inodes.link(dir, &name, ino, now);
        Some(ino)
    }

    /// Makes a directory; says whether it did.
    pub(super) fn user_dir(&mut self, path: &RelPath) -> bool {
        let made = self.user_link_new(path, Body::Dir(BTreeMap::new()));
        if made.is_some() {
            self.note(path, ChangeKind::Subtree);
        }
        made.is_some()
    }

    /// Makes a link.
    pub(super) fn user_link(&mut self, path: &RelPath, target: &[u8]) {
        if self
            .user_link_new(path, Body::Link(target.to_vec()))
            .is_some()
        {
            self.note(path, ChangeKind::Finished);
        }
    }

    /// Renames something, over whatever is there.
    pub(super) fn user_rename(&mut self, from: &RelPath, to: &RelPath) {
        if self.at(to).is_some() {
            self.user_remove(to);
        }
        let now = self.stamp();
        let (Ok((from_dir, from_name)), Ok((to_dir, to_name))) = (
            self.parent("rename", Place::Tree(from)),
            self.parent("rename", Place::Tree(to)),
        ) else {
            return;
        };
        let Some(ino) = self.inodes.unlink(from_dir, &from_name, now) else {
            return;
        };
        self.inodes.link(to_dir, &to_name, ino, now);
        let kind = match self.is_dir(ino) {
            true => ChangeKind::Subtree,
            false => ChangeKind::Finished,
        };
        self.note(from, ChangeKind::Gone);
        self.note(to, kind);
    }

    /// Removes something with all below it.
    pub(super) fn user_remove(&mut self, path: &RelPath) {
        let Some(ino) = self.at(path) else { return };
        let names: Vec<Vec<u8>> = match self.inodes.entries(ino) {
            Some(entries) => entries.keys().cloned().collect(),
            None => Vec::new(),
        };
        for name in names {
            if let Ok(name) = Name::new(name) {
                self.user_remove(&path.join(&name));
            }
        }
        let Ok((dir, name)) = self.parent("remove", Place::Tree(path)) else {
            return;
        };
        let now = self.stamp();
        if let Some(ino) = self.inodes.unlink(dir, &name, now) {
            self.inodes.reap(ino);
        }
        self.note(path, ChangeKind::Gone);
    }

    /// Flips the exec bit.
    pub(super) fn user_chmod(&mut self, path: &RelPath, ino: Ino) {
        if !self.ways.keeps_exec {
            return;
        }
        let now = self.stamp();
        let inode = self.inodes.get_mut(ino);
        inode.mode ^= 0o111;
        inode.ctime = now;
        self.note(path, ChangeKind::Finished);
    }
}
