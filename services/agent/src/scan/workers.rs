//! The threads of a scan: a stack of jobs, workers that list and hash, a bounded channel to the
//! recorder.
//!
//! The stack is last in, first out, so that memory follows the depth of the tree, not its size.
//! Workers end when no job is left or the recorder has gone; the scope joins them before the scan
//! returns.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use fsync_core::exception::Exception;
use fsync_core::node::Entry;
use fsync_core::nodes::NewNodes;
use fsync_core::path::{Name, RelPath};

use super::record::Recorder;
use super::{Counts, ScanError, ScanOutcome, Scope, scope, visit};
use crate::files::{Files, Kind, Stat};
use crate::rules::Rules;
use crate::state::{DirNo, Row, Snapshot, State};

/// Batches on their way to the recorder: enough to keep both sides busy.
const CHANNEL_BATCHES: usize = 64;
/// Most threads that list and hash.
const MAX_WORKERS: usize = 4;
/// A scope of fewer paths than this is not worth more than one thread.
const SMALL_SCOPE: usize = 32;

/// A directory as a worker sees it.
#[derive(Debug, Clone)]
pub(super) struct Dir {
    pub(super) path: RelPath,
    /// Its number in the index; `None` if it is new.
    pub(super) no: Option<DirNo>,
    /// The rules inside it.
    pub(super) rules: Rules,
}

/// A file or link to read.
#[derive(Debug)]
pub(super) struct ToHash {
    pub(super) name: Name,
    pub(super) kind: Kind,
}

/// One piece of work.
#[derive(Debug)]
pub(super) enum Job {
    /// List a directory and look at all in it, and below.
    List(Dir),
    /// Look at some names of a directory; the flag asks for all below.
    Names(Dir, Vec<(Name, bool)>),
    /// Read some files of a directory.
    Hash(RelPath, Vec<ToHash>),
}

/// What a worker found at a name.
#[derive(Debug)]
pub(super) enum Change {
    /// A new directory; `moved` if it stood elsewhere before.
    Dir { stat: Stat, moved: Option<DirNo> },
    /// A file or link, new or changed.
    Leaf {
        stat: Stat,
        recorded: i64,
        entry: Entry,
        nodes: NewNodes,
    },
    /// What the row tells of is not there any more.
    Gone(Row),
    /// It cannot be in the tree.
    Excepted(Exception),
    /// An exception that the user's doing ended.
    Ended,
    /// It changed while it was read.
    Busy,
}

/// Findings in one directory.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) dir: RelPath,
    pub(super) items: Vec<(Name, Change)>,
}

#[derive(Debug, Default)]
struct Queue {
    jobs: Vec<Job>,
    running: usize,
    is_closed: bool,
}

/// What all workers of a scan share.
pub(super) struct Shared<'a> {
    pub(super) files: &'a dyn Files,
    pub(super) snapshot: &'a Snapshot,
    /// Whether there is any exception: saves a look-up per name.
    pub(super) has_exceptions: bool,
    queue: Mutex<Queue>,
    wake: Condvar,
    claimed: Mutex<HashSet<DirNo>>,
    seen: AtomicU64,
    hashed: AtomicU64,
    hashed_bytes: AtomicU64,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared<'_> {
    pub(super) fn push(&self, job: Job) {
        locked(&self.queue).jobs.push(job);
        self.wake.notify_one();
    }

    /// Claims a directory of the index for its new place; each can be claimed once.
    pub(super) fn claim(&self, dir: DirNo) -> bool {
        locked(&self.claimed).insert(dir)
    }

    pub(super) fn count_seen(&self, files: u64) {
        self.seen.fetch_add(files, Ordering::Relaxed);
    }

    pub(super) fn count_hashed(&self, bytes: u64) {
        self.hashed.fetch_add(1, Ordering::Relaxed);
        self.hashed_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn counts(&self) -> Counts {
        Counts {
            seen: self.seen.load(Ordering::Relaxed),
            hashed: self.hashed.load(Ordering::Relaxed),
            hashed_bytes: self.hashed_bytes.load(Ordering::Relaxed),
        }
    }

    fn next(&self) -> Option<Job> {
        let mut queue = locked(&self.queue);
        loop {
            if queue.is_closed {
                return None;
            }
            if let Some(job) = queue.jobs.pop() {
                queue.running += 1;
                return Some(job);
            }
            if queue.running == 0 {
                self.wake.notify_all();
                return None;
            }
            queue = self
                .wake
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn done(&self) {
        let mut queue = locked(&self.queue);
        queue.running -= 1;
        if queue.running == 0 && queue.jobs.is_empty() {
            self.wake.notify_all();
        }
    }

    fn close(&self) {
        locked(&self.queue).is_closed = true;
        self.wake.notify_all();
    }

    /// Does all jobs in the caller's thread; what they found waits in the channel that is returned.
    fn work_alone(&self) -> Receiver<Result<Batch, ScanError>> {
        let mut found = Vec::new();
        while let Some(job) = self.next() {
            let result = visit::run(self, job, &mut |batch| {
                found.push(Ok(batch));
                true
            });
            if let Err(error) = result {
                found.push(Err(error));
                self.close();
            }
            self.done();
        }
        let (sender, receiver) = sync_channel(found.len());
        for batch in found {
            // There is room for all of them, and the receiver is here.
            drop(sender.send(batch));
        }
        receiver
    }

    fn work(&self, sender: &SyncSender<Result<Batch, ScanError>>) {
        while let Some(job) = self.next() {
            let result = visit::run(self, job, &mut |batch| sender.send(Ok(batch)).is_ok());
            if let Err(error) = result {
                // The recorder ends the scan on an error; if it has ended already, nobody needs it.
                drop(sender.send(Err(error)));
                self.close();
            }
            self.done();
        }
    }
}

/// Runs a scan: starts workers, records what they find.
pub(super) fn run(
    files: &dyn Files,
    state: &State,
    scope: &Scope,
    progress: &mut dyn FnMut(&Counts),
) -> Result<ScanOutcome, ScanError> {
    let snapshot = state.snapshot()?;
    let shared = Shared {
        files,
        snapshot: &snapshot,
        has_exceptions: snapshot.has_exceptions()?,
        queue: Mutex::default(),
        wake: Condvar::new(),
        claimed: Mutex::default(),
        seen: AtomicU64::new(0),
        hashed: AtomicU64::new(0),
        hashed_bytes: AtomicU64::new(0),
    };
    let plan = scope::plan(files, &snapshot, scope)?;
    let workers = match scope {
        Scope::Paths(looks) if looks.len() < SMALL_SCOPE => 1,
        _ => std::thread::available_parallelism().map_or(2, |n| n.get().clamp(2, MAX_WORKERS)),
    };
    plan.jobs.into_iter().for_each(|job| shared.push(job));
    let mut recorder = Recorder::new(files, state)?;
    if files.threads() == 1 {
        let receiver = shared.work_alone();
        record(&mut recorder, &receiver, &mut || progress(&shared.counts()))?;
        return recorder.finish(&plan.looked, shared.counts());
    }
    let (sender, receiver) = sync_channel(CHANNEL_BATCHES);
    std::thread::scope(|threads| {
        for _ in 0..workers {
            let (sender, shared) = (sender.clone(), &shared);
            threads.spawn(move || shared.work(&sender));
        }
        drop(sender);
        let recorded = record(&mut recorder, &receiver, &mut || progress(&shared.counts()));
        shared.close();
        // A worker may wait for room in the channel: take the receiver away before the threads are
        // joined.
        drop(receiver);
        recorded
    })?;
    recorder.finish(&plan.looked, shared.counts())
}

fn record(
    recorder: &mut Recorder<'_>,
    receiver: &Receiver<Result<Batch, ScanError>>,
    progress: &mut dyn FnMut(),
) -> Result<(), ScanError> {
    while let Ok(first) = receiver.recv() {
        recorder.record(first?, receiver)?;
        progress();
    }
    Ok(())
}
