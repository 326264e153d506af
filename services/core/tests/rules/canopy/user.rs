//! What users do on their disks, and which contents they made and knowingly took away.

use std::collections::{BTreeMap, BTreeSet};

use fsync_core::id::ObjectId;
use fsync_core::node::Entry;
use fsync_core::path::RelPath;
use proptest::prelude::*;
use proptest::sample::select;

use super::disk::Disk;
use crate::fixtures::{Store, file, path, with_meta};

/// Where an act is done: at the path, or where something must stand and does not, at the nth path
/// of the disk.
#[derive(Debug, Clone)]
pub(super) struct Spot(pub(super) RelPath, u8);

/// One act of a user; what cannot be done is skipped.
#[derive(Debug, Clone)]
pub(super) enum Act {
    /// Write a new content into the file, or make one.
    Write(Spot),
    /// The same by a new inode.
    Save(Spot),
    /// Write what stands elsewhere.
    Copy(Spot, Spot),
    /// Put a link in place of whatever stands there.
    Link(Spot),
    Toggle(Spot),
    /// Make a directory, in place of a file too.
    MakeDir(Spot),
    Remove(Spot),
    /// Rename, over a file too.
    Rename(Spot, Spot),
    Swap(Spot, Spot),
    /// What stands at the first spot goes into the directory at the second.
    Into(Spot, Spot),
}

/// Contents by what users did with them.
#[derive(Debug, Default)]
pub(super) struct Contents {
    /// How often each was written.
    pub(super) written: BTreeMap<ObjectId, usize>,
    /// Taken off his own disk by a user.
    pub(super) removed: BTreeSet<ObjectId>,
}

const NAMES: &[&str] = &["a", "b", "A", "c"];

pub(super) fn spot() -> impl Strategy<Value = Spot> {
    let depth = prop_oneof![4 => Just(1usize), 3 => Just(2), 1 => Just(3)];
    let names = depth.prop_flat_map(|depth| proptest::collection::vec(select(NAMES), depth));
    (names, any::<u8>()).prop_map(|(names, nth)| Spot(path(&names.join("/")), nth))
}

/// Acts that make and change files.
pub(super) fn edit() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => spot().prop_map(Act::Write),
        1 => spot().prop_map(Act::Save),
        1 => spot().prop_map(Act::Toggle),
    ]
}

/// Acts that only make, change and remove contents.
pub(super) fn plain_act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => spot().prop_map(Act::Write),
        1 => spot().prop_map(Act::Save),
        1 => spot().prop_map(Act::Link),
        1 => spot().prop_map(Act::MakeDir),
        3 => spot().prop_map(Act::Remove),
    ]
}

pub(super) fn rename() -> impl Strategy<Value = Act> {
    (spot(), spot()).prop_map(|(from, to)| Act::Rename(from, to))
}

pub(super) fn any_act() -> impl Strategy<Value = Act> {
    prop_oneof![
        5 => plain_act(),
        1 => spot().prop_map(Act::Toggle),
        1 => (spot(), spot()).prop_map(|(from, to)| Act::Copy(from, to)),
        3 => rename(),
        1 => (spot(), spot()).prop_map(|(a, b)| Act::Swap(a, b)),
        2 => (spot(), spot()).prop_map(|(a, b)| Act::Into(a, b)),
    ]
}

impl Spot {
    pub(super) fn existing(&self, disk: &Disk) -> RelPath {
        let all = &disk.folder.0;
        match all.contains_key(&self.0) {
            true => self.0.clone(),
            false => {
                let nth = usize::from(self.1) % all.len().max(1);
                all.keys().nth(nth).cloned().unwrap_or(self.0.clone())
            }
        }
    }
}

/// A user in front of a disk.
pub(super) struct User<'a> {
    pub(super) store: &'a mut Store,
    pub(super) contents: &'a mut Contents,
    pub(super) disk: &'a mut Disk,
}

impl User<'_> {
    pub(super) fn act(&mut self, act: &Act) {
        match act {
            Act::Write(at) => {
                let new = self.text();
                self.put(&at.0, new);
            }
            Act::Save(at) => {
                let at = at.existing(self.disk);
                let new = self.text();
                if !self.disk.folder.is_dir(&at) {
                    self.take(&at);
                    self.put(&at, new);
                }
            }
            Act::Copy(from, to) => {
                let from = from.existing(self.disk);
                let copied = self.disk.at(&from).and_then(|e| e.as_file().copied());
                if let Some(copied) = copied {
                    self.put(&to.0, with_meta(Entry::File(copied), false, 2));
                }
            }
            Act::Link(at) => {
                let target = format!("t{}", self.contents.written.len());
                let link = self.store.link(&target);
                self.take(&at.0);
                self.put(&at.0, link);
            }
            Act::Toggle(at) => {
                let at = at.existing(self.disk);
                if let Some(Entry::File(was)) = self.disk.at(&at) {
                    let mtime = was.mtime.0;
                    self.disk
                        .write(&at, with_meta(Entry::File(was), !was.exec, mtime));
                }
            }
            Act::MakeDir(at) => {
                if !self.disk.folder.is_dir(&at.0) {
                    self.take(&at.0);
                }
                self.disk.make_way(&at.0.join(&crate::fixtures::name("x")));
            }
            Act::Remove(at) => {
                let at = at.existing(self.disk);
                self.take(&at);
            }
            Act::Rename(from, to) => {
                let from = from.existing(self.disk);
                self.rename(&from, &to.0);
            }
            Act::Into(what, dir) => {
                let what = what.existing(self.disk);
                let Some((_, name)) = what.split_last() else {
                    return;
                };
                self.rename(&what, &dir.existing(self.disk).join(&name));
            }
            Act::Swap(a, b) => self.swap(&a.existing(self.disk), &b.existing(self.disk)),
        }
    }

    fn text(&self) -> Entry {
        file(&(10 + self.contents.written.len()).to_string())
    }

    fn put(&mut self, at: &RelPath, new: Entry) {
        let there = self.disk.at(at);
        if there.is_some_and(|e| e.as_dir().is_some()) || !self.disk.make_way(at) {
            return;
        }
        *self.contents.written.entry(new.id()).or_default() += 1;
        match there {
            Some(was) => {
                self.contents.removed.insert(was.id());
                self.disk.write(at, new);
            }
            None => self.disk.replace(at, new),
        }
    }

    /// Removes a path with all below it.
    fn take(&mut self, at: &RelPath) {
        let inside = self.disk.folder.0.iter().filter(|(p, _)| p.is_within(at));
        let leaves = inside.filter(|(_, e)| e.as_dir().is_none());
        self.contents.removed.extend(leaves.map(|(_, e)| e.id()));
        self.disk.remove(at);
    }

    fn rename(&mut self, from: &RelPath, to: &RelPath) {
        let (moved, there) = (self.disk.at(from), self.disk.at(to));
        let is_leaf = |entry: Option<Entry>| entry.is_some_and(|e| e.as_dir().is_none());
        let is_possible = moved.is_some()
            && (there.is_none() || is_leaf(there) && is_leaf(moved))
            && !to.is_within(from)
            && to.parent().is_some_and(|dir| self.disk.folder.is_dir(&dir));
        if is_possible {
            self.take(to);
            self.disk.rename(from, to);
        }
    }

    fn swap(&mut self, a: &RelPath, b: &RelPath) {
        let is_possible = !a.is_within(b) && !b.is_within(a) && !self.disk.folder.0.is_empty();
        if is_possible && self.disk.at(a).is_some() && self.disk.at(b).is_some() {
            let aside = path("aside");
            self.disk.rename(a, &aside);
            self.disk.rename(b, a);
            self.disk.rename(&aside, b);
        }
    }
}
