//! unison, from Debian's package: a star of pairs around replica 0, run again and again, as a timer
//! would.
//!
//! Its flags are the ones that come closest to a service that needs no hand: nothing is asked, of
//! two versions the newer one stays, and the other one is kept beside it.

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use super::tool::{REPLICAS, Tool};

/// Time between two runs of the timer.
const TIMER: Duration = Duration::from_millis(200);
/// Passes until a quiet system must have nothing to do.
const PASSES: usize = 10;
const FLAGS: [&str; 7] = [
    "-batch",
    "-auto",
    "-confirmbigdel=false",
    "-prefer=newer",
    "-copyonconflict",
    "-contactquietly",
    "-dumbtty",
];

/// See the module's head.
#[derive(Debug)]
pub struct Unison {
    shared: Arc<Shared>,
    timer: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    dir: TempDir,
    /// Who runs; held while a pass is made.
    running: Mutex<[bool; REPLICAS]>,
    is_over: AtomicBool,
}

impl Shared {
    fn folder(&self, replica: usize) -> PathBuf {
        self.dir.path().join(format!("user-{replica}"))
    }

    /// Brings all pairs in step once; returns whether there was nothing to do.
    fn pass(&self, running: &[bool; REPLICAS]) -> Result<bool> {
        let mut is_idle = true;
        for other in (1..REPLICAS).filter(|other| running[0] && running[*other]) {
            let output = Command::new("unison")
                .args([self.folder(0), self.folder(other)])
                .args(FLAGS)
                .env("UNISON", self.dir.path().join("archives"))
                .output()
                .context("unison: apt-get install unison")?;
            let text = String::from_utf8_lossy(&output.stdout).into_owned()
                + &String::from_utf8_lossy(&output.stderr);
            match output.status.code() {
                // 1: some were skipped, 2: some failed, as files that change under its hands do.
                Some(0..=2) => is_idle &= text.contains("Nothing to do"),
                code => bail!("unison ended with {code:?}: {text}"),
            }
        }
        Ok(is_idle)
    }
}

impl Unison {
    /// Starts the timer.
    ///
    /// # Errors
    /// The system's.
    pub fn new() -> Result<Self> {
        let shared = Arc::new(Shared {
            dir: tempfile::tempdir()?,
            running: Mutex::default(),
            is_over: AtomicBool::new(false),
        });
        let mine = Arc::clone(&shared);
        let timer = std::thread::spawn(move || {
            while !mine.is_over.load(Ordering::Acquire) {
                {
                    let running = mine.running.lock().unwrap_or_else(PoisonError::into_inner);
                    // What went wrong here goes wrong again when it is asked to be quiet.
                    drop(mine.pass(&running));
                }
                std::thread::sleep(TIMER);
            }
        });
        Ok(Self {
            shared,
            timer: Some(timer),
        })
    }

    fn set(&self, replica: usize, is_running: bool) {
        let running = &self.shared.running;
        running.lock().unwrap_or_else(PoisonError::into_inner)[replica] = is_running;
    }
}

impl Drop for Unison {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Release);
        if let Some(timer) = self.timer.take() {
            drop(timer.join());
        }
    }
}

impl Tool for Unison {
    fn name(&self) -> Result<String> {
        let output = Command::new("unison").arg("-version").output()?;
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }

    fn folder(&self, replica: usize) -> PathBuf {
        self.shared.folder(replica)
    }

    fn start(&mut self, replica: usize) -> Result<()> {
        self.set(replica, true);
        Ok(())
    }

    fn stop(&mut self, replica: usize) -> Result<()> {
        self.set(replica, false);
        Ok(())
    }

    fn quiet(&mut self) -> Result<()> {
        let running = self.shared.running.lock();
        let running = running.unwrap_or_else(PoisonError::into_inner);
        for _ in 0..PASSES {
            if self.shared.pass(&running)? {
                return Ok(());
            }
        }
        bail!("unison always has something to do")
    }

    fn original(&self, name: &str) -> Option<String> {
        // `a (conflict_on_2026-01-31).txt`, with a number if there are several.
        let (stem, rest) = name.split_once(" (conflict")?;
        let (_, extension) = rest.rsplit_once(')')?;
        Some(format!("{stem}{extension}"))
    }

    fn is_own(&self, name: &str) -> bool {
        name.starts_with(".unison")
    }
}
