//! The inbox of a server that runs over a data directory: its journal is open to it alone, so the
//! verb `revoke` leaves a note there, and the server takes it.
//!
//! Guarantees: a note is removed after the journal has what it says, durably; a note that cannot be
//! read is set aside and logged, not tried for ever.
//! Does not: ask who left a note. Whoever may write there owns the data.
//! Tasks: `revoke inbox`, started by `app.rs`, looks every [`LOOK`]; ends at shutdown.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fsync_runtime::Shutdown;
use tracing::{error, info, warn};

use crate::access_log::TARGET;
use crate::auth::Revocation;
use crate::clock;
use crate::store::Store;

/// The directory of notes, in the data directory.
const INBOX: &str = "revoke";
/// Time between two looks.
const LOOK: Duration = Duration::from_secs(1);
/// How long the verb waits for the server.
const PATIENCE: Duration = Duration::from_secs(10);
/// Time between two looks of the verb.
const AGAIN: Duration = Duration::from_millis(50);
/// Longest note, in bytes.
const NOTE_BYTES: u64 = 4096;

/// Takes notes until the shutdown.
pub(crate) async fn run(data_dir: PathBuf, store: Store, tasks: Shutdown) {
    let inbox = data_dir.join(INBOX);
    loop {
        let dir = inbox.clone();
        let notes = store.busy(move || read_notes(&dir)).await;
        for (path, note) in notes.unwrap_or_default() {
            take(&path, note, &store).await;
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = tasks.triggered() => return,
        }
    }
}

type Note = Result<Revocation, String>;

fn read_notes(inbox: &Path) -> Vec<(PathBuf, Note)> {
    // No directory is the usual case: nobody was ever shut out.
    let Ok(entries) = fs::read_dir(inbox) else {
        return Vec::new();
    };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let notes = paths.filter(|path| path.extension().is_some_and(|end| end == "json"));
    notes.map(|path| (path.clone(), read_note(&path))).collect()
}

fn read_note(path: &Path) -> Note {
    let about = fs::metadata(path).map_err(|e| e.to_string())?;
    if about.len() > NOTE_BYTES {
        return Err(format!("it has over {NOTE_BYTES} bytes"));
    }
    let bytes = fs::read(path).map_err(|e| e.to_string())?;
    serde_json::from_slice(&bytes).map_err(|e| e.to_string())
}

async fn take(path: &Path, note: Note, store: &Store) {
    let revocation = match note {
        Ok(revocation) => revocation,
        Err(reason) => {
            error!(path = %path.display(), reason, "a note in the inbox cannot be read; it is set aside");
            drop(fs::rename(path, path.with_extension("bad")));
            return;
        }
    };
    match store.journal().revoke(revocation.clone()).await {
        Ok(true) => {
            info!(target: TARGET, who = %revocation.who, "revoked");
            if let Err(error) = fs::remove_file(path) {
                warn!(%error, path = %path.display(), "a note that was taken cannot be removed");
            }
        }
        Ok(false) => error!("a revocation does not fit any more: change the key instead"),
        Err(error) => warn!(%error, "a revocation waits for the journal"),
    }
}

/// Leaves a note and waits until the server took it.
pub(crate) async fn leave_note(data_dir: &Path, revocation: &Revocation) -> Result<(), String> {
    let inbox = data_dir.join(INBOX);
    let name = format!("{:032x}", clock::random_u128());
    let path = inbox.join(&name).with_extension("json");
    let failed = |e: io::Error| format!("cannot write to {}: {e}", inbox.display());
    let bytes = serde_json::to_vec(revocation).map_err(|e| e.to_string())?;
    fs::create_dir_all(&inbox).map_err(failed)?;
    let unfinished = inbox.join(&name);
    fs::write(&unfinished, bytes).map_err(failed)?;
    fs::rename(&unfinished, &path).map_err(failed)?;
    let end = Instant::now() + PATIENCE;
    while path.exists() {
        if Instant::now() > end {
            return Err(format!(
                "the server that uses {} did not take the revocation within {} s; its log may say why",
                data_dir.display(),
                PATIENCE.as_secs()
            ));
        }
        tokio::time::sleep(AGAIN).await;
    }
    Ok(())
}
