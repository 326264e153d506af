//! Objects by id: the journal tells where they are, the blob store brings them, every read is verified.
//!
//! Guarantees: bytes that do not hash to their id are never handed out; decoded nodes are kept in a bounded cache.
//! Does not: decide who may read what; callers ask the journal first.
//! Place: used by `tree.rs`, `http/*`, `gc.rs`, `packer.rs`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use fsync_core::id::{ObjectId, ObjectKind};
use fsync_core::label::{TenantName, TreeKey};
use fsync_core::node::Node;
use fsync_core::nodes::{Nodes, NodesError};
use fsync_core::pack::Object;
use fsync_core::service::error::ServiceError;
use fsync_core::service::facts::{Answers, Questions};
use fsync_core::service::record::{PackPlace, Place, UploadId};
use fsync_runtime::Shutdown;
use tracing::error;

use crate::blobs::Blobs;
use crate::journal::Journal;
use cache::NodeCache;

mod cache;

/// Rounds of loading nodes for one request: more levels than any tree within limits has.
const LOAD_ROUNDS: usize = 10_000;

/// Journal, blobs and cache as one.
#[derive(Debug, Clone)]
pub struct Store(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    journal: Arc<dyn Journal>,
    blobs: Blobs,
    cache: Mutex<NodeCache>,
    tasks: Shutdown,
}

impl Store {
    /// Joins the parts.
    pub fn new(journal: Arc<dyn Journal>, blobs: Blobs, tasks: Shutdown) -> Self {
        let cache = Mutex::default();
        Self(Arc::new(Inner {
            journal,
            blobs,
            cache,
            tasks,
        }))
    }

    /// Returns the journal.
    pub fn journal(&self) -> &dyn Journal {
        &*self.0.journal
    }

    /// Returns the blob store.
    pub fn blobs(&self) -> &Blobs {
        &self.0.blobs
    }

    /// Runs work that keeps a core busy where it does not hold up requests.
    ///
    /// # Errors
    /// [`ServiceError::Internal`] if it panicked.
    pub async fn busy<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ServiceError> {
        let task = self.0.tasks.spawn_blocking("work", work);
        task.await
            .map_err(|e| ServiceError::Internal(format!("a task ended badly: {e}")))
    }

    /// Answers a state machine's questions, nodes included.
    ///
    /// # Errors
    /// [`ServiceError`] of journal or blob store.
    pub async fn answer(
        &self,
        tree: &TreeKey,
        mut questions: Questions,
    ) -> Result<Answers, ServiceError> {
        let wanted: Vec<_> = std::mem::take(&mut questions.nodes).into_iter().collect();
        let mut answers = self.0.journal.ask(tree.clone(), questions).await?;
        if !wanted.is_empty() {
            let nodes = self.nodes(&tree.tenant, &wanted).await?;
            answers.nodes = wanted
                .iter()
                .map(|(_, id)| (*id, nodes.get(id).cloned()))
                .collect();
        }
        Ok(answers)
    }

    /// Returns those of `ids` that a tree, or a session of it, may not read or does not have.
    ///
    /// # Errors
    /// [`ServiceError`] of the journal.
    pub async fn lacking(
        &self,
        tree: &TreeKey,
        upload: Option<UploadId>,
        ids: &[ObjectId],
    ) -> Result<Vec<ObjectId>, ServiceError> {
        let questions = Questions {
            held: ids.iter().map(|id| (upload, *id)).collect(),
            ..Questions::default()
        };
        let answers = self.0.journal.ask(tree.clone(), questions).await?;
        let lacking = answers.held.into_iter().filter(|(_, held)| held.is_none());
        Ok(lacking.map(|((_, id), _)| id).collect())
    }

    /// Reads and verifies objects, in the order asked; `None` for one that is not here or rotted.
    ///
    /// # Errors
    /// [`ServiceError`] of journal or blob store.
    pub async fn read(
        &self,
        tenant: &TenantName,
        ids: &[ObjectId],
    ) -> Result<Vec<Option<Object>>, ServiceError> {
        let first = self.try_read(tenant, ids).await?;
        if first.iter().all(Option::is_some) {
            return Ok(first);
        }
        // A pack may have been rewritten between look-up and read: look again, once.
        self.try_read(tenant, ids).await
    }

    async fn try_read(
        &self,
        tenant: &TenantName,
        ids: &[ObjectId],
    ) -> Result<Vec<Option<Object>>, ServiceError> {
        let places = self.0.journal.locate(tenant.clone(), ids.to_vec()).await?;
        let packed: Vec<PackPlace> = places
            .iter()
            .filter_map(|place| match place {
                Some((_, Place::Pack(place))) => Some(*place),
                _ => None,
            })
            .collect();
        let mut bodies = self.0.blobs.read(tenant, &packed).await?.into_iter();
        let mut found = Vec::with_capacity(ids.len());
        for place in places {
            found.push(match place {
                None => None,
                Some((kind, Place::Inline(bytes))) => Some((kind, bytes)),
                Some((kind, Place::Pack(_))) => {
                    bodies.next().flatten().map(|bytes| (kind, bytes.into()))
                }
            });
        }
        let ids = ids.to_vec();
        self.busy(move || verify(&ids, found)).await
    }

    /// Reads and decodes nodes; those that are not here are left out.
    ///
    /// # Errors
    /// [`ServiceError`] of journal or blob store.
    pub async fn nodes(
        &self,
        tenant: &TenantName,
        wanted: &[(ObjectKind, ObjectId)],
    ) -> Result<BTreeMap<ObjectId, Arc<Node>>, ServiceError> {
        let mut found = BTreeMap::new();
        let mut absent = Vec::new();
        {
            let mut cache = self.0.cache.lock().unwrap_or_else(PoisonError::into_inner);
            for (_, id) in wanted {
                match cache.get(id) {
                    Some(node) => drop(found.insert(*id, node)),
                    None => absent.push(*id),
                }
            }
        }
        if absent.is_empty() {
            return Ok(found);
        }
        let objects = self.read(tenant, &absent).await?;
        let mut cache = self.0.cache.lock().unwrap_or_else(PoisonError::into_inner);
        for object in objects.into_iter().flatten() {
            match Node::decode(object.kind, &object.bytes) {
                Ok(node) => {
                    let node = Arc::new(node);
                    cache.insert(object.id, Arc::clone(&node), object.bytes.len());
                    found.insert(object.id, node);
                }
                Err(e) => error!(id = %object.id, error = %e, "a stored node does not decode"),
            }
        }
        Ok(found)
    }

    /// Runs a pure function over nodes, loading what it misses until it ends.
    ///
    /// # Errors
    /// [`ServiceError`]; `Internal` if a node it needs is lost.
    pub async fn with_nodes<T, F>(
        &self,
        tenant: &TenantName,
        mut work: F,
    ) -> Result<T, ServiceError>
    where
        T: Send + 'static,
        F: FnMut(&dyn Nodes) -> Result<T, NodesError> + Send + 'static,
    {
        let mut loaded = Loaded::default();
        for _ in 0..LOAD_ROUNDS {
            let result;
            (result, loaded, work) = self
                .busy(move || {
                    let result = work(&loaded);
                    (result, loaded, work)
                })
                .await?;
            let wanted = match result {
                Err(NodesError::Missing(wanted)) => wanted,
                result => return Ok(result?),
            };
            let before = loaded.0.len();
            loaded.0.append(&mut self.nodes(tenant, &wanted).await?);
            if loaded.0.len() < before + wanted.len() {
                let lost = wanted.iter().find(|(_, id)| !loaded.0.contains_key(id));
                let lost = lost.map(|(_, id)| id.to_string()).unwrap_or_default();
                error!(id = lost, "a node that a tree needs is lost");
                return Err(ServiceError::Internal(format!("node {lost} is lost")));
            }
        }
        Err(ServiceError::Internal(
            "a tree is deeper than any can be".to_owned(),
        ))
    }
}

/// Nodes of one request.
#[derive(Debug, Default)]
pub struct Loaded(pub BTreeMap<ObjectId, Arc<Node>>);

impl Nodes for Loaded {
    fn node(&self, kind: ObjectKind, id: &ObjectId) -> Result<Arc<Node>, NodesError> {
        self.0
            .get(id)
            .cloned()
            .ok_or_else(|| NodesError::Missing(vec![(kind, *id)]))
    }
}

fn verify(ids: &[ObjectId], found: Vec<Option<(ObjectKind, Vec<u8>)>>) -> Vec<Option<Object>> {
    let checked = ids.iter().zip(found).map(|(id, found)| {
        let (kind, bytes) = found?;
        let object = Object::new(kind, bytes);
        if object.id != *id {
            error!(%id, actual = %object.id, "a stored object rotted");
            return None;
        }
        Some(object)
    });
    checked.collect()
}
