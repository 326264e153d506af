//! The disk of one simulated machine: the synced folder, the agent's stage and trash beside it, and
//! what a watcher sees.
//!
//! Guarantees: the semantics of Linux' rename, link and open calls, on a clock of its own; stamps
//! are as coarse as those of a kernel. Every change in the tree is told to the watcher, whoever
//! made it. Between any two calls of the agent the user may act: that is what [`Volume::enter`] is
//! for.
//! Does not: decide what the user does ([`super::hand`]).

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use fsync_agent::files::{FilesError, Kind, Place, Problem, Rename, Result};
use fsync_core::engine::changes::{Change, ChangeKind};
use fsync_core::path::RelPath;

use super::backend::{Meter, Platter};
use super::hand::Hand;
use super::inodes::{Body, Bytes, Ino, Inodes};
use super::kept::Kept;
use super::rng::Rng;
use super::tape::{By, Tape};
use super::ways::Ways;

/// Up to so many files or directories are synced one by one, above it the whole disk is.
const SYNC_SINGLY: usize = 8;
/// How long one call takes, in ns.
const CALL_NS: i64 = 20_000;
/// What a rename is called in errors.
pub(super) const RENAME: &str = "rename";

/// Virtual time of the world, ns since 1970; all machines share it.
#[derive(Debug, Clone, Default)]
pub struct Clock(Arc<AtomicI64>);

impl Clock {
    /// Returns the time.
    pub fn now(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Sets the time; it never goes back.
    pub fn set(&self, now: i64) {
        self.0.fetch_max(now, Ordering::Relaxed);
    }
}

/// Which calls of the agent fail, in so many of 1,000.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// Writes find the disk full.
    pub no_space: u64,
    /// A directory of the tree may not be changed.
    pub denied: u64,
    /// Any call fails.
    pub io: u64,
}

/// An end of the agent's process in the middle of its work.
#[derive(Debug)]
pub struct Crash {
    /// After so many calls.
    pub calls: u64,
    /// The storage of its state.
    pub kept: Kept,
    /// Whether what was not synced is gone.
    pub is_power_loss: bool,
}

/// See the module's head.
#[derive(Debug)]
pub struct Volume {
    /// All inodes.
    pub inodes: Inodes,
    /// Where the synced folder is.
    pub root: Ino,
    /// Where staged files are.
    pub stage: Ino,
    /// Where the trash is.
    pub trash: Ino,
    /// What the watcher saw and nobody took yet.
    pub changes: Vec<Change>,
    /// What the agent changed, a line each; the world takes them.
    pub lines: Vec<String>,
    /// How often the agent changed the tree.
    pub agent_writes: u64,
    /// Which calls of the agent fail.
    pub faults: Faults,
    /// What kind of disk it is.
    pub ways: Ways,
    /// The user; away while acting.
    pub hand: Option<Hand>,
    /// Most bytes that one read gives.
    pub read_most: usize,
    /// In how many of 1,000 calls of the agent the user acts meanwhile.
    pub interrupts: u64,
    /// When the agent's process ends in the middle of its work.
    pub crash: Option<Crash>,
    /// Where power may be lost: what counts its calls, and what is durable.
    pub power: Option<(Meter, Platter, Tape)>,
    /// Power was lost; what is left is not decided yet.
    pub is_dark: bool,
    /// The process has ended: whatever it still does comes to nothing.
    pub is_dead: bool,
    /// Decides which directories may not be changed.
    closed: u64,
    clock: Clock,
    skew: i64,
    busy_until: i64,
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "callers hand over places and names alike"
)]
pub(super) fn fail(op: &'static str, path: impl ToString, problem: Problem) -> FilesError {
    FilesError {
        op,
        path: path.to_string(),
        problem,
        source: std::io::Error::other(format!("{problem:?}")),
    }
}

impl Volume {
    /// Makes an empty disk whose clock is off by `skew` ns.
    pub fn new(clock: Clock, skew: i64, hand: Hand) -> Self {
        let mut inodes = Inodes::default();
        let now = clock.now() + skew;
        // All three hang in a directory that nobody sees, so that none of them is ever taken for
        // dead.
        let top = inodes.make(Body::Dir(Default::default()), now);
        let mut own = |name: &[u8]| {
            let dir = inodes.make(Body::Dir(Default::default()), now);
            inodes.link(top, name, dir, now);
            dir
        };
        let (root, stage, trash) = (own(b"root"), own(b"stage"), own(b"trash"));
        Self {
            inodes,
            root,
            stage,
            trash,
            changes: Vec::new(),
            lines: Vec::new(),
            agent_writes: 0,
            faults: Faults::default(),
            ways: Ways::default(),
            hand: Some(hand),
            read_most: usize::MAX,
            interrupts: 0,
            crash: None,
            power: None,
            is_dark: false,
            is_dead: false,
            closed: 0,
            clock,
            skew,
            busy_until: 0,
        }
    }

    /// Returns the machine's time, which the calls of an agent at work move on.
    pub fn now(&self) -> i64 {
        self.clock.now().max(self.busy_until) + self.skew
    }

    /// Returns the time as files are stamped with it.
    pub fn stamp(&self) -> i64 {
        self.as_stamp(self.now())
    }

    /// Returns a time that is set as the disk keeps it: only a coarse one cuts it.
    pub fn as_kept(&self, time: i64) -> i64 {
        match self.ways.is_coarse() {
            true => self.as_stamp(time),
            false => time,
        }
    }

    fn as_stamp(&self, time: i64) -> i64 {
        time - time.rem_euclid(self.ways.stamp_ns)
    }

    /// Begins a call of the agent: time passes, the user may act first, the call may fail.
    pub fn enter(&mut self, op: &'static str, at: &dyn ToString) -> Result<()> {
        self.busy_until = self.clock.now().max(self.busy_until) + CALL_NS;
        self.count_down();
        self.note_done(By::Agent);
        self.meter();
        if self.is_dead {
            return Err(fail(op, at.to_string(), Problem::Io));
        }
        let interrupts = self.interrupts;
        if let Some(mut hand) = self.hand.take() {
            if interrupts > 0 && hand.rng.chance(interrupts) {
                hand.act(self);
                self.note_done(By::User);
            }
            // A rename that fails with an error of the disk may leave anything.
            let has_failed = op != RENAME && hand.rng.chance(self.faults.io);
            self.hand = Some(hand);
            if has_failed {
                return Err(fail(op, at.to_string(), Problem::Io));
            }
        }
        Ok(())
    }

    /// Records what was done to the disk since the last time.
    pub fn note_done(&mut self, by: By) {
        if let Some((_, _, tape)) = &mut self.power {
            tape.note(&mut self.inodes, by);
        }
    }

    /// Counts a call of the agent; power may be lost at it.
    fn meter(&mut self) {
        if let Some((meter, platter, _)) = &self.power
            && !self.is_dead
            && meter.tick()
        {
            platter.lose_power();
        }
        self.look_for_power();
    }

    /// Looks whether power was lost, at a call of this disk or of the state's.
    pub fn look_for_power(&mut self) {
        if let Some((meter, platter, _)) = &self.power
            && meter.take_cut()
        {
            platter.crash(true);
            self.is_dead = true;
            self.is_dark = true;
        } else if let Some((meter, platter, _)) = &self.power
            && meter.take_end()
        {
            platter.crash(false);
            self.is_dead = true;
        }
    }

    /// Decides what a power loss left; nobody has a file open any more.
    pub fn darken(&mut self) {
        if !std::mem::take(&mut self.is_dark) {
            return;
        }
        if let Some(mut hand) = self.hand.take() {
            hand.let_go(self);
            self.hand = Some(hand);
        }
        if let Some((meter, _, tape)) = &mut self.power {
            tape.note(&mut self.inodes, By::Agent);
            let lost = tape.lose_power(&mut self.inodes, &mut meter.chance());
            self.lines
                .push(format!("loses power, and {lost} changes of its disk"));
        }
    }

    fn count_down(&mut self) {
        let Some(crash) = &mut self.crash else { return };
        if crash.calls > 0 {
            crash.calls -= 1;
            return;
        }
        crash.kept.crash(crash.is_power_loss);
        self.is_dead = true;
        self.crash = None;
    }

    /// Decides whether a write finds the disk full.
    pub fn check_space(&mut self, op: &'static str, at: &dyn ToString) -> Result<()> {
        let per_mille = self.faults.no_space;
        let is_full = per_mille > 0 && self.hand.as_mut().is_some_and(|h| h.rng.chance(per_mille));
        match is_full {
            true => Err(fail(op, at.to_string(), Problem::NoSpace)),
            false => Ok(()),
        }
    }

    /// Decides anew which directories may not be changed.
    pub fn close_dirs(&mut self) {
        let salt = self.hand.as_mut().map(|hand| hand.rng.draw());
        self.closed = salt.unwrap_or_default();
    }

    /// Fails if the directory of a place may not be changed.
    pub fn check_permission(&self, op: &'static str, at: Place<'_>) -> Result<()> {
        let Place::Tree(path) = at else { return Ok(()) };
        let dir = path.parent().unwrap_or_default();
        let mut chance = Rng::new(self.closed);
        dir.as_bytes().iter().for_each(|byte| {
            chance = Rng::new(chance.draw() ^ u64::from(*byte));
        });
        match self.faults.denied > 0 && chance.chance(self.faults.denied) {
            true => Err(fail(op, at.to_string(), Problem::Denied)),
            false => Ok(()),
        }
    }

    /// Makes staged files durable, as the real disk does: one by one if they are few.
    pub fn sync_files(&mut self, files: &[Ino]) {
        let Some((_, _, tape)) = &mut self.power else {
            return;
        };
        if files.len() > SYNC_SINGLY {
            return tape.sync_all();
        }
        for ino in files {
            match self.inodes.get(*ino).body {
                Body::File(_) => tape.sync_file(*ino),
                // A link: its name is all there is to it.
                _ => tape.sync_dir(self.stage),
            }
        }
    }

    /// Makes directories of the tree durable, in the same way.
    pub fn sync_dirs(&mut self, dirs: &[RelPath]) {
        let found: Vec<Ino> = dirs.iter().filter_map(|dir| self.at(dir)).collect();
        let Some((_, _, tape)) = &mut self.power else {
            return;
        };
        match dirs.len() > SYNC_SINGLY {
            true => tape.sync_all(),
            false => found.into_iter().for_each(|dir| tape.sync_dir(dir)),
        }
    }

    /// Tells the watcher.
    pub fn note(&mut self, path: &RelPath, kind: ChangeKind) {
        let path = path.clone();
        self.changes.push(Change { path, kind });
    }

    fn note_place(&mut self, at: Place<'_>) {
        let Place::Tree(path) = at else { return };
        let is_dir = self.find(at).is_some_and(|ino| self.is_dir(ino));
        let kind = if is_dir {
            ChangeKind::Subtree
        } else {
            ChangeKind::Finished
        };
        self.agent_writes += 1;
        self.note(path, kind);
    }

    /// Returns whether an inode is a directory.
    pub fn is_dir(&self, ino: Ino) -> bool {
        self.inodes.entries(ino).is_some()
    }

    /// Returns what stands at a path of the tree.
    pub fn at(&self, path: &RelPath) -> Option<Ino> {
        self.find(Place::Tree(path))
    }

    /// Returns what stands at a place.
    pub fn find(&self, at: Place<'_>) -> Option<Ino> {
        let (top, names) = self.steps(at);
        names
            .iter()
            .try_fold(top, |dir, name| self.inodes.child(dir, name))
    }

    fn steps(&self, at: Place<'_>) -> (Ino, Vec<Vec<u8>>) {
        let names = |path: &RelPath| -> Vec<Vec<u8>> {
            path.names().map(|n| n.as_bytes().into()).collect()
        };
        match at {
            Place::Tree(path) => (self.root, names(path)),
            Place::Stage(key) => (self.stage, vec![key.as_str().into()]),
            Place::Trash(slot, path) => {
                let mut steps = vec![slot.to_string().into_bytes()];
                steps.extend(names(path));
                (self.trash, steps)
            }
        }
    }

    /// Returns the directory of a place and its name there; makes the directories of a trash place.
    pub fn parent(&mut self, op: &'static str, at: Place<'_>) -> Result<(Ino, Vec<u8>)> {
        let (top, mut names) = self.steps(at);
        let Some(name) = names.pop() else {
            return Err(fail(op, at, Problem::Busy));
        };
        let mut dir = top;
        for step in names {
            dir = match self.inodes.child(dir, &step) {
                Some(child) => child,
                None if matches!(at, Place::Trash(..)) => {
                    let now = self.stamp();
                    let made = self.inodes.make(Body::Dir(Default::default()), now);
                    self.inodes.link(dir, &step, made, now);
                    made
                }
                None if self.other_spelling(dir, &step).is_some() => {
                    return Err(fail(op, at, Problem::NotStorable));
                }
                None => return Err(fail(op, at, Problem::NotFound)),
            };
        }
        match self.is_dir(dir) {
            true => Ok((dir, name)),
            false => Err(fail(op, at, Problem::NotFound)),
        }
    }

    /// Returns the inode at a place.
    pub fn existing(&self, op: &'static str, at: Place<'_>) -> Result<Ino> {
        self.find(at).ok_or_else(|| fail(op, at, Problem::NotFound))
    }

    /// Returns a staged file's number, making it if it is not there.
    pub fn staged_file(&mut self, at: Place<'_>) -> Result<Ino> {
        let (dir, name) = self.parent("write", at)?;
        if let Some(ino) = self.inodes.child(dir, &name) {
            return match self.inodes.get(ino).body {
                Body::File(_) => Ok(ino),
                _ => Err(fail("write", at, Problem::NotFound)),
            };
        }
        let now = self.stamp();
        let ino = self.inodes.make(Body::File(Bytes::default()), now);
        self.inodes.link(dir, &name, ino, now);
        Ok(ino)
    }

    /// Renames as the agent does: without overwriting anything.
    pub fn rename(&mut self, from: Place<'_>, to: Place<'_>, how: Rename) -> Result<()> {
        const OP: &str = "rename";
        let (from_dir, from_name) = self.parent(OP, from)?;
        let (to_dir, to_name) = self.parent(OP, to)?;
        let both = || format!("{from} to {to}");
        let not_found = || fail(OP, both(), Problem::NotFound);
        let moved = self
            .inodes
            .child(from_dir, &from_name)
            .ok_or_else(not_found)?;
        let there = self.inodes.child(to_dir, &to_name);
        let is_into_itself = self.inodes.is_within(to_dir, moved)
            || there.is_some_and(|t| self.inodes.is_within(from_dir, t));
        if let Place::Tree(_) = to {
            self.check_spelling(OP, to, (to_dir, &to_name), Some(moved))?;
        }
        let now = self.stamp();
        self.lines.push(format!("agent: {how:?} {}", both()));
        match (how, there) {
            (Rename::NoReplace, Some(_)) => return Err(fail(OP, both(), Problem::Exists)),
            (Rename::Exchange, None) => return Err(not_found()),
            _ if is_into_itself => return Err(fail(OP, both(), Problem::Unsupported)),
            (Rename::NoReplace, None) => {
                self.inodes.unlink(from_dir, &from_name, now);
            }
            (Rename::Exchange, Some(there)) => {
                self.inodes.unlink(from_dir, &from_name, now);
                self.inodes.unlink(to_dir, &to_name, now);
                self.inodes.link(from_dir, &from_name, there, now);
            }
        }
        self.inodes.link(to_dir, &to_name, moved, now);
        self.note_place(from);
        self.note_place(to);
        Ok(())
    }

    /// Makes a directory.
    pub fn make_dir(&mut self, at: Place<'_>) -> Result<()> {
        let (dir, name) = self.parent("make the directory", at)?;
        if self.inodes.child(dir, &name).is_some() {
            return Err(fail("make the directory", at, Problem::Exists));
        }
        self.check_spelling("make the directory", at, (dir, &name), None)?;
        let now = self.stamp();
        let made = self.inodes.make(Body::Dir(Default::default()), now);
        self.inodes.link(dir, &name, made, now);
        self.lines.push(format!("agent: makes {at}/"));
        self.note_place(at);
        Ok(())
    }

    /// Removes an empty directory, or a file or link, by its name.
    pub fn remove(&mut self, at: Place<'_>, kind: Kind) -> Result<()> {
        let (dir, name) = self.parent("remove", at)?;
        let ino = self.existing("remove", at)?;
        let is_full = self.inodes.entries(ino).is_some_and(|e| !e.is_empty());
        match (kind, self.is_dir(ino)) {
            (Kind::Dir, false) => return Err(fail("remove", at, Problem::NotFound)),
            (Kind::Dir, true) if is_full => return Err(fail("remove", at, Problem::NotEmpty)),
            (Kind::Dir, true) | (_, false) => {}
            (_, true) => return Err(fail("remove", at, Problem::Exists)),
        }
        let now = self.stamp();
        self.inodes.unlink(dir, &name, now);
        self.inodes.reap(ino);
        self.lines.push(format!("agent: removes {at}"));
        self.note_place(at);
        Ok(())
    }

    /// Tells that the agent changed a file's properties.
    pub fn touched(&mut self, at: Place<'_>) {
        self.note_place(at);
    }
}
