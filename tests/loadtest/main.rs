//! `loadtest run` from outside, against real replicas with a real Redis: it passes where nothing is
//! lost, and fails with the reason where a server goes away.

use std::path::PathBuf;

use anyhow::{Context, Result};
use fsync_tests::process::{Finished, Process, binary, run, run_command};
use fsync_tests::redis::RedisServer;
use fsync_tests::{Server, System};
use serde_json::Value;

const LOADTEST: &str = "loadtest";

fn replica(system: &System, redis: &RedisServer) -> Result<Server> {
    system.server_on("127.0.0.1:0", &["--redis", &redis.url()])
}

/// Two replicas of one service.
struct Site {
    // Dropped in this order: servers before their files.
    one: Server,
    two: Server,
    system: System,
    _redis: RedisServer,
}

impl Site {
    fn start() -> Result<Self> {
        let redis = RedisServer::start()?;
        let system = System::new()?;
        Ok(Self {
            one: replica(&system, &redis)?,
            two: replica(&system, &redis)?,
            system,
            _redis: redis,
        })
    }

    /// Loads both with the same few agents.
    fn load(&self, name: &str, flags: &str) -> Result<(Finished, Value)> {
        let json = self.json(name);
        let servers = format!("{},{}", self.one.url, self.two.url);
        let mut command = std::process::Command::new(binary(LOADTEST)?);
        command
            .args([
                "run",
                "--server",
                &servers,
                "--ramp",
                "0s",
                "--warm-up",
                "0s",
            ])
            .args(["--agents", "50", "--trees", "5", "--rate", "25"])
            .args(flags.split_whitespace())
            .arg("--json")
            .arg(&json);
        let finished = run_command(LOADTEST, command)?;
        let text = std::fs::read(&json).with_context(|| format!("{finished:?}"))?;
        Ok((finished, serde_json::from_slice(&text)?))
    }

    fn json(&self, name: &str) -> PathBuf {
        self.system.path(&format!("{name}.json"))
    }
}

/// Counters of the oracle that must be 0.
const FAULTS: [&str; 8] = [
    "unacknowledged",
    "lost",
    "wrong_contents",
    "undelivered",
    "twice",
    "backwards",
    "forked",
    "behind",
];

fn faults(outcome: &Value) -> Vec<(&'static str, u64)> {
    let of = |name| outcome["oracle"][name].as_u64().unwrap_or(u64::MAX);
    let all = FAULTS.map(|name| (name, of(name))).into_iter();
    all.filter(|(_, count)| *count > 0).collect()
}

#[test]
fn a_steady_load_over_two_replicas_passes_and_loses_nothing() -> Result<()> {
    let site = Site::start()?;
    let report = site.system.path("report.html");
    let flags = format!("--duration 4s --report {}", report.display());
    let (finished, outcome) = site.load("steady", &flags)?;
    finished.success()?;
    assert_eq!(faults(&outcome), []);
    // 25 a second for 4 s, each to the 9 others of its tree.
    assert_eq!(outcome["oracle"]["acknowledged"], 100);
    assert_eq!(outcome["latency"]["delivered"]["count"], 900);
    assert!(std::fs::read_to_string(report)?.contains("Passed"));

    let json = site.json("steady");
    let compared = run(LOADTEST, [PathBuf::from("compare"), json.clone(), json])?;
    let text = compared.success()?;
    assert!(text.contains("nothing got worse"), "{text}");
    Ok(())
}

#[test]
fn all_agents_come_back_from_a_storm() -> Result<()> {
    let site = Site::start()?;
    let (finished, outcome) = site.load("storm", "--scenario storm --duration 3s")?;
    finished.success()?;
    assert_eq!(faults(&outcome), []);
    let event = &outcome["events"][0];
    assert_eq!((&event["lost"], &event["gone"]), (&50.into(), &0.into()));
    Ok(())
}

#[test]
fn a_server_that_is_killed_fails_the_run_with_the_reason() -> Result<()> {
    let site = Site::start()?;
    let flags = format!(
        "--scenario chaos --duration 3s --settle 3s --chaos-pids {}",
        site.two.process.id()
    );
    let (finished, outcome) = site.load("killed", &flags)?;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(finished.stdout.contains("FAILED: "), "{}", finished.stdout);
    assert_eq!(outcome["verdict"]["is_passed"], false);
    // Half of the agents were there.
    assert_eq!(outcome["events"][0]["gone"], 25);
    assert_eq!(outcome["oracle"]["lost"], 0);
    Ok(())
}

#[test]
fn a_threshold_that_cannot_hold_fails_the_run() -> Result<()> {
    let site = Site::start()?;
    let (finished, outcome) = site.load("slow", "--duration 1s --max-p99 0ms")?;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert_eq!(faults(&outcome), []);
    let reason = outcome["verdict"]["reasons"][0]
        .as_str()
        .unwrap_or_default();
    assert!(reason.starts_with("p99 of deliveries is "), "{reason}");
    Ok(())
}

#[test]
fn what_cannot_be_run_is_said_before_anything_is_done() -> Result<()> {
    for (flags, word) in [
        ("--server http://127.0.0.1:1", "cannot reach the server"),
        ("--server ftp://127.0.0.1:1", "--server"),
        ("--server http://127.0.0.1:1 --rate 0", "--rate"),
        (
            "--server http://127.0.0.1:1 --agents 9000000",
            "9000000 agents",
        ),
        ("--server http://127.0.0.1:1 --max-p99 fast", "--max-p99"),
    ] {
        let words = ["run"].into_iter().chain(flags.split_whitespace());
        let finished = run(LOADTEST, words)?;
        assert_eq!(finished.code, Some(1), "{flags}");
        assert!(
            finished.stderr.contains(word),
            "{flags}: {}",
            finished.stderr
        );
    }
    Ok(())
}

#[test]
fn a_run_that_is_stopped_ends_and_fails() -> Result<()> {
    let site = Site::start()?;
    let flags = "run --ramp 0s --agents 10 --trees 2 --duration 1h --server";
    let words = flags.split_whitespace().chain([site.one.url.as_str()]);
    let logs = site.system.path("logs");
    let mut process = Process::start(LOADTEST, words, &logs)?;
    fsync_tests::wait::until_true("it makes edits", fsync_tests::wait::PATIENCE, || {
        process.stderr().contains("10/10 connected")
    })?;
    process.signal(rustix::process::Signal::TERM)?;
    let status = process.wait(fsync_tests::wait::PATIENCE)?;
    assert_eq!(status.code(), Some(1));
    assert!(process.stderr().contains("stopped by a signal"));
    Ok(())
}
