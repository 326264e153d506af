//! S2, many small files: an empty second folder is filled, timed from the start of its agent with
//! the first in step.
//!
//! In the same round, in random order, the disk's own floor: the same files written with group
//! commit.

use anyhow::Result;

use super::Bench;
use super::site::Site;
use crate::random::Random;
use crate::report::Row;
use crate::stats::{Rounds, Samples};
use crate::trees::Shape;
use crate::usage::Usage;
use crate::{floor, verify};

pub(super) const ABOUT: &str =
    "10,000 x 4 KiB in 100 directories into an empty second folder, from the start of its agent";

const MEBIBYTE: f64 = 1024.0 * 1024.0;

/// Runs one round.
///
/// # Errors
/// If an agent does not get in step or the folders differ.
pub(super) fn round(bench: &Bench<'_>, random: &mut Random) -> Result<Samples> {
    let mut samples = Samples::default();
    let shape = Shape {
        dirs: 100,
        files: bench.size(100, 10),
        bytes: 4096,
    };
    fill(bench, shape, "", &mut samples, random)?;
    if bench.is_large {
        let shape = Shape {
            dirs: 1000,
            files: 100,
            bytes: 4096,
        };
        fill(bench, shape, LARGE, &mut samples, random)?;
    }
    Ok(samples)
}

/// Prefix of the samples with 100,000 files.
const LARGE: &str = "100k ";

fn fill(
    bench: &Bench<'_>,
    shape: Shape,
    prefix: &str,
    samples: &mut Samples,
    random: &mut Random,
) -> Result<()> {
    let is_floor_first = random.below(2) == 0;
    if is_floor_first {
        measure_floor(bench, shape, prefix, samples, random)?;
    }
    measure_fill(bench, shape, prefix, samples, random)?;
    if !is_floor_first {
        measure_floor(bench, shape, prefix, samples, random)?;
    }
    Ok(())
}

fn measure_floor(
    bench: &Bench<'_>,
    shape: Shape,
    prefix: &str,
    samples: &mut Samples,
    random: &mut Random,
) -> Result<()> {
    // Not removed before the run ends, as a site.
    let root = bench.dir.join(format!("floor-{:x}", random.next()));
    let took = floor::tree(&root, shape, random)?;
    floor::settle(bench.dir)?;
    samples.add_seconds(format!("{prefix}floor"), took);
    Ok(())
}

fn measure_fill(
    bench: &Bench<'_>,
    shape: Shape,
    prefix: &str,
    samples: &mut Samples,
    random: &mut Random,
) -> Result<()> {
    let site = Site::start(bench, "s2")?;
    let (a, b) = (site.folder("a")?, site.folder("b")?);
    shape.write(&a, random)?;
    floor::settle(&a)?;
    let mut first = site.agent("a")?;
    samples.add_seconds(format!("{prefix}upload"), first.in_step()?);
    let usage = |id| Usage::of(id);
    let uploaded = [usage(first.id())?, usage(site.server().id())?];
    floor::settle(&a)?;
    let mut second = site.agent("b")?;
    let took = second.in_step()?;
    let filled = [
        usage(first.id())?,
        usage(site.server().id())?,
        second.usage()?,
    ];
    verify::equal(&a, &b)?;
    let files = shape.count() as f64;
    samples.add_seconds(format!("{prefix}fill"), took);
    samples.add(format!("{prefix}files/s"), files / took.as_secs_f64());
    let mut cpu = |name: &str, seconds: f64| {
        samples.add(format!("{prefix}cpu {name}"), seconds * 1e3 / files);
    };
    let server = filled[1].cpu_seconds - uploaded[1].cpu_seconds;
    let waiting = filled[0].cpu_seconds - uploaded[0].cpu_seconds;
    cpu("first agent, upload", uploaded[0].cpu_seconds);
    cpu("server, upload", uploaded[1].cpu_seconds);
    cpu("server, fill", server);
    cpu("second agent, fill", filled[2].cpu_seconds);
    cpu("fill", waiting + server + filled[2].cpu_seconds);
    cpu("all", filled.iter().map(|usage| usage.cpu_seconds).sum());
    for (name, usage) in ["first agent", "server", "second agent"].iter().zip(filled) {
        samples.add(format!("{prefix}peak {name}"), usage.peak_bytes / MEBIBYTE);
    }
    Ok(())
}

/// Makes the table.
pub(super) fn rows(rounds: Rounds<'_>) -> Vec<Row> {
    let mut rows = part(rounds, "", true);
    rows.extend(
        part(rounds, LARGE, false)
            .into_iter()
            .filter(|_| !rounds.each("100k fill").is_empty()),
    );
    rows
}

fn part(rounds: Rounds<'_>, prefix: &str, has_goals: bool) -> Vec<Row> {
    let name = |name: &str| format!("{prefix}{name}");
    let fill = Row::new(name("fill"), "s", rounds.each(&name("fill")));
    let ratio = rounds.ratio(&name("fill"), &name("floor"));
    let ratio = Row::new(name("fill / floor, round by round"), "x", ratio);
    let cpu = Row::new(
        name("CPU per file: fill, all processes"),
        "ms",
        rounds.each(&name("cpu fill")),
    );
    let mut rows = match has_goals {
        true => vec![fill.at_most(4.0), ratio.at_most(1.6), cpu.at_most(0.4)],
        false => vec![fill, ratio, cpu],
    };
    let plain = [
        ("floor", "disk's floor", "s"),
        ("files/s", "fill", "file/s"),
        ("upload", "first agent's start to in step", "s"),
        (
            "cpu second agent, fill",
            "CPU per file: fill, second agent",
            "ms",
        ),
        ("cpu server, fill", "CPU per file: fill, server", "ms"),
        (
            "cpu first agent, upload",
            "CPU per file: upload, first agent",
            "ms",
        ),
        ("cpu server, upload", "CPU per file: upload, server", "ms"),
        (
            "cpu all",
            "CPU per file: upload and fill, all processes",
            "ms",
        ),
        ("peak first agent", "peak memory, first agent", "MiB"),
        ("peak second agent", "peak memory, second agent", "MiB"),
        ("peak server", "peak memory, server", "MiB"),
    ];
    rows.extend(plain.map(|(key, what, unit)| Row::new(name(what), unit, rounds.each(&name(key)))));
    rows
}
