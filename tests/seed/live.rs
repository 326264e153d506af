//! Two folders, both directions, while both agents run.

use anyhow::{Result, ensure};

use super::{Scenario, Site, expect};

const A: usize = 0;
const B: usize = 1;
/// What every PNG file begins with.
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR";

/// All of them, in the forerunner's order.
pub const SCENARIOS: &[Scenario] = &[
    ("a new file of A reaches B", |s| goes(s, A, B)),
    ("a new file of B reaches A", |s| goes(s, B, A)),
    ("a changed content", changed),
    ("a deleted file", deleted),
    ("a new directory with files", directory),
    ("a deleted directory", deleted_directory),
    ("deep nesting", deep),
    ("three files at once", three),
    ("a binary file", binary),
    ("an empty file", empty),
    ("names with blanks, dashes and underscores", names),
    ("quiet after the first sync", quiet),
    ("quiet after one change", no_bounce),
    (
        "a first sync of identical folders destroys nothing",
        identical,
    ),
    ("a rename", renamed),
    ("a file of 100 KB", large),
    ("after the end nothing goes on", ended),
    ("both folders start empty", both_empty),
    ("a new empty directory", empty_directory),
    ("nested empty directories", nested_empty),
    ("a file grows and shrinks", grows),
];

fn start(site: &mut dyn Site) -> Result<()> {
    site.start(A)?;
    site.start(B)?;
    site.settle()
}

fn written(site: &mut dyn Site, at: usize, files: &[(&str, &[u8])]) -> Result<()> {
    for (path, bytes) in files {
        site.write(at, path, bytes)?;
    }
    site.settle()?;
    expect(site, &[A, B], files)
}

fn goes(site: &mut dyn Site, from: usize, to: usize) -> Result<()> {
    start(site)?;
    site.write(from, "new.txt", b"hello")?;
    site.settle()?;
    expect(site, &[from, to], &[("new.txt", b"hello")])
}

fn changed(site: &mut dyn Site) -> Result<()> {
    start(site)?;
    written(site, A, &[("f.txt", b"version 1")])?;
    written(site, A, &[("f.txt", b"version 2")])
}

fn deleted(site: &mut dyn Site) -> Result<()> {
    start(site)?;
    written(site, A, &[("f.txt", b"1"), ("kept.txt", b"2")])?;
    site.remove(A, "f.txt")?;
    site.settle()?;
    expect(site, &[A, B], &[("kept.txt", b"2")])
}

fn directory(site: &mut dyn Site) -> Result<()> {
    start(site)?;
    written(site, A, &[("dir/1.txt", b"1"), ("dir/2.txt", b"2")])
}

fn deleted_directory(site: &mut dyn Site) -> Result<()> {
    start(site)?;
    written(site, A, &[("dir/1.txt", b"1"), ("kept.txt", b"2")])?;
    site.remove(A, "dir")?;
    site.settle()?;
    expect(site, &[A, B], &[("kept.txt", b"2")])
}

fn deep(site: &mut dyn Site) -> Result<()> {
    start(site)?;
    written(site, A, &[("a/b/c/deep.txt", b"deep")])
}

fn three(site: &mut dyn Site) -> Result<()> {
    start(site)?;
    written(
        site,
        A,
        &[("1.txt", b"1"), ("2.txt", b"2"), ("3.txt", b"3")],
    )
}

fn binary(site: &mut dyn Site) -> Result<()> {
    start(site)?;
    written(site, A, &[("image.png", PNG)])
}

fn empty(site: &mut dyn Site) -> Result<()> {
    start(site)?;
    written(site, A, &[("empty.txt", b"")])
}

fn names(site: &mut dyn Site) -> Result<()> {
    start(site)?;
    written(
        site,
        A,
        &[
            ("with blanks.txt", b"1"),
            ("with-dashes.txt", b"2"),
            ("with_underscores.txt", b"3"),
        ],
    )
}

fn quiet(site: &mut dyn Site) -> Result<()> {
    site.write(A, "f.txt", b"1")?;
    start(site)?;
    stays(site, &[("f.txt", b"1")])
}

/// Nothing moves any more: no revision is made, no folder changes.
fn stays(site: &mut dyn Site, files: &[(&str, &[u8])]) -> Result<()> {
    expect(site, &[A, B], files)?;
    let before = site.revisions()?;
    site.idle()?;
    let after = site.revisions()?;
    ensure!(before == after, "{before} revisions became {after}");
    expect(site, &[A, B], files)
}

fn no_bounce(site: &mut dyn Site) -> Result<()> {
    start(site)?;
    let before = site.revisions()?;
    written(site, A, &[("f.txt", b"1")])?;
    let after = site.revisions()?;
    ensure!(
        after == before + 1,
        "one change made {} revisions",
        after - before
    );
    stays(site, &[("f.txt", b"1")])
}

fn identical(site: &mut dyn Site) -> Result<()> {
    for at in [A, B] {
        site.write(at, "same.txt", b"same")?;
        site.write(at, "dir/same.txt", b"same too")?;
    }
    start(site)?;
    expect(
        site,
        &[A, B],
        &[("same.txt", b"same"), ("dir/same.txt", b"same too")],
    )
}

fn renamed(site: &mut dyn Site) -> Result<()> {
    start(site)?;
    written(site, A, &[("old.txt", b"text"), ("dir/in.txt", b"in")])?;
    site.rename(A, "old.txt", "new.txt")?;
    site.rename(A, "dir", "moved")?;
    site.settle()?;
    expect(
        site,
        &[A, B],
        &[("new.txt", b"text"), ("moved/in.txt", b"in")],
    )
}

fn large(site: &mut dyn Site) -> Result<()> {
    start(site)?;
    written(site, A, &[("large.bin", &crate::folder::noise(1, 100_000))])
}

fn ended(site: &mut dyn Site) -> Result<()> {
    start(site)?;
    written(site, A, &[("f.txt", b"1")])?;
    site.stop(A)?;
    site.stop(B)?;
    site.write(A, "late.txt", b"2")?;
    site.idle()?;
    expect(site, &[B], &[("f.txt", b"1")])
}

fn both_empty(site: &mut dyn Site) -> Result<()> {
    start(site)?;
    expect(site, &[A, B], &[])?;
    written(site, B, &[("first.txt", b"1")])
}

fn empty_directory(site: &mut dyn Site) -> Result<()> {
    start(site)?;
    site.make_dir(A, "empty")?;
    site.settle()?;
    expect(site, &[A, B], &[("empty/", b"")])
}

fn nested_empty(site: &mut dyn Site) -> Result<()> {
    start(site)?;
    site.make_dir(A, "a/b/c")?;
    site.settle()?;
    expect(site, &[A, B], &[("a/b/c/", b"")])
}

fn grows(site: &mut dyn Site) -> Result<()> {
    start(site)?;
    for length in [10, 1_000, 200_000, 5, 0, 70_000] {
        written(site, A, &[("f.bin", &crate::folder::noise(2, length))])?;
    }
    Ok(())
}
