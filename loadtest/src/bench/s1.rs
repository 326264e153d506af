//! S1, save latency: from the end of the writer's close or rename to the same bytes at the other
//! folder.
//!
//! Every path is edited once, each edit after the last one has arrived and a random pause, so that
//! all paths are quiet. The arrival is seen by inotify on the other folder (see [`crate::watch`]).
//! Between edits the disk's own durable save is timed (write, sync, rename of as many bytes).

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::Bench;
use super::site::{PATIENCE, Site};
use crate::random::Random;
use crate::report::Row;
use crate::stats::{Quantiles, Rounds, Samples, median};
use crate::trees::Shape;
use crate::watch::Arrivals;
use crate::{floor, verify};

pub(super) const ABOUT: &str = "save latency in a tree of 10,000 files: end of the save -> same bytes at the other agent (seen by inotify)";

const PAGE: usize = 4096;
const MEBIBYTE: usize = 1024 * 1024;
/// Time after which every path of the fresh tree is quiet.
const SETTLE: Duration = Duration::from_millis(1500);
const LEAST_PAUSE: Duration = Duration::from_millis(20);
const MOST_PAUSE: Duration = Duration::from_millis(120);

/// How a file is saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    InPlace,
    Rename,
    Vim,
    Create,
    Delete,
}

const KINDS: [Kind; 5] = [
    Kind::InPlace,
    Kind::Rename,
    Kind::Vim,
    Kind::Create,
    Kind::Delete,
];

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::InPlace => "write in place",
            Self::Rename => "temp + rename",
            Self::Vim => "as vim (backup, new, sync)",
            Self::Create => "create",
            Self::Delete => "delete",
        }
    }
}

/// One save.
#[derive(Debug, Clone, Copy)]
struct Edit {
    kind: Kind,
    bytes: usize,
}

impl Edit {
    /// Returns the name of its samples.
    fn samples(self) -> String {
        samples(self.kind, self.bytes)
    }
}

fn samples(kind: Kind, bytes: usize) -> String {
    format!("{}, {}", kind.name(), size(bytes))
}

fn size(bytes: usize) -> &'static str {
    match bytes {
        PAGE => "4 KiB",
        MEBIBYTE => "1 MiB",
        _ => "1 B",
    }
}

fn floor_name(bytes: usize) -> String {
    format!("write + sync + rename, {}", size(bytes))
}

/// Returns the edits of one round, in random order.
fn edits(bench: &Bench<'_>, random: &mut Random) -> Vec<Edit> {
    let mut edits = Vec::new();
    let mut add = |kind, bytes, count| edits.extend(vec![Edit { kind, bytes }; count]);
    for kind in KINDS {
        add(kind, PAGE, bench.size(40, 6));
    }
    for kind in [Kind::InPlace, Kind::Rename] {
        add(kind, 1, bench.size(15, 3));
        add(kind, MEBIBYTE, bench.size(15, 3));
    }
    random.shuffle(&mut edits);
    edits
}

/// Runs one round.
///
/// # Errors
/// If a save does not arrive or the folders differ.
pub(super) fn round(bench: &Bench<'_>, random: &mut Random) -> Result<Samples> {
    let shape = Shape {
        dirs: 100,
        files: bench.size(100, 20),
        bytes: PAGE,
    };
    let site = Site::start(bench, "s1")?;
    let (a, b) = (site.folder("a")?, site.folder("b")?);
    let floor_dir = site.folder("floor")?;
    shape.write(&a, random)?;
    floor::settle(&a)?;
    let mut first = site.agent("a")?;
    first.in_step()?;
    let mut second = site.agent("b")?;
    second.in_step()?;
    verify::equal(&a, &b)?;
    let arrivals = Arrivals::new()?;
    arrivals.add_all(&b)?;
    std::thread::sleep(SETTLE);
    let mut samples = Samples::default();
    let mut paths: Vec<(usize, usize)> = (0..shape.dirs)
        .flat_map(|d| (0..shape.files).map(move |f| (d, f)))
        .collect();
    random.shuffle(&mut paths);
    for (edit, place) in edits(bench, random).into_iter().zip(paths) {
        let took = one(edit, place, [&a, &b], &arrivals, random);
        samples.add_millis(edit.samples(), took.with_context(|| edit.samples())?);
        std::thread::sleep(random.between(LEAST_PAUSE, MOST_PAUSE));
        if edit.kind != Kind::Delete {
            let took = floor::save(&floor_dir, &random.bytes(edit.bytes))?;
            samples.add_millis(floor_name(edit.bytes), took);
            std::thread::sleep(random.between(LEAST_PAUSE, MOST_PAUSE));
        }
    }
    verify::equal(&a, &b)?;
    Ok(samples)
}

/// Makes one save and returns the time until it arrived.
fn one(
    edit: Edit,
    (dir, file): (usize, usize),
    [a, b]: [&Path; 2],
    arrivals: &Arrivals,
    random: &mut Random,
) -> Result<Duration> {
    let path = |root: &Path| match edit.kind {
        Kind::Create => Shape::dir(root, dir).join(format!("new-{file}")),
        _ => Shape::file(root, dir, file),
    };
    let (ours, theirs) = (path(a), path(b));
    let bytes = random.bytes(edit.bytes);
    arrivals.forget();
    let saved = save(edit.kind, &ours, &bytes)?;
    let arrived = arrivals.wait(&theirs, PATIENCE, |path| match edit.kind {
        Kind::Delete => fs::symlink_metadata(path).is_err(),
        _ => fs::read(path).is_ok_and(|found| found == bytes),
    })?;
    Ok(arrived.saturating_duration_since(saved))
}

/// Saves a file as programs do; returns when the writer was done.
fn save(kind: Kind, path: &Path, bytes: &[u8]) -> Result<Instant> {
    match kind {
        Kind::InPlace | Kind::Create => fs::write(path, bytes)?,
        Kind::Delete => fs::remove_file(path)?,
        Kind::Rename => {
            let temporary = beside(path, ".tmp");
            fs::write(&temporary, bytes)?;
            fs::rename(temporary, path)?;
        }
        Kind::Vim => {
            let backup = beside(path, "~");
            fs::rename(path, &backup)?;
            let mut file = File::create(path)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            drop(file);
            let saved = Instant::now();
            fs::remove_file(backup)?;
            return Ok(saved);
        }
    }
    Ok(Instant::now())
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Makes the table.
///
/// # Errors
/// As [`Row::times`].
pub(super) fn rows(rounds: Rounds<'_>) -> Result<Vec<Row>> {
    let mut rows = vec![goal(rounds)?];
    for bytes in [PAGE, 1, MEBIBYTE] {
        for kind in KINDS {
            let name = samples(kind, bytes);
            let times = rounds.all(&name);
            if !times.is_empty() {
                rows.push(Row::times(name, &times)?);
            }
        }
        let name = floor_name(bytes);
        let times = rounds.all(&name);
        rows.push(Row::times(format!("disk: {name}"), &times)?);
    }
    Ok(rows)
}

/// The goal counts all saves of 4 KiB of the usual kinds.
fn goal(rounds: Rounds<'_>) -> Result<Row> {
    let kinds = [Kind::InPlace, Kind::Rename, Kind::Create];
    let times: Vec<f64> = kinds
        .iter()
        .flat_map(|kind| rounds.all(&samples(*kind, PAGE)))
        .collect();
    let quantiles = Quantiles::of(&times)?;
    let ratio = quantiles.at(0.5) / median(&rounds.all(&floor_name(PAGE)));
    let is_met = (quantiles.at(0.5) <= 20.0 && quantiles.at(0.99) <= 100.0) || ratio <= 8.0;
    let row = Row::times("saves of 4 KiB (in place, rename, create)", &times)?;
    let goal = format!("p50 <= 20 and p99 <= 100, or p50 <= 8 x disk (is {ratio:.1} x)");
    Ok(row.goal(goal, is_met))
}
