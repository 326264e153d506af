//! The virtual agents of a run, their trees and the ways to the servers.
//!
//! Guarantees: every server was asked who it is before anything is made on it; every tree has a
//! first revision, with a small file for each of its agents, before they connect; the agents of a
//! tree are spread over all servers.
//! Agents of one tree at one server share an HTTP client, so that connections are fewer than with
//! as many real agents; each has a socket of its own.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use fsync_agent::client::http::Options;
use fsync_agent::client::socket::Config;
use fsync_agent::client::{ClientError, Http, NextStep};
use fsync_core::label::AgentName;
use fsync_core::path::RelPath;
use fsync_core::revision::Timestamp;
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::sync::mpsc::{self, Sender};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::agent::{self, Common, Identity, Order};
use super::diary::Diary;
use super::plan::Plan;
use super::tree::{self, Tree};

/// Trees that are made at a time.
const AT_ONCE: usize = 16;
/// Orders that may wait for an agent: far more than a run gives one between two answers.
const ORDERS: usize = 1024;
/// Longest wait for a tree's head or its whole history, which has many pages.
const ANSWER: Duration = Duration::from_secs(60);
/// Time between two looks whether all have connected.
const PAUSE: Duration = Duration::from_millis(20);
/// Who makes the first revisions.
const SEEDER: &str = "loadtest";

/// All agents.
#[derive(Debug)]
pub(super) struct Fleet {
    common: Arc<Common>,
    /// The trees.
    pub(super) trees: Vec<Arc<Tree>>,
    /// A client for each tree and server that have agents.
    clients: HashMap<(usize, usize), Http>,
    /// Who they are.
    pub(super) agents: Vec<Identity>,
    /// Their orders.
    pub(super) orders: Vec<Sender<Order>>,
    tasks: Vec<JoinHandle<Diary>>,
}

impl Fleet {
    /// Makes trees and agents; connects nobody yet.
    ///
    /// # Errors
    /// If a server is none, or a tree cannot be made within the time to settle.
    pub(super) async fn prepare(plan: &Plan, common: &Arc<Common>) -> Result<Self> {
        let options = Options {
            token: plan.token.clone(),
            ca_pem: plan.ca_pem.clone(),
        };
        for server in &plan.servers {
            let tree = plan.trees[0].clone();
            Http::new(server.clone(), tree, options.clone())?
                .check_version()
                .await?;
        }
        let trees = plan.trees.iter().cloned();
        let mut fleet = Self {
            common: Arc::clone(common),
            trees: trees.map(|key| Arc::new(Tree::new(key))).collect(),
            clients: HashMap::new(),
            agents: Vec::with_capacity(plan.agents),
            orders: Vec::with_capacity(plan.agents),
            tasks: Vec::with_capacity(plan.agents),
        };
        for number in 0..plan.agents {
            let agent = fleet.identity(plan, &options, number)?;
            fleet.agents.push(agent);
        }
        let made = timeout(plan.settle, fleet.make_trees());
        made.await
            .with_context(|| format!("the trees could not be made within {:?}", plan.settle))??;
        Ok(fleet)
    }

    fn identity(&mut self, plan: &Plan, options: &Options, number: usize) -> Result<Identity> {
        let at_tree = number % self.trees.len();
        let at_server = server_of(number, self.trees.len(), plan.servers.len());
        let tree = Arc::clone(&self.trees[at_tree]);
        let server = plan.servers[at_server].clone();
        let http = match self.clients.get(&(at_tree, at_server)) {
            Some(http) => http.clone(),
            None => {
                let http = Http::new(server.clone(), tree.key.clone(), options.clone())?;
                self.clients.insert((at_tree, at_server), http.clone());
                http
            }
        };
        let name: AgentName = format!("v{number}").parse()?;
        Ok(Identity {
            number,
            path: RelPath::parse(name.as_str().as_bytes())?,
            config: Config {
                server,
                agent: name.clone(),
                token: plan.token.clone(),
                ca_pem: plan.ca_pem.clone(),
                http,
            },
            name,
            tree,
            seed: plan.seed.wrapping_add(number as u64),
        })
    }

    /// Returns a client for a tree: the one of its first agent.
    fn client(&self, tree: usize) -> &Http {
        // Agent `tree` is at that tree, and each tree has an agent.
        &self.agents[tree].config.http
    }

    /// Asks about a tree at one server after another until one answers.
    ///
    /// # Errors
    /// The last one's.
    pub(super) async fn ask<T, F>(&self, tree: usize, question: impl Fn(Http) -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let mut last = None;
        let mut clients: Vec<_> = self.clients.iter().filter(|(at, _)| at.0 == tree).collect();
        clients.sort_by_key(|(at, _)| **at);
        for (_, client) in clients {
            match timeout(ANSWER, question(client.clone())).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => last = Some(error),
                Err(_elapsed) => last = Some(anyhow!("{} does not answer", client.server())),
            }
        }
        let error = last.unwrap_or_else(|| anyhow!("it has no agent"));
        Err(error.context(format!("cannot ask for the tree {}", self.trees[tree].key)))
    }

    /// Returns the agents of a tree.
    pub(super) fn of_tree(&self, tree: usize) -> impl Iterator<Item = &Identity> {
        self.agents.iter().skip(tree).step_by(self.trees.len())
    }

    /// Gives each tree that has no head a first revision.
    async fn make_trees(&self) -> Result<()> {
        let trees = (0..self.trees.len()).map(|tree| self.make_tree(tree));
        stream::iter(trees)
            .buffer_unordered(AT_ONCE)
            .try_collect::<()>()
            .await
    }

    async fn make_tree(&self, tree: usize) -> Result<()> {
        let http = self.client(tree);
        let author: AgentName = SEEDER.parse()?;
        let names = self.of_tree(tree).map(|agent| &agent.name);
        let made = tree::first(names, &author, Timestamp::default())?;
        loop {
            let done = match http.head().await {
                Ok(Some(_head)) => return Ok(()),
                Ok(None) => http.commit(made.pack.clone(), None).await.map(drop),
                Err(error) => Err(error),
            };
            match done {
                Ok(()) => return Ok(()),
                Err(error) => sleep(patience(error, &self.trees[tree])?).await,
            }
        }
    }

    /// Starts all agents, spread over the ramp, and waits until each is connected and on a head;
    /// returns how long that took.
    ///
    /// # Errors
    /// If some are not there in time: how many, and why as far as it is known.
    pub(super) async fn connect(&mut self, plan: &Plan) -> Result<Duration> {
        let start = Instant::now();
        for (at, agent) in self.agents.iter().enumerate() {
            let share = at as f64 / self.agents.len() as f64;
            sleep_until(start + plan.ramp.mul_f64(share)).await;
            if self.common.shutdown.is_triggered() {
                bail!("stopped by a signal");
            }
            let (orders, queue) = mpsc::channel(ORDERS);
            self.orders.push(orders);
            self.tasks
                .push(agent::start(agent.clone(), &self.common, queue));
        }
        let patience = plan.ramp + plan.settle;
        loop {
            let tally = &self.common.tally;
            let ready = tally.ready.get().min(tally.connected.get());
            if ready == self.agents.len() as u64 {
                return Ok(start.elapsed());
            }
            if self.common.shutdown.is_triggered() {
                bail!("stopped by a signal");
            }
            if start.elapsed() > patience {
                let reasons = tally.reasons();
                bail!(
                    "{ready} of {} agents were connected and on a head within {patience:?}; met \
                     were: {reasons:?}; servers without a common Redis do not know one another's trees",
                    self.agents.len()
                );
            }
            sleep(PAUSE).await;
        }
    }

    /// Waits for the agents, whose run has been ended, and returns what they noted.
    ///
    /// # Errors
    /// If one panicked.
    pub(super) async fn diaries(&mut self) -> Result<Vec<Diary>> {
        let mut diaries = Vec::with_capacity(self.tasks.len());
        for task in self.tasks.drain(..) {
            diaries.push(task.await.context("an agent panicked")?);
        }
        Ok(diaries)
    }
}

/// Returns at which server an agent is: the agents of a tree take turns, and trees begin at
/// different ones.
fn server_of(agent: usize, trees: usize, servers: usize) -> usize {
    (agent % trees + agent / trees) % servers
}

/// Returns how long to wait before a tree is made again.
fn patience(error: ClientError, tree: &Tree) -> Result<Duration> {
    match error.next_step() {
        NextStep::Retry(wait) => Ok(wait),
        NextStep::Reconnect => Ok(Duration::from_millis(200)),
        NextStep::Repair | NextStep::AskUser => {
            Err(error).with_context(|| format!("cannot make the tree {}", tree.key))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agents_of_every_tree_are_spread_over_all_servers() {
        for (trees, servers) in [(5, 2), (100, 2), (7, 3), (9, 3), (1, 4), (4, 4)] {
            let mut counts = vec![0; servers];
            for tree in 0..trees {
                let of_tree =
                    (0..servers).map(|turn| server_of(tree + turn * trees, trees, servers));
                let mut met: Vec<usize> = of_tree.collect();
                counts[met[0]] += 1;
                met.sort_unstable();
                assert_eq!(met, (0..servers).collect::<Vec<_>>(), "{trees} {servers}");
            }
            let (least, most) = (counts.iter().min(), counts.iter().max());
            assert!(most.copied() <= least.map(|least| least + 1), "{counts:?}");
        }
    }
}
