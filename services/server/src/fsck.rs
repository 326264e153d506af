//! `fsync-server fsck`: whether everything that the trees need is here and true.
//!
//! Looks at: every object that a revision within the retention reaches, by its hash (of others a
//! collection may have left a part); whether the index lets its tree read it; and whether index and
//! packs' footers tell the same of what stands where.
//! Guarantees: changes nothing, unless it is told to repair; then the index forgets the places that
//! were found empty or rotten, so that agents are asked for what stood there. Nothing is deleted.
//! Memory: the ids of one tree and a few MiB of contents.
//! Place: a verb, on the data of a server that does not run.

use std::collections::BTreeSet;
use std::fmt;

use fsync_core::id::{ObjectId, ObjectKind};
use fsync_core::label::{TenantName, TreeKey};
use fsync_core::limits;
use fsync_core::node::Node;
use fsync_core::service::error::ServiceError;
use fsync_core::service::mark::Mark;
use fsync_core::service::record::{Loss, PackEntry, PackId, PackPlace, Place};

use crate::config::Retention;
use crate::store::Store;
use crate::{clock, gc};

/// Nodes, and ids of contents, that are looked at together.
const BATCH: usize = 1024;
/// Contents that are read together, in bytes.
const BATCH_BYTES: usize = limits::PACK_BYTES;

/// Something that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// A tree needs an object that is not in the index; agents that have it are asked for it.
    Lost(TreeKey, ObjectId),
    /// A tree needs an object that the index does not let it read.
    Hidden(TreeKey, ObjectId),
    /// An object in the journal itself has other bytes than its own.
    Rotten(TreeKey, ObjectId),
    /// What the index tells of a place is not there, or other bytes are.
    Bad(TenantName, Loss),
    /// A node's bytes are its own, but say nothing.
    Malformed(TreeKey, ObjectId),
    /// A pack's footer cannot be read: a lost index could not be rebuilt from it.
    Footer(TenantName, PackId, String),
    /// Index and footer tell different places of an object.
    Index(TenantName, PackId, ObjectId),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost(tree, id) => write!(f, "{tree}: object {id} is lost"),
            Self::Hidden(tree, id) => {
                write!(f, "{tree}: object {id} is here, but not for this tree")
            }
            Self::Rotten(tree, id) => write!(f, "{tree}: object {id} has rotted in the journal"),
            Self::Bad(tenant, Loss::Pack(pack)) => write!(f, "{tenant}: pack {pack} is gone"),
            Self::Bad(tenant, Loss::Object(id, place)) => write!(
                f,
                "{tenant}: object {id} is not at {} in pack {}, or has rotted there",
                place.offset, place.pack
            ),
            Self::Malformed(tree, id) => write!(f, "{tree}: node {id} does not decode"),
            Self::Footer(tenant, pack, reason) => write!(f, "{tenant}: pack {pack}: {reason}"),
            Self::Index(tenant, pack, id) => write!(
                f,
                "{tenant}: the index places object {id} elsewhere in pack {pack} than the pack itself"
            ),
        }
    }
}

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Trees looked through.
    pub trees: usize,
    /// Revisions whose contents are kept.
    pub revisions: usize,
    /// Objects read, once for each tree.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Packs that the index names.
    pub packs: usize,
    /// Packs that it does not name; the garbage collector removes them after its grace.
    pub orphans: usize,
    /// What is wrong.
    pub problems: Vec<Problem>,
    /// Objects whose places the index has forgotten now, so that agents are asked for them.
    pub repaired: u64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "trees {}, revisions {}, objects {} ({} bytes), packs {}, packs without index {}, problems {}, repaired {}",
            self.trees,
            self.revisions,
            self.objects,
            self.bytes,
            self.packs,
            self.orphans,
            self.problems.len(),
            self.repaired
        )
    }
}

/// Checks everything; with `repairs`, makes the index forget what is proven to be gone.
///
/// # Errors
/// [`ServiceError`] of journal or blob store: then nothing was repaired.
pub async fn check(
    store: &Store,
    retention: &Retention,
    repairs: bool,
) -> Result<Report, ServiceError> {
    let mut check = Check {
        store,
        retention,
        report: Report::default(),
        losses: BTreeSet::new(),
    };
    let mut tenants: BTreeSet<TenantName> = store.blobs().tenants().await?.into_iter().collect();
    for tree in store.journal().trees().await? {
        check.tree(&tree).await?;
        tenants.insert(tree.tenant);
    }
    for tenant in tenants {
        check.packs(&tenant).await?;
    }
    let Check {
        mut report, losses, ..
    } = check;
    for (tenant, loss) in losses {
        if repairs {
            let journal = store.journal();
            report.repaired += journal.lose(tenant.clone(), vec![loss]).await?;
        }
        report.problems.push(Problem::Bad(tenant, loss));
    }
    Ok(report)
}

struct Check<'a> {
    store: &'a Store,
    retention: &'a Retention,
    report: Report,
    /// Places that are not what the index says, each once however many need them.
    losses: BTreeSet<(TenantName, Loss)>,
}

impl Check<'_> {
    async fn tree(&mut self, tree: &TreeKey) -> Result<(), ServiceError> {
        let roots = gc::kept_roots(self.store, tree, self.retention, clock::now()).await?;
        self.report.trees += 1;
        self.report.revisions += roots.len();
        let mut mark = Mark::default();
        roots.into_iter().for_each(|root| mark.add_root(root));
        let mut nodes = BTreeSet::new();
        loop {
            let wanted = mark.wanted(BATCH);
            if wanted.is_empty() {
                break;
            }
            let ids: Vec<ObjectId> = wanted.iter().map(|(_, id)| *id).collect();
            let found = self.read(tree, &ids).await?;
            for ((kind, id), bytes) in wanted.into_iter().zip(found) {
                nodes.insert(id);
                let node = bytes.map(|bytes| Node::decode(kind, &bytes));
                match node {
                    Some(Ok(node)) => mark.feed(&id, &node),
                    Some(Err(_)) => {
                        self.problem(Problem::Malformed(tree.clone(), id));
                        mark.skip(&id);
                    }
                    None => mark.skip(&id),
                }
            }
        }
        let live: Vec<ObjectId> = mark.into_live().into_iter().collect();
        for ids in live.chunks(BATCH) {
            self.owned(tree, ids).await?;
        }
        let contents: Vec<ObjectId> = live.into_iter().filter(|id| !nodes.contains(id)).collect();
        for ids in contents.chunks(BATCH) {
            self.read(tree, ids).await?;
        }
        Ok(())
    }

    /// Reads objects of a tree and notes what is wrong with them; returns the bytes of the sound
    /// ones.
    async fn read(
        &mut self,
        tree: &TreeKey,
        ids: &[ObjectId],
    ) -> Result<Vec<Option<Vec<u8>>>, ServiceError> {
        let mut all = Vec::with_capacity(ids.len());
        while all.len() < ids.len() {
            let left = &ids[all.len()..];
            let (found, losses) = self.store.look(&tree.tenant, left, BATCH_BYTES).await?;
            if found.is_empty() {
                // No object is so large; rather an end than none.
                let reason = format!("object {} is larger than any can be", left[0]);
                return Err(ServiceError::Internal(reason));
            }
            self.losses
                .extend(losses.into_iter().map(|loss| (tree.tenant.clone(), loss)));
            let absent = left.iter().zip(&found).filter(|(_, found)| found.is_none());
            self.absent(tree, absent.map(|(id, _)| *id).collect())
                .await?;
            for object in found {
                self.report.objects += u64::from(object.is_some());
                let bytes = object.map(|object| object.bytes);
                self.report.bytes += bytes.as_ref().map_or(0, |bytes| bytes.len() as u64);
                all.push(bytes);
            }
        }
        Ok(all)
    }

    /// Notes objects that were not found; those with a place in a pack are losses already.
    async fn absent(&mut self, tree: &TreeKey, ids: Vec<ObjectId>) -> Result<(), ServiceError> {
        if ids.is_empty() {
            return Ok(());
        }
        let places = self
            .store
            .journal()
            .locate(tree.tenant.clone(), ids.clone());
        for (id, place) in ids.into_iter().zip(places.await?) {
            match place {
                None => self.problem(Problem::Lost(tree.clone(), id)),
                Some((_, Place::Inline(_))) => self.problem(Problem::Rotten(tree.clone(), id)),
                Some((_, Place::Pack(_))) => {}
            }
        }
        Ok(())
    }

    /// Notes objects that a tree needs and may not read.
    async fn owned(&mut self, tree: &TreeKey, ids: &[ObjectId]) -> Result<(), ServiceError> {
        let owned = self.store.journal().owned(tree.clone(), ids.to_vec());
        let owned: BTreeSet<ObjectId> = owned.await?.into_iter().collect();
        for id in ids.iter().filter(|id| !owned.contains(id)) {
            self.problem(Problem::Hidden(tree.clone(), *id));
        }
        Ok(())
    }

    /// Compares the index with the footers of the packs that are there.
    async fn packs(&mut self, tenant: &TenantName) -> Result<(), ServiceError> {
        let known = self.store.journal().packs(tenant.clone()).await?;
        self.report.packs += known.len();
        for stored in self.store.blobs().list(tenant).await? {
            if !known.contains(&stored.pack) {
                self.report.orphans += 1;
                continue;
            }
            match self.store.blobs().footer_of(tenant, &stored).await {
                Ok(entries) => self.pack(tenant, stored.pack, &entries).await?,
                Err(error) => {
                    let reason = error.to_string();
                    self.problem(Problem::Footer(tenant.clone(), stored.pack, reason));
                }
            }
        }
        Ok(())
    }

    async fn pack(
        &mut self,
        tenant: &TenantName,
        pack: PackId,
        entries: &[PackEntry],
    ) -> Result<(), ServiceError> {
        let ids = entries.iter().map(|entry| entry.id).collect();
        let places = self.store.journal().locate(tenant.clone(), ids).await?;
        for (entry, place) in entries.iter().zip(places) {
            if !agrees(pack, entry, place.as_ref()) {
                self.problem(Problem::Index(tenant.clone(), pack, entry.id));
            }
        }
        Ok(())
    }

    fn problem(&mut self, problem: Problem) {
        self.report.problems.push(problem);
    }
}

/// Returns whether the index tells of a footer's entry as the footer does, if it places it there at
/// all: an object may stand in several packs, or be garbage.
fn agrees(pack: PackId, entry: &PackEntry, place: Option<&(ObjectKind, Place)>) -> bool {
    let Some((kind, Place::Pack(place))) = place else {
        return true;
    };
    let here = PackPlace {
        pack,
        offset: entry.offset,
        bytes: entry.bytes,
    };
    place.pack != pack || (*place == here && *kind == entry.kind)
}
