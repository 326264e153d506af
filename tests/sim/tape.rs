//! What a power loss leaves of a simulated disk: a recording of all that was done to it, below
//! `Files`, and what of it was made durable.
//!
//! Guarantees: what one call changes in directories comes as a whole or not at all, as in a file
//! system with a journal; what was synced is there, with all that it rests on. Of the rest any part
//! may be there: each change of names without those before it, unless it rests on them; names
//! without contents; contents in part, page by page. What users do is durable at once: what becomes
//! of a user's own unsynced bytes is between the user and the disk.
//! Does not: decide when power is lost ([`super::backend::Meter`]).
//! Place: a [`super::volume::Volume`] has one where power may be lost.

use std::collections::{BTreeMap, BTreeSet};

use super::inodes::{Body, Bytes, Ino, Inode, Inodes};
use super::rng::Rng;

type Table = BTreeMap<Ino, Inode>;

/// Who did something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// The agent: durable once it is synced.
    Agent,
    /// A user.
    User,
}

/// Something that a later change rests on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    /// What stands under a name of a directory.
    Name(Ino, Vec<u8>),
    /// That an inode exists, or not any more.
    Exists(Ino),
    /// What is in a directory.
    Within(Ino),
    /// The bytes of a file: an earlier change of them never comes after a later one.
    Bytes(Ino),
    /// What else is told of a file or link, in the same way.
    Times(Ino),
}

/// What one call changed, but for the bytes of files.
#[derive(Debug, Default)]
struct Names {
    made: Vec<(Ino, Inode)>,
    gone: Vec<Ino>,
    entries: Vec<(Ino, Vec<u8>, Option<Ino>)>,
    times: Vec<(Ino, u32, i64, i64)>,
    /// Which of these are of files and links.
    files: Vec<Ino>,
}

#[derive(Debug)]
enum Change {
    Names(Names),
    Bytes(Ino, Bytes),
}

/// See the module's head.
#[derive(Debug)]
pub struct Tape {
    /// The disk as the running system sees it.
    seen: Table,
    /// The disk as it is without power.
    durable: Table,
    /// What is in the first only, in order.
    pending: Vec<Change>,
}

impl Names {
    fn is_empty(&self) -> bool {
        self.made.is_empty()
            && self.gone.is_empty()
            && self.entries.is_empty()
            && self.times.is_empty()
    }

    fn gives(&self) -> BTreeSet<Key> {
        let exists = self.made.iter().map(|(ino, _)| ino).chain(&self.gone);
        let mut keys: BTreeSet<Key> = exists.map(|ino| Key::Exists(*ino)).collect();
        for (dir, name, _) in &self.entries {
            keys.insert(Key::Name(*dir, name.clone()));
            keys.insert(Key::Within(*dir));
        }
        keys.extend(self.files.iter().copied().map(Key::Times));
        keys
    }

    fn rests_on(&self) -> BTreeSet<Key> {
        let mut keys = BTreeSet::new();
        for (dir, name, ino) in &self.entries {
            keys.insert(Key::Name(*dir, name.clone()));
            keys.insert(Key::Exists(*dir));
            keys.extend(ino.map(Key::Exists));
        }
        keys.extend(self.made.iter().map(|(ino, _)| Key::Exists(*ino)));
        for ino in &self.gone {
            keys.extend([Key::Exists(*ino), Key::Within(*ino)]);
        }
        keys.extend(self.files.iter().copied().map(Key::Times));
        keys
    }
}

impl Change {
    fn gives(&self) -> BTreeSet<Key> {
        match self {
            Self::Names(names) => names.gives(),
            Self::Bytes(ino, _) => [Key::Bytes(*ino)].into(),
        }
    }

    fn rests_on(&self) -> BTreeSet<Key> {
        match self {
            Self::Names(names) => names.rests_on(),
            Self::Bytes(ino, _) => [Key::Exists(*ino), Key::Bytes(*ino)].into(),
        }
    }

    /// Returns whether syncing a file makes this durable.
    fn is_of_file(&self, file: Ino) -> bool {
        match self {
            Self::Bytes(ino, _) => *ino == file,
            Self::Names(names) => {
                names.times.iter().any(|(ino, ..)| *ino == file)
                    || names.made.iter().any(|(ino, _)| *ino == file)
            }
        }
    }

    fn is_in_dir(&self, wanted: Ino) -> bool {
        match self {
            Self::Names(names) => names.entries.iter().any(|(dir, ..)| *dir == wanted),
            Self::Bytes(..) => false,
        }
    }

    fn apply(&self, table: &mut Table) {
        match self {
            Self::Bytes(ino, bytes) => {
                if let Some(inode) = table.get_mut(ino) {
                    inode.body = Body::File(bytes.clone());
                }
            }
            Self::Names(names) => names.apply(table),
        }
    }
}

impl Names {
    fn apply(&self, table: &mut Table) {
        for ino in &self.gone {
            table.remove(ino);
        }
        table.extend(self.made.iter().cloned());
        for (dir, name, ino) in &self.entries {
            let Some(Body::Dir(entries)) = table.get_mut(dir).map(|inode| &mut inode.body) else {
                continue;
            };
            match ino {
                Some(ino) => drop(entries.insert(name.clone(), *ino)),
                None => drop(entries.remove(name)),
            }
        }
        for (ino, mode, mtime, ctime) in &self.times {
            if let Some(inode) = table.get_mut(ino) {
                (inode.mode, inode.mtime, inode.ctime) = (*mode, *mtime, *ctime);
            }
        }
    }
}

impl Tape {
    /// Starts with a disk that is durable as it is.
    pub fn new(inodes: &mut Inodes) -> Self {
        inodes.record();
        let durable = inodes.table().clone();
        Self {
            seen: durable.clone(),
            durable,
            pending: Vec::new(),
        }
    }

    /// Takes what was done since the last time, as one change.
    pub fn note(&mut self, inodes: &mut Inodes, by: By) {
        let first = self.pending.len();
        let (mut names, mut bytes) = (Names::default(), Vec::new());
        for ino in inodes.take_touched() {
            let (old, new) = (self.seen.get(&ino), inodes.table().get(&ino));
            compare(ino, old, new, &mut names, &mut bytes);
            match new.cloned() {
                Some(new) => drop(self.seen.insert(ino, new)),
                None => drop(self.seen.remove(&ino)),
            }
        }
        if !names.is_empty() {
            self.pending.push(Change::Names(names));
        }
        self.pending.extend(bytes);
        if by == By::User {
            self.settle(|at, _| at >= first);
        }
    }

    /// A file is durable: its bytes, what it is, and that it is.
    pub fn sync_file(&mut self, ino: Ino) {
        self.settle(|_, change| change.is_of_file(ino));
    }

    /// The names in a directory are durable.
    pub fn sync_dir(&mut self, ino: Ino) {
        self.settle(|_, change| change.is_in_dir(ino));
    }

    /// All of it is durable.
    pub fn sync_all(&mut self) {
        self.settle(|_, _| true);
    }

    /// Makes durable what is chosen, with all that it rests on.
    fn settle(&mut self, is_chosen: impl Fn(usize, &Change) -> bool) {
        let chosen = self.closed(is_chosen);
        let mut rest = Vec::new();
        for (change, is_chosen) in self.pending.drain(..).zip(chosen) {
            match is_chosen {
                true => change.apply(&mut self.durable),
                false => rest.push(change),
            }
        }
        self.pending = rest;
    }

    fn closed(&self, is_chosen: impl Fn(usize, &Change) -> bool) -> Vec<bool> {
        let mut chosen = vec![false; self.pending.len()];
        let mut needed: BTreeSet<Key> = BTreeSet::new();
        for (at, change) in self.pending.iter().enumerate().rev() {
            let is_needed = change.gives().iter().any(|key| needed.contains(key));
            if is_needed || is_chosen(at, change) {
                chosen[at] = true;
                needed.extend(change.rests_on());
            }
        }
        chosen
    }

    /// Power is lost: some of what is not durable is there all the same, as chance has it. Returns
    /// how many changes were lost.
    pub fn lose_power(&mut self, inodes: &mut Inodes, rng: &mut Rng) -> usize {
        let count = self.pending.len();
        let prefix = usize::try_from(rng.below(count as u64 + 1)).unwrap_or(0);
        let (names, bytes) = match rng.below(4) {
            0 => (0, 0),
            1 => (1000, 0),
            _ => (500, 500),
        };
        let in_order = rng.chance(400);
        let chosen: Vec<bool> = (0..count)
            .map(|at| match &self.pending[at] {
                Change::Names(_) if in_order => at < prefix,
                Change::Names(_) => rng.chance(names),
                Change::Bytes(..) => rng.chance(bytes),
            })
            .collect();
        let mut chosen = self.closed(|at, _| chosen[at]);
        let mut table = self.image(&chosen, rng);
        if !is_tree(&table) {
            // No journal gives a directory that is within itself.
            for (at, is_there) in chosen.iter_mut().enumerate() {
                *is_there = at < prefix;
            }
            table = self.image(&chosen, rng);
        }
        let lost = chosen.iter().filter(|is_there| !**is_there).count();
        inodes.restore(table);
        self.durable = inodes.table().clone();
        self.seen = self.durable.clone();
        self.pending.clear();
        lost
    }

    fn image(&self, chosen: &[bool], rng: &mut Rng) -> Table {
        let mut table = self.durable.clone();
        for (change, is_there) in self.pending.iter().zip(chosen) {
            match change {
                change if *is_there => change.apply(&mut table),
                // Some of its pages made it.
                Change::Bytes(ino, new) if rng.chance(300) => {
                    if let Some(Body::File(old)) = table.get_mut(ino).map(|inode| &mut inode.body) {
                        *old = old.mixed(new, || rng.chance(500));
                    }
                }
                _ => {}
            }
        }
        table
    }
}

fn is_same(old: &Inode, new: &Inode) -> bool {
    let kind = |inode: &Inode| std::mem::discriminant(&inode.body);
    old.btime == new.btime && kind(old) == kind(new)
}

/// Tells two states of an inode apart.
fn compare(
    ino: Ino,
    old: Option<&Inode>,
    new: Option<&Inode>,
    names: &mut Names,
    bytes: &mut Vec<Change>,
) {
    let old = match (old, new) {
        (None, None) => return,
        (Some(_), None) => return names.gone.push(ino),
        (Some(old), Some(new)) if is_same(old, new) => old.clone(),
        (old, Some(new)) => {
            // Another inode with the number of one that is gone.
            names.gone.extend(old.map(|_| ino));
            let body = match &new.body {
                Body::Dir(_) => Body::Dir(BTreeMap::new()),
                Body::File(_) => Body::File(Bytes::default()),
                other => other.clone(),
            };
            let mut made = new.clone();
            made.body = body;
            names.made.push((ino, made.clone()));
            made
        }
    };
    let Some(new) = new else { return };
    match (&old.body, &new.body) {
        (Body::Dir(old), Body::Dir(new)) => {
            let away = old.keys().filter(|name| !new.contains_key(*name));
            let away = away.map(|name| (ino, name.clone(), None));
            names.entries.extend(away);
            let came = new.iter().filter(|(name, at)| old.get(*name) != Some(at));
            let came = came.map(|(name, at)| (ino, name.clone(), Some(*at)));
            names.entries.extend(came);
        }
        (Body::File(old), Body::File(new)) if old != new => {
            bytes.push(Change::Bytes(ino, new.clone()));
        }
        _ => {}
    }
    if (old.mode, old.mtime, old.ctime) != (new.mode, new.mtime, new.ctime) {
        names.times.push((ino, new.mode, new.mtime, new.ctime));
        if !matches!(new.body, Body::Dir(_)) {
            names.files.push(ino);
        }
    }
}

/// Returns whether every directory can be reached from one that has no name.
fn is_tree(table: &Table) -> bool {
    let entries = |ino: &Ino| match table.get(ino).map(|inode| &inode.body) {
        Some(Body::Dir(entries)) => entries.values().copied().collect(),
        _ => Vec::new(),
    };
    let named: BTreeSet<Ino> = table.keys().flat_map(entries).collect();
    let mut open: Vec<Ino> = table
        .keys()
        .filter(|ino| !named.contains(ino))
        .copied()
        .collect();
    let mut reached = BTreeSet::new();
    while let Some(ino) = open.pop() {
        if reached.insert(ino) {
            open.extend(entries(&ino));
        }
    }
    reached.len() == table.len()
}
