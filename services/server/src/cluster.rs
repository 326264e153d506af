//! Which journal a shared blob store belongs to, so that two services never take each other's packs
//! for garbage.
//!
//! Both the journal and the store hold the same number, the service's own. The first server that
//! meets a store without one writes it, and only one can (`If-None-Match`). A journal without a
//! number that meets a store with one was lost, or is another service's: a server cannot tell, so
//! it refuses, and the verb `adopt` says that the journal was lost.
//! Guarantees: a server runs only over a store and a journal of one number; nothing is ever
//! overwritten.
//! Does not: guard directories; the lock of the data directory does, as far as one machine goes.
//! Tasks: `cluster` puts the number back into a journal that lost it while replicas ran; ends at
//! shutdown.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use fsync_core::service::error::ServiceError;
use fsync_runtime::Shutdown;
use tracing::{error, info, warn};

use crate::blobs::{BlobError, Blobs};
use crate::clock;
use crate::journal::{Journal, JournalError};
use crate::store::Store;

/// Time between two looks whether the journal still has its number.
const LOOK: Duration = Duration::from_secs(10);

/// The number of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClusterId(pub u128);

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl FromStr for ClusterId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u128::from_str_radix(text, 16).map(Self)
    }
}

/// Why journal and blob store do not go together.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The store belongs to a journal that this one is not known to be.
    #[error(
        "{store} holds the contents of service {theirs}, and this journal is new: if it is another service, give \
         --blobs another prefix; if that service's journal was lost, start once with the verb adopt \
         (`fsync-server adopt`, with the same flags): its contents are indexed again then, and agents offer the heads"
    )]
    New {
        /// Which store.
        store: String,
        /// Whose it is.
        theirs: ClusterId,
    },
    /// Store and journal belong to two services.
    #[error(
        "{store} holds the contents of service {theirs}, and this journal is that of service {ours}: give --blobs \
         another bucket or prefix, or the journal of that service (--data-dir, --redis, --redis-prefix)"
    )]
    Other {
        /// Which store.
        store: String,
        /// Whose it is.
        theirs: ClusterId,
        /// Whose journal this is.
        ours: ClusterId,
    },
    /// There is nothing to adopt.
    #[error("{0} belongs to no service yet: start the server, nothing needs to be adopted")]
    Nobodys(String),
    /// The journal does not answer.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The store does not answer.
    #[error(transparent)]
    Blobs(#[from] BlobError),
}

/// Joins a journal and a shared store, or refuses.
///
/// # Errors
/// [`ClusterError`] that says what to change.
pub async fn join(journal: &dyn Journal, blobs: &Blobs) -> Result<ClusterId, ClusterError> {
    let marked = blobs.owner().await?;
    let ours = match (journal.cluster().await?, marked) {
        (None, Some(theirs)) => {
            let store = blobs.name();
            return Err(ClusterError::New { store, theirs });
        }
        (Some(ours), _) => ours,
        (None, None) => journal.join(ClusterId(clock::random_u128())).await?,
    };
    let theirs = match marked {
        Some(theirs) => theirs,
        None => blobs.own(ours).await?,
    };
    agree(blobs, ours, theirs)
}

/// Makes a new journal that of the service whose contents a store holds, because that service's own
/// was lost.
///
/// # Errors
/// [`ClusterError::Other`] if the journal is another service's already.
pub async fn adopt(journal: &dyn Journal, blobs: &Blobs) -> Result<ClusterId, ClusterError> {
    let theirs = blobs.owner().await?;
    let theirs = theirs.ok_or_else(|| ClusterError::Nobodys(blobs.name()))?;
    let ours = journal.join(theirs).await?;
    agree(blobs, ours, theirs)
}

fn agree(blobs: &Blobs, ours: ClusterId, theirs: ClusterId) -> Result<ClusterId, ClusterError> {
    if ours == theirs {
        return Ok(ours);
    }
    let store = blobs.name();
    Err(ClusterError::Other {
        store,
        theirs,
        ours,
    })
}

/// Puts a service's number back whenever the journal lost it, as Redis does without its data.
pub async fn keep(store: Store, ours: ClusterId, tasks: Shutdown) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = tasks.triggered() => return,
        }
        let journal = store.journal();
        match journal.cluster().await {
            Ok(Some(found)) if found == ours => {}
            Ok(Some(found)) => {
                error!(%ours, %found, "the journal is another service's now: stop this server, its blob store is not that one's");
            }
            Ok(None) => match journal.join(ours).await {
                Ok(_) => warn!(%ours, "the journal had lost what it held"),
                Err(error) => warn!(%error, "the journal lost what it held, and does not answer"),
            },
            // Whoever needs the journal says so.
            Err(error) => {
                let error = ServiceError::from(error);
                info!(%error, "the service's number is looked at later");
            }
        }
    }
}
