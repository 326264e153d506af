//! The tree's other agents, as servers tell of them, for `status`.
//!
//! Guarantees: at most [`limits::PRESENCE_SOCKETS`], whatever a server tells; another agent of this
//! one's own name, as on a copied machine, is noticed. Does not: decide anything.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use fsync_core::label::AgentName;
use fsync_core::limits;
use fsync_core::wire::{Presence, PresenceState};

use crate::control::status::OtherAgent;

/// After so long on a connection nothing is heard any more of what this agent told on an earlier
/// one.
const EARLIER: Duration = Duration::from_secs(5);

/// Who is there on this connection.
#[derive(Debug)]
pub(super) struct Others {
    agents: BTreeMap<AgentName, PresenceState>,
    since: Instant,
    has_twin: bool,
}

impl Others {
    /// Starts with nobody, on a connection that is made now.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            agents: BTreeMap::new(),
            since: now,
            has_twin: false,
        }
    }

    /// Takes what a server tells; says whether another agent has this one's name, once.
    pub(super) fn hear(&mut self, news: Presence, own: &AgentName, now: Instant) -> bool {
        let agents = &mut self.agents;
        if news.state == PresenceState::Offline {
            agents.remove(&news.agent);
            return false;
        }
        let is_own = news.agent == *own;
        if is_own && now.duration_since(self.since) < EARLIER {
            return false;
        }
        if agents.len() < limits::PRESENCE_SOCKETS || agents.contains_key(&news.agent) {
            agents.insert(news.agent, news.state);
        }
        is_own && !std::mem::replace(&mut self.has_twin, true)
    }

    /// Returns them by name.
    pub(super) fn list(&self) -> Vec<OtherAgent> {
        let other = |(agent, state): (&AgentName, &PresenceState)| OtherAgent {
            agent: agent.clone(),
            state: *state,
        };
        self.agents.iter().map(other).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn news(agent: &str, state: PresenceState) -> Presence {
        Presence {
            tree: "docs".parse().unwrap(),
            agent: agent.parse().unwrap(),
            state,
        }
    }

    #[test]
    fn others_come_change_and_go() {
        let own = "me".parse().unwrap();
        let now = Instant::now();
        let mut others = Others::new(now);
        for (agent, state) in [
            ("desk", PresenceState::Syncing),
            ("me", PresenceState::InStep),
            ("box", PresenceState::InStep),
            ("desk", PresenceState::InStep),
            ("box", PresenceState::Offline),
        ] {
            assert!(!others.hear(news(agent, state), &own, now));
        }
        let listed = others.list();
        assert_eq!(listed.len(), 1);
        assert_eq!(listed[0].agent.as_str(), "desk");
        assert_eq!(listed[0].state, PresenceState::InStep);
    }

    #[test]
    fn an_agent_of_the_same_name_is_noticed_once() {
        let own = "me".parse().unwrap();
        let now = Instant::now();
        let mut others = Others::new(now);
        let mut hear = |state, at| others.hear(news("me", state), &own, at);
        // What this agent told on an earlier connection.
        assert!(!hear(PresenceState::Syncing, now));
        assert!(!hear(PresenceState::Offline, now + 2 * EARLIER));
        assert!(hear(PresenceState::Syncing, now + 2 * EARLIER));
        assert!(!hear(PresenceState::InStep, now + 2 * EARLIER));
        assert_eq!(others.list()[0].agent.as_str(), "me");
    }

    #[test]
    fn a_server_cannot_fill_the_memory() {
        let own = "me".parse().unwrap();
        let now = Instant::now();
        let mut others = Others::new(now);
        for n in 0..10 * limits::PRESENCE_SOCKETS {
            others.hear(news(&format!("a{n}"), PresenceState::InStep), &own, now);
        }
        assert_eq!(others.list().len(), limits::PRESENCE_SOCKETS);
    }
}
