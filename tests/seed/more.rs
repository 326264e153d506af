//! More than two folders, broken connections, a lost server, many and large files, hasty writers.

use anyhow::{Result, ensure};

use super::{Scenario, Site, expect};

const A: usize = 0;
const B: usize = 1;
const C: usize = 2;
const ALL: [usize; 3] = [A, B, C];

/// All of them, in the forerunner's order.
pub const SCENARIOS: &[Scenario] = &[
    ("a file of one reaches two others", reaches_all),
    ("each of three writes, all get all", each_writes),
    ("three write at the very same time", at_once),
    ("a late joiner gets what is there", late_joiner),
    ("a new, empty server gets all from the folders", new_server),
    ("two edits of one file at once are both kept", conflicting),
    ("a deletion by the second reaches the first", deletion),
    (
        "what is written without a connection arrives after it",
        offline,
    ),
    ("100 files at once", |s| many(s, 100)),
    ("50 files, written hastily while all look on", hasty),
    ("10 MB of text", |s| {
        one(s, &b"line of text\n".repeat(10 << 20 >> 4))
    }),
    ("5 MB of noise", |s| {
        one(s, &crate::folder::noise(4, 5 << 20))
    }),
    ("ten rapid overwrites end with the last one", overwrites),
    ("what is stored right after a write is whole", right_after),
];

fn start(site: &mut dyn Site, folders: &[usize]) -> Result<()> {
    folders.iter().try_for_each(|at| site.start(*at))?;
    site.settle()
}

fn reaches_all(site: &mut dyn Site) -> Result<()> {
    start(site, &ALL)?;
    site.write(A, "f.txt", b"for all")?;
    site.settle()?;
    expect(site, &ALL, &[("f.txt", b"for all")])
}

/// Each folder's own file is in all of them.
const OWN: [(usize, &str); 3] = [(A, "a.txt"), (B, "b.txt"), (C, "c.txt")];

fn all_have_all(site: &mut dyn Site) -> Result<()> {
    let files = OWN.map(|(_, name)| (name, name.as_bytes()));
    expect(site, &ALL, &files)
}

fn each_writes(site: &mut dyn Site) -> Result<()> {
    start(site, &ALL)?;
    for (at, name) in OWN {
        site.write(at, name, name.as_bytes())?;
        site.settle()?;
    }
    all_have_all(site)
}

/// The forerunner wrote one after the other, "to avoid sync contention".
fn at_once(site: &mut dyn Site) -> Result<()> {
    start(site, &ALL)?;
    for (at, name) in OWN {
        site.write(at, name, name.as_bytes())?;
    }
    site.settle()?;
    all_have_all(site)
}

/// The forerunner's newcomer got a file only once another was written, and wrote nothing itself.
fn late_joiner(site: &mut dyn Site) -> Result<()> {
    start(site, &[A, B])?;
    site.write(A, "old.txt", b"before C came")?;
    site.settle()?;
    start(site, &[C])?;
    expect(site, &ALL, &[("old.txt", b"before C came")])?;
    site.write(C, "new.txt", b"by C")?;
    site.settle()?;
    expect(
        site,
        &ALL,
        &[("old.txt", b"before C came"), ("new.txt", b"by C")],
    )
}

fn new_server(site: &mut dyn Site) -> Result<()> {
    start(site, &[A])?;
    site.write(A, "f.txt", b"on a server that is lost")?;
    site.settle()?;
    site.replace_server()?;
    site.settle()?;
    start(site, &[B])?;
    expect(site, &[A, B], &[("f.txt", b"on a server that is lost")])
}

/// The forerunner edited one after the other, and the last one won.
fn conflicting(site: &mut dyn Site) -> Result<()> {
    start(site, &[A, B])?;
    site.write(A, "f.txt", b"first")?;
    site.settle()?;
    site.write(A, "f.txt", b"by A")?;
    site.write(B, "f.txt", b"by B!")?;
    site.settle()?;
    let (at_a, at_b) = (site.list(A)?, site.list(B)?);
    ensure!(
        at_a == at_b,
        "{} is not {}",
        super::shown(&at_a),
        super::shown(&at_b)
    );
    let mut contents: Vec<_> = at_a.into_values().flatten().collect();
    contents.sort();
    ensure!(
        contents == [b"by A".to_vec(), b"by B!".to_vec()],
        "kept are {contents:?}"
    );
    Ok(())
}

fn deletion(site: &mut dyn Site) -> Result<()> {
    start(site, &[A, B])?;
    site.write(A, "f.txt", b"1")?;
    site.write(A, "kept.txt", b"2")?;
    site.settle()?;
    site.remove(B, "f.txt")?;
    site.settle()?;
    expect(site, &[A, B], &[("kept.txt", b"2")])
}

fn offline(site: &mut dyn Site) -> Result<()> {
    start(site, &[A, B])?;
    site.cut(A)?;
    site.write(A, "offline.txt", b"written without a connection")?;
    site.settle()?;
    expect(
        site,
        &[A, B],
        &[("offline.txt", b"written without a connection")],
    )
}

fn many(site: &mut dyn Site, count: usize) -> Result<()> {
    let names: Vec<String> = (0..count)
        .map(|n| format!("dir{}/file{n}.txt", n % 7))
        .collect();
    for name in &names {
        site.write(A, name, name.as_bytes())?;
    }
    start(site, &[A, B])?;
    let files: Vec<_> = names
        .iter()
        .map(|name| (name.as_str(), name.as_bytes()))
        .collect();
    expect(site, &[A, B], &files)
}

fn hasty(site: &mut dyn Site) -> Result<()> {
    start(site, &[A, B])?;
    let names: Vec<String> = (0..50).map(|n| format!("file{n}.txt")).collect();
    for name in &names {
        site.write(A, name, name.as_bytes())?;
    }
    site.settle()?;
    let files: Vec<_> = names
        .iter()
        .map(|name| (name.as_str(), name.as_bytes()))
        .collect();
    expect(site, &[A, B], &files)
}

fn one(site: &mut dyn Site, bytes: &[u8]) -> Result<()> {
    site.write(A, "large", bytes)?;
    start(site, &[A, B])?;
    expect(site, &[A, B], &[("large", bytes)])
}

fn overwrites(site: &mut dyn Site) -> Result<()> {
    start(site, &[A, B])?;
    for number in 1..=10 {
        site.write(A, "f.txt", format!("version {number}").as_bytes())?;
    }
    site.settle()?;
    expect(site, &[A, B], &[("f.txt", b"version 10")])
}

fn right_after(site: &mut dyn Site) -> Result<()> {
    start(site, &[A, B])?;
    let bytes = crate::folder::noise(5, 300_000);
    site.write(A, "f.bin", &bytes)?;
    site.settle()?;
    expect(site, &[A, B], &[("f.bin", &bytes)])
}
