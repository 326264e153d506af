//! What a scenario does to agents and servers beside the edits.
//!
//! Guarantees: every act is noted with its time before it is done, so that no effect comes before
//! its mark.
//! Task: `actions`, ended by its last act or by the shutdown token.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::Sender;
use tokio::time::{Instant, sleep_until};

use super::agent::{Common, Order};
use super::chaos::Kill;
use super::diary::Micros;
use super::plan::Scenario;

/// In churn, an agent reconnects once in so many seconds.
const CHURN: usize = 60;

/// Something that was done.
#[derive(Debug, Clone)]
pub(super) struct Act {
    /// When.
    pub(super) at: Micros,
    /// What, for people.
    pub(super) what: String,
}

/// What was done, and what could not be.
#[derive(Debug, Default)]
pub(super) struct Acts {
    /// All acts that are marked in reports.
    pub(super) done: Vec<Act>,
    /// Why acts failed.
    pub(super) failed: Vec<String>,
}

/// What the acts need.
#[derive(Debug)]
pub(super) struct Actions {
    /// What all have in common.
    pub(super) common: Arc<Common>,
    /// What to do.
    pub(super) scenario: Scenario,
    /// When edits begin.
    pub(super) start: Micros,
    /// Over how long edits are made.
    pub(super) length: Duration,
    /// The agents.
    pub(super) agents: Vec<Sender<Order>>,
    /// What is killed, one after another.
    pub(super) kills: Vec<Kill>,
}

impl Actions {
    /// Does all of it.
    pub(super) async fn run(self) -> Acts {
        let stop = self.common.shutdown.token();
        let mut acts = Acts::default();
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.act(&mut acts) => {}
        }
        acts
    }

    async fn act(&self, acts: &mut Acts) {
        match self.scenario {
            Scenario::Steady | Scenario::Soak | Scenario::Burst => {}
            Scenario::Storm => {
                self.until(self.length / 2).await;
                self.note(acts, "all sockets dropped".to_owned());
                self.agents.iter().for_each(|agent| self.reconnect(agent));
            }
            Scenario::Churn => self.churn().await,
            Scenario::Chaos => self.kill(acts).await,
        }
    }

    async fn churn(&self) {
        let each = self.agents.len().div_ceil(CHURN);
        let mut turn = self.agents.iter().cycle();
        let seconds = u32::try_from(self.length.as_secs()).unwrap_or(u32::MAX);
        for second in 1..seconds {
            self.until(Duration::from_secs(1) * second).await;
            turn.by_ref()
                .take(each)
                .for_each(|agent| self.reconnect(agent));
        }
    }

    async fn kill(&self, acts: &mut Acts) {
        let parts = u32::try_from(self.kills.len() + 1).unwrap_or(u32::MAX);
        for (part, kill) in (1..).zip(&self.kills) {
            self.until(self.length * part / parts).await;
            self.note(acts, kill.describe());
            let kill = kill.clone();
            let struck = self
                .common
                .shutdown
                .spawn_blocking("chaos", move || kill.strike());
            match struck.await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => acts.failed.push(format!("{error:#}")),
                Err(error) => acts.failed.push(error.to_string()),
            }
        }
    }

    fn note(&self, acts: &mut Acts, what: String) {
        let at = self.common.clock.now();
        acts.done.push(Act { at, what });
    }

    fn reconnect(&self, agent: &Sender<Order>) {
        if agent.try_send(Order::Reconnect).is_err() {
            self.common
                .tally
                .note("an agent's orders are full: it did not reconnect");
        }
    }

    async fn until(&self, time: Duration) {
        let moment = self.common.clock.moment(self.start) + time;
        sleep_until(Instant::from_std(moment)).await;
    }
}
