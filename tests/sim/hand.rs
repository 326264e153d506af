//! A user at a simulated machine: random edits in a small name space, and a record of what was
//! written and destroyed.
//!
//! Guarantees: every content is unique, so it can be looked for at the end. A content counts as
//! destroyed only if a user overwrote or deleted the file that held it; whatever an agent does must
//! keep it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fsync_core::engine::changes::ChangeKind;
use fsync_core::id::{ObjectId, ObjectKind};
use fsync_core::path::{Name, RelPath};

use super::inodes::{Body, Ino};
use super::rng::Rng;
use super::volume::Volume;

/// Deepest path that a user makes.
const DEPTH: u64 = 3;
/// Who writes twice within this time, in ns, does so in the middle of one step of the agent.
const AGAIN_NS: i64 = 400_000;
/// Files from this size on are written over in place.
const PATCHED_BYTES: usize = 1_000;
/// Above this many paths a user rather removes than adds.
const PATHS_ENOUGH: usize = 40;

/// What all users of a world wrote and destroyed.
#[derive(Debug, Clone, Default)]
pub struct Story(Arc<Mutex<Told>>);

/// The record itself.
#[derive(Debug, Default)]
pub struct Told {
    /// Contents and what is known of them, for people.
    pub written: BTreeMap<ObjectId, String>,
    /// Contents that a user destroyed, on any machine.
    pub destroyed: BTreeSet<ObjectId>,
    /// Contents that were written into files that may have been replaced: the trash may have them.
    pub late: BTreeSet<ObjectId>,
    /// One line per thing that happened; the world takes them.
    pub lines: Vec<String>,
    serial: u64,
}

impl Story {
    /// Returns the record.
    pub fn told(&self) -> MutexGuard<'_, Told> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Names a content as the record does.
pub fn content_id(bytes: &[u8]) -> ObjectId {
    ObjectId::of(ObjectKind::Chunk, bytes)
}

/// See the module's head.
#[derive(Debug)]
pub struct Hand {
    /// Decides what the user does.
    pub rng: Rng,
    /// Whose hand it is.
    pub name: String,
    story: Story,
    /// What was written last, where and when: who writes there again before anything else happens
    /// destroys it, wherever an agent has put it meanwhile.
    last: Option<(RelPath, ObjectId, i64)>,
    /// A file that a program holds open, to write into it later.
    held: Option<Ino>,
    /// Whether some of its programs write over files in place, all of it and nothing more.
    pub patches: bool,
}

fn pick_name(rng: &mut Rng, names: &[&str]) -> Name {
    let name = rng.pick(names).copied().unwrap_or("a");
    Name::new(name.as_bytes()).expect("the names are valid")
}

impl Hand {
    /// Makes a user.
    pub fn new(name: &str, rng: Rng, story: Story) -> Self {
        Self {
            rng,
            name: name.to_owned(),
            story,
            last: None,
            held: None,
            patches: false,
        }
    }

    /// Does one thing.
    pub fn act(&mut self, volume: &mut Volume) {
        let paths = volume.paths();
        let roll = self.rng.below(100);
        let is_full = paths.len() > PATHS_ENOUGH;
        match roll {
            0..24 if !is_full => self.create(volume),
            0..38 => self.rewrite(volume, &paths),
            38..46 => self.save_as_editor(volume, &paths),
            46..54 => self.append(volume, &paths),
            54..72 => self.rename(volume, &paths),
            72..80 => self.remove(volume, &paths),
            80..86 => self.make_dir(volume),
            86..90 => self.link(volume),
            90..94 => self.chmod(volume, &paths),
            94..96 => self.truncate(volume, &paths),
            96..98 => self.hold(volume, &paths),
            _ => self.write_late(volume),
        }
    }

    /// Renames something to a free path.
    pub fn moves(&mut self, volume: &mut Volume, from: &RelPath, to: &RelPath) {
        self.rename_to(volume, from, to);
    }

    /// Writes a new content into a file; returns its id.
    pub fn edits(&mut self, volume: &mut Volume, path: &RelPath) -> ObjectId {
        let bytes = self.content("edited");
        self.write(volume, path, &bytes, "edits");
        content_id(&bytes)
    }

    /// Ends what is still open.
    pub fn let_go(&mut self, volume: &mut Volume) {
        if let Some(ino) = self.held.take() {
            volume.inodes.close(ino);
        }
    }

    fn tell(&self, line: &str) {
        let line = format!("{} {line}", self.name);
        self.story.told().lines.push(line);
    }

    fn content(&mut self, what: &str) -> Vec<u8> {
        let serial = {
            let mut told = self.story.told();
            told.serial += 1;
            told.serial
        };
        let mut bytes = format!("{} {serial} {what}\n", self.name).into_bytes();
        let large = if self.patches { 30 } else { 5 };
        let more = match self.rng.below(100) {
            0 => self.rng.between(70_000, 200_000),
            roll if roll < large => self.rng.between(1_000, 40_000),
            _ => self.rng.below(40),
        };
        while (bytes.len() as u64) < more {
            bytes.extend_from_slice(&self.rng.draw().to_le_bytes());
        }
        bytes
    }

    /// A content of that size, other bytes all through.
    fn content_of(&mut self, size: usize) -> Vec<u8> {
        let mut bytes = self.content("patched");
        while bytes.len() < size {
            bytes.extend_from_slice(&self.rng.draw().to_le_bytes());
        }
        bytes.truncate(size);
        bytes
    }

    fn wrote(&self, bytes: &[u8], what: &str) {
        if !bytes.is_empty() {
            let line = format!("{}: {what}", self.name);
            self.story
                .told()
                .written
                .entry(content_id(bytes))
                .or_insert(line);
        }
    }

    fn destroys(&self, volume: &Volume, ino: Ino) {
        match &volume.inodes.get(ino).body {
            Body::File(bytes) => {
                let id = content_id(&bytes.to_vec());
                self.story.told().destroyed.insert(id);
            }
            Body::Dir(entries) => entries.values().for_each(|c| self.destroys(volume, *c)),
            _ => {}
        }
    }

    /// What was written there a moment ago, wherever it is by now.
    fn destroys_last(&self, volume: &Volume, path: &RelPath) {
        if let Some((before, id, when)) = &self.last
            && before.is_within(path)
            && volume.now() - when < AGAIN_NS
        {
            self.story.told().destroyed.insert(*id);
        }
    }

    fn new_path(&mut self, volume: &Volume) -> RelPath {
        let depth = self.rng.between(1, DEPTH);
        let mut path = RelPath::root();
        for _ in 0..depth {
            path = path.join(&pick_name(&mut self.rng, volume.ways.names));
            path = volume.spelled(&path);
            let is_new_or_file = volume.at(&path).is_none_or(|ino| !volume.is_dir(ino));
            if is_new_or_file && self.rng.chance(700) {
                break;
            }
        }
        path
    }

    /// Makes the directories above a path; false if a file stands in the way.
    fn make_way(&mut self, volume: &mut Volume, path: &RelPath) -> bool {
        let Some(dir) = path.parent() else {
            return false;
        };
        if dir.is_root() {
            return true;
        }
        match volume.at(&dir) {
            Some(ino) => volume.is_dir(ino),
            None => self.make_way(volume, &dir) && volume.user_dir(&dir),
        }
    }

    fn create(&mut self, volume: &mut Volume) {
        let path = self.new_path(volume);
        if volume.at(&path).is_some_and(|ino| volume.is_dir(ino)) || !self.make_way(volume, &path) {
            return;
        }
        let bytes = self.content("new");
        self.write(volume, &path, &bytes, "writes");
    }

    fn write(&mut self, volume: &mut Volume, path: &RelPath, bytes: &[u8], how: &str) {
        if let Some(ino) = volume.at(path) {
            if !matches!(volume.inodes.get(ino).body, Body::File(_)) {
                return;
            }
            self.destroys(volume, ino);
        }
        self.destroys_last(volume, path);
        self.last = Some((path.clone(), content_id(bytes), volume.now()));
        self.tell(&format!("{how} {path} {}", content_id(bytes).short()));
        self.wrote(bytes, &format!("{how} {path}"));
        volume.user_write(path, bytes);
    }

    fn rewrite(&mut self, volume: &mut Volume, paths: &[RelPath]) {
        let Some(path) = self.rng.pick(paths).cloned() else {
            return;
        };
        let size = volume.at(&path).map(|ino| volume.inodes.stat(ino).size);
        let bytes = match size.and_then(|size| usize::try_from(size).ok()) {
            Some(size) if self.patches && size >= PATCHED_BYTES => self.content_of(size),
            _ => self.content("rewritten"),
        };
        self.write(volume, &path, &bytes, "rewrites");
    }

    /// Saves as many editors do: a new file beside the old one, renamed over it.
    fn save_as_editor(&mut self, volume: &mut Volume, paths: &[RelPath]) {
        let Some(path) = self.rng.pick(paths).cloned() else {
            return;
        };
        let Some((dir, name)) = path.split_last() else {
            return;
        };
        let is_file = |ino: Ino| matches!(volume.inodes.get(ino).body, Body::File(_));
        if !volume.at(&path).is_some_and(is_file) {
            return;
        }
        let Ok(beside) = Name::new([name.as_bytes(), b"~new"].concat()) else {
            return;
        };
        let beside = volume.spelled(&dir.join(&beside));
        let bytes = self.content("saved");
        self.write(volume, &beside, &bytes, "saves");
        if volume.at(&beside).is_some() {
            self.rename_to(volume, &beside, &path);
        }
    }

    fn append(&mut self, volume: &mut Volume, paths: &[RelPath]) {
        let Some(path) = self.rng.pick(paths).cloned() else {
            return;
        };
        let Some(ino) = volume.at(&path) else { return };
        let Body::File(old) = &volume.inodes.get(ino).body else {
            return;
        };
        let mut bytes = old.to_vec();
        bytes.extend_from_slice(&self.content("appended"));
        self.write(volume, &path, &bytes, "appends to");
    }

    fn truncate(&mut self, volume: &mut Volume, paths: &[RelPath]) {
        if let Some(path) = self.rng.pick(paths).cloned() {
            self.write(volume, &path, b"", "empties");
        }
    }

    fn rename(&mut self, volume: &mut Volume, paths: &[RelPath]) {
        let Some(from) = self.rng.pick(paths).cloned() else {
            return;
        };
        let to = match self.rng.chance(300) {
            true => self.rng.pick(paths).cloned().unwrap_or_default(),
            false => self.new_path(volume),
        };
        let to = match to == from {
            true => volume.respelled(&from).unwrap_or(to),
            false => to,
        };
        if to.is_root() || to.is_within(&from) || !self.make_way(volume, &to) {
            return;
        }
        self.rename_to(volume, &from, &to);
    }

    fn rename_to(&mut self, volume: &mut Volume, from: &RelPath, to: &RelPath) {
        let (Some(moved), there) = (volume.at(from), volume.at(to)) else {
            return;
        };
        if let Some(there) = there {
            let is_full = volume.inodes.entries(there).is_some_and(|e| !e.is_empty());
            if volume.is_dir(there) != volume.is_dir(moved) || is_full || from.is_within(to) {
                return;
            }
            self.destroys(volume, there);
        }
        self.destroys_last(volume, to);
        if let Body::File(bytes) = &volume.inodes.get(moved).body {
            self.last = Some((to.clone(), content_id(&bytes.to_vec()), volume.now()));
        }
        self.tell(&format!("renames {from} to {to}"));
        volume.user_rename(from, to);
    }

    fn remove(&mut self, volume: &mut Volume, paths: &[RelPath]) {
        let Some(path) = self.rng.pick(paths).cloned() else {
            return;
        };
        let Some(ino) = volume.at(&path) else { return };
        self.destroys(volume, ino);
        self.destroys_last(volume, &path);
        self.tell(&format!("removes {path}"));
        volume.user_remove(&path);
    }

    fn make_dir(&mut self, volume: &mut Volume) {
        let path = self.new_path(volume);
        if self.make_way(volume, &path) && volume.user_dir(&path) {
            self.tell(&format!("makes {path}/"));
        }
    }

    fn link(&mut self, volume: &mut Volume) {
        let path = self.new_path(volume);
        if volume.at(&path).is_some() || !self.make_way(volume, &path) {
            return;
        }
        let target = format!("../{}", self.rng.below(1000));
        self.tell(&format!("links {path} -> {target}"));
        volume.user_link(&path, target.as_bytes());
    }

    fn chmod(&mut self, volume: &mut Volume, paths: &[RelPath]) {
        let Some(path) = self.rng.pick(paths).cloned() else {
            return;
        };
        let Some(ino) = volume.at(&path) else { return };
        if matches!(volume.inodes.get(ino).body, Body::File(_)) {
            self.tell(&format!("flips the exec bit of {path}"));
            volume.user_chmod(&path, ino);
        }
    }

    fn hold(&mut self, volume: &mut Volume, paths: &[RelPath]) {
        let Some(path) = self.rng.pick(paths).cloned() else {
            return;
        };
        let Some(ino) = volume.at(&path) else { return };
        if self.held.is_none() && matches!(volume.inodes.get(ino).body, Body::File(_)) {
            volume.inodes.open(ino);
            self.held = Some(ino);
            self.tell(&format!("holds {path} open"));
        }
    }

    /// Writes into the file that was held open, wherever it is by now.
    fn write_late(&mut self, volume: &mut Volume) {
        let Some(ino) = self.held.take() else { return };
        let is_named = volume.inodes.stat(ino).nlink > 0;
        self.destroys(volume, ino);
        let bytes = self.content("late");
        self.tell(&format!(
            "writes into the held file {}",
            content_id(&bytes).short()
        ));
        // A file without a name is gone once it is closed: nobody can keep what is written there.
        if is_named {
            self.wrote(&bytes, "late write");
            self.story.told().late.insert(content_id(&bytes));
        }
        volume.user_fill(ino, &bytes);
        if let Some(path) = volume.path_of(ino) {
            volume.note(&path, ChangeKind::Finished);
        }
        volume.inodes.close(ino);
    }
}
