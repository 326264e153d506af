//! S4, large files: what an edit of one costs on the wire, and how fast a new one goes over.
//!
//! Chunks are counted from outside: those of the new content that the old one did not have, and if
//! more bytes than theirs (and the file's lists) went over the wire, by the bytes.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use fsync_core::chunk::Chunker;
use fsync_core::id::ObjectId;
use fsync_core::limits::CHUNK_TARGET_BYTES;
use fsync_core::node::Run;

use super::Bench;
use super::site::{Agent, PATIENCE, Site};
use crate::forward::{self, Forwarder};
use crate::random::Random;
use crate::report::Row;
use crate::stats::{Rounds, Samples};
use crate::watch::Arrivals;
use crate::{floor, trees, verify};

pub(super) const ABOUT: &str = "edits of a 256 MiB file, and a new file of 1 GiB";

const MEBIBYTE: usize = 1024 * 1024;
/// What may go over the wire beside chunks: the file's lists, the directory, the revision, requests
/// and events.
const BESIDE_CHUNKS: u64 = 256 * 1024;
/// Time after which the path is quiet.
const QUIET: Duration = Duration::from_millis(1500);
const EDITS: [Edit; 4] = [Edit::Prepend, Edit::Insert, Edit::Append, Edit::Scatter];

#[derive(Debug, Clone, Copy)]
enum Edit {
    Prepend,
    Insert,
    Append,
    Scatter,
}

impl Edit {
    fn name(self) -> &'static str {
        match self {
            Self::Prepend => "prepend 1 B",
            Self::Insert => "insert 1 KiB in the middle",
            Self::Append => "append 1 MiB",
            Self::Scatter => "100 random writes of 4 KiB",
        }
    }

    /// Changes the content, and returns the places that changed if the file can be written in
    /// place.
    fn change(self, content: &mut Vec<u8>, random: &mut Random) -> Option<Vec<(usize, usize)>> {
        match self {
            Self::Prepend => {
                content.insert(0, b'x');
                None
            }
            Self::Insert => {
                let middle = content.len() / 2;
                content.splice(middle..middle, random.bytes(1024));
                None
            }
            Self::Append => {
                let end = content.len();
                content.extend(random.bytes(MEBIBYTE));
                Some(vec![(end, MEBIBYTE)])
            }
            Self::Scatter => {
                let places: Vec<_> = (0..100)
                    .map(|_| (random.below(content.len() - 4096), 4096))
                    .collect();
                for (start, len) in &places {
                    random.fill(&mut content[*start..start + len]);
                }
                Some(places)
            }
        }
    }
}

/// Runs one round.
///
/// # Errors
/// If a file does not arrive or the folders differ.
pub(super) fn round(bench: &Bench<'_>, random: &mut Random) -> Result<Samples> {
    let mut samples = Samples::default();
    deltas(bench, &mut samples, random).context("edits of a large file")?;
    transfer(bench, &mut samples, random).context("a new large file")?;
    Ok(samples)
}

/// Both folders, one file, and the wires to count on.
struct Pair {
    ours: PathBuf,
    theirs: PathBuf,
    wires: [Forwarder; 2],
    arrivals: Arrivals,
}

fn deltas(bench: &Bench<'_>, samples: &mut Samples, random: &mut Random) -> Result<()> {
    let site = Site::start(bench, "s4")?;
    let (a, b) = (site.folder("a")?, site.folder("b")?);
    let mut content = random.bytes(bench.size(256, 32) * MEBIBYTE);
    fs::write(a.join("file"), &content)?;
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
    let arrivals = Arrivals::new()?;
    arrivals.add(&b)?;
    let pair = Pair {
        ours: a.join("file"),
        theirs: b.join("file"),
        wires,
        arrivals,
    };
    let mut chunks = chunks_of(&content);
    for edit in EDITS {
        chunks =
            delta(edit, &pair, (&mut content, &chunks), samples, random).context(edit.name())?;
        verify::equal(&a, &b)?;
    }
    drop((first, second, pair));
    site.remove(bench)
}

/// Makes one edit, waits for it, and returns the chunks of the new content.
fn delta(
    edit: Edit,
    pair: &Pair,
    (content, old): (&mut Vec<u8>, &BTreeMap<ObjectId, u64>),
    samples: &mut Samples,
    random: &mut Random,
) -> Result<BTreeMap<ObjectId, u64>> {
    std::thread::sleep(QUIET);
    let before = forward::when_quiet([&pair.wires[0], &pair.wires[1]]);
    pair.arrivals.forget();
    let places = edit.change(content, random);
    let saved = save(&pair.ours, content, places)?;
    let arrived = pair
        .arrivals
        .wait(&pair.theirs, PATIENCE, |path| is_content(path, content))?;
    let after = forward::when_quiet([&pair.wires[0], &pair.wires[1]]);
    let sent = [after[0].since(before[0]), after[1].since(before[1])];
    let chunks = chunks_of(content);
    let new = chunks.iter().filter(|(id, _)| !old.contains_key(*id));
    let (count, bytes) = new.fold((0, 0), |(count, sum), (_, bytes)| (count + 1, sum + bytes));
    let name = |what: &str| format!("{}: {what}", edit.name());
    samples.add_seconds(name("time"), arrived.saturating_duration_since(saved));
    samples.add(name("sent"), sent[0].up as f64);
    samples.add(name("received"), sent[1].down as f64);
    samples.add(name("new chunks"), f64::from(count));
    samples.add(name("bytes of new chunks"), bytes as f64);
    samples.add(name("chunks sent"), chunks_sent(sent[0].up, count, bytes));
    Ok(chunks)
}

/// Returns how many chunks went up: the new ones, and as many more as the bytes beyond them would
/// make.
fn chunks_sent(up: u64, count: u32, bytes: u64) -> f64 {
    let beyond = up.saturating_sub(bytes + BESIDE_CHUNKS);
    f64::from(count) + (beyond as f64 / CHUNK_TARGET_BYTES as f64).ceil()
}

/// Saves the content, in place where only places changed, else beside and renamed; returns when it
/// was done.
fn save(path: &Path, content: &[u8], places: Option<Vec<(usize, usize)>>) -> Result<Instant> {
    if let Some(places) = places {
        let mut file = OpenOptions::new().write(true).open(path)?;
        for (start, len) in places {
            file.seek(SeekFrom::Start(start as u64))?;
            file.write_all(&content[start..start + len])?;
        }
        drop(file);
        return Ok(Instant::now());
    }
    // Outside the folder, as the writing of a new version is no part of what is measured.
    let temporary = path.parent().context("in a folder")?.with_extension("new");
    fs::write(&temporary, content)?;
    fs::rename(temporary, path)?;
    Ok(Instant::now())
}

fn is_content(path: &Path, content: &[u8]) -> bool {
    let is_size = fs::metadata(path).is_ok_and(|meta| meta.len() == content.len() as u64);
    is_size && fs::read(path).is_ok_and(|found| found == content)
}

fn chunks_of(content: &[u8]) -> BTreeMap<ObjectId, u64> {
    let mut chunks = BTreeMap::new();
    let mut sink = |run: Run, _: &[u8]| {
        if let Run::Chunk { id, bytes } = run {
            chunks.insert(id, bytes);
        }
    };
    let mut chunker = Chunker::new(content.len() as u64);
    chunker.push(content, &mut sink);
    chunker.finish(&mut sink);
    chunks
}

fn transfer(bench: &Bench<'_>, samples: &mut Samples, random: &mut Random) -> Result<()> {
    let bytes = (bench.size(1024, 64) * MEBIBYTE) as u64;
    let site = Site::start(bench, "s4")?;
    let (a, b) = (site.folder("a")?, site.folder("b")?);
    let mut agents = [site.agent("a")?, site.agent("b")?];
    for agent in &mut agents {
        agent.in_step()?;
    }
    let source = site.path("large");
    trees::write_large(&source, bytes, random)?;
    floor::settle(&a)?;
    let floor_dir = site.folder("floor")?;
    let is_floor_first = random.below(2) == 0;
    let mut floor = Duration::ZERO;
    if is_floor_first {
        floor = floor::twice(&floor_dir, &source)?;
    }
    let took = send(&source, [&a, &b])?;
    peaks(&site, &agents, samples)?;
    if !is_floor_first {
        floor = floor::twice(&floor_dir, &a.join("large"))?;
    }
    verify::equal(&a, &b)?;
    let mebibytes = bytes as f64 / MEBIBYTE as f64;
    samples.add("transfer", mebibytes / took.as_secs_f64());
    samples.add("written twice", mebibytes / floor.as_secs_f64());
    drop(agents);
    site.remove(bench)
}

/// Moves a file into one folder and returns the time until it is in the other.
fn send(source: &Path, [a, b]: [&Path; 2]) -> Result<Duration> {
    let arrivals = Arrivals::new()?;
    arrivals.add(b)?;
    let (ours, theirs) = (a.join("large"), b.join("large"));
    fs::rename(source, &ours)?;
    let saved = Instant::now();
    let arrived = arrivals.wait(&theirs, PATIENCE, |path| {
        verify::is_same_content(&ours, path).unwrap_or(false)
    })?;
    Ok(arrived.saturating_duration_since(saved))
}

fn peaks(site: &Site, agents: &[Agent; 2], samples: &mut Samples) -> Result<()> {
    let peak = |bytes: f64| bytes / MEBIBYTE as f64;
    samples.add("peak sender", peak(agents[0].usage()?.peak_bytes));
    samples.add("peak receiver", peak(agents[1].usage()?.peak_bytes));
    samples.add("peak server", peak(site.server().usage()?.peak_bytes));
    Ok(())
}

/// Makes the table.
pub(super) fn rows(rounds: Rounds<'_>) -> Vec<Row> {
    let mut rows = Vec::new();
    for edit in EDITS {
        let each = |what: &str| rounds.each(&format!("{}: {what}", edit.name()));
        let row = |what: &str, unit| Row::new(format!("{}: {what}", edit.name()), unit, each(what));
        let sent = row("chunks sent", "");
        rows.push(match edit {
            Edit::Prepend => sent.at_most(4.0),
            _ => sent,
        });
        let thousands = |what: &str| each(what).into_iter().map(|bytes| bytes / 1e3).collect();
        rows.push(Row::new(
            format!("{}: sent", edit.name()),
            "KB",
            thousands("sent"),
        ));
        rows.push(Row::new(
            format!("{}: received", edit.name()),
            "KB",
            thousands("received"),
        ));
        rows.push(row("time", "s"));
    }
    let ratio = rounds.ratio("transfer", "written twice");
    rows.push(Row::new("1 GiB file / writing it twice, round by round", "x", ratio).at_least(0.5));
    rows.push(Row::new("1 GiB file", "MiB/s", rounds.each("transfer")));
    rows.push(Row::new(
        "disk: written twice, synced",
        "MiB/s",
        rounds.each("written twice"),
    ));
    for process in ["sender", "receiver", "server"] {
        let name = format!("peak {process}");
        rows.push(
            Row::new(format!("peak memory, {process}"), "MiB", rounds.each(&name)).at_most(64.0),
        );
    }
    rows
}
