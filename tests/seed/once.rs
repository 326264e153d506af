//! What one folder stored is loaded by another that comes later, when the first one is gone.

use anyhow::{Result, ensure};

use super::{Scenario, Site, expect};

const A: usize = 0;
const B: usize = 1;

/// All of them, in the forerunner's order; the numbers go on from those of the live ones.
pub const SCENARIOS: &[Scenario] = &[
    ("one file", |s| load(s, &[("f.txt", b"text")])),
    ("several versions, each can be loaded", versions),
    ("a structure of directories", |s| {
        load(
            s,
            &[("a/1.txt", b"1"), ("a/b/2.txt", b"2"), ("c/3.txt", b"3")],
        )
    }),
    ("empty files", |s| load(s, &[("1", b""), ("dir/2", b"")])),
    ("a binary file", |s| {
        load(s, &[("f.bin", &[0, 255, 0, 13, 10, 26])])
    }),
    ("a file of 100 KB", |s| {
        load(s, &[("f.bin", &crate::folder::noise(3, 100_000))])
    }),
    ("a modification", modified),
    ("a deletion", deleted),
    ("deep nesting", |s| {
        load(s, &[("a/b/c/d/e/f/g.txt", b"deep")])
    }),
    ("special names", |s| {
        load(
            s,
            &[
                ("a.b.c.d", b"1"),
                (".hidden", b"2"),
                ("blank -_.txt", b"3"),
                ("..x", b"4"),
            ],
        )
    }),
    ("nothing but the service is between them", alone),
    ("empty directories", empty_directories),
];

fn store(site: &mut dyn Site) -> Result<()> {
    site.start(A)?;
    site.settle()?;
    site.stop(A)
}

fn load(site: &mut dyn Site, files: &[(&str, &[u8])]) -> Result<()> {
    for (path, bytes) in files {
        site.write(A, path, bytes)?;
    }
    store(site)?;
    site.start(B)?;
    site.settle()?;
    expect(site, &[A, B], files)
}

fn versions(site: &mut dyn Site) -> Result<()> {
    site.start(A)?;
    site.settle()?;
    let mut numbers = Vec::new();
    for number in 1..=4 {
        let text = format!("version {number}");
        site.write(A, "f.txt", text.as_bytes())?;
        site.settle()?;
        numbers.push((site.revisions()?, text));
    }
    for (revision, text) in numbers {
        let found = site.load(revision, "f.txt")?;
        ensure!(
            found == text.as_bytes(),
            "revision {revision} has {found:?}, not {text}"
        );
    }
    Ok(())
}

fn modified(site: &mut dyn Site) -> Result<()> {
    load(site, &[("f.txt", b"before")])?;
    site.stop(B)?;
    site.write(A, "f.txt", b"after")?;
    store(site)?;
    site.start(B)?;
    site.settle()?;
    expect(site, &[A, B], &[("f.txt", b"after")])
}

fn deleted(site: &mut dyn Site) -> Result<()> {
    load(site, &[("f.txt", b"1"), ("kept.txt", b"2")])?;
    site.stop(B)?;
    site.remove(A, "f.txt")?;
    store(site)?;
    site.start(B)?;
    site.settle()?;
    expect(site, &[A, B], &[("kept.txt", b"2")])
}

/// The first folder is emptied before the second one comes: what it gets, it has from the service.
fn alone(site: &mut dyn Site) -> Result<()> {
    site.write(A, "f.txt", b"only there by now")?;
    store(site)?;
    site.remove(A, "f.txt")?;
    site.start(B)?;
    site.settle()?;
    expect(site, &[B], &[("f.txt", b"only there by now")])
}

fn empty_directories(site: &mut dyn Site) -> Result<()> {
    site.make_dir(A, "empty")?;
    site.make_dir(A, "a/b")?;
    store(site)?;
    site.start(B)?;
    site.settle()?;
    expect(site, &[A, B], &[("empty/", b""), ("a/b/", b"")])
}
