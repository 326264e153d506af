//! S5, bursts: a directory of 10,000 files is renamed, 5,000 files are unpacked, 10,000 of 30,000
//! files are removed.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::Bench;
use super::site::{Site, until};
use crate::forward::{self, Bytes, Forwarder};
use crate::random::Random;
use crate::report::Row;
use crate::stats::{Rounds, Samples};
use crate::trees::Shape;
use crate::{floor, verify};

pub(super) const ABOUT: &str = "bursts in a live tree of 30,000 files";

const MEBIBYTE: f64 = 1024.0 * 1024.0;
/// How often the other folder is looked at; one `stat` each.
const LOOK: Duration = Duration::from_millis(2);
/// Time after which all paths are quiet.
const QUIET: Duration = Duration::from_millis(1500);

const BURSTS: [Burst; 3] = [Burst::Rename, Burst::Unpack, Burst::Remove];

#[derive(Debug, Clone, Copy)]
enum Burst {
    Rename,
    Unpack,
    Remove,
}

impl Burst {
    fn name(self) -> &'static str {
        match self {
            Self::Rename => "rename of a directory of 10,000 files",
            Self::Unpack => "unpack of 5,000 files",
            Self::Remove => "removal of 10,000 of 30,000 files",
        }
    }
}

/// The folders and the wires.
struct Pair {
    a: PathBuf,
    b: PathBuf,
    wires: [Forwarder; 2],
    is_quick: bool,
}

/// Runs one round.
///
/// # Errors
/// If a burst does not arrive or the folders differ.
pub(super) fn round(bench: &Bench<'_>, random: &mut Random) -> Result<Samples> {
    let site = Site::start(bench, "s5")?;
    let (a, b) = (site.folder("a")?, site.folder("b")?);
    let shape = Shape {
        dirs: 100,
        files: bench.size(100, 10),
        bytes: 1024,
    };
    for top in ["one", "two", "three"] {
        shape.write(&a.join(top), random)?;
    }
    floor::settle(&a)?;
    let wires = [
        Forwarder::start(site.address())?,
        Forwarder::start(site.address())?,
    ];
    let mut first = site.agent_by("a", &wires[0].url())?;
    first.in_step()?;
    let mut second = site.agent_by("b", &wires[1].url())?;
    second.in_step()?;
    verify::equal(&a, &b)?;
    let pair = Pair {
        a,
        b,
        wires,
        is_quick: bench.is_quick,
    };
    let mut samples = Samples::default();
    for burst in BURSTS {
        std::thread::sleep(QUIET);
        let (took, sent) = one(burst, &pair, random).with_context(|| burst.name())?;
        samples.add_seconds(format!("{}: time", burst.name()), took);
        samples.add(format!("{}: bytes", burst.name()), sent as f64);
    }
    for (name, usage) in [
        ("first agent", first.usage()?),
        ("second agent", second.usage()?),
    ] {
        samples.add(format!("peak {name}"), usage.peak_bytes / MEBIBYTE);
    }
    Ok(samples)
}

/// Makes one burst; returns the time from its end until the other folder has all of it, and the
/// bytes on both wires.
fn one(burst: Burst, pair: &Pair, random: &mut Random) -> Result<(Duration, u64)> {
    let wires = [&pair.wires[0], &pair.wires[1]];
    let before = forward::when_quiet(wires);
    let settled = match burst {
        Burst::Rename => rename(pair),
        Burst::Unpack => unpack(pair, random),
        Burst::Remove => remove(pair),
    }?;
    let after = forward::when_quiet(wires);
    verify::equal(&pair.a, &pair.b)?;
    let sum = |bytes: [Bytes; 2]| bytes[0].both() + bytes[1].both();
    Ok((settled, sum(after) - sum(before)))
}

fn rename(pair: &Pair) -> Result<Duration> {
    fs::rename(pair.a.join("one"), pair.a.join("renamed"))?;
    let done = Instant::now();
    let (old, new) = (pair.b.join("one"), pair.b.join("renamed"));
    // The last file shows that it did not come one by one.
    let last = last_file(&new, pair);
    let at = until("a renamed directory", LOOK, || {
        !old.exists() && last.exists()
    })?;
    // Where it came one by one after all, equal folders are what counts.
    settle_fully(pair, at).map(|at| at.duration_since(done))
}

fn last_file(top: &Path, pair: &Pair) -> PathBuf {
    Shape::file(top, 99, if pair.is_quick { 9 } else { 99 })
}

fn unpack(pair: &Pair, random: &mut Random) -> Result<Duration> {
    let shape = Shape {
        dirs: 50,
        files: if pair.is_quick { 10 } else { 100 },
        bytes: 2048,
    };
    let start = Instant::now();
    shape.write(&pair.a.join("unpacked"), random)?;
    let paths: Vec<PathBuf> = shape.all(&pair.b.join("unpacked")).collect();
    // Each path is asked for until it is there, and then no more.
    let mut missing = paths.iter().peekable();
    let at = until("unpacked files", LOOK, || {
        while missing.next_if(|path| path.exists()).is_some() {}
        missing.peek().is_none()
    })?;
    Ok(at.duration_since(start))
}

fn remove(pair: &Pair) -> Result<Duration> {
    let start = Instant::now();
    fs::remove_dir_all(pair.a.join("two"))?;
    let gone = pair.b.join("two");
    let at = until("a removed directory", LOOK, || !gone.exists())?;
    Ok(at.duration_since(start))
}

/// Returns `at` if the folders are equal now, else the time at which they are.
fn settle_fully(pair: &Pair, at: Instant) -> Result<Instant> {
    if verify::equal(&pair.a, &pair.b).is_ok() {
        return Ok(at);
    }
    let pause = Duration::from_millis(50);
    until("equal folders", pause, || {
        verify::equal(&pair.a, &pair.b).is_ok()
    })
}

/// Makes the table.
pub(super) fn rows(rounds: Rounds<'_>) -> Vec<Row> {
    let mut rows = Vec::new();
    for burst in BURSTS {
        let name = burst.name();
        let time = Row::new(
            format!("{name}: time"),
            "s",
            rounds.each(&format!("{name}: time")),
        );
        let bytes = rounds.each(&format!("{name}: bytes"));
        let bytes = bytes.into_iter().map(|bytes| bytes / 1e3).collect();
        let bytes = Row::new(format!("{name}: on both wires"), "KB", bytes);
        rows.extend(match burst {
            Burst::Rename => [time.at_most(0.3), bytes.at_most(20.0)],
            Burst::Unpack | Burst::Remove => [time.note("from its first step"), bytes],
        });
    }
    for agent in ["first agent", "second agent"] {
        rows.push(Row::new(
            format!("peak memory, {agent}"),
            "MiB",
            rounds.each(&format!("peak {agent}")),
        ));
    }
    rows
}
