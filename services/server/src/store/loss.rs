//! Objects that were lost: gone from the blob store, or rotten there.
//!
//! Guarantees: only what a second look finds gone or rotten too is lost, never what an error may
//! have hidden; a lost object is lacking for everybody, so that it is stored anew when somebody
//! sends it, and its trees have it back then; each time somebody misses objects of a tree, the
//! tree's agents are asked for them ([`Want`]), first for what is missed, then for what else the
//! tree has lost.
//! Does not: say who is asked how often; core's hub does. What waits to be asked for is bounded and
//! may be dropped: whoever misses an object comes back.
//! Place: `store.rs` and the handlers that tell readers what is not here; `socket.rs` takes the
//! wants.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use fsync_core::id::{ID_BYTES, ObjectId};
use fsync_core::label::{TenantName, TreeKey};
use fsync_core::limits;
use fsync_core::service::error::ServiceError;
use fsync_core::service::record::Loss;
use fsync_core::wire::Want;
use tokio::sync::mpsc;
use tracing::{error, warn};

use super::Store;
use crate::clock;

/// Wants that wait for the sockets' task; more are dropped, and raised again by the next reader.
const WAITING_WANTS: usize = 64;

/// The way from readers that miss objects to the sockets.
#[derive(Debug)]
pub(super) struct Wants {
    sender: mpsc::Sender<Want>,
    receiver: Mutex<Option<mpsc::Receiver<Want>>>,
}

impl Default for Wants {
    fn default() -> Self {
        let (sender, receiver) = mpsc::channel(WAITING_WANTS);
        Self {
            sender,
            receiver: Mutex::new(Some(receiver)),
        }
    }
}

impl Wants {
    pub(super) fn receiver(&self) -> Option<mpsc::Receiver<Want>> {
        let mut receiver = self.receiver.lock().unwrap_or_else(PoisonError::into_inner);
        receiver.take()
    }
}

impl Store {
    /// Makes the index forget places that were found empty twice.
    pub(super) async fn lose(
        &self,
        tenant: &TenantName,
        losses: Vec<Loss>,
    ) -> Result<(), ServiceError> {
        let losses: BTreeSet<Loss> = losses.into_iter().collect();
        let losses: Vec<Loss> = losses.into_iter().collect();
        let count = self.journal().lose(tenant.clone(), losses.clone()).await?;
        if count > 0 {
            error!(%tenant, ?losses, objects = count, "stored objects are lost");
        }
        Ok(())
    }

    /// Somebody missed objects of a tree: those that the tree lost are asked for. Returns them.
    ///
    /// # Errors
    /// [`ServiceError`] of the journal.
    pub async fn miss(
        &self,
        tree: &TreeKey,
        missed: &[ObjectId],
    ) -> Result<Vec<ObjectId>, ServiceError> {
        let journal = self.journal();
        let lost = journal.owned(tree.clone(), missed.to_vec()).await?;
        if lost.is_empty() {
            return Ok(lost);
        }
        let mut objects: Vec<ObjectId> = lost.iter().take(limits::WANT_OBJECTS).copied().collect();
        if objects.len() < limits::WANT_OBJECTS {
            let others = journal.lost(tree.clone(), anywhere(), limits::WANT_OBJECTS);
            let first: BTreeSet<ObjectId> = objects.iter().copied().collect();
            let others = others.await?.into_iter().filter(|id| !first.contains(id));
            objects.extend(others.take(limits::WANT_OBJECTS - first.len()));
        }
        let want = Want {
            tree: tree.clone(),
            objects,
        };
        if self.0.wants.sender.try_send(want).is_err() {
            warn!(%tree, "lost objects are asked for later");
        }
        Ok(lost)
    }
}

/// Returns an id to start from, so that in the end all lost objects are asked for although nobody
/// has the first ones.
fn anywhere() -> ObjectId {
    let mut id = [0; ID_BYTES];
    id[..16].copy_from_slice(&clock::random_u128().to_be_bytes());
    ObjectId::from_bytes(id)
}
