//! Objects by id: the journal tells where they are, the blob store brings them, every read is
//! verified.
//!
//! Guarantees: bytes that do not hash to their id are never handed out; decoded nodes are kept in a
//! bounded cache; what a second look finds gone or rotten too is lost from then on ([`loss`]): the
//! index forgets it and agents are asked for it.
//! Does not: decide who may read what; callers ask the journal first.
//! Place: used by `tree.rs`, `http/*`, `gc.rs`, `packer.rs`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use fsync_core::id::{ObjectId, ObjectKind};
use fsync_core::label::{TenantName, TreeKey};
use fsync_core::node::Node;
use fsync_core::nodes::{Nodes, NodesError};
use fsync_core::pack::{Object, RECORD_HEADER_BYTES};
use fsync_core::service::error::ServiceError;
use fsync_core::service::facts::{Answers, Questions};
use fsync_core::service::record::{Loss, PackPlace, Place, UploadId};
use fsync_core::wire::Want;
use fsync_runtime::Shutdown;
use tokio::sync::mpsc;
use tracing::error;

use crate::blobs::{Blobs, Gone};
use crate::journal::Journal;
use cache::NodeCache;
use loss::Wants;

mod cache;
mod loss;

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
    wants: Wants,
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
            wants: Wants::default(),
            tasks,
        }))
    }

    /// Returns what agents are to be asked for from now on; one caller has it, the first.
    pub fn wants(&self) -> Option<mpsc::Receiver<Want>> {
        self.0.wants.receiver()
    }

    /// Returns the journal, for tasks that outlive a request.
    pub fn shared_journal(&self) -> Arc<dyn Journal> {
        Arc::clone(&self.0.journal)
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
            let missing: Vec<ObjectId> = absent_of(&wanted, &nodes);
            if !missing.is_empty() {
                self.miss(tree, &missing).await?;
            }
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
        self.read_within(tenant, ids, usize::MAX).await
    }

    /// As [`Store::read`], but only the first of them, as many as take `room` bytes of a pack at
    /// most.
    ///
    /// # Errors
    /// As [`Store::read`].
    pub async fn read_within(
        &self,
        tenant: &TenantName,
        ids: &[ObjectId],
        room: usize,
    ) -> Result<Vec<Option<Object>>, ServiceError> {
        let (first, doubtful) = self.look(tenant, ids, room).await?;
        if first.iter().all(Option::is_some) {
            return Ok(first);
        }
        self.0.blobs.forget(doubtful.iter().map(|loss| match loss {
            Loss::Pack(pack) => *pack,
            Loss::Object(_, place) => place.pack,
        }));
        // A pack may have been rewritten between look-up and read: look again, once.
        let (second, losses) = self.look(tenant, ids, room).await?;
        if !losses.is_empty() {
            self.lose(tenant, losses).await?;
        }
        Ok(second)
    }

    /// Reads and verifies as [`Store::read_within`], but only once and without losing anything:
    /// returns the objects, and which places were found empty.
    ///
    /// # Errors
    /// As [`Store::read`].
    pub async fn look(
        &self,
        tenant: &TenantName,
        ids: &[ObjectId],
        room: usize,
    ) -> Result<(Vec<Option<Object>>, Vec<Loss>), ServiceError> {
        let mut places = self.0.journal.locate(tenant.clone(), ids.to_vec()).await?;
        places.truncate(fitting(&places, room));
        let ids = &ids[..places.len()];
        let packed: Vec<PackPlace> = places
            .iter()
            .filter_map(|place| match place {
                Some((_, Place::Pack(place))) => Some(*place),
                _ => None,
            })
            .collect();
        let mut bodies = self.0.blobs.read(tenant, &packed).await?.into_iter();
        let mut losses = Vec::new();
        let mut found = Vec::with_capacity(ids.len());
        for (id, place) in ids.iter().zip(places) {
            found.push(match place {
                None => None,
                Some((kind, Place::Inline(bytes))) => Some((kind, bytes, None)),
                Some((kind, Place::Pack(place))) => match bodies.next() {
                    Some(Ok(bytes)) => Some((kind, bytes.into(), Some(place))),
                    Some(Err(Gone::Pack)) => {
                        losses.push(Loss::Pack(place.pack));
                        None
                    }
                    Some(Err(Gone::Run)) | None => {
                        losses.push(Loss::Object(*id, place));
                        None
                    }
                },
            });
        }
        let ids = ids.to_vec();
        let (objects, rotten) = self.busy(move || verify(&ids, found)).await?;
        losses.extend(rotten);
        Ok((objects, losses))
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

    /// Runs a pure function over nodes of a tree, loading what it misses until it ends.
    ///
    /// # Errors
    /// [`ServiceError`]; `Lost` if nodes it needs are, which agents are asked for then.
    pub async fn with_nodes<T, F>(&self, tree: &TreeKey, mut work: F) -> Result<T, ServiceError>
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
            loaded
                .0
                .append(&mut self.nodes(&tree.tenant, &wanted).await?);
            let lost = absent_of(&wanted, &loaded.0);
            if !lost.is_empty() {
                self.miss(tree, &lost).await?;
                return Err(ServiceError::Lost(lost));
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

/// What was read for an object: its kind, its bytes, and where they stood if that was in a pack.
type Read = Option<(ObjectKind, Vec<u8>, Option<PackPlace>)>;

/// Returns the objects whose bytes are theirs, and the places of the others.
fn verify(ids: &[ObjectId], found: Vec<Read>) -> (Vec<Option<Object>>, Vec<Loss>) {
    let mut rotten = Vec::new();
    let checked = ids.iter().zip(found).map(|(id, found)| {
        let (kind, bytes, place) = found?;
        let object = Object::new(kind, bytes);
        if object.id != *id {
            error!(%id, actual = %object.id, "a stored object rotted");
            rotten.extend(place.map(|place| Loss::Object(*id, place)));
            return None;
        }
        Some(object)
    });
    let objects = checked.collect();
    (objects, rotten)
}

/// Returns how many places at the front take `room` bytes of a pack at most.
fn fitting(places: &[Option<(ObjectKind, Place)>], room: usize) -> usize {
    let mut bytes = 0;
    let fits = |place: &&Option<(ObjectKind, Place)>| {
        bytes += match place {
            Some((_, Place::Inline(body))) => RECORD_HEADER_BYTES + body.len(),
            Some((_, Place::Pack(place))) => RECORD_HEADER_BYTES + place.bytes as usize,
            None => 0,
        };
        bytes <= room
    };
    places.iter().take_while(fits).count()
}

fn absent_of(
    wanted: &[(ObjectKind, ObjectId)],
    found: &BTreeMap<ObjectId, Arc<Node>>,
) -> Vec<ObjectId> {
    let absent = wanted.iter().filter(|(_, id)| !found.contains_key(id));
    absent.map(|(_, id)| *id).collect()
}
