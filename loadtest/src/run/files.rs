//! Open files: one for each agent's socket, some for HTTP; the soft limit is raised as far as the
//! system allows.

use anyhow::{Result, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files beside those of agents: standard streams, the event loop, reports.
const OWN: u64 = 100;
/// HTTP connections that a tree keeps to a server: what a client keeps idle.
const PER_CLIENT: u64 = 8;
/// Ports that one address of a client may use to one server, by Linux's default.
const PORTS: u64 = 28_000;

/// How many agents, and over how many clients and servers they are spread.
#[derive(Debug, Clone, Copy)]
pub(super) struct Need {
    /// Agents.
    pub(super) agents: u64,
    /// HTTP clients: one for each tree and server.
    pub(super) clients: u64,
    /// Servers.
    pub(super) servers: u64,
}

impl Need {
    /// Returns the open files that are needed.
    fn files(self) -> u64 {
        OWN + self.agents + self.agents.min(self.clients * PER_CLIENT)
    }
}

/// Raises the limit to what is possible and returns it.
///
/// # Errors
/// If that is too low: how many are needed and how to get them.
pub(super) fn raise(need: Need) -> Result<u64> {
    let limit = getrlimit(Resource::Nofile);
    let new = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let limit = match setrlimit(Resource::Nofile, new) {
        Ok(()) => limit.maximum,
        Err(_not_allowed) => limit.current,
    };
    let limit = limit.unwrap_or(u64::MAX);
    check(need, limit)?;
    Ok(limit)
}

fn check(need: Need, limit: u64) -> Result<()> {
    let files = need.files();
    ensure!(
        files <= limit,
        "{} agents need about {files} open files and this process may have {limit}: raise the hard \
         limit (`ulimit -Hn {files}` as root, LimitNOFILE= of a unit), or start fewer agents in each \
         of several processes",
        need.agents
    );
    let ports = need.agents.div_ceil(need.servers.max(1));
    ensure!(
        ports <= PORTS,
        "{ports} agents for each server are more than the {PORTS} ports that this machine has to \
         one address: name more servers, or run on several machines"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lacking_is_said_with_its_number() {
        let need = Need {
            agents: 9000,
            clients: 3000,
            servers: 3,
        };
        check(need, 20_000).unwrap();
        let error = check(need, 1024).unwrap_err().to_string();
        assert!(error.contains("18100"), "{error}");
        let many = Need {
            agents: 60_000,
            clients: 1,
            servers: 2,
        };
        let error = check(many, u64::MAX).unwrap_err().to_string();
        assert!(error.contains("30000"), "{error}");
    }
}
