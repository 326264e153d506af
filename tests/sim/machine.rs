//! One machine of a simulated world: a disk, a user, and an agent that may not be running.

use std::sync::Arc;

use fsync_agent::folder::{Folder, FolderEffect, FolderError, FolderInput, Now, Parts};
use fsync_agent::state::Snapshot;
use fsync_core::clock::Moment;
use fsync_core::engine::Activity;
use fsync_core::exception::Exception;
use fsync_core::label::AgentName;
use fsync_core::path::RelPath;
use fsync_core::revision::Timestamp;
use fsync_core::service::subscribe::SocketNo;
use fsync_core::wire::Head;

use super::backend::{Meter, Platter};
use super::files::SimFiles;
use super::hand::{Hand, Story};
use super::kept::Kept;
use super::rng::Rng;
use super::tape::Tape;
use super::volume::{Clock, Volume};
use super::ways::Ways;

/// Virtual 1970 to virtual start, in ms.
pub const START_MS: u64 = 1_769_000_000_000;

/// Most bytes of one read, where reads give little.
const SHORT_READ: usize = 4096;

/// See the module's head.
#[derive(Debug)]
pub struct Machine {
    /// Its agent's name.
    pub name: AgentName,
    /// Its disk.
    pub files: SimFiles,
    /// Its agent's state.
    pub kept: Kept,
    /// Its agent, if it runs.
    pub folder: Option<Folder>,
    /// Counts the agent's lives: what belongs to an earlier one is dropped.
    pub life: u64,
    /// Its connection.
    pub socket: Option<SocketNo>,
    /// The replica that it talks to.
    pub replica: usize,
    /// Number of the next subscribe.
    pub next_subscribe: u64,
    /// The newest head that its agent knew on this connection.
    pub known: Option<Head>,
    /// Counts wake-ups asked for: only the last one counts.
    pub wake: u64,
    /// Whether a look at what the watcher saw is due already.
    pub is_watch_due: bool,
    /// Its agent's state was opened once: from then on it must never be found damaged.
    had_state: bool,
    /// Until when nothing passes between it and the service, in ns.
    cut_off_until: u64,
    skew_ms: i64,
}

/// How a step of an agent ended.
#[derive(Debug)]
pub enum Ran {
    /// It wants these.
    Effects(Vec<FolderEffect>),
    /// Its process ended in the middle.
    Died,
    /// It gave up.
    Failed(FolderError),
}

impl Machine {
    /// Sets a machine up; its agent is not started yet.
    pub fn new(
        number: usize,
        clock: Clock,
        rng: &mut Rng,
        (story, kept, ways): (Story, Kept, Ways),
    ) -> Self {
        let name = format!("m{number}");
        let skew_ms = i64::try_from(rng.below(20_000)).unwrap_or(0) - 10_000;
        let hand = Hand::new(&name, rng.split(), story);
        let mut volume = Volume::new(clock, skew_ms * 1_000_000, hand);
        volume.ways = ways;
        Self {
            name: AgentName::from_lossy(&name),
            files: SimFiles::new(volume),
            kept,
            folder: None,
            life: 0,
            socket: None,
            replica: 0,
            next_subscribe: 1,
            known: None,
            wake: 0,
            is_watch_due: false,
            had_state: false,
            cut_off_until: 0,
            skew_ms,
        }
    }

    /// Lets power be lost at a call: from now on what is durable is recorded.
    pub fn meter(&mut self, meter: &Meter) {
        let platter = Platter::metered(meter.clone());
        self.kept = Kept::Bytes(platter.clone());
        let mut volume = self.files.volume();
        let tape = Tape::new(&mut volume.inodes);
        volume.power = Some((meter.clone(), platter, tape));
    }

    fn now(&self, now_ns: u64) -> Now {
        let ms = now_ns / 1_000_000;
        Now {
            moment: Moment(ms),
            time: Timestamp((START_MS + ms).saturating_add_signed(self.skew_ms)),
        }
    }

    /// Starts the agent.
    pub fn start(&mut self, now_ns: u64) -> Ran {
        self.life += 1;
        self.folder = None;
        {
            let mut volume = self.files.volume();
            volume.is_dead = false;
            volume.changes.clear();
        }
        let mut opened = self.kept.open();
        if opened.is_err() && !self.had_state {
            // It never was whole: the agent moves it aside then, as `State::open` does.
            self.kept.lose();
            opened = self.kept.open();
        }
        let state = match opened {
            _ if self.has_died() => return Ran::Died,
            Ok(state) => state,
            Err(error) => return Ran::Failed(error.into()),
        };
        self.had_state = true;
        let parts = Parts {
            files: Arc::new(self.files.clone()),
            state: Arc::new(state),
            agent: self.name.clone(),
        };
        match Folder::open(parts, self.now(now_ns)) {
            _ if self.has_died() => Ran::Died,
            Ok((folder, effects)) => {
                self.folder = Some(folder);
                Ran::Effects(effects)
            }
            Err(error) => Ran::Failed(error),
        }
    }

    /// Gives the agent an input, if it runs.
    pub fn feed(&mut self, input: FolderInput, now_ns: u64) -> Ran {
        let now = self.now(now_ns);
        let Some(folder) = &mut self.folder else {
            return Ran::Effects(Vec::new());
        };
        self.files.volume().close_dirs();
        match folder.handle(input, now) {
            _ if self.has_died() => Ran::Died,
            Ok(effects) => Ran::Effects(effects),
            Err(error) => Ran::Failed(error),
        }
    }

    /// Lets the agent make durable what it put off.
    pub fn settle(&mut self) -> Ran {
        let Some(folder) = &mut self.folder else {
            return Ran::Effects(Vec::new());
        };
        match folder.settle() {
            _ if self.has_died() => Ran::Died,
            Ok(()) => Ran::Effects(Vec::new()),
            Err(error) => Ran::Failed(error),
        }
    }

    fn has_died(&mut self) -> bool {
        let mut volume = self.files.volume();
        volume.crash = None;
        volume.look_for_power();
        volume.is_dead
    }

    /// Ends the agent without a word; its state is cut off already or is now.
    pub fn kill(&mut self, is_power_loss: bool) {
        let (is_cut, is_metered) = {
            let volume = self.files.volume();
            (volume.is_dead, volume.power.is_some())
        };
        // Where power is metered nothing else loses it.
        if !is_cut {
            self.kept.crash(is_power_loss && !is_metered);
        }
        self.files.volume().is_dead = true;
        self.folder = None;
        self.files.volume().darken();
        self.life += 1;
    }

    /// Lets reads give little at once, and users write over files in place meanwhile.
    pub fn harden(&mut self) {
        let mut volume = self.files.volume();
        volume.read_most = SHORT_READ;
        if let Some(hand) = &mut volume.hand {
            hand.patches = true;
        }
    }

    /// Loses the state of an agent that does not run.
    pub fn forget(&mut self) {
        self.kept.lose();
        self.had_state = false;
    }

    /// Lets nothing pass between the machine and the service until then.
    pub fn cut_off(&mut self, until_ns: u64) {
        self.cut_off_until = until_ns;
    }

    /// Returns whether nothing passes.
    pub fn is_cut_off(&self, now_ns: u64) -> bool {
        now_ns < self.cut_off_until
    }

    /// I8: what an agent takes for the head only ever moves on, as long as one connection lasts.
    ///
    /// # Errors
    /// If it went back.
    pub fn check_head(&mut self) -> Result<(), String> {
        let head = self
            .folder
            .as_ref()
            .and_then(|folder| folder.engine().head());
        let went_back = self.known.zip(head).filter(|(old, new)| {
            self.socket.is_some() && old.epoch == new.epoch && old.seq > new.seq
        });
        self.known = head;
        match went_back {
            Some((old, new)) => Err(format!(
                "I8 head: {} went back from {} to {}",
                self.name, old.seq.0, new.seq.0
            )),
            None => Ok(()),
        }
    }

    /// Returns how the agent stands, for people.
    pub fn describe(&self) -> String {
        let activity = self
            .folder
            .as_ref()
            .map(|folder| folder.engine().activity());
        format!("{} {activity:?}, socket {:?}", self.name, self.socket)
    }

    /// Returns whether the agent is connected, knows the newest head and has nothing to do.
    pub fn is_in_step(&self, newest: u64) -> bool {
        let is_done = |folder: &Folder| {
            let engine = folder.engine();
            let known = engine.head().map_or(0, |head| head.seq.0);
            engine.activity() == Activity::InStep && known == newest && !self.has_trouble(folder)
        };
        self.socket.is_some()
            && self.folder.as_ref().is_some_and(is_done)
            && self.files.volume().changes.is_empty()
    }

    /// Whether there is something that the agent tries again by itself, and that will not stay.
    fn has_trouble(&self, folder: &Folder) -> bool {
        let all = |snapshot: Snapshot| match snapshot.has_exceptions() {
            Ok(true) => snapshot.exceptions_within(&RelPath::root()),
            _ => Ok(Vec::new()),
        };
        let found = folder.parts().state.snapshot().and_then(all);
        let volume = self.files.volume();
        let is_passing = |(path, why): &(RelPath, Exception)| match why {
            Exception::Blocked { .. } => !volume.is_taken_otherwise(path),
            Exception::Unreadable { .. } => true,
            _ => false,
        };
        found.is_ok_and(|found| found.iter().any(is_passing))
    }
}
