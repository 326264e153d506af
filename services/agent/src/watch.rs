//! The watcher: what the system says of changes in the folder, as changes of paths.
//!
//! Guarantees: a new directory is watched before it is reported, so that nothing made in it
//! meanwhile is missed; lost events are reported as an overflow, never passed over; the agent's own
//! `.fsync` is not watched. The whole folder is looked at every hour, and where the system's limit of
//! watches is reached, or the disk raises no events for what is changed elsewhere, every [`POLL`].
//! Does not: look at contents, or know what is ignored.
//!
//! ```text
//! notify's thread -> bounded channel (full: overflow) -> the watch thread -> batches (full: waits, gathers)
//! ```
//! The watch thread starts with [`Watch::start`] and ends when the [`Watch`] is dropped or nobody
//! takes batches. Events in flight are lost then: the next start scans. The only file that names
//! notify.

mod error;
mod report;

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use fsync_core::engine::changes::{Change, ChangeKind};
use fsync_core::path::{MARKER_DIR, RelPath};
use notify::event::{AccessKind, AccessMode, CreateKind, ModifyKind, RenameMode};
use notify::{Config, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc::Sender;

use crate::files::disk::{Glance, glance, without_events};
use crate::folder::FolderInput;

pub use error::WatchError;
use error::refused;
pub use report::WatchReport;

/// Events that may wait for the watch thread; more of them are an overflow.
const RAW_EVENTS: usize = 16 * 1024;
/// Events that one batch gathers at most.
const BATCH_EVENTS: usize = 4096;
/// How often the folder is scanned while the system tells only of a part of what changes.
pub const POLL: Duration = Duration::from_secs(60);

/// How often it is scanned anyway: what a program writes through a mapping raises no event.
const LOOK: Duration = Duration::from_secs(3600);

/// How long the first half of a rename waits for the second: what moves out of the folder has none.
const HALF_RENAME: Duration = Duration::from_millis(25);

/// A running watcher; ends when it is dropped.
#[derive(Debug)]
pub struct Watch {
    stop: Arc<AtomicBool>,
    wake: SyncSender<Raw>,
    thread: Option<JoinHandle<()>>,
    report: WatchReport,
}

/// What reaches the watch thread.
#[derive(Debug)]
enum Raw {
    Event(Event),
    Error(notify::Error),
    Stop,
}

impl Watch {
    /// Watches the folder at `root`, all below it included, and gives batches of changes to
    /// `changes`.
    ///
    /// # Errors
    /// [`WatchError::Refused`]. Too few watches are no error: they are logged, and the folder is
    /// scanned every [`POLL`].
    pub fn start(root: &Path, changes: Sender<FolderInput>) -> Result<Self, WatchError> {
        let (wake, raw) = sync_channel(RAW_EVENTS);
        let lost = Arc::new(AtomicBool::new(false));
        let mut watcher = start_notify(root, wake.clone(), Arc::clone(&lost))?;
        let report = WatchReport::default();
        if let Some(disk) = without_events(root) {
            let polled = polled(&format!(
                "{disk} does not tell of what is changed elsewhere"
            ));
            tracing::warn!("{polled}");
            report.polls(polled);
        }
        let is_partial = match watch_below(&mut watcher, root) {
            Ok(()) => false,
            Err(error @ WatchError::Limit(_)) => {
                only_a_part(&error, &report);
                true
            }
            Err(error) => return Err(error),
        };
        // Stage and trash are the agent's own doing. Nothing to take back if they are not watched.
        drop(watcher.unwatch(&root.join(MARKER_DIR)));
        let stop = Arc::new(AtomicBool::new(false));
        let thread = Thread {
            root: root.to_owned(),
            watcher,
            raw,
            changes,
            lost,
            stop: Arc::clone(&stop),
            report: report.clone(),
            is_partial,
        };
        let thread = std::thread::Builder::new()
            .name("watch".to_owned())
            .spawn(move || thread.run())
            .map_err(|error| refused(root, notify::Error::io(error)))?;
        Ok(Self {
            stop,
            wake,
            thread: Some(thread),
            report,
        })
    }

    /// Returns what people are told of watching.
    pub fn report(&self) -> WatchReport {
        self.report.clone()
    }
}

/// Returns what people are told of a folder that is looked at from time to time.
fn polled(why: &str) -> String {
    format!("{why}; everything is looked at every {} s", POLL.as_secs())
}

fn only_a_part(error: &WatchError, report: &WatchReport) {
    tracing::error!(%error, "only a part of the folder is watched");
    report.polls(polled(&error.to_string()));
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        // A full channel wakes the thread as well.
        drop(self.wake.try_send(Raw::Stop));
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the watch thread died");
        }
    }
}

fn start_notify(
    root: &Path,
    wake: SyncSender<Raw>,
    lost: Arc<AtomicBool>,
) -> Result<RecommendedWatcher, WatchError> {
    let marker = root.join(MARKER_DIR);
    // Runs on notify's thread, which the watch thread waits for when it adds a watch: it must never
    // wait itself.
    let handler = move |event: notify::Result<Event>| {
        let raw = match event {
            Ok(event) if !is_of_interest(&event, &marker) => return,
            Ok(event) => Raw::Event(event),
            Err(error) => Raw::Error(error),
        };
        if let Err(TrySendError::Full(_)) = wake.try_send(raw) {
            lost.store(true, Ordering::Release);
        }
    };
    let config = Config::default().with_follow_symlinks(false);
    RecommendedWatcher::new(handler, config).map_err(|error| refused(root, error))
}

fn is_of_interest(event: &Event, marker: &Path) -> bool {
    if event.need_rescan() {
        return true;
    }
    let is_noise = match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => false,
        EventKind::Access(_) | EventKind::Modify(ModifyKind::Name(RenameMode::Both)) => true,
        _ => false,
    };
    !is_noise && !event.paths.iter().any(|path| path.starts_with(marker))
}

fn watch_below(watcher: &mut RecommendedWatcher, path: &Path) -> Result<(), WatchError> {
    watcher
        .watch(path, RecursiveMode::Recursive)
        .map_err(|error| refused(path, error))
}

struct Thread {
    root: PathBuf,
    watcher: RecommendedWatcher,
    raw: Receiver<Raw>,
    changes: Sender<FolderInput>,
    lost: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    report: WatchReport,
    /// The limit of watches was told.
    is_partial: bool,
}

/// What a batch has gathered.
#[derive(Debug, Default)]
struct Gathered {
    changes: BTreeMap<RelPath, ChangeKind>,
    is_overflow: bool,
    /// Renames of which only the first half came, by the system's number. Told of alone, it would
    /// be a delete.
    halves: BTreeSet<usize>,
}

impl Thread {
    fn run(mut self) {
        let mut looked = Instant::now();
        loop {
            let mut gathered = Gathered::default();
            match self.wait(looked) {
                Ok(raw) => self.take(raw, &mut gathered),
                Err(RecvTimeoutError::Timeout) => gathered.is_overflow = true,
                Err(RecvTimeoutError::Disconnected) => return,
            }
            let by = Instant::now() + HALF_RENAME;
            for _ in 1..BATCH_EVENTS {
                let Some(raw) = self.more(&gathered, by) else {
                    break;
                };
                self.take(raw, &mut gathered);
            }
            if self.stop.load(Ordering::Acquire) {
                return;
            }
            if self.lost.swap(false, Ordering::AcqRel) {
                self.overflowed(&mut gathered);
            }
            // However much is told meanwhile: what is not told must be found.
            gathered.is_overflow |= looked.elapsed() >= self.period();
            if gathered.is_overflow {
                looked = Instant::now();
            }
            if !self.send(gathered) {
                return;
            }
        }
    }

    /// Returns how often everything is looked at.
    fn period(&self) -> Duration {
        match self.report.polled() {
            Some(_) => POLL,
            None => LOOK,
        }
    }

    fn wait(&self, looked: Instant) -> Result<Raw, RecvTimeoutError> {
        let left = self.period().saturating_sub(looked.elapsed());
        self.raw.recv_timeout(left)
    }

    /// Returns what is there already; while a rename is half told, what comes soon.
    fn more(&self, gathered: &Gathered, by: Instant) -> Option<Raw> {
        match gathered.halves.is_empty() {
            true => self.raw.try_recv().ok(),
            false => {
                let left = by.saturating_duration_since(Instant::now());
                self.raw.recv_timeout(left).ok()
            }
        }
    }

    fn send(&self, gathered: Gathered) -> bool {
        let input = if gathered.is_overflow {
            FolderInput::Overflow
        } else if gathered.changes.is_empty() {
            return true;
        } else {
            let change = |(path, kind)| Change { path, kind };
            FolderInput::Changed(gathered.changes.into_iter().map(change).collect())
        };
        self.changes.blocking_send(input).is_ok()
    }

    fn take(&mut self, raw: Raw, gathered: &mut Gathered) {
        match raw {
            Raw::Stop => {}
            Raw::Error(error) => self.failed(&error, gathered),
            Raw::Event(event) if event.need_rescan() => self.overflowed(gathered),
            Raw::Event(event) => {
                match (event.kind, event.tracker()) {
                    (EventKind::Modify(ModifyKind::Name(RenameMode::From)), Some(number)) => {
                        gathered.halves.insert(number);
                    }
                    (EventKind::Modify(ModifyKind::Name(_)), Some(number)) => {
                        gathered.halves.remove(&number);
                    }
                    _ => {}
                }
                for path in &event.paths {
                    self.changed(&event.kind, path, gathered);
                }
            }
        }
    }

    fn overflowed(&self, gathered: &mut Gathered) {
        self.report.overflowed();
        gathered.is_overflow = true;
    }

    /// The system's limit is told once; anything else may have cost events.
    fn failed(&mut self, error: &notify::Error, gathered: &mut Gathered) {
        gathered.is_overflow = true;
        if !matches!(error.kind, notify::ErrorKind::MaxFilesWatch) {
            tracing::warn!(%error, "the watcher failed; the folder is scanned");
        } else if !std::mem::replace(&mut self.is_partial, true) {
            let error = WatchError::Limit(error.paths.first().unwrap_or(&self.root).clone());
            only_a_part(&error, &self.report);
        }
    }

    fn changed(&mut self, kind: &EventKind, path: &Path, gathered: &mut Gathered) {
        let Ok(below) = path.strip_prefix(&self.root) else {
            return;
        };
        if below.as_os_str().is_empty() {
            // The root itself was moved, removed or touched: only a look at it tells.
            gathered.is_overflow |= !matches!(kind, EventKind::Modify(ModifyKind::Metadata(_)));
            return;
        }
        let Ok(below) = RelPath::parse(below.as_os_str().as_bytes()) else {
            return;
        };
        let kind = match kind {
            EventKind::Create(CreateKind::Folder) => self.appeared(path, gathered),
            EventKind::Modify(ModifyKind::Name(RenameMode::To)) => match glance(path) {
                Glance::Dir => self.appeared(path, gathered),
                _ => ChangeKind::Finished,
            },
            // A new file's end of writing follows; a link's or a further name's does not.
            EventKind::Create(_) => match glance(path) {
                Glance::File => ChangeKind::Unfinished,
                _ => ChangeKind::Finished,
            },
            EventKind::Modify(ModifyKind::Data(_)) => ChangeKind::Unfinished,
            EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(RenameMode::From)) => {
                ChangeKind::Gone
            }
            _ => ChangeKind::Finished,
        };
        let known = gathered.changes.entry(below).or_insert(kind);
        if *known != ChangeKind::Subtree {
            *known = kind;
        }
    }

    /// notify watches a new directory only after it told of it: what is made in between would be
    /// missed.
    fn appeared(&mut self, path: &Path, gathered: &mut Gathered) -> ChangeKind {
        match watch_below(&mut self.watcher, path) {
            Err(WatchError::Refused { source, .. }) => match source.kind {
                // Gone again: its removal is on its way.
                notify::ErrorKind::PathNotFound => {}
                _ => self.failed(&source, gathered),
            },
            Err(WatchError::Limit(path)) => {
                let error = notify::Error::new(notify::ErrorKind::MaxFilesWatch).add_path(path);
                self.failed(&error, gathered);
            }
            Ok(()) => {}
        }
        ChangeKind::Subtree
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::mpsc;

    struct Watched {
        temp: tempfile::TempDir,
        batches: mpsc::Receiver<FolderInput>,
        _watch: Watch,
    }

    fn watched() -> Watched {
        let temp = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(temp.path().join(".fsync/stage")).unwrap();
        std::fs::create_dir_all(temp.path().join("old")).unwrap();
        let (sender, batches) = mpsc::channel(64);
        let watch = Watch::start(temp.path(), sender).unwrap();
        Watched {
            temp,
            batches,
            _watch: watch,
        }
    }

    /// Waits until a change of this path and kind comes; everything before it is passed over.
    fn wait_for(watched: &mut Watched, path: &str, kind: ChangeKind) {
        loop {
            let Some(FolderInput::Changed(changes)) = watched.batches.blocking_recv() else {
                panic!("no change came");
            };
            for change in changes {
                assert!(!change.path.as_bytes().starts_with(b".fsync"));
                if change.path.as_bytes() == path.as_bytes() && change.kind == kind {
                    return;
                }
            }
        }
    }

    #[test]
    fn the_end_of_a_write_a_rename_and_a_removal_are_told() {
        let mut watched = watched();
        let at = |name: &str| watched.temp.path().join(name);
        let (one, two, staged) = (at("old/one"), at("two"), at(".fsync/stage/p-1"));
        std::fs::write(staged, "own").unwrap();
        std::fs::write(&one, "text").unwrap();
        wait_for(&mut watched, "old/one", ChangeKind::Finished);
        std::fs::rename(&one, &two).unwrap();
        wait_for(&mut watched, "two", ChangeKind::Finished);
        std::fs::remove_file(&two).unwrap();
        wait_for(&mut watched, "two", ChangeKind::Gone);
    }

    #[test]
    fn new_and_moved_directories_are_watched_before_they_are_told() {
        let mut watched = watched();
        let at = |name: &str| watched.temp.path().join(name);
        let (deep, moved, file) = (at("new/deep"), at("moved"), at("moved/deep/file"));
        std::fs::create_dir_all(&deep).unwrap();
        wait_for(&mut watched, "new", ChangeKind::Subtree);
        std::fs::rename(deep.parent().unwrap(), &moved).unwrap();
        wait_for(&mut watched, "moved", ChangeKind::Subtree);
        std::fs::write(&file, "x").unwrap();
        wait_for(&mut watched, "moved/deep/file", ChangeKind::Finished);
    }

    #[test]
    fn both_halves_of_a_rename_come_in_one_batch() {
        let temp = tempfile::tempdir().unwrap();
        // Nothing waits in a channel without room: the second half comes after the first was taken.
        let (wake, raw) = sync_channel(0);
        let (changes, mut batches) = mpsc::channel(64);
        let lost = Arc::new(AtomicBool::new(false));
        let (unheard, _) = sync_channel(1);
        let thread = Thread {
            root: temp.path().to_owned(),
            watcher: start_notify(temp.path(), unheard, Arc::clone(&lost)).unwrap(),
            raw,
            changes,
            lost,
            stop: Arc::default(),
            report: WatchReport::default(),
            is_partial: false,
        };
        let thread = std::thread::spawn(move || thread.run());
        for (half, name) in [(RenameMode::From, "large"), (RenameMode::To, "other")] {
            let kind = EventKind::Modify(ModifyKind::Name(half));
            let event = Event::new(kind).set_tracker(7);
            let event = event.add_path(temp.path().join(name));
            wake.send(Raw::Event(event)).unwrap();
        }
        let Some(FolderInput::Changed(changes)) = batches.blocking_recv() else {
            panic!("no change came");
        };
        let paths: Vec<String> = changes.iter().map(|c| c.path.to_string()).collect();
        assert_eq!(paths, ["large", "other"]);
        drop(wake);
        thread.join().unwrap();
    }

    #[test]
    fn a_removed_root_asks_for_a_look_at_everything() {
        let mut watched = watched();
        std::fs::remove_dir_all(watched.temp.path()).unwrap();
        loop {
            match watched.batches.blocking_recv() {
                Some(FolderInput::Overflow) => return,
                Some(_) => {}
                None => panic!("no overflow came"),
            }
        }
    }
}
