//! Sees when a path arrives, without costing those who are measured: one thread that sleeps in
//! inotify.
//!
//! Guarantees: the time of an arrival is the one at which the kernel woke this thread for the
//! directory's last event, and content is compared after it; nothing is polled.

use std::collections::BTreeMap;
use std::fs;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};

/// Events that may wait; when more come the oldest matter least, since each is only a reason to
/// look.
const EVENTS: usize = 16 * 1024;
const BUFFER_BYTES: usize = 64 * 1024;

/// Something happened to a path.
#[derive(Debug)]
struct Event {
    at: Instant,
    path: PathBuf,
}

/// Watches directories.
#[derive(Debug)]
pub(crate) struct Arrivals {
    inotify: Arc<OwnedFd>,
    dirs: Arc<Mutex<BTreeMap<i32, PathBuf>>>,
    events: Receiver<Event>,
    thread: Option<JoinHandle<()>>,
    /// Writing into it ends the thread.
    bell: tempfile::TempDir,
}

impl Arrivals {
    /// Watches nothing yet.
    ///
    /// # Errors
    /// If the system has no inotify instance left.
    pub(crate) fn new() -> Result<Self> {
        let inotify = inotify::init(CreateFlags::CLOEXEC);
        let inotify =
            inotify.context("no inotify instance left (fs.inotify.max_user_instances)")?;
        let inotify = Arc::new(inotify);
        let bell = tempfile::tempdir()?;
        let dirs = Arc::new(Mutex::new(BTreeMap::new()));
        let (send, events) = sync_channel(EVENTS);
        let theirs = (
            Arc::clone(&inotify),
            Arc::clone(&dirs),
            bell.path().to_owned(),
        );
        let thread = std::thread::spawn(move || listen(&theirs.0, &theirs.1, &theirs.2, &send));
        let arrivals = Self {
            inotify,
            dirs,
            events,
            thread: Some(thread),
            bell,
        };
        arrivals.add(arrivals.bell.path())?;
        Ok(arrivals)
    }

    /// Watches a directory too.
    ///
    /// # Errors
    /// If it does not exist or no watch is left.
    pub(crate) fn add(&self, dir: &Path) -> Result<()> {
        let flags = WatchFlags::MOVED_TO
            | WatchFlags::MOVED_FROM
            | WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::CLOSE_WRITE;
        let mut dirs = self.dirs.lock().unwrap_or_else(PoisonError::into_inner);
        let watch = inotify::add_watch(&*self.inotify, dir, flags);
        let watch = watch.with_context(|| format!("cannot watch {}", dir.display()))?;
        dirs.insert(watch, dir.to_owned());
        Ok(())
    }

    /// Watches all directories below one, itself included.
    ///
    /// # Errors
    /// As [`Arrivals::add`].
    pub(crate) fn add_all(&self, dir: &Path) -> Result<()> {
        self.add(dir)?;
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() && entry.file_name() != ".fsync" {
                self.add_all(&entry.path())?;
            }
        }
        Ok(())
    }

    /// Forgets what happened so far.
    pub(crate) fn forget(&self) {
        while self.events.try_recv().is_ok() {}
    }

    /// Waits until something happened to `path` and `is_there` then holds; returns when it
    /// happened.
    ///
    /// # Errors
    /// If the time is up.
    pub(crate) fn wait(
        &self,
        path: &Path,
        patience: Duration,
        is_there: impl Fn(&Path) -> bool,
    ) -> Result<Instant> {
        let until = Instant::now() + patience;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let Ok(event) = self.events.recv_timeout(left) else {
                bail!("{} was not as expected within {patience:?}", path.display());
            };
            if event.path == path && is_there(path) {
                return Ok(event.at);
            }
        }
    }
}

impl Drop for Arrivals {
    fn drop(&mut self) {
        let is_rung = fs::write(self.bell.path().join("end"), b"").is_ok();
        if let Some(thread) = self.thread.take().filter(|_| is_rung) {
            drop(thread.join());
        }
    }
}

/// The thread: ends when something happens in `bell`.
fn listen(
    inotify: &OwnedFd,
    dirs: &Mutex<BTreeMap<i32, PathBuf>>,
    bell: &Path,
    send: &SyncSender<Event>,
) {
    let mut buffer = vec![MaybeUninit::uninit(); BUFFER_BYTES];
    let mut reader = Reader::new(inotify, &mut buffer);
    loop {
        let Ok(event) = reader.next() else { return };
        let at = Instant::now();
        let (Some(name), false) = (
            event.file_name(),
            event.events().contains(ReadFlags::IGNORED),
        ) else {
            continue;
        };
        let dir = dirs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&event.wd())
            .cloned();
        let Some(dir) = dir else { continue };
        if dir == bell {
            return;
        }
        let path = dir.join(name.to_string_lossy().as_ref());
        // A full queue already holds reasons to look.
        drop(send.try_send(Event { at, path }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rename_into_a_watched_directory_arrives() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("sub")).unwrap();
        let arrivals = Arrivals::new().unwrap();
        arrivals.add_all(dir.path()).unwrap();
        let (temporary, path) = (dir.path().join("t"), dir.path().join("sub/f"));
        fs::write(&temporary, b"x").unwrap();
        let before = Instant::now();
        fs::rename(&temporary, &path).unwrap();
        let is_there = |path: &Path| fs::read(path).is_ok_and(|bytes| bytes == b"x");
        let at = arrivals
            .wait(&path, Duration::from_secs(20), is_there)
            .unwrap();
        assert!(at >= before);
        assert!(arrivals.wait(&temporary, Duration::ZERO, |_| true).is_err());
    }
}
