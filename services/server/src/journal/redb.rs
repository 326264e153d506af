//! The journal in an embedded redb database: one file, one durable write for all commits that wait
//! together.
//!
//! Guarantees: a write is on disk when it is answered (redb's immediate durability); writes that
//! wait at the same time share one transaction, so that commits of many trees cost one sync; if
//! that transaction fails, all of them fail and nothing was changed.
//! Tasks: reads run on the blocking pool; writes in one blocking task `journal`, which ends when
//! the journal is closed: what was queued before is written, what comes after is refused.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use ::redb::{Builder, Database, Durability, ReadableDatabase};
use fsync_core::admin::Policy;
use fsync_core::id::{ObjectId, ObjectKind};
use fsync_core::label::{TenantName, TreeKey};
use fsync_core::service::Now;
use fsync_core::service::commit::Committed;
use fsync_core::service::facts::{Answers, Questions};
use fsync_core::service::record::{
    CommitWrite, Loss, PackEntry, PackId, Payload, Place, Stored, UploadId, Usage,
};
use fsync_core::wire::{Epoch, Head, Seq};
use fsync_runtime::Shutdown;
use fsync_runtime::fault::{self, Point};
use tokio::sync::{mpsc, oneshot};

use super::{Answer, Journal, JournalError, Lease, PackUse, Sweep};
use crate::auth::{Revocation, Revocations};
use crate::cluster::ClusterId;

mod loss;
mod read;
mod revoked;
mod sweep;
mod tables;
mod write;

use read::View;
use tables::Tables;

/// Memory for the database's pages, in bytes: the index of a few hundred thousand objects stays in
/// it.
const CACHE_BYTES: usize = 64 * 1024 * 1024;
/// Writes that share one transaction at most: bounds how long the first waits for the last.
const GROUP_WRITES: usize = 256;
/// Writes that may wait; more makes their senders wait.
const WAITING_WRITES: usize = 1024;

/// How long queued writes may take at the end.
const CLOSE: Duration = Duration::from_secs(30);

/// The journal.
#[derive(Debug)]
pub struct Redb {
    /// `None` once closed.
    open: RwLock<Option<Open>>,
    /// Apart from the server's tasks, because it must outlive all of them.
    tasks: Shutdown,
}

#[derive(Debug, Clone)]
struct Open {
    database: Arc<Database>,
    writes: mpsc::Sender<Job>,
}

/// Makes a database that is not there yet under another name, durable before it has its own: a
/// power loss leaves none or a whole one, never a part that no server would open.
fn make_whole(path: &Path) -> io::Result<()> {
    if path.try_exists()? {
        return Ok(());
    }
    let new = path.with_extension("new");
    // What an earlier start left unfinished.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let made = Builder::new().create(&new).map_err(io::Error::other)?;
    drop(made);
    File::open(&new)?.sync_all()?;
    fs::rename(&new, path)?;
    match path.parent() {
        Some(dir) => File::open(dir)?.sync_all(),
        None => Ok(()),
    }
}

/// Tells the waiting caller what became of the transaction.
type Done = Box<dyn FnOnce(Result<(), JournalError>) + Send>;
/// Changes tables; on an error nothing of the transaction stays.
type Work = Box<dyn FnOnce(&mut Tables<'_>) -> Result<Done, (Done, JournalError)> + Send>;

struct Job(Work);

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Job")
    }
}

impl Redb {
    /// Opens or makes the database at `path`.
    ///
    /// # Errors
    /// [`JournalError`] if it is damaged, in use, or cannot be written.
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        let tasks = Shutdown::new();
        let broken = |e: &dyn std::fmt::Display| failed(&format!("{}: {e}", path.display()));
        make_whole(path).map_err(|e| broken(&e))?;
        let database = Builder::new()
            .set_cache_size(CACHE_BYTES)
            .create(path)
            .map_err(|e| broken(&e))?;
        let database = Arc::new(database);
        create_tables(&database)?;
        let (writes, jobs) = mpsc::channel(WAITING_WRITES);
        let writer = Arc::clone(&database);
        drop(tasks.spawn_blocking("journal", move || write_groups(&writer, jobs)));
        Ok(Self {
            open: RwLock::new(Some(Open { database, writes })),
            tasks,
        })
    }

    fn opened(&self) -> Result<Open, JournalError> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        open.clone().ok_or_else(|| failed("it is closed"))
    }

    /// Runs a read on the blocking pool, over one snapshot.
    fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&View) -> Result<T, JournalError> + Send + 'static,
    ) -> Answer<'_, T> {
        let open = self.opened();
        let task = self.tasks.spawn_blocking("journal-read", move || {
            let transaction = open?.database.begin_read().map_err(store_error)?;
            work(&View::open(&transaction)?)
        });
        Box::pin(async move { task.await.map_err(|e| failed(&e.to_string()))? })
    }

    /// Queues a write and waits until it is durable.
    fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Tables<'_>) -> Result<T, JournalError> + Send + 'static,
    ) -> Answer<'_, T> {
        let (reply, answer) = oneshot::channel();
        let job: Work = Box::new(move |tables| {
            let result = work(tables);
            let error = result.as_ref().err().cloned();
            let done: Done = Box::new(move |outcome| {
                // Whoever asked may have gone; the write stands all the same.
                drop(reply.send(outcome.and(result)));
            });
            match error {
                None => Ok(done),
                Some(error) => Err((done, error)),
            }
        });
        Box::pin(async move {
            let stopped = || failed("the journal's writer has stopped");
            let writes = self.opened()?.writes;
            writes.send(Job(job)).await.map_err(|_closed| stopped())?;
            drop(writes);
            answer.await.map_err(|_closed| stopped())?
        })
    }
}

/// Runs until every sender is gone: takes what waits, writes it in one transaction, answers.
fn write_groups(database: &Database, mut jobs: mpsc::Receiver<Job>) {
    let mut group = Vec::new();
    while jobs.blocking_recv_many(&mut group, GROUP_WRITES) > 0 {
        let mut done = Vec::with_capacity(group.len());
        let outcome = write_group(database, group.drain(..), &mut done);
        for reply in done {
            reply(outcome.clone());
        }
    }
}

fn write_group(
    database: &Database,
    group: impl Iterator<Item = Job>,
    done: &mut Vec<Done>,
) -> Result<(), JournalError> {
    let mut transaction = database.begin_write().map_err(store_error)?;
    transaction
        .set_durability(Durability::Immediate)
        .map_err(|e| failed(&e.to_string()))?;
    let mut outcome = Ok(());
    {
        let mut tables = Tables::open(&transaction)?;
        for Job(work) in group {
            match work(&mut tables) {
                Ok(reply) => done.push(reply),
                Err((reply, error)) => {
                    done.push(reply);
                    outcome = Err(error);
                    break;
                }
            }
        }
    }
    outcome?;
    fault::around(Point::JournalCommit, || transaction.commit()).map_err(store_error)
}

fn create_tables(database: &Database) -> Result<(), JournalError> {
    let transaction = database.begin_write().map_err(store_error)?;
    Tables::open(&transaction)?.check_version()?;
    transaction.commit().map_err(store_error)
}

fn failed(reason: &str) -> JournalError {
    JournalError::Failed(reason.to_owned())
}

/// Tells a full disk from everything else.
fn store_error(error: impl Into<::redb::Error>) -> JournalError {
    match error.into() {
        ::redb::Error::Io(e) if e.kind() == std::io::ErrorKind::StorageFull => JournalError::Full,
        error => failed(&error.to_string()),
    }
}

impl Journal for Redb {
    fn keeps_contents(&self) -> bool {
        true
    }

    fn cluster(&self) -> Answer<'_, Option<ClusterId>> {
        self.read(View::cluster)
    }

    fn join(&self, cluster: ClusterId) -> Answer<'_, ClusterId> {
        self.write(move |tables| tables.join(cluster))
    }

    fn lead(&self, _token: u64, _time: Duration) -> Answer<'_, bool> {
        // The lock of the data directory: there is nobody else.
        Box::pin(std::future::ready(Ok(true)))
    }

    fn revoke(&self, revocation: Revocation) -> Answer<'_, bool> {
        self.write(move |tables| tables.revoke(&revocation))
    }

    fn revocations(&self, known: Option<u64>) -> Answer<'_, Option<Revocations>> {
        self.read(move |view| view.revocations(known))
    }

    fn usage(&self, tree: TreeKey) -> Answer<'_, Usage> {
        self.read(move |view| view.usage(&tree))
    }

    fn policy(&self, tree: TreeKey) -> Answer<'_, Option<Policy>> {
        self.read(move |view| view.policy(&tree))
    }

    fn set_policy(&self, tree: TreeKey, policy: Option<Policy>) -> Answer<'_, ()> {
        self.write(move |tables| tables.set_policy(&tree, policy.as_ref()))
    }

    fn close(&self) -> Answer<'_, ()> {
        let open = self
            .open
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        drop(open);
        Box::pin(async {
            let ended = self.tasks.wait(CLOSE).await;
            ended.map_err(|e| failed(&e.to_string()))
        })
    }

    fn ask(&self, tree: TreeKey, questions: Questions) -> Answer<'_, Answers> {
        self.read(move |view| view.ask(&tree, &questions))
    }

    fn locate(
        &self,
        tenant: TenantName,
        ids: Vec<ObjectId>,
    ) -> Answer<'_, Vec<Option<(ObjectKind, Place)>>> {
        self.read(move |view| view.locate(&tenant, &ids))
    }

    fn commit(
        &self,
        tree: TreeKey,
        write: Box<CommitWrite>,
        payloads: Vec<Arc<Payload>>,
    ) -> Answer<'_, Committed> {
        self.write(move |tables| tables.commit(&tree, &write, &payloads))
    }

    fn heads(&self, trees: Vec<TreeKey>) -> Answer<'_, Vec<Option<Head>>> {
        self.read(move |view| trees.iter().map(|tree| view.head_of(tree)).collect())
    }

    fn renew(&self, tree: TreeKey, head: Head, epoch: Epoch) -> Answer<'_, bool> {
        self.write(move |tables| tables.renew(&tree, head, epoch))
    }

    fn log(&self, tree: TreeKey, before: Option<Seq>, limit: usize) -> Answer<'_, Vec<Stored>> {
        self.read(move |view| view.log(&tree, before, limit))
    }

    fn open_upload(&self, tree: TreeKey, upload: UploadId, lease: Lease) -> Answer<'_, ()> {
        self.write(move |tables| tables.open_upload(&tree, upload, lease))
    }

    fn touch_upload(&self, tree: TreeKey, upload: UploadId, lease: Lease) -> Answer<'_, bool> {
        self.write(move |tables| tables.touch_upload(&tree, upload, lease))
    }

    fn add_upload(
        &self,
        tree: TreeKey,
        upload: UploadId,
        payload: Payload,
        lease: Lease,
    ) -> Answer<'_, bool> {
        self.write(move |tables| tables.add_upload(&tree, upload, &payload, lease))
    }

    fn expire_uploads(&self, now: Now) -> Answer<'_, usize> {
        self.write(move |tables| tables.expire_uploads(now))
    }

    fn trees(&self) -> Answer<'_, Vec<TreeKey>> {
        self.read(View::trees)
    }

    fn pins(&self, tree: TreeKey) -> Answer<'_, Vec<ObjectId>> {
        self.read(move |view| view.pins(&tree))
    }

    fn sweep_tree(
        &self,
        tree: TreeKey,
        head: Option<Head>,
        live: Arc<BTreeSet<ObjectId>>,
        sweep: Sweep,
    ) -> Answer<'_, Option<u64>> {
        self.write(move |tables| tables.sweep_tree(&tree, head, &live, sweep))
    }

    fn sweep_objects(&self, tenant: TenantName, sweep: Sweep) -> Answer<'_, (u64, Vec<PackUse>)> {
        self.write(move |tables| tables.sweep_objects(&tenant, sweep))
    }

    fn repoint(
        &self,
        tenant: TenantName,
        from: Option<PackId>,
        pack: PackId,
        entries: Vec<PackEntry>,
    ) -> Answer<'_, ()> {
        self.write(move |tables| tables.repoint(&tenant, from, pack, &entries))
    }

    fn lose(&self, tenant: TenantName, losses: Vec<Loss>) -> Answer<'_, u64> {
        self.write(move |tables| tables.lose(&tenant, &losses))
    }

    fn lost(&self, tree: TreeKey, from: ObjectId, limit: usize) -> Answer<'_, Vec<ObjectId>> {
        self.read(move |view| view.lost(&tree, &from, limit))
    }

    fn owned(&self, tree: TreeKey, ids: Vec<ObjectId>) -> Answer<'_, Vec<ObjectId>> {
        self.read(move |view| view.owned(&tree, &ids))
    }

    fn index_pack(
        &self,
        tenant: TenantName,
        pack: PackId,
        entries: Vec<PackEntry>,
        now: Now,
    ) -> Answer<'_, ()> {
        self.write(move |tables| tables.index_pack(&tenant, pack, &entries, now))
    }

    fn doom_pack(&self, tenant: TenantName, pack: PackId, now: Now) -> Answer<'_, ()> {
        self.write(move |tables| tables.doom_pack(&tenant, pack, now))
    }

    fn doomed(&self, tenant: TenantName, cutoff: Now) -> Answer<'_, Vec<PackId>> {
        self.read(move |view| view.doomed(&tenant, cutoff))
    }

    fn forget_pack(&self, tenant: TenantName, pack: PackId) -> Answer<'_, ()> {
        self.write(move |tables| tables.forget_pack(&tenant, pack))
    }

    fn packs(&self, tenant: TenantName) -> Answer<'_, BTreeSet<PackId>> {
        self.read(move |view| view.packs(&tenant))
    }

    fn inline_bytes(&self) -> Answer<'_, u64> {
        self.read(View::inline_bytes)
    }

    fn inline(&self, limit_bytes: u64) -> Answer<'_, Option<(TenantName, Vec<ObjectId>)>> {
        self.read(move |view| view.inline(limit_bytes))
    }
}
