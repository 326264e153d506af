//! What the blob store remembers of each tree's head, so that the journal is never the only witness
//! of what contents are needed.
//!
//! Guarantees: a head is remembered within [`PAUSE`] of its commit and some retries; what is
//! remembered is replaced only by a head that has it in its lineage, so that a journal that lost or
//! forgot something cannot make the store forget it, too; [`witness`] says whether a tenant's heads
//! are what is remembered.
//! Does not: restore heads. Agents offer theirs; until one with the remembered revision in its
//! lineage came, nothing of the tenant is collected.
//! Costs: a read and a write of the store for each tree that moved, at most once in [`PAUSE`].
//! Tasks: `checkpoints`, ends at shutdown with what waits written.
//! Place: `tree.rs` tells of heads, `gc.rs` asks.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fsync_core::id::RevisionId;
use fsync_core::label::{TenantName, TreeKey};
use fsync_core::service::error::ServiceError;
use fsync_core::service::facts::Questions;
use fsync_core::wire::Head;
use fsync_runtime::Shutdown;
use futures_util::StreamExt;
use tokio::sync::Notify;
use tracing::{debug, warn};

use crate::store::Store;

/// Time between two writes of what moved: bounds their number, and what is not remembered yet.
const PAUSE: Duration = Duration::from_secs(1);
/// Checkpoints written or read at the same time.
const PARALLEL: usize = 16;

/// Writes checkpoints; clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Checkpoints(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    moved: Mutex<BTreeSet<TreeKey>>,
    changed: Notify,
}

/// How a tree stands against what is remembered of it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Standing {
    /// Nothing is remembered, or the head has it in its lineage.
    Sound,
    /// The journal has no head, or one that does not come from the remembered one.
    Contradicts(Head),
}

impl Checkpoints {
    /// A tree has a new head.
    pub fn moved(&self, tree: &TreeKey) {
        lock(&self.0.moved).insert(tree.clone());
        self.0.changed.notify_one();
    }

    /// Writes until the shutdown.
    pub async fn run(self, store: Store, tasks: Shutdown) {
        loop {
            tokio::select! {
                () = self.0.changed.notified() => {}
                () = tasks.triggered() => return self.write(&store).await,
            }
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                () = tasks.triggered() => return self.write(&store).await,
            }
            self.write(&store).await;
        }
    }

    async fn write(&self, store: &Store) {
        let trees = std::mem::take(&mut *lock(&self.0.moved));
        let writes = trees.into_iter().map(|tree| async move {
            if let Err(error) = self.remember(store, &tree).await {
                debug!(%tree, %error, "a head is remembered later");
                self.moved(&tree);
            }
        });
        futures_util::stream::iter(writes)
            .buffer_unordered(PARALLEL)
            .collect::<()>()
            .await;
    }

    /// Remembers a tree's head as it is now; again, if another replica moved it meanwhile.
    async fn remember(&self, store: &Store, tree: &TreeKey) -> Result<(), ServiceError> {
        let mut written = None;
        loop {
            let heads = store.journal().heads(vec![tree.clone()]).await?;
            let Some(head) = heads.into_iter().next().flatten() else {
                return Ok(());
            };
            if written == Some(head.revision) {
                return Ok(());
            }
            // Asked each time: another replica may have remembered what the journal lost since.
            if let Standing::Contradicts(remembered) = standing(store, tree).await? {
                warn!(
                    %tree, %head.revision, %remembered.revision,
                    "the head does not come from the one that the blob store remembers: an older \
                     state of the journal was put back, or an agent with the newer one is away; \
                     nothing of its tenant is collected until it is back"
                );
                return Ok(());
            }
            store.blobs().put_checkpoint(tree, &head).await?;
            written = Some(head.revision);
        }
    }
}

/// Returns the trees of a tenant whose heads contradict what is remembered of them: nothing of the
/// tenant may be collected then.
///
/// # Errors
/// [`ServiceError`] of journal or blob store.
pub async fn witness(store: &Store, tenant: &TenantName) -> Result<Vec<TreeKey>, ServiceError> {
    let trees = store.blobs().checkpoints(tenant).await?;
    let looks = trees.into_iter().map(|tree| async move {
        let standing = standing(store, &tree).await?;
        Ok::<_, ServiceError>((standing != Standing::Sound).then_some(tree))
    });
    let mut looks = futures_util::stream::iter(looks).buffer_unordered(PARALLEL);
    let mut wrong = Vec::new();
    while let Some(look) = looks.next().await {
        wrong.extend(look?);
    }
    wrong.sort();
    Ok(wrong)
}

/// Takes the journal's heads for the truth, whatever is remembered; returns how many trees of a
/// tenant were remembered otherwise.
///
/// # Errors
/// [`ServiceError`] of journal or blob store.
pub async fn accept(store: &Store, tenant: &TenantName) -> Result<usize, ServiceError> {
    let wrong = witness(store, tenant).await?;
    for tree in &wrong {
        let heads = store.journal().heads(vec![tree.clone()]).await?;
        match heads.into_iter().next().flatten() {
            Some(head) => store.blobs().put_checkpoint(tree, &head).await?,
            None => store.blobs().forget_checkpoint(tree).await?,
        }
    }
    Ok(wrong.len())
}

async fn standing(store: &Store, tree: &TreeKey) -> Result<Standing, ServiceError> {
    let Some(remembered) = store.blobs().checkpoint(tree).await? else {
        return Ok(Standing::Sound);
    };
    match is_ancestor(store, tree, remembered.revision).await? {
        true => Ok(Standing::Sound),
        false => Ok(Standing::Contradicts(remembered)),
    }
}

/// Returns whether a revision is in the lineage of a tree's head.
async fn is_ancestor(
    store: &Store,
    tree: &TreeKey,
    revision: RevisionId,
) -> Result<bool, ServiceError> {
    let questions = Questions {
        revisions: [revision].into(),
        ..Questions::default()
    };
    let answers = store.answer(tree, questions).await?;
    Ok(answers.revisions.iter().any(|(_, stored)| stored.is_some()))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
