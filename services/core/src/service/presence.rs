//! Which agents are at a tree and what they do: kept per socket, told to the tree's other sockets.
//!
//! Guarantees: the first [`limits::PRESENCE_SOCKETS`] sockets of a tree take part, later ones
//! neither tell nor hear until one leaves and they subscribe again, so that a change costs so many
//! frames at most; a state is told only if it is not the one that was told last, and no sooner than
//! [`limits::PRESENCE_MS`] after it changed; who leaves is told of as `offline`, unless a newer
//! socket of the same agent is there.
//! Does not: send. What is to be told is handed to [`super::subscribe::Hub`].

use std::collections::{BTreeMap, BTreeSet};

use crate::label::{AgentName, TreeKey};
use crate::limits;
use crate::service::Now;
use crate::service::subscribe::SocketNo;
use crate::wire::{Presence, PresenceState};

/// Something to tell one socket.
pub(super) type Told = (SocketNo, Presence);

/// One socket's part in a tree.
#[derive(Debug, Default)]
struct Part {
    now: Option<(AgentName, PresenceState)>,
    told: Option<PresenceState>,
}

impl Part {
    /// Returns what others were told of it.
    fn told(&self) -> Option<(&AgentName, PresenceState)> {
        Some((&self.now.as_ref()?.0, self.told?))
    }
}

/// The presences of all trees.
#[derive(Debug, Default)]
pub(super) struct Presences {
    trees: BTreeMap<TreeKey, BTreeMap<SocketNo, Part>>,
    changed: BTreeSet<(TreeKey, SocketNo)>,
    due: Option<Now>,
}

impl Presences {
    /// Lets a socket take part in a tree if there is room; returns what it is told of those who are
    /// there.
    pub(super) fn join(&mut self, tree: &TreeKey, socket: SocketNo) -> Vec<Presence> {
        let parts = self.trees.entry(tree.clone()).or_default();
        if parts.contains_key(&socket) || parts.len() >= limits::PRESENCE_SOCKETS {
            return Vec::new();
        }
        let others = parts.values().filter_map(Part::told);
        let others = others
            .map(|(agent, state)| presence(tree, agent, state))
            .collect();
        parts.insert(socket, Part::default());
        others
    }

    /// Takes what a socket's agent tells of itself; of a tree where it takes no part it is nothing.
    pub(super) fn set(&mut self, socket: SocketNo, presence: Presence, now: Now) {
        let parts = self.trees.get_mut(&presence.tree);
        let Some(part) = parts.and_then(|parts| parts.get_mut(&socket)) else {
            return;
        };
        // An agent that tells is not offline, and one socket is one agent.
        let is_other = |(agent, _): &(AgentName, PresenceState)| *agent != presence.agent;
        if presence.state == PresenceState::Offline || part.now.as_ref().is_some_and(is_other) {
            return;
        }
        part.now = Some((presence.agent, presence.state));
        self.changed.insert((presence.tree, socket));
        self.due.get_or_insert(now.plus_ms(limits::PRESENCE_MS));
    }

    /// Ends a socket's part in a tree; returns whom to tell.
    pub(super) fn leave(&mut self, tree: &TreeKey, socket: SocketNo) -> Vec<Told> {
        self.changed.remove(&(tree.clone(), socket));
        let Some(parts) = self.trees.get_mut(tree) else {
            return Vec::new();
        };
        let gone = parts.remove(&socket);
        let gone = gone.as_ref().and_then(Part::told).map(|(agent, _)| agent);
        let is_same = |part: &Part| part.now.as_ref().map(|(agent, _)| agent) == gone;
        let told = match gone.filter(|_| !parts.values().any(is_same)) {
            Some(agent) => to_others(
                parts,
                socket,
                &presence(tree, agent, PresenceState::Offline),
            ),
            None => Vec::new(),
        };
        if parts.is_empty() {
            self.trees.remove(tree);
        }
        told
    }

    /// Returns what changed, once its time has come.
    pub(super) fn tick(&mut self, now: Now) -> Vec<Told> {
        let mut told = Vec::new();
        if self.due.is_none_or(|due| now < due) {
            return told;
        }
        self.due = None;
        for (tree, socket) in std::mem::take(&mut self.changed) {
            let Some(parts) = self.trees.get_mut(&tree) else {
                continue;
            };
            let Some(part) = parts.get_mut(&socket) else {
                continue;
            };
            let Some((agent, state)) = part.now.clone() else {
                continue;
            };
            if part.told.replace(state) != Some(state) {
                told.extend(to_others(parts, socket, &presence(&tree, &agent, state)));
            }
        }
        told
    }

    /// Returns when [`Presences::tick`] has something to tell.
    pub(super) fn next_wake(&self) -> Option<Now> {
        self.due
    }
}

fn presence(tree: &TreeKey, agent: &AgentName, state: PresenceState) -> Presence {
    Presence {
        tree: tree.clone(),
        agent: agent.clone(),
        state,
    }
}

fn to_others(parts: &BTreeMap<SocketNo, Part>, from: SocketNo, what: &Presence) -> Vec<Told> {
    let others = parts.keys().filter(|socket| **socket != from);
    others.map(|socket| (*socket, what.clone())).collect()
}
