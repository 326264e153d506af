//! The trash task: looks through the trash at start and then once a day.
//!
//! Started by `run.rs`, ended with it; each sweep runs on the blocking pool, so the sync thread
//! never waits for one. A sweep that is under way at the end stops between two slots. Nothing is
//! swept while the root is held: a rescued file would make an emptied folder look filled again.

use std::sync::Arc;
use std::time::Duration;

use fsync_runtime::Shutdown;

use crate::folder::Parts;
use crate::progress::{Event as Shown, Progress};
use crate::scan::{self, RootCheck, ScanError, Scope};
use crate::trash::{Rescued, Sweep};

/// Longest time between two sweeps.
const DAY: Duration = Duration::from_secs(24 * 3600);
/// What went to the trash less than this ago is left alone; also the shortest time between two
/// sweeps.
const SETTLE: Duration = Duration::from_secs(60);

/// Starts the task.
pub(super) fn start(parts: Parts, keep: Duration, progress: Arc<dyn Progress>, tasks: &Shutdown) {
    let shutdown = tasks.clone();
    let stop = tasks.token();
    let pause = keep.clamp(SETTLE, DAY);
    let task = async move {
        loop {
            let (parts, progress, stopped) = (parts.clone(), progress.clone(), stop.clone());
            let work = move || sweep(&parts, keep, &*progress, &|| stopped.is_cancelled());
            if shutdown.spawn_blocking("trash sweep", work).await.is_err() {
                tracing::error!("a sweep of the trash died; this is a bug, nothing is lost");
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    };
    drop(tasks.spawn("trash", task));
}

fn sweep(parts: &Parts, keep: Duration, progress: &dyn Progress, is_stopped: &dyn Fn() -> bool) {
    let files = &*parts.files;
    let root = scan::check_root(files, &parts.state, &Scope::Whole, RootCheck::Hold);
    if matches!(root, Err(ScanError::Root(_))) {
        return;
    }
    let sweep = Sweep {
        files,
        state: &parts.state,
        agent: &parts.agent,
        keep,
        settle: SETTLE,
    };
    let mut tell = |rescued: Rescued| {
        let message = format!(
            "{} was written to after it went to the trash; what was written is kept as {}",
            rescued.path, rescued.copy
        );
        progress.report(&Shown::Notice { message });
    };
    match sweep.run(is_stopped, &mut tell) {
        Ok(removed) => tracing::info!(removed, "trash swept"),
        Err(error) => {
            tracing::warn!(%error, "the trash could not be swept; it is tried again later");
        }
    }
}
