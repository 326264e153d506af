//! Garbage collection: contents that no head, no kept revision and no upload session reaches go,
//! after a grace.
//!
//! Order: expired sessions end; each tree is marked from its kept revisions and loses the marks of
//! what is not live (only if its head is still the one that was marked); objects that no tree and
//! no session has lose their index rows; packs that hold nothing live any more, or less than half,
//! are rewritten and doomed; files of doomed packs go after the grace.
//! Guarantees: nothing younger than the grace goes; if a live node cannot be read, nothing of its
//! tenant is deleted; a tenant without any tree is left alone, because then the journal may have
//! been lost, and so is one whose heads are not what the blob store remembers
//! ([`checkpoint`]); a pack from which something was lost stays until that is here again or not needed any
//! more. Lineage is never dropped.
//! Tasks: `gc`, every [`Retention::interval`], ends at shutdown. Also the verb `fsync-server gc`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fsync_core::id::ObjectId;
use fsync_core::label::{TenantName, TreeKey};
use fsync_core::limits;
use fsync_core::service::Now;
use fsync_core::service::error::ServiceError;
use fsync_core::service::facts::Questions;
use fsync_core::service::mark::Mark;
use fsync_core::service::record::{PackId, Place};
use fsync_core::wire::Head;
use fsync_runtime::Shutdown;
use futures_util::StreamExt;
use tokio::sync::Notify;
use tracing::{error, info, warn};

use crate::checkpoint;
use crate::clock;
use crate::config::Retention;
use crate::journal::Sweep;
use crate::metrics::metrics;
use crate::store::Store;

/// Footers read at the same time while a lost index is made anew: of a store behind a network each
/// takes a round trip.
const FOOTERS: usize = 16;
/// How long a collection on demand may take before others may begin one.
const ONCE: Duration = Duration::from_secs(60 * 60);
/// Nodes loaded at once while marking.
const MARK_NODES: usize = 1024;
/// Times a tree is marked on because its head moved; then it waits for the next collection.
const MARK_TRIES: usize = 8;

/// What a collection did, or would do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Collected {
    /// Trees marked.
    pub trees: usize,
    /// Revisions whose contents are kept.
    pub kept_revisions: usize,
    /// Objects dropped from the index.
    pub objects: u64,
    /// Packs rewritten because less than half was live.
    pub rewritten_packs: usize,
    /// Packs in which nothing is live any more; deleted after the grace.
    pub doomed_packs: usize,
    /// Pack files deleted.
    pub deleted_packs: usize,
    /// Tenants left alone because the journal's heads are not what the blob store remembers.
    pub refused_tenants: usize,
}

impl fmt::Display for Collected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "trees {}, kept revisions {}, dropped objects {}, rewritten packs {}, doomed packs {}, deleted packs {}",
            self.trees,
            self.kept_revisions,
            self.objects,
            self.rewritten_packs,
            self.doomed_packs,
            self.deleted_packs
        )?;
        match self.refused_tenants {
            0 => Ok(()),
            count => write!(
                f,
                "; {count} tenants left alone: their heads are not what the blob store remembers"
            ),
        }
    }
}

/// Collects once.
///
/// # Errors
/// [`ServiceError`] of journal or blob store; what was done until then stands.
pub async fn collect(
    store: &Store,
    retention: &Retention,
    is_dry: bool,
) -> Result<Collected, ServiceError> {
    let now = clock::now();
    let run = Run {
        store,
        retention,
        now,
        sweep: Sweep {
            cutoff: before(now, retention.grace),
            is_dry,
        },
    };
    let mut collected = Collected::default();
    if !is_dry {
        store.journal().expire_uploads(now).await?;
    }
    let trees = store.journal().trees().await?;
    let mut tenants = run.sound_tenants(&trees, &mut collected).await?;
    for tree in trees {
        if let Some(is_marked) = tenants.get_mut(&tree.tenant) {
            *is_marked &= run.tree(&tree, &mut collected).await?;
        }
    }
    for (tenant, is_marked) in tenants {
        if is_marked {
            run.tenant(&tenant, &mut collected).await?;
        }
    }
    match is_dry {
        true => info!(?collected, "garbage would be collected"),
        false => info!(?collected, "garbage collected"),
    }
    Ok(collected)
}

/// As [`collect`], unless another replica collects: then `None`. Whoever only counts disturbs
/// nobody.
///
/// # Errors
/// As [`collect`].
pub async fn collect_alone(
    store: &Store,
    retention: &Retention,
    is_dry: bool,
) -> Result<Option<Collected>, ServiceError> {
    let token = clock::random_u64();
    if !is_dry && !store.journal().lead(token, ONCE).await? {
        return Ok(None);
    }
    let collected = collect(store, retention, is_dry).await;
    if !is_dry {
        store.journal().lead(token, Duration::ZERO).await?;
    }
    collected.map(Some)
}

/// Shortest time for which one replica is the collector.
const SHORTEST_TURN: Duration = Duration::from_secs(3600);

/// Asks the collector of this replica to collect now; clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Starter(Arc<Asked>);

#[derive(Debug, Default)]
struct Asked {
    now: Notify,
    is_busy: AtomicBool,
}

impl Starter {
    /// Starts a collection; `false` if one runs.
    pub fn start(&self) -> bool {
        let is_busy = self.0.is_busy.load(Ordering::Acquire);
        if !is_busy {
            self.0.now.notify_one();
        }
        !is_busy
    }
}

/// Collects periodically and when asked to until the shutdown, unless another replica does.
pub async fn run(store: Store, retention: Retention, starter: Starter, tasks: Shutdown) {
    let token = clock::random_u64();
    let is_periodic = !retention.interval.is_zero();
    loop {
        tokio::select! {
            () = tokio::time::sleep(retention.interval), if is_periodic => {}
            () = starter.0.now.notified() => {}
            () = tasks.triggered() => break,
        }
        starter.0.is_busy.store(true, Ordering::Release);
        collect_in_turn(&store, &retention, token).await;
        starter.0.is_busy.store(false, Ordering::Release);
    }
    // Another one need not wait; whoever cannot be told finds out by the time.
    drop(store.journal().lead(token, Duration::ZERO).await);
}

/// Collects unless another replica does.
async fn collect_in_turn(store: &Store, retention: &Retention, token: u64) {
    // Longer than until the next time: the same one goes on as long as it lives.
    let turn = (retention.interval * 2).max(SHORTEST_TURN);
    match store.journal().lead(token, turn).await {
        Ok(true) => {}
        Ok(false) => return,
        Err(error) => return warn!(%error, "garbage is collected later"),
    }
    match collect(store, retention, false).await {
        Ok(done) => metrics().collected("ok", done.objects, done.deleted_packs),
        Err(error) => {
            metrics().collected("failed", 0, 0);
            warn!(%error, "garbage collection stopped early");
        }
    }
}

/// Indexes the packs of tenants whose packs the journal does not know at all: it was lost, or is
/// new.
///
/// # Errors
/// [`ServiceError`] of journal or blob store.
pub async fn rebuild_index(store: &Store) -> Result<(), ServiceError> {
    for tenant in store.blobs().tenants().await? {
        if !store.journal().packs(tenant.clone()).await?.is_empty() {
            continue;
        }
        let packs = store.blobs().list(&tenant).await?;
        warn!(%tenant, packs = packs.len(), "the journal knows no pack: indexing what the blob store has");
        let footers = packs.into_iter().map(|stored| {
            let tenant = &tenant;
            async move { (stored, store.blobs().footer_of(tenant, &stored).await) }
        });
        let mut footers = futures_util::stream::iter(footers).buffer_unordered(FOOTERS);
        while let Some((stored, footer)) = footers.next().await {
            match footer {
                Ok(entries) => {
                    let journal = store.journal();
                    journal
                        .index_pack(tenant.clone(), stored.pack, entries, clock::now())
                        .await?;
                }
                Err(e) => {
                    error!(%tenant, pack = %stored.pack, error = %e, "a pack was not indexed");
                }
            }
        }
    }
    Ok(())
}

fn before(now: Now, age: Duration) -> Now {
    let age = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
    Now(now.0.saturating_sub(age))
}

/// Returns the roots of the revisions of a tree that keep their contents, as far as they have them.
/// Of any other one a collection may have left a part.
///
/// # Errors
/// [`ServiceError`] of the journal.
pub async fn kept_roots(
    store: &Store,
    tree: &TreeKey,
    retention: &Retention,
    now: Now,
) -> Result<Vec<ObjectId>, ServiceError> {
    let policy = store.journal().policy(tree.clone()).await?;
    let retention = retention.of_tree(policy.and_then(|policy| policy.retention));
    let oldest = before(now, retention.age);
    let mut roots = Vec::new();
    let mut from = None;
    'pages: loop {
        let journal = store.journal();
        let page = journal
            .log(tree.clone(), from, limits::LOG_REVISIONS)
            .await?;
        let Some(last) = page.last() else { break };
        from = Some(last.seq);
        for stored in &page {
            // At least the head, whatever the settings.
            let is_kept = roots.len() < retention.revisions.max(1);
            if !is_kept && stored.committed < oldest {
                break 'pages;
            }
            roots.push(stored.revision.root);
        }
    }
    // A lost root is not a dropped one: the mark stops at it, so that nothing below it goes.
    let owned = store.journal().owned(tree.clone(), roots.clone());
    let owned: BTreeSet<ObjectId> = owned.await?.into_iter().collect();
    roots.retain(|root| owned.contains(root));
    Ok(roots)
}

struct Run<'a> {
    store: &'a Store,
    retention: &'a Retention,
    now: Now,
    sweep: Sweep,
}

impl Run<'_> {
    /// Returns the tenants whose heads are what the blob store remembers.
    async fn sound_tenants(
        &self,
        trees: &[TreeKey],
        collected: &mut Collected,
    ) -> Result<BTreeMap<TenantName, bool>, ServiceError> {
        let tenants: BTreeSet<&TenantName> = trees.iter().map(|tree| &tree.tenant).collect();
        let mut sound = BTreeMap::new();
        for tenant in tenants {
            let wrong = checkpoint::witness(self.store, tenant).await?;
            if wrong.is_empty() {
                sound.insert(tenant.clone(), true);
                continue;
            }
            collected.refused_tenants += 1;
            error!(
                %tenant, trees = wrong.len(), first = %wrong[0],
                "nothing is collected: the journal's heads are not what the blob store remembers. Let the agents \
                 that have the newest versions connect; if the journal is right, run `fsync-server gc --accept-heads`"
            );
        }
        Ok(sound)
    }

    /// Marks and sweeps one tree; `false` if that could not be done, so that nothing of its tenant
    /// may go.
    async fn tree(&self, tree: &TreeKey, collected: &mut Collected) -> Result<bool, ServiceError> {
        let mut mark = Mark::default();
        for id in self.store.journal().pins(tree.clone()).await? {
            mark.pin(id);
        }
        for _ in 0..MARK_TRIES {
            let head = self.head(tree).await?;
            let roots = kept_roots(self.store, tree, self.retention, self.now).await?;
            let kept = roots.len();
            for root in roots {
                mark.add_root(root);
            }
            if !self.mark(tree, &mut mark).await? {
                return Ok(false);
            }
            let live = Arc::new(mark.live().clone());
            let journal = self.store.journal();
            let swept = journal
                .sweep_tree(tree.clone(), head, live, self.sweep)
                .await?;
            if swept.is_some() {
                collected.trees += 1;
                collected.kept_revisions += kept;
                return Ok(true);
            }
        }
        warn!(%tree, "the tree is too busy to be collected now");
        Ok(false)
    }

    async fn head(&self, tree: &TreeKey) -> Result<Option<Head>, ServiceError> {
        let questions = Questions {
            head: true,
            ..Questions::default()
        };
        let answers = self.store.answer(tree, questions).await?;
        Ok(answers.head.flatten().map(|state| state.head))
    }

    async fn mark(&self, tree: &TreeKey, mark: &mut Mark) -> Result<bool, ServiceError> {
        loop {
            let wanted = mark.wanted(MARK_NODES);
            if wanted.is_empty() {
                return Ok(true);
            }
            let nodes = self.store.nodes(&tree.tenant, &wanted).await?;
            for (_, id) in wanted {
                let Some(node) = nodes.get(&id) else {
                    error!(%tree, %id, "a live node is lost: nothing of this tenant is collected");
                    return Ok(false);
                };
                mark.feed(&id, node);
            }
        }
    }

    async fn tenant(
        &self,
        tenant: &TenantName,
        collected: &mut Collected,
    ) -> Result<(), ServiceError> {
        let journal = self.store.journal();
        let (objects, uses) = journal.sweep_objects(tenant.clone(), self.sweep).await?;
        collected.objects += objects;
        for used in uses {
            if used.lost_bytes > 0 || used.live_bytes > 0 && used.live_bytes * 2 >= used.bytes {
                continue;
            }
            let is_empty = used.live_bytes == 0;
            if !self.sweep.is_dry && !is_empty && !self.rewrite(tenant, used.pack).await? {
                continue;
            }
            collected.rewritten_packs += usize::from(!is_empty);
            collected.doomed_packs += 1;
            if !self.sweep.is_dry {
                journal
                    .doom_pack(tenant.clone(), used.pack, self.now)
                    .await?;
            }
        }
        self.delete(tenant, collected).await
    }

    /// Copies what is still read from a pack into a new one; `false` if something of it cannot be
    /// read.
    async fn rewrite(&self, tenant: &TenantName, pack: PackId) -> Result<bool, ServiceError> {
        let journal = self.store.journal();
        let entries = self.store.blobs().footer(tenant, pack).await?;
        let ids: Vec<ObjectId> = entries.iter().map(|entry| entry.id).collect();
        let places = journal.locate(tenant.clone(), ids.clone()).await?;
        let is_here = |place: &Option<(_, Place)>| match place {
            Some((_, Place::Pack(place))) => place.pack == pack,
            _ => false,
        };
        let live: Vec<ObjectId> = ids
            .into_iter()
            .zip(&places)
            .filter(|(_, p)| is_here(p))
            .map(|(id, _)| id)
            .collect();
        let objects = self.store.read(tenant, &live).await?;
        let Some(objects) = objects.into_iter().collect::<Option<Vec<_>>>() else {
            error!(%tenant, %pack, "a live object of the pack cannot be read: the pack stays");
            return Ok(false);
        };
        let (new, entries) = self.store.blobs().put_objects(tenant, objects).await?;
        journal
            .repoint(tenant.clone(), Some(pack), new, entries)
            .await?;
        Ok(true)
    }

    /// Deletes files of packs doomed before the grace, and files that no commit ever named.
    async fn delete(
        &self,
        tenant: &TenantName,
        collected: &mut Collected,
    ) -> Result<(), ServiceError> {
        let (journal, blobs) = (self.store.journal(), self.store.blobs());
        let known = journal.packs(tenant.clone()).await?;
        let doomed = journal.doomed(tenant.clone(), self.sweep.cutoff).await?;
        let orphans = blobs.list(tenant).await?.into_iter().filter(|stored| {
            !known.contains(&stored.pack) && stored.written_ms < self.sweep.cutoff.0
        });
        let orphans: Vec<PackId> = orphans.map(|stored| stored.pack).collect();
        collected.deleted_packs += doomed.len() + orphans.len();
        if self.sweep.is_dry {
            return Ok(());
        }
        for pack in doomed {
            blobs.delete(tenant, pack).await?;
            journal.forget_pack(tenant.clone(), pack).await?;
        }
        for pack in orphans {
            blobs.delete(tenant, pack).await?;
        }
        Ok(())
    }
}
