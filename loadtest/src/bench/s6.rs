//! S6, restart: an agent starts again on a folder in which nothing has changed; and what everyone
//! costs when idle.
//!
//! That no content is read is shown by the bytes that the agent's reads returned: far fewer than
//! the contents have. Memory per file comes from two sizes of tree, read when all is idle.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::Bench;
use super::site::{Site, bytes_below};
use crate::random::Random;
use crate::report::Row;
use crate::stats::{Rounds, Samples};
use crate::trees::Shape;
use crate::usage::Activity;
use crate::{floor, verify};

pub(super) const ABOUT: &str =
    "an agent starts again on 100,000 unchanged files of 4 KiB; all idle";

const MEBIBYTE: f64 = 1024.0 * 1024.0;
/// Time after the start in which nobody is called idle yet.
const SETTLE: Duration = Duration::from_secs(3);
/// Most CPU that counts as none, in percent of one core: a beacon every ten seconds may be heard.
const NO_PERCENT: f64 = 0.1;
/// Share of the contents that may be read (of the state) for "no content read".
const NO_CONTENT: f64 = 0.1;

/// Runs one round.
///
/// # Errors
/// If an agent does not get in step or the folders differ.
pub(super) fn round(bench: &Bench<'_>, random: &mut Random) -> Result<Samples> {
    let mut samples = Samples::default();
    let files = bench.size(100, 20);
    let [small, large] = bench.size([100, 1000], [20, 100]).map(|dirs| Shape {
        dirs,
        files,
        bytes: 4096,
    });
    let few = restart(bench, small, "small: ", &mut samples, random)?;
    let many = restart(bench, large, "", &mut samples, random)?;
    let further = (large.count() - small.count()) as f64;
    samples.add("bytes per further file", (many - few) / further);
    Ok(samples)
}

/// Measures one size; returns the resident memory of the first agent when idle, in bytes.
fn restart(
    bench: &Bench<'_>,
    shape: Shape,
    prefix: &str,
    samples: &mut Samples,
    random: &mut Random,
) -> Result<f64> {
    let site = Site::start(bench, "s6")?;
    let (a, b) = (site.folder("a")?, site.folder("b")?);
    shape.write(&a, random)?;
    floor::settle(&a)?;
    let mut first = site.agent("a")?;
    samples.add_seconds(format!("{prefix}first upload"), first.in_step()?);
    let mut second = site.agent("b")?;
    samples.add_seconds(format!("{prefix}first fill"), second.in_step()?);
    verify::equal(&a, &b)?;
    samples.add(
        format!("{prefix}peak at first upload"),
        first.usage()?.peak_bytes / MEBIBYTE,
    );
    samples.add(
        format!("{prefix}peak at first fill"),
        second.usage()?.peak_bytes / MEBIBYTE,
    );
    first.stop()?;
    second.stop()?;
    let (took, ended) = site.agent_once("a")?.wait()?;
    samples.add_seconds(format!("{prefix}once"), took);
    samples.add(format!("{prefix}once cpu"), ended.usage.cpu_seconds);
    let mut agents = [site.agent("a")?, site.agent("b")?];
    let took = agents[0].in_step()?;
    let usage = agents[0].usage()?;
    samples.add_seconds(format!("{prefix}live"), took);
    samples.add(format!("{prefix}read"), usage.read_bytes);
    samples.add(
        format!("{prefix}state"),
        bytes_below(&site.state("a"))? as f64,
    );
    samples.add(
        format!("{prefix}contents"),
        (shape.count() * shape.bytes) as f64,
    );
    agents[1].in_step()?;
    let ids = [("agent", agents[0].id()), ("server", site.server().id())];
    idle(bench, ids, prefix, samples)?;
    let usage = agents[0].usage()?;
    samples.add(format!("{prefix}resident"), usage.resident_bytes / MEBIBYTE);
    samples.add(format!("{prefix}peak"), usage.peak_bytes / MEBIBYTE);
    samples.add(
        format!("{prefix}server resident"),
        site.server().usage()?.resident_bytes / MEBIBYTE,
    );
    verify::equal(&a, &b)?;
    Ok(usage.resident_bytes)
}

/// Measures what processes do while nothing happens.
fn idle(
    bench: &Bench<'_>,
    ids: [(&str, u32); 2],
    prefix: &str,
    samples: &mut Samples,
) -> Result<()> {
    std::thread::sleep(SETTLE);
    let start = Instant::now();
    let before = [Activity::of(ids[0].1)?, Activity::of(ids[1].1)?];
    // Not to wait for anything: this time is what is measured.
    std::thread::sleep(Duration::from_secs(bench.size(20, 5)));
    for ((name, id), before) in ids.into_iter().zip(before) {
        let (run, seconds) = (
            Activity::of(id)?.since(&before),
            start.elapsed().as_secs_f64(),
        );
        let cpu = run.cpu.as_secs_f64();
        samples.add(format!("{prefix}idle {name}"), 100.0 * cpu / seconds);
        samples.add(format!("{prefix}wakes {name}"), run.sleeps / seconds);
    }
    Ok(())
}

/// Makes the table.
pub(super) fn rows(rounds: Rounds<'_>) -> Vec<Row> {
    let row = |what: &str, unit, key: &str| Row::new(what, unit, rounds.each(key));
    let share = rounds
        .ratio("read", "contents")
        .into_iter()
        .map(|share| 100.0 * share)
        .collect();
    let state = crate::stats::median(&rounds.each("state")) / MEBIBYTE;
    let live = "restart, 100,000 files: start to in step";
    let resident = "resident when idle, agent, ";
    vec![
        row(live, "s", "live").at_most(1.0),
        row("restart, 100,000 files: run of --once", "s", "once").at_most(1.0),
        row("restart, 100,000 files: CPU of --once", "s", "once cpu"),
        Row::new("bytes read, of the contents", "%", share)
            .goal(
                format!("<= {:.0}: no content read", 100.0 * NO_CONTENT),
                is_unread(rounds),
            )
            .note(format!("state is {state:.1} MiB")),
        row(
            "restart, 10,000 files: start to in step",
            "s",
            "small: live",
        ),
        row(&format!("{resident}10,000 files"), "MiB", "small: resident").at_most(40.0),
        row(&format!("{resident}100,000 files"), "MiB", "resident"),
        row("memory per further file", "B", "bytes per further file").at_most(250.0),
        row("peak of the restarted agent, 100,000 files", "MiB", "peak"),
        row(
            "peak at the first upload, 100,000 files",
            "MiB",
            "peak at first upload",
        ),
        row(
            "peak at the first fill, 100,000 files",
            "MiB",
            "peak at first fill",
        ),
        row(
            "resident when idle, server, 100,000 files",
            "MiB",
            "server resident",
        ),
        row("idle CPU, agent", "%", "idle agent").at_most(NO_PERCENT),
        row("idle CPU, server", "%", "idle server").at_most(NO_PERCENT),
        row("wake-ups when idle, agent", "1/s", "wakes agent"),
        row("wake-ups when idle, server", "1/s", "wakes server"),
        row("first upload, 100,000 files", "s", "first upload"),
        row("first fill, 100,000 files", "s", "first fill"),
    ]
}

fn is_unread(rounds: Rounds<'_>) -> bool {
    let shares = rounds.ratio("read", "contents");
    !shares.is_empty() && shares.iter().all(|share| *share <= NO_CONTENT)
}
