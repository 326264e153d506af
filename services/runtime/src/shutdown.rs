//! Starts every task of a process and ends them all: the only place that spawns.
//!
//! Guarantees: each task has a name and a span, is counted until it ends, and a panic in it is
//! logged with its name; [`Shutdown::wait`] returns when all tasks have ended, or names those that
//! have not.
//! Does not: end a task by force; tasks watch [`Shutdown::token`] and end themselves.
//!
//! ```text
//! first SIGTERM/SIGINT -> trigger() -> token cancelled -> tasks drain -> wait() returns -> main returns
//! second one           -> the process ends at once, with 128 + signal
//! ```

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::{AbortHandle, JoinHandle};
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};
use tokio_util::task::TaskTracker;
use tracing::{Instrument, Span, error, error_span, info, warn};

const EXIT_SIGNALLED: i32 = 128;

/// Tasks that had not ended when the time was up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("still running after {timeout:?}: {}", .names.join(", "))]
pub struct Unfinished {
    /// Their names, sorted, once per task.
    pub names: Vec<&'static str>,
    /// How long was waited.
    pub timeout: Duration,
}

/// Handle to the tasks of a process or of a part of it; clones are the same thing.
#[derive(Debug, Clone, Default)]
pub struct Shutdown(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    tracker: TaskTracker,
    token: CancellationToken,
    running: Mutex<Running>,
    signals: Mutex<Option<AbortOnDrop>>,
}

#[derive(Debug)]
struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[derive(Debug, Default)]
struct Running {
    next: u64,
    names: BTreeMap<u64, &'static str>,
}

impl Shutdown {
    /// Starts with no task.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes a part with tasks of its own, which the whole's trigger ends too; wait for it
    /// separately.
    #[must_use]
    pub fn child(&self) -> Self {
        Self(Arc::new(Inner {
            token: self.0.token.child_token(),
            ..Inner::default()
        }))
    }

    /// Starts a task in a span of its own below the current one.
    pub fn spawn<F>(&self, name: &'static str, future: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let guard = self.enter(name);
        let task = async move {
            let _guard = guard;
            future.await
        };
        self.0.tracker.spawn(task.instrument(span(name)))
    }

    /// Runs blocking work on the blocking pool, in a span of its own below the current one.
    pub fn spawn_blocking<T: Send + 'static>(
        &self,
        name: &'static str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        let guard = self.enter(name);
        let span = span(name);
        self.0.tracker.spawn_blocking(move || {
            let _guard = guard;
            span.in_scope(work)
        })
    }

    /// Returns the token that is cancelled when the end begins.
    pub fn token(&self) -> CancellationToken {
        self.0.token.clone()
    }

    /// Resolves when the end begins.
    pub fn triggered(&self) -> WaitForCancellationFuture<'_> {
        self.0.token.cancelled()
    }

    /// Returns whether the end has begun.
    pub fn is_triggered(&self) -> bool {
        self.0.token.is_cancelled()
    }

    /// Begins the end: cancels the token.
    pub fn trigger(&self) {
        self.0.token.cancel();
    }

    /// Waits until all tasks have ended; tasks may still be started meanwhile. Does not trigger.
    ///
    /// # Errors
    /// [`Unfinished`] with the names of the tasks that go on after `timeout`.
    pub async fn wait(&self, timeout: Duration) -> Result<(), Unfinished> {
        self.0.tracker.close();
        tokio::time::timeout(timeout, self.0.tracker.wait())
            .await
            .map_err(|_elapsed| Unfinished {
                names: self.running(),
                timeout,
            })
    }

    /// Triggers and waits.
    ///
    /// # Errors
    /// As [`Shutdown::wait`].
    pub async fn end(&self, timeout: Duration) -> Result<(), Unfinished> {
        self.trigger();
        self.wait(timeout).await
    }

    /// Returns the names of the tasks that run, sorted, once per task.
    pub fn running(&self) -> Vec<&'static str> {
        let mut names: Vec<_> = lock(&self.0.running).names.values().copied().collect();
        names.sort_unstable();
        names
    }

    /// Lets the first SIGTERM or SIGINT trigger, and the second end the process at once. Call once,
    /// from `main`.
    ///
    /// # Errors
    /// The system's error if a signal handler cannot be installed.
    pub fn watch_signals(&self) -> io::Result<()> {
        let signals = (
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
        );
        // Not tracked: it lives as long as the process, and `wait` must not wait for it.
        let task = tokio::spawn(obey(signals, self.token()));
        *lock(&self.0.signals) = Some(AbortOnDrop(task.abort_handle()));
        Ok(())
    }

    fn enter(&self, name: &'static str) -> Guard {
        let mut running = lock(&self.0.running);
        let key = running.next;
        running.next += 1;
        running.names.insert(key, name);
        Guard {
            inner: Arc::clone(&self.0),
            key,
            name,
        }
    }
}

/// Takes a task off the list when it ends, in whatever way.
#[derive(Debug)]
struct Guard {
    inner: Arc<Inner>,
    key: u64,
    name: &'static str,
}

impl Drop for Guard {
    fn drop(&mut self) {
        lock(&self.inner.running).names.remove(&self.key);
        if std::thread::panicking() {
            error!(task = self.name, "task panicked");
        }
    }
}

fn span(name: &'static str) -> Span {
    error_span!("task", name)
}

/// A panic while the lock is held leaves whole values behind, so a poisoned lock is still good.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn obey(mut signals: (Signal, Signal), token: CancellationToken) {
    let number = next_signal(&mut signals).await;
    info!(signal = number, "stopping");
    token.cancel();
    let number = next_signal(&mut signals).await;
    warn!(signal = number, "second signal, ending at once");
    exit_now(number);
}

async fn next_signal((terminate, interrupt): &mut (Signal, Signal)) -> i32 {
    let kind = tokio::select! {
        _ = terminate.recv() => SignalKind::terminate(),
        _ = interrupt.recv() => SignalKind::interrupt(),
    };
    kind.as_raw_value()
}

#[expect(
    clippy::exit,
    reason = "the user asked twice: nothing that still runs may hold the process"
)]
fn exit_now(signal: i32) {
    std::process::exit(EXIT_SIGNALLED + signal);
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn tasks_end_when_triggered_and_are_waited_for() {
        let shutdown = Shutdown::new();
        let token = shutdown.token();
        let task = shutdown.spawn("waiter", async move {
            token.cancelled().await;
            7
        });
        assert_eq!(shutdown.running(), ["waiter"]);
        assert_eq!(shutdown.end(SOON).await, Ok(()));
        assert_eq!(task.await.unwrap(), 7);
        assert!(shutdown.running().is_empty());
    }

    #[tokio::test]
    async fn tasks_that_do_not_end_are_named() {
        let shutdown = Shutdown::new();
        drop(shutdown.spawn("stubborn", std::future::pending::<()>()));
        let error = shutdown.end(Duration::ZERO).await.unwrap_err();
        assert_eq!(error.names, ["stubborn"]);
        assert_eq!(error.to_string(), "still running after 0ns: stubborn");
    }

    #[tokio::test]
    async fn blocking_work_is_counted() {
        let shutdown = Shutdown::new();
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let work = shutdown.spawn_blocking("hash", move || wait.recv().is_ok());
        assert_eq!(shutdown.running(), ["hash"]);
        go.send(()).unwrap();
        assert!(work.await.unwrap());
        assert_eq!(shutdown.end(SOON).await, Ok(()));
    }

    #[tokio::test]
    async fn a_part_ends_with_the_whole_but_not_the_whole_with_a_part() {
        let whole = Shutdown::new();
        let (one, two) = (whole.child(), whole.child());
        one.trigger();
        assert!(one.is_triggered() && !two.is_triggered() && !whole.is_triggered());
        whole.trigger();
        assert!(two.is_triggered());
    }

    #[tokio::test]
    async fn a_panicking_task_does_not_hold_the_end() {
        let shutdown = Shutdown::new();
        let task = shutdown.spawn("broken", async { panic!("on purpose") });
        assert!(task.await.unwrap_err().is_panic());
        assert_eq!(shutdown.end(SOON).await, Ok(()));
    }
}
