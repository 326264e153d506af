//! Machines under a test's hand: what users do is told, not drawn, and the weather is fair.
//!
//! Place: `tests/seed` runs its scenarios here.

use fsync_core::filelist;
use fsync_core::node::{Entry, Run};
use fsync_core::nodes::NodesError;
use fsync_core::path::RelPath;
use fsync_core::tree;
use fsync_core::wire::Seq;

use super::event::{Event, Weather};
use super::inodes::Body;
use super::server::{Server, SharedLedger};
use super::world::World;

const SECOND: u64 = 1_000_000_000;
/// Everything must be done within this virtual time.
const SETTLE: u64 = 300 * SECOND;
/// How long nothing may happen before it counts as quiet.
const IDLE: u64 = 20 * SECOND;
/// Longest way of a message, in ms.
const DELAY_MS: u64 = 10;

/// See the module's head.
#[derive(Debug)]
pub struct Place {
    world: World,
}

impl Place {
    /// Makes so many machines; no agent runs yet.
    pub fn new(machines: usize) -> Self {
        let mut world = World::new(0, (machines, 1), false);
        world.weather = Weather {
            delay_ms: DELAY_MS,
            ..Weather::default()
        };
        Self { world }
    }

    /// Starts an agent.
    pub fn start(&mut self, at: usize) {
        self.world.start(at);
    }

    /// Ends an agent.
    pub fn stop(&mut self, at: usize) {
        if let Some(socket) = self.world.machines[at].socket.take() {
            self.world.gone(socket);
        }
        self.world.machines[at].kill(false);
    }

    /// Breaks an agent's connection.
    pub fn cut(&mut self, at: usize) {
        self.world.after_ns(0, Event::Cut(at));
    }

    /// Writes a file, making the directories on the way.
    pub fn write(&mut self, at: usize, path: &RelPath, bytes: &[u8]) {
        if let Some(dir) = path.parent() {
            self.make_dir(at, &dir);
        }
        self.world.machines[at]
            .files
            .volume()
            .user_write(path, bytes);
        self.look(at);
    }

    /// Makes a directory and those on the way.
    pub fn make_dir(&mut self, at: usize, path: &RelPath) {
        let mut dir = RelPath::root();
        for name in path.names() {
            dir = dir.join(&name);
            // What is there already is left as it is.
            self.world.machines[at].files.volume().user_dir(&dir);
        }
        self.look(at);
    }

    /// Renames a file or directory.
    pub fn rename(&mut self, at: usize, from: &RelPath, to: &RelPath) {
        self.world.machines[at].files.volume().user_rename(from, to);
        self.look(at);
    }

    /// Removes a file, or a directory with all in it.
    pub fn remove(&mut self, at: usize, path: &RelPath) {
        self.world.machines[at].files.volume().user_remove(path);
        self.look(at);
    }

    /// Lets the watcher tell.
    fn look(&mut self, at: usize) {
        let machine = &mut self.world.machines[at];
        if machine.folder.is_some() && !machine.is_watch_due {
            machine.is_watch_due = true;
            let life = machine.life;
            self.world.within_ms(0, 15, Event::Watch(at, life));
        }
    }

    /// Returns what a folder holds: a file's bytes, `None` for a directory.
    pub fn list(&self, at: usize) -> Vec<(RelPath, Option<Vec<u8>>)> {
        let volume = self.world.machines[at].files.volume();
        let content = |path: &RelPath| match &volume.inodes.get(volume.at(path)?).body {
            Body::File(bytes) => Some(bytes.to_vec()),
            _ => None,
        };
        let paths = volume.paths().into_iter();
        paths.map(|path| (path.clone(), content(&path))).collect()
    }

    /// Returns how many revisions there are.
    pub fn revisions(&self) -> u64 {
        self.world.last_seq
    }

    /// Returns what broke a promise.
    pub fn broken(&self) -> Option<&String> {
        self.world.broken.first()
    }

    /// Lets time pass until all agents that run are done.
    ///
    /// # Errors
    /// If they are not in time, or a promise was broken.
    pub fn settle(&mut self) -> Result<(), String> {
        let end = self.world.now_ns() + SETTLE;
        // What was just done is noticed first.
        self.pass(SECOND);
        while !self.is_done() {
            if !self.world.step(end) {
                let states: Vec<_> = self.world.machines.iter().map(|m| m.describe()).collect();
                return Err(format!("not done in time: {}", states.join("; ")));
            }
        }
        self.broken().map_or(Ok(()), |broken| Err(broken.clone()))
    }

    fn is_done(&self) -> bool {
        let newest = self.world.last_seq;
        let running = self.world.machines.iter().filter(|m| m.folder.is_some());
        running
            .into_iter()
            .all(|machine| machine.is_in_step(newest))
    }

    /// Lets time pass in which nothing is expected to happen.
    pub fn idle(&mut self) {
        self.pass(IDLE);
    }

    fn pass(&mut self, ns: u64) {
        let end = self.world.now_ns() + ns;
        while self.world.step(end) {}
    }

    /// Returns a file as a revision has it.
    ///
    /// # Errors
    /// If there is no such revision or file.
    pub fn load(&self, revision: u64, path: &RelPath) -> Result<Vec<u8>, String> {
        let server = &self.world.replicas[0].server;
        let stored = server.log().into_iter().find(|s| s.seq == Seq(revision));
        let stored = stored.ok_or_else(|| format!("there is no revision {revision}"))?;
        let said = |e: NodesError| e.to_string();
        let found = tree::lookup(&server.nodes(), &stored.revision.root, path).map_err(said)?;
        let Some(Entry::File(file)) = found else {
            return Err(format!("{path} is {found:?} in revision {revision}"));
        };
        let runs = filelist::read_file(&server.nodes(), &file.content, file.size).map_err(said)?;
        let mut bytes = Vec::new();
        for run in runs {
            match run {
                Run::Chunk { id, .. } => {
                    let object = server.object(&id).ok_or_else(|| format!("{id} is lost"))?;
                    bytes.extend(object.bytes);
                }
                Run::Hole { bytes: length } => {
                    bytes.resize(bytes.len() + usize::try_from(length).unwrap_or(0), 0);
                }
            }
        }
        Ok(bytes)
    }

    /// Puts a new, empty service in the place of the old one.
    pub fn replace_server(&mut self) {
        for at in 0..self.world.machines.len() {
            if let Some(socket) = self.world.machines[at].socket {
                self.world.disconnect(at, socket);
            }
        }
        let replica = &mut self.world.replicas[0];
        replica.server = Server::new(self.world.tree.clone(), SharedLedger::default(), 0);
        replica.life += 1;
        replica.tickets.clear();
        self.world.last_seq = 0;
    }
}
