//! `run`: thousands of virtual agents in this process against real servers, with a judge at the end.
//!
//! Guarantees: agents speak with the product's own client over real Socket.IO and HTTP; edits
//! happen at times that were fixed before, and latency counts from them; a run passes only if every
//! agent ended on the head of its tree, nothing was lost, came twice or went back, and all
//! thresholds hold.
//! Does not: start or stop servers (chaos kills those it is given), or touch a folder.
//!
//! ```text
//! plan -> trees made -> agents connect (ramp) -> edits (warm-up, measured) -> settle -> ask -> judge
//!                                       acts, samples and metrics beside them
//! ```

mod actions;
mod agent;
mod chaos;
mod diary;
mod end;
mod files;
mod fleet;
mod generator;
mod html;
mod oracle;
mod outcome;
mod plan;
mod sample;
mod schedule;
mod scrape;
mod summary;
mod tally;
mod text;
mod time;
mod times;
mod tree;

use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use fsync_agent::client::backoff::jitter;
use fsync_core::wire::PROTOCOL_VERSION;
use fsync_runtime::Shutdown;
use tokio::task::JoinHandle;

use crate::machine::Machine;
use crate::random::Random;
use actions::{Actions, Acts};
use agent::Common;
use diary::{Clock, Diary, Micros};
use files::Need;
use fleet::Fleet;
use generator::Generator;
use oracle::Judgement;
use outcome::{Environment, Load, Work};
use plan::Plan;
use sample::{Sample, Sampler};
use scrape::Page;
use summary::Thresholds;
use tally::Tally;

pub(crate) use outcome::Outcome;
pub(crate) use plan::Args;
pub(crate) use times::Quantiles;

/// From the moment all are connected to the first edit.
const BREATH: Duration = Duration::from_millis(500);
/// How long tasks may take to end.
const ENDING: Duration = Duration::from_secs(10);

/// Runs a plan; returns whether all held.
///
/// # Errors
/// If flags are wrong, agents do not connect, or the run is stopped: then there is no outcome.
pub(crate) async fn run(args: Args, shutdown: &Shutdown) -> Result<bool> {
    let plan = Plan::new(&args, jitter())?;
    let open_files = files::raise(need(&plan))?;
    let environment = environment(open_files)?;
    let common = Arc::new(Common {
        clock: Clock::start(),
        tally: Tally::default(),
        payload_bytes: plan.payload_bytes,
        shutdown: shutdown.child(),
    });
    let outcome = perform(&plan, &common, environment).await;
    // Tasks that do not end in time end with the process.
    drop(common.shutdown.end(ENDING).await);
    let outcome = outcome?;
    write!(std::io::stdout(), "{}", text::text(&outcome))?;
    if let Some(path) = &args.json {
        outcome.save(path)?;
    }
    if let Some(path) = &args.report {
        let html = html::html(&outcome);
        std::fs::write(path, html).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(outcome.verdict.is_passed)
}

fn need(plan: &Plan) -> Need {
    Need {
        agents: plan.agents as u64,
        clients: (plan.trees.len() * plan.servers.len()) as u64,
        servers: plan.servers.len() as u64,
    }
}

fn environment(open_files: u64) -> Result<Environment> {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split_whitespace().next().and_then(|n| n.parse().ok());
    Ok(Environment {
        machine: Machine::without_disk()?,
        load_average: load.unwrap_or(0.0),
        open_files,
        loadtest: env!("CARGO_PKG_VERSION").to_owned(),
        protocol: PROTOCOL_VERSION,
        command: command(),
        unix_seconds: SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs(),
    })
}

/// Returns the command line, without the place of the program.
fn command() -> Vec<String> {
    let program = env!("CARGO_PKG_NAME").to_owned();
    [program]
        .into_iter()
        .chain(std::env::args().skip(1))
        .collect()
}

/// What runs beside the edits.
struct Beside {
    acts: JoinHandle<Acts>,
    generator: JoinHandle<u64>,
}

/// What was noted in a run.
struct Noted {
    start: Micros,
    measured_from: Micros,
    connect: Duration,
    settle: Duration,
    acts: Acts,
    refused: u64,
    diaries: Vec<Diary>,
    judgement: Judgement,
    samples: Vec<Sample>,
    pages: Vec<Page>,
    problems: Vec<String>,
}

async fn perform(plan: &Plan, common: &Arc<Common>, environment: Environment) -> Result<Outcome> {
    let tasks = &common.shutdown;
    let sampler = Sampler {
        common: Arc::clone(common),
        agents: plan.agents,
        pids: plan.watch_pids.clone(),
    };
    let mut fleet = tokio::select! {
        () = tasks.triggered() => bail!("stopped by a signal"),
        fleet = Fleet::prepare(plan, common) => fleet?,
    };
    let samples = tasks.spawn("samples", sampler.run());
    let pages = tasks.spawn(
        "metrics",
        scrape::run(Arc::clone(common), plan.metrics.clone()),
    );
    let connect = fleet.connect(plan).await?;
    let start = common.clock.of(std::time::Instant::now() + BREATH);
    let beside = begin(plan, common, &fleet, start);
    let refused = beside.generator.await.context("the generator panicked")?;
    let acts = beside.acts.await.context("the scenario panicked")?;
    let settle = end::settle(&fleet, common, plan.settle).await;
    if tasks.is_triggered() {
        bail!("stopped by a signal");
    }
    let (kept, mut problems) = end::ask(&fleet).await;
    tasks.trigger();
    let diaries = fleet.diaries().await?;
    let judgement = end::judge_all(&fleet, &kept, &diaries);
    problems.extend(acts.failed.iter().cloned());
    let measured_from = common.clock.of(common.clock.moment(start) + plan.warm_up);
    let noted = Noted {
        start,
        measured_from,
        connect,
        settle,
        acts,
        refused,
        diaries,
        judgement,
        samples: samples.await.context("the sampler panicked")?,
        pages: pages.await.context("reading metrics panicked")?,
        problems,
    };
    conclude(plan, common, environment, noted)
}

fn begin(plan: &Plan, common: &Arc<Common>, fleet: &Fleet, start: Micros) -> Beside {
    let schedule = plan.schedule();
    let actions = Actions {
        common: Arc::clone(common),
        scenario: plan.scenario,
        start,
        length: schedule.length,
        agents: fleet.orders.clone(),
        kills: plan.kills.clone(),
    };
    let generator = Generator {
        common: Arc::clone(common),
        schedule,
        start,
        agents: fleet.orders.clone(),
        random: Random::new(plan.seed),
    };
    let tasks = &common.shutdown;
    Beside {
        acts: tasks.spawn("actions", actions.run()),
        generator: tasks.spawn_blocking("generator", move || generator.run()),
    }
}

fn conclude(
    plan: &Plan,
    common: &Common,
    environment: Environment,
    noted: Noted,
) -> Result<Outcome> {
    let mut oracle = noted.judgement.counts;
    oracle.unacknowledged += noted.refused;
    let latency = summary::latency(&noted.diaries, &noted.judgement, noted.measured_from)?;
    let otherwise = match plan.scenario {
        plan::Scenario::Churn => "churn",
        _ => "connections lost without an event",
    };
    let events = summary::events(&noted.acts.done, &noted.diaries, otherwise);
    let thresholds = Thresholds {
        max_p99: plan.max_p99,
        max_back: plan.max_back,
    };
    let work = work(common, &noted);
    let series = summary::series(&noted.samples, &noted.judgement)?;
    let processes = summary::processes(&noted.samples, &plan.watch_pids, noted.start);
    let verdict = summary::verdict(thresholds, &oracle, (&latency, &events), noted.problems);
    let (format, version) = Outcome::format();
    Ok(Outcome {
        format,
        version,
        environment,
        load: load(plan),
        verdict,
        latency,
        oracle,
        work,
        events,
        series,
        processes,
        metrics: noted.pages,
        reasons: common.tally.reasons(),
    })
}

fn load(plan: &Plan) -> Load {
    Load {
        scenario: plan.scenario,
        servers: plan.servers.iter().map(ToString::to_string).collect(),
        agents: plan.agents,
        trees: plan.trees.len(),
        rate: plan.rate.per_second(),
        seconds: plan.duration.as_secs_f64(),
        payload_bytes: plan.payload_bytes,
        seed: plan.seed,
    }
}

fn work(common: &Common, noted: &Noted) -> Work {
    let tally = &common.tally;
    let of = |count: fn(&Diary) -> u64| noted.diaries.iter().map(count).sum();
    Work {
        connect_seconds: noted.connect.as_secs_f64(),
        settle_seconds: noted.settle.as_secs_f64(),
        edits: tally.due.get(),
        heads_pulled: tally.pulled.get(),
        refs_told: of(|diary| diary.notices.refs),
        refs_repeated: of(|diary| diary.notices.repeated),
        connections_lost: of(|diary| diary.outages.len() as u64),
        retries: tally.retries.get(),
        sent_bytes: tally.sent_bytes.get(),
        got_bytes: tally.got_bytes.get(),
        late_ticks: tally.misses.get(),
        latest_tick_ms: tally.worst_miss.get() as f64 / 1e3,
    }
}

/// Returns an outcome for tests of what reads one.
#[cfg(test)]
pub(crate) fn sample_outcome() -> Outcome {
    let times = times::Times::of((1..=100).map(|n| Micros(n * 1000))).unwrap();
    let (format, version) = Outcome::format();
    Outcome {
        format,
        version,
        environment: Environment::default(),
        load: Load {
            scenario: plan::Scenario::Steady,
            servers: vec!["a".to_owned()],
            agents: 10,
            trees: 2,
            rate: 5.0,
            seconds: 60.0,
            payload_bytes: 1024,
            seed: 1,
        },
        verdict: outcome::Verdict {
            is_passed: true,
            reasons: Vec::new(),
        },
        latency: outcome::Latency {
            acknowledged: times.quantiles(),
            delivered: times.quantiles(),
            service: times.quantiles(),
            handshake: times.quantiles(),
        },
        oracle: oracle::Counts::default(),
        work: Work::default(),
        events: Vec::new(),
        series: Vec::new(),
        processes: Vec::new(),
        metrics: Vec::new(),
        reasons: std::collections::BTreeMap::new(),
    }
}
