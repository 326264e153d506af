//! Agents, their users and the service, and what happens to them.

use std::collections::BTreeSet;
use std::fmt::Write;

use fsync_core::id::ObjectId;
use fsync_core::revision::MoveHint;

use super::agent::Agent;
use super::dice::Dice;
use super::disk::Disk;
use super::service::Service;
use super::user::{Act, Contents, Spot, User};
use crate::fixtures::Store;
use crate::sketch::{contents, show};

/// After so many turns each without acts, what could not be read can be read again.
const LOCKED_TURNS: usize = 8;

/// What happens to one agent.
#[derive(Debug, Clone)]
pub(super) enum Event {
    /// It does one thing; the seed decides what goes wrong.
    Turn(u64),
    /// Its user does something.
    Act(Act),
    /// A file cannot be read for a while.
    Lock(Spot),
    /// All can be read again.
    Unlock,
    Restart,
    /// A rename is found that was none.
    Lie(Spot, Spot),
    /// The renames that were found are forgotten.
    Forget,
}

pub(super) struct World {
    pub(super) store: Store,
    pub(super) service: Service,
    pub(super) agents: Vec<Agent>,
    pub(super) contents: Contents,
    /// What happened, if somebody wants to know: to show it takes longer than to do it.
    log: Option<String>,
}

impl World {
    /// Starts with `count` agents that have the planted tree and are in step; a stranger has it by
    /// chance.
    pub(super) fn new(plant: &[Act], count: usize, has_stranger: bool) -> Self {
        let mut store = Store::default();
        let mut contents = Contents::default();
        let mut disk = Disk::default();
        let mut user = User {
            store: &mut store,
            contents: &mut contents,
            disk: &mut disk,
        };
        plant.iter().for_each(|act| user.act(act));
        let empty = store.empty_dir();
        let dirs_as_empty = |entry: fsync_core::node::Entry| match entry.as_dir() {
            Some(_) => empty,
            None => entry,
        };
        let planted = disk.folder.0.iter();
        let edits = planted.map(|(p, e)| (p.clone(), Some(dirs_as_empty(*e))));
        let root = store.edit(empty.id(), &edits.collect());
        let service = Service::new(root);
        let agent = |number| {
            let is_stranger = has_stranger && number + 1 == count;
            let start = match is_stranger {
                true => (empty.id(), None),
                false => (root, Some(service.head)),
            };
            let name = format!("agent{number}").parse().unwrap();
            Agent::new(name, Disk::of(disk.folder.clone()), start)
        };
        Self {
            agents: (0..count).map(agent).collect(),
            log: None,
            store,
            service,
            contents,
        }
    }

    /// Tells from now on what happens.
    #[must_use]
    pub(super) fn told(mut self) -> Self {
        self.log = Some(format!(
            "\nplanted {}",
            show(&self.store, self.service.root())
        ));
        self
    }

    pub(super) fn act(&mut self, agent: usize, act: &Act) {
        let mut user = User {
            store: &mut self.store,
            contents: &mut self.contents,
            disk: &mut self.agents[agent].disk,
        };
        user.act(act);
        self.agents[agent].is_as_scanned = false;
        self.note(agent, act);
    }

    pub(super) fn event(&mut self, number: usize, event: &Event) {
        let agent = &mut self.agents[number];
        match event {
            Event::Turn(seed) => return self.turn(number, &mut Dice::new(*seed)),
            Event::Act(act) => return self.act(number, act),
            Event::Lock(spot) => {
                let path = spot.existing(&agent.disk);
                let inode = agent.disk.inodes.get(&path);
                let inode = inode.filter(|_| !agent.disk.folder.is_dir(&path)).copied();
                agent.disk.unreadable.extend(inode);
                agent.is_as_scanned = false;
            }
            Event::Unlock => agent.disk.unreadable.clear(),
            Event::Restart => agent.restart(),
            Event::Lie(from, to) => agent.local_moves.push(MoveHint {
                from: from.0.clone(),
                to: to.0.clone(),
            }),
            Event::Forget => agent.local_moves.clear(),
        }
        self.note(number, event);
    }

    fn turn(&mut self, number: usize, dice: &mut Dice) {
        let agent = &mut self.agents[number];
        let doing = self.log.as_ref().map(|_| format!("{:?}", agent.job));
        agent.turn(&mut self.store, &mut self.service, dice);
        self.note(number, &doing);
    }

    /// Gives turns until all is in step; false if the turns do not suffice.
    pub(super) fn settle(&mut self, turns: usize, seed: u64) -> bool {
        let mut dice = Dice::new(seed);
        for turn in 0..turns {
            if turn == LOCKED_TURNS * self.agents.len() {
                let disks = self.agents.iter_mut().map(|agent| &mut agent.disk);
                disks.for_each(|disk| disk.unreadable.clear());
            }
            let number = match seed {
                0 => turn % self.agents.len(),
                _ => dice.below(self.agents.len()),
            };
            self.turn(number, &mut dice);
            if self.is_unlocked() && self.is_settled() {
                return true;
            }
        }
        false
    }

    fn is_unlocked(&self) -> bool {
        let mut disks = self.agents.iter().map(|agent| &agent.disk);
        disks.all(|disk| disk.unreadable.is_empty())
    }

    /// Each agent has nothing to do if it looks at everything once more.
    fn is_settled(&mut self) -> bool {
        let head = self.service.head;
        let is_done = |agent: &Agent| agent.is_in_step && agent.base == Some(head);
        if !self.agents.iter().all(is_done) {
            return false;
        }
        let mut calm = Dice::new(0);
        for agent in &mut self.agents {
            agent.turn(&mut self.store, &mut self.service, &mut calm);
        }
        self.service.head == head && self.agents.iter().all(is_done)
    }

    pub(super) fn contents_of_head(&self) -> BTreeSet<ObjectId> {
        contents(&self.store, self.service.root())
            .into_keys()
            .collect()
    }

    fn note(&mut self, number: usize, what: &dyn std::fmt::Debug) {
        let Some(log) = &mut self.log else { return };
        let agent = &self.agents[number];
        let (store, folder) = (&self.store, &agent.disk.folder.0);
        let names: Vec<String> = folder.keys().map(ToString::to_string).collect();
        write!(
            log,
            "\n{number} {what:?}\n    disk {}\n    synced {}\n    working {}\n    head {}",
            names.join(" "),
            show(store, agent.synced),
            show(store, agent.working),
            show(store, self.service.root()),
        )
        .unwrap();
    }

    /// Tells all that happened.
    pub(super) fn tell(&self) -> &str {
        self.log.as_deref().unwrap_or_default()
    }
}
