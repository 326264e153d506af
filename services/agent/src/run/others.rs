//! The tree's other agents, as servers tell of them, for `status`.
//!
//! Guarantees: at most [`limits::PRESENCE_SOCKETS`], whatever a server tells. Does not: decide
//! anything.

use std::collections::BTreeMap;

use fsync_core::label::AgentName;
use fsync_core::limits;
use fsync_core::wire::{Presence, PresenceState};

use crate::control::status::OtherAgent;

/// Who is there on this connection.
#[derive(Debug, Default)]
pub(super) struct Others(BTreeMap<AgentName, PresenceState>);

impl Others {
    /// Takes what a server tells; of this agent itself (its own earlier socket) nothing.
    pub(super) fn hear(&mut self, news: Presence, own: &AgentName) {
        if news.state == PresenceState::Offline {
            self.0.remove(&news.agent);
        } else if news.agent != *own
            && (self.0.len() < limits::PRESENCE_SOCKETS || self.0.contains_key(&news.agent))
        {
            self.0.insert(news.agent, news.state);
        }
    }

    /// Returns them by name.
    pub(super) fn list(&self) -> Vec<OtherAgent> {
        let other = |(agent, state): (&AgentName, &PresenceState)| OtherAgent {
            agent: agent.clone(),
            state: *state,
        };
        self.0.iter().map(other).collect()
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
        let mut others = Others::default();
        for (agent, state) in [
            ("desk", PresenceState::Syncing),
            ("me", PresenceState::InStep),
            ("box", PresenceState::InStep),
            ("desk", PresenceState::InStep),
            ("box", PresenceState::Offline),
        ] {
            others.hear(news(agent, state), &own);
        }
        let listed = others.list();
        assert_eq!(listed.len(), 1);
        assert_eq!(listed[0].agent.as_str(), "desk");
        assert_eq!(listed[0].state, PresenceState::InStep);
    }

    #[test]
    fn a_server_cannot_fill_the_memory() {
        let own = "me".parse().unwrap();
        let mut others = Others::default();
        for n in 0..10 * limits::PRESENCE_SOCKETS {
            others.hear(news(&format!("a{n}"), PresenceState::InStep), &own);
        }
        assert_eq!(others.list().len(), limits::PRESENCE_SOCKETS);
    }
}
