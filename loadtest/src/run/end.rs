//! The end of a run: waits until all is in step, and asks the service what it has.
//!
//! Guarantees: what is not in step when the time is up is left to the oracle to count; a service
//! that cannot be asked is a reason of its own.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use anyhow::Result;
use fsync_agent::client::Http;
use fsync_core::id::{ObjectId, RevisionId};
use fsync_core::limits;
use fsync_core::wire::Head;
use futures_util::{StreamExt, stream};
use tokio::time::{Instant, sleep};

use super::agent::Common;
use super::diary::Diary;
use super::fleet::Fleet;
use super::oracle::{Facts, Judgement, judge};
use super::tree::Base;

/// Questions under way.
const AT_ONCE: usize = 8;
/// Time between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// What a tree's head and history are.
#[derive(Debug, Default)]
pub(super) struct Kept {
    head: Option<Head>,
    lineage: Option<HashSet<RevisionId>>,
    contents: BTreeMap<usize, Option<ObjectId>>,
}

/// Waits until all edits were answered and all agents are connected and on the heads; gives up
/// when the time is up. Returns how long it took.
pub(super) async fn settle(fleet: &Fleet, common: &Common, most: Duration) -> Duration {
    let start = Instant::now();
    let is_over = || start.elapsed() > most || common.shutdown.is_triggered();
    let tally = &common.tally;
    while tally.settled.get() < tally.due.get() && !is_over() {
        sleep(PAUSE).await;
    }
    // Nothing is committed any more: these heads stay.
    let heads = heads(fleet).await;
    let is_settled = || {
        let is_on = |tree: usize, head: &Option<Head>| {
            let bases = fleet.trees[tree].bases();
            let mut bases = bases.values();
            bases.all(|base| Some(base.head.revision) == head.map(|head| head.revision))
        };
        tally.connected.get() == fleet.agents.len() as u64
            && heads
                .iter()
                .enumerate()
                .all(|(tree, head)| is_on(tree, head))
    };
    while !is_over() && !is_settled() {
        sleep(PAUSE).await;
    }
    start.elapsed()
}

async fn heads(fleet: &Fleet) -> Vec<Option<Head>> {
    let asked = (0..fleet.trees.len()).map(|tree| async move {
        let head = fleet.ask(tree, |http| async move { Ok(http.head().await?) });
        head.await.ok().flatten()
    });
    stream::iter(asked).buffered(AT_ONCE).collect().await
}

/// Asks for head and history of every tree; says of the first why they could not be had.
pub(super) async fn ask(fleet: &Fleet) -> (Vec<Kept>, Vec<String>) {
    let asked = (0..fleet.trees.len()).map(|tree| async move {
        let history = fleet.ask(tree, |http| async move {
            Ok((http.head().await?, lineage(&http).await?))
        });
        history.await.map(|history| kept(fleet, tree, history))
    });
    let answers: Vec<Result<Kept>> = stream::iter(asked).buffered(AT_ONCE).collect().await;
    let mut reasons = Vec::new();
    let kept = answers.into_iter().map(|answer| {
        answer.unwrap_or_else(|error| {
            reasons.push(format!("{error:#}"));
            Kept::default()
        })
    });
    let kept = kept.collect();
    let more = reasons.len().saturating_sub(1);
    reasons.truncate(1);
    if more > 0 {
        reasons.push(format!("and {more} further trees"));
    }
    (kept, reasons)
}

fn kept(fleet: &Fleet, tree: usize, (head, lineage): (Option<Head>, HashSet<RevisionId>)) -> Kept {
    let shared = &fleet.trees[tree];
    let bases = shared.bases();
    let is_head = |base: &&Base| Some(base.head.revision) == head.map(|head| head.revision);
    let mut contents = BTreeMap::new();
    if let Some(base) = bases.values().find(is_head) {
        for agent in fleet.of_tree(tree) {
            // Nodes of a base are kept; one that is not there is not judged.
            if let Ok(content) = shared.content(&base.root, &agent.path) {
                contents.insert(agent.number, content);
            }
        }
    }
    Kept {
        head,
        lineage: Some(lineage),
        contents,
    }
}

async fn lineage(http: &Http) -> Result<HashSet<RevisionId>> {
    let mut lineage = HashSet::new();
    let mut before = None;
    loop {
        let items = http.log(before, limits::LOG_REVISIONS).await?;
        let Some(last) = items.last() else {
            return Ok(lineage);
        };
        before = Some(last.seq);
        lineage.extend(items.iter().map(|item| item.revision));
    }
}

/// Judges all trees; diaries are in the order of the agents.
pub(super) fn judge_all(fleet: &Fleet, kept: &[Kept], diaries: &[Diary]) -> Judgement {
    let mut all = Judgement::default();
    for (tree, kept) in kept.iter().enumerate() {
        let of_tree = diaries.iter().skip(tree).step_by(fleet.trees.len());
        let of_tree: Vec<&Diary> = of_tree.collect();
        let one = judge(&Facts {
            head: kept.head,
            lineage: kept.lineage.as_ref(),
            contents: &kept.contents,
            diaries: &of_tree,
        });
        all.counts.add(&one.counts);
        all.reached.extend(one.reached);
    }
    all
}
