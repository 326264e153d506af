//! Moves objects of small commits out of the journal into packs, once a pack's worth has gathered.
//!
//! Guarantees: an object is in the journal until it is durable in a pack; readers find it in one of
//! the two.
//! Tasks: `packer`, woken by commits, ends at shutdown; a pack in work is finished.

use fsync_core::limits;
use fsync_core::service::error::ServiceError;
use fsync_runtime::Shutdown;
use tracing::{debug, warn};

use crate::store::Store;
use crate::tree::Trees;

/// Packs whenever the trees say that enough has gathered.
pub async fn run(store: Store, trees: Trees, tasks: Shutdown) {
    loop {
        match pack(&store).await {
            Ok(inline_bytes) => trees.set_inline_bytes(inline_bytes),
            Err(error) => warn!(%error, "objects stay in the journal until the next try"),
        }
        tokio::select! {
            () = trees.gathered() => {}
            () = tasks.triggered() => return,
        }
    }
}

/// Packs until less than a pack is left; returns how many bytes that is.
///
/// # Errors
/// [`ServiceError`] of journal or blob store.
pub async fn pack(store: &Store) -> Result<u64, ServiceError> {
    let full = limits::PACK_BYTES as u64;
    loop {
        let inline_bytes = store.journal().inline_bytes().await?;
        if inline_bytes < full {
            return Ok(inline_bytes);
        }
        let Some((tenant, ids)) = store.journal().inline(full).await? else {
            return Ok(0);
        };
        let objects: Vec<_> = store
            .read(&tenant, &ids)
            .await?
            .into_iter()
            .flatten()
            .collect();
        if objects.is_empty() {
            return Ok(0);
        }
        let (pack, entries) = store.blobs().put_objects(&tenant, objects).await?;
        debug!(%tenant, %pack, objects = entries.len(), "journal objects packed");
        store.journal().repoint(tenant, None, pack, entries).await?;
    }
}
