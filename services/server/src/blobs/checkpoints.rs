//! Checkpoints as objects: `checkpoints/TENANT/TREE`, the head as JSON.

use fsync_core::label::{TenantName, TreeKey};
use fsync_core::wire::Head;
use futures_util::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload};

use super::answer::{is_gone, place};
use super::{BlobError, Blobs};

const DIR: &str = "checkpoints";

fn path_of(tree: &TreeKey) -> Path {
    Path::from_iter([DIR, tree.tenant.as_str(), tree.name.as_str()])
}

impl Blobs {
    /// Returns the head that is remembered of a tree.
    ///
    /// # Errors
    /// The store's error; `Damaged` if it holds no head.
    pub async fn checkpoint(&self, tree: &TreeKey) -> Result<Option<Head>, BlobError> {
        let path = path_of(tree);
        let read = match self.store.get(&path).await {
            Ok(found) => found.bytes().await,
            Err(error) if is_gone(&self.name, &error) => return Ok(None),
            Err(error) => Err(error),
        };
        let bytes = read.map_err(|source| self.failed(&path, source))?;
        let head = serde_json::from_slice(&bytes);
        head.map(Some).map_err(|_no_head| BlobError::Damaged {
            path: place(&self.name, path.as_ref()),
            reason: "it holds no head",
        })
    }

    /// Remembers a tree's head.
    ///
    /// # Errors
    /// The store's error.
    pub async fn put_checkpoint(&self, tree: &TreeKey, head: &Head) -> Result<(), BlobError> {
        let path = path_of(tree);
        let text = serde_json::to_vec(head).unwrap_or_default();
        let stored = self.store.put(&path, PutPayload::from(text)).await;
        stored
            .map(drop)
            .map_err(|source| self.failed(&path, source))
    }

    /// Forgets a tree's head.
    ///
    /// # Errors
    /// The store's error.
    pub async fn forget_checkpoint(&self, tree: &TreeKey) -> Result<(), BlobError> {
        let path = path_of(tree);
        match self.store.delete(&path).await {
            Err(error) if !is_gone(&self.name, &error) => Err(self.failed(&path, error)),
            _ => Ok(()),
        }
    }

    /// Returns the trees of a tenant of which a head is remembered.
    ///
    /// # Errors
    /// The store's error.
    pub async fn checkpoints(&self, tenant: &TenantName) -> Result<Vec<TreeKey>, BlobError> {
        let prefix = Path::from_iter([DIR, tenant.as_str()]);
        let mut listed = self.store.list(Some(&prefix));
        let mut trees = Vec::new();
        while let Some(meta) = listed
            .try_next()
            .await
            .map_err(|source| self.failed(&prefix, source))?
        {
            let name = meta.location.filename().and_then(|name| name.parse().ok());
            trees.extend(name.map(|name| TreeKey {
                tenant: tenant.clone(),
                name,
            }));
        }
        Ok(trees)
    }
}
