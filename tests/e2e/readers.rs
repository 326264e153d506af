//! Somebody reads all the time while an agent applies: every look shows an old or a new version,
//! whole.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use anyhow::{Context, Result, ensure};
use fsync_tests::launch::Kind;
use fsync_tests::wait::{PATIENCE, until};
use fsync_tests::{Agent, System};

/// Versions that are written one after the other.
const VERSIONS: u8 = 60;
/// Lengths of files: one chunk, several chunks, staged in parts.
const LENGTHS: [usize; 3] = [100, 50_000, 3_000_000];

/// Returns a version whose bytes and length say which one it is.
fn version(number: u8, length: usize) -> Vec<u8> {
    vec![b'A' + number % 26; length + usize::from(number)]
}

/// Saves a version as one change: beside the folder, then renamed into it. A file that is written in
/// place is empty for a moment, which is a version too.
fn save(a: &Agent, name: &str, bytes: &[u8]) -> Result<()> {
    let beside = a.root.with_extension("beside");
    fs::write(&beside, bytes)?;
    fs::create_dir_all(a.root.join("d"))?;
    Ok(fs::rename(beside, a.root.join(name))?)
}

/// Looks at a file until it is told to end; the first look that shows no whole version is kept.
struct Reader {
    is_over: Arc<AtomicBool>,
    looks: Arc<AtomicU64>,
    thread: JoinHandle<Result<()>>,
}

impl Reader {
    fn start(path: &Path, length: usize) -> Self {
        let (is_over, looks) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (over, count, path) = (Arc::clone(&is_over), Arc::clone(&looks), path.to_owned());
        let thread = std::thread::spawn(move || {
            while !over.load(Ordering::Acquire) {
                let found = fs::read(&path).context("a look finds nothing")?;
                let number = u8::try_from(found.len().saturating_sub(length))?;
                ensure!(
                    found == version(number, length),
                    "a look finds {} bytes that are no version",
                    found.len()
                );
                count.fetch_add(1, Ordering::AcqRel);
            }
            Ok(())
        });
        Self {
            is_over,
            looks,
            thread,
        }
    }

    /// Ends it; returns how often it looked.
    fn end(self) -> Result<u64> {
        self.is_over.store(true, Ordering::Release);
        let ended = self.thread.join();
        ended.map_err(|_died| io::Error::other("the reader died"))??;
        Ok(self.looks.load(Ordering::Acquire))
    }
}

/// Writes all versions at one agent while readers look at the other.
fn read_while_written(a: &Agent, b: &Agent) -> Result<()> {
    let name = |length: usize| format!("d/file of {length}");
    for length in LENGTHS {
        save(a, &name(length), &version(0, length))?;
    }
    let until_at_b = |number: u8, length: usize| {
        until("the version is there", PATIENCE, || {
            let found = fs::metadata(b.root.join(name(length)))?.len();
            ensure!(
                found == (length + usize::from(number)) as u64,
                "{found} bytes"
            );
            Ok(())
        })
    };
    LENGTHS
        .into_iter()
        .try_for_each(|length| until_at_b(0, length))?;
    let readers = LENGTHS.map(|length| Reader::start(&b.root.join(name(length)), length));
    for number in 1..VERSIONS {
        for length in LENGTHS {
            save(a, &name(length), &version(number, length))?;
        }
        // Not always: several versions are applied as one, too.
        if number % 3 == 0 {
            LENGTHS
                .into_iter()
                .try_for_each(|length| until_at_b(number, length))?;
        }
    }
    LENGTHS
        .into_iter()
        .try_for_each(|length| until_at_b(VERSIONS - 1, length))?;
    for reader in readers {
        let looks = reader.end()?;
        ensure!(looks > u64::from(VERSIONS), "it looked {looks} times only");
    }
    Ok(())
}

#[test]
fn whoever_reads_sees_whole_versions_only() -> Result<()> {
    let system = System::new()?;
    let server = system.server()?;
    let (a, b) = (system.agent("a", &server)?, system.agent("b", &server)?);
    read_while_written(&a, &b)
}

#[test]
fn whoever_reads_sees_whole_versions_on_a_disk_with_plain_renames_too() -> Result<()> {
    let system = System::new()?;
    let Some(disk) = system.mount("b", Kind::Odd(&["--plain-renames"]))? else {
        return Ok(());
    };
    let server = system.server()?;
    let a = system.agent("a", &server)?;
    let b = system.agent_on(&disk, "b", &server)?;
    read_while_written(&a, &b)
}
