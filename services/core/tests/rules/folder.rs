//! A strict model of a folder: it does a plan's steps, and refuses whatever a file system would
//! refuse.

use std::collections::BTreeMap;

use fsync_core::id::ObjectId;
use fsync_core::node::Entry;
use fsync_core::path::RelPath;
use fsync_core::plan::Step;

use crate::fixtures::Store;

/// A folder that refuses whatever a file system would refuse.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Folder(pub(crate) BTreeMap<RelPath, Entry>);

/// Directories count as such, not by their contents.
pub(crate) fn plain(entry: Entry) -> Entry {
    match entry {
        Entry::Dir(_) => Entry::Dir(ObjectId::from_bytes([0; 32])),
        other => other,
    }
}

impl Folder {
    /// Returns the folder that holds a tree.
    pub(crate) fn of(store: &Store, root: ObjectId) -> Self {
        let list = store.list(root).into_iter();
        Self(list.map(|(path, entry)| (path, plain(entry))).collect())
    }

    /// Returns whether a directory stands there.
    pub(crate) fn is_dir(&self, path: &RelPath) -> bool {
        path.is_root() || self.0.get(path).is_some_and(|e| e.as_dir().is_some())
    }

    /// Returns the paths below a directory.
    pub(crate) fn below(&self, dir: &RelPath) -> Vec<RelPath> {
        let inside = |path: &&RelPath| *path != dir && path.is_within(dir);
        self.0.keys().filter(inside).cloned().collect()
    }

    /// Does steps, one after the other.
    pub(crate) fn run(&mut self, steps: &[Step]) -> Result<(), String> {
        steps
            .iter()
            .try_for_each(|step| self.step(step).ok_or(format!("{step:?} on {self:?}")))
    }

    /// Does one step; `None` if a file system would refuse.
    pub(crate) fn step(&mut self, step: &Step) -> Option<()> {
        let is_as = |folder: &Self, path: &RelPath, was: Option<Entry>| {
            folder.0.get(path).copied() == was.map(plain)
        };
        self.is_dir(&step.path().parent()?).then_some(())?;
        match step {
            Step::Move { from, to, was } => {
                (is_as(self, from, Some(*was)) && is_as(self, to, None) && !to.is_within(from))
                    .then_some(())?;
                for path in self.below(from).into_iter().chain([from.clone()]) {
                    let entry = self.0.remove(&path)?;
                    self.0.insert(to.concat(&path.strip_prefix(from)?), entry);
                }
            }
            Step::Remove { path, was } => {
                (is_as(self, path, Some(*was)) && was.as_dir().is_none()).then_some(())?;
                self.0.remove(path);
            }
            Step::RemoveDir { path } => {
                (self.is_dir(path) && self.below(path).is_empty()).then_some(())?;
                self.0.remove(path);
            }
            Step::MakeDir { path } => {
                is_as(self, path, None).then_some(())?;
                self.0.insert(
                    path.clone(),
                    plain(Entry::Dir(ObjectId::from_bytes([0; 32]))),
                );
            }
            Step::Put { path, was, now } => {
                let is_possible =
                    now.as_dir().is_none() && was.is_none_or(|w| w.as_dir().is_none());
                (is_possible && is_as(self, path, *was)).then_some(())?;
                self.0.insert(path.clone(), *now);
            }
            Step::Meta { path, was, now } => {
                (is_as(self, path, Some(Entry::File(*was))) && was.content == now.content)
                    .then_some(())?;
                self.0.insert(path.clone(), Entry::File(*now));
            }
        }
        Some(())
    }
}
