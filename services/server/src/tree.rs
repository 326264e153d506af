//! Drives core's commit machine of each tree over journal and blobs.
//!
//! Guarantees: effects of one tree are carried out in order, by one task at a time; a caller that
//! goes away does not stop its commit; a tree without work costs nothing.
//! Tasks: `tree`, started by the first push of a burst, ends when the tree's machine is idle; at
//! shutdown it finishes what waits.
//! Place: called by `http/commits.rs`; tells [`Sockets`] and the [`Bus`] of new heads.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use fsync_core::id::RevisionId;
use fsync_core::label::{TenantName, TreeKey};
use fsync_core::limits;
use fsync_core::pack::Object;
use fsync_core::revision::Revision;
use fsync_core::service::admit::Pushed;
use fsync_core::service::commit::{Advert, Commits, Effect, Input, Push};
use fsync_core::service::error::ServiceError;
use fsync_core::service::record::{CommitWrite, Payload, Ticket, UploadId};
use fsync_core::trace::TraceContext;
use fsync_core::wire::{CommitAnswer, RefEvent};
use fsync_runtime::fault::{self, Point};
use fsync_runtime::{Shutdown, span, trace};
use tokio::sync::{Notify, oneshot};
use tracing::{Instrument, Span, debug, warn};

use crate::bus::Bus;
use crate::checkpoint::Checkpoints;
use crate::clock;
use crate::metrics::metrics;
use crate::socket::Sockets;
use crate::store::Store;

/// Machines kept although idle; above it idle ones are dropped, so that hostile tree names cost
/// nothing for long.
const IDLE_TREES: usize = 4096;

/// A commit as it came in, with its objects stored or small.
#[derive(Debug)]
pub struct Commit {
    /// Ref of the revision.
    pub id: RevisionId,
    /// The revision.
    pub revision: Revision,
    /// What admission needs to know of its objects.
    pub objects: Pushed,
    /// The objects themselves.
    pub payload: Payload,
    /// The upload session it belongs to.
    pub upload: Option<UploadId>,
}

/// All trees of this replica.
#[derive(Debug, Clone)]
pub struct Trees(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Store,
    sockets: Sockets,
    bus: Arc<dyn Bus>,
    checkpoints: Checkpoints,
    tasks: Shutdown,
    trees: Mutex<HashMap<TreeKey, Arc<Tree>>>,
    next_ticket: AtomicU64,
    /// Bytes of objects in the journal that wait for the packer.
    inline_bytes: AtomicU64,
    gathered: Notify,
}

#[derive(Debug)]
struct Tree {
    key: TreeKey,
    work: Mutex<Work>,
}

#[derive(Debug, Default)]
struct Work {
    commits: Commits,
    effects: VecDeque<Effect>,
    waiting: HashMap<Ticket, Waiting>,
    /// Where the trace of the newest head goes on.
    trace: Option<TraceContext>,
    is_driven: bool,
}

#[derive(Debug)]
struct Waiting {
    reply: oneshot::Sender<Result<CommitAnswer, ServiceError>>,
    payload: Arc<Payload>,
    id: RevisionId,
    /// The request that waits.
    span: Span,
}

impl Trees {
    /// Starts with no tree in work.
    pub fn new(
        store: Store,
        sockets: Sockets,
        bus: Arc<dyn Bus>,
        (checkpoints, tasks): (Checkpoints, Shutdown),
    ) -> Self {
        Self(Arc::new(Inner {
            store,
            sockets,
            bus,
            checkpoints,
            tasks,
            trees: Mutex::default(),
            next_ticket: AtomicU64::new(1),
            inline_bytes: AtomicU64::new(0),
            gathered: Notify::new(),
        }))
    }

    /// Commits a revision; answers when it is durable or refused.
    ///
    /// # Errors
    /// [`ServiceError`] as the commit machine or the stores say.
    pub async fn commit(&self, key: TreeKey, commit: Commit) -> Result<CommitAnswer, ServiceError> {
        let ticket = Ticket(self.0.next_ticket.fetch_add(1, Ordering::Relaxed));
        let (reply, answer) = oneshot::channel();
        let push = Push {
            ticket,
            id: commit.id,
            revision: commit.revision,
            objects: commit.objects,
            upload: commit.upload,
            entropy: clock::random_u64(),
        };
        let payload = Arc::new(commit.payload);
        let waiting = Waiting {
            reply,
            payload,
            id: commit.id,
            span: Span::current(),
        };
        self.start(&key, push, waiting);
        let gone = |_closed| ServiceError::Internal("the commit's task ended".to_owned());
        answer.await.map_err(gone)?
    }

    /// Resolves when a pack's worth of objects has gathered in the journal.
    pub async fn gathered(&self) {
        self.0.gathered.notified().await;
    }

    /// Says how many bytes of objects are in the journal now.
    pub fn set_inline_bytes(&self, bytes: u64) {
        self.0.inline_bytes.store(bytes, Ordering::Relaxed);
    }

    fn start(&self, key: &TreeKey, push: Push, waiting: Waiting) {
        // The map stays locked until the push is in: otherwise an idle machine could be dropped in
        // between.
        let mut trees = lock(&self.0.trees);
        if trees.len() > IDLE_TREES {
            trees.retain(|_, tree| {
                let work = lock(&tree.work);
                work.is_driven || !work.commits.is_idle()
            });
        }
        let tree = trees.entry(key.clone()).or_insert_with(|| {
            Arc::new(Tree {
                key: key.clone(),
                work: Mutex::default(),
            })
        });
        let mut work = lock(&tree.work);
        work.waiting.insert(push.ticket, waiting);
        work.input(Input::Push(Box::new(push)));
        if !work.is_driven {
            work.is_driven = true;
            drop(
                self.0
                    .tasks
                    .spawn("tree", drive(Arc::clone(&self.0), Arc::clone(tree))),
            );
        }
    }
}

impl Work {
    fn input(&mut self, input: Input) {
        let effects = self.commits.handle(input, clock::now());
        self.effects.extend(effects);
    }

    /// Returns the next effect; without one the tree is not driven any more.
    fn next(&mut self) -> Option<Effect> {
        let effect = self.effects.pop_front();
        self.is_driven = effect.is_some();
        effect
    }
}

/// Carries out effects until there is none.
async fn drive(inner: Arc<Inner>, tree: Arc<Tree>) {
    loop {
        let next = lock(&tree.work).next();
        let Some(effect) = next else {
            return;
        };
        let input = match effect {
            Effect::Load(questions) => match inner.store.answer(&tree.key, questions).await {
                Ok(answers) => Input::Loaded(Box::new(answers)),
                Err(error) => failed(&tree.key, error),
            },
            Effect::Commit(write) => inner.write(&tree, write).await,
            Effect::Reply(ticket, result) => {
                fault::around(Point::Answer, || tree.reply(ticket, result));
                continue;
            }
            Effect::Publish(advert) => {
                let trace = lock(&tree.work).trace.clone();
                fault::around(Point::Multicast, || inner.publish(&tree.key, advert, trace));
                continue;
            }
        };
        lock(&tree.work).input(input);
    }
}

fn failed(tree: &TreeKey, error: ServiceError) -> Input {
    warn!(%tree, %error, "commits failed");
    Input::Failed(error)
}

impl Inner {
    async fn write(&self, tree: &Tree, mut write: Box<CommitWrite>) -> Input {
        let mut payloads = tree.payloads(&write.tickets);
        if !self.store.journal().keeps_contents() && !write.made.is_empty() {
            match self.put_made(&tree.key.tenant, &mut write).await {
                Ok(made) => payloads.push(Arc::new(made)),
                Err(error) => return failed(&tree.key, error),
            }
        }
        let bytes = payloads.iter().map(|payload| inline_bytes(payload)).sum();
        let before = self.inline_bytes.fetch_add(bytes, Ordering::Relaxed);
        if before + bytes >= limits::PACK_BYTES as u64 {
            self.gathered.notify_one();
        }
        let pushes = write.tickets.len();
        let (cas, publish) = tree.spans(&mut write);
        let commit = self
            .store
            .journal()
            .commit(tree.key.clone(), write, payloads);
        let start = Instant::now();
        let committed = commit.instrument(publish).instrument(cas).await;
        metrics().cas(pushes, start.elapsed());
        match committed {
            Ok(committed) => Input::Committed(committed),
            Err(error) => failed(&tree.key, error.into()),
        }
    }

    /// Makes the nodes that merges made durable in a pack.
    async fn put_made(
        &self,
        tenant: &TenantName,
        write: &mut CommitWrite,
    ) -> Result<Payload, ServiceError> {
        let made = std::mem::take(&mut write.made);
        let objects = made.iter().map(|(kind, id, bytes)| Object {
            kind,
            id,
            bytes: bytes.to_vec(),
        });
        let blobs = self.store.blobs();
        let (pack, entries) = blobs.put_objects(tenant, objects.collect()).await?;
        Ok(Payload::Packed(pack, entries))
    }

    fn publish(&self, tree: &TreeKey, advert: Advert, trace: Option<TraceContext>) {
        debug!(%tree, seq = advert.head.seq.0, revision = %advert.head.revision, "head moved");
        let event = RefEvent {
            tree: tree.clone(),
            head: advert.head,
            root: advert.root,
            author: advert.author,
            trace,
        };
        self.checkpoints.moved(tree);
        self.bus.tell(&event);
        self.sockets.moved(event);
    }
}

impl Tree {
    /// Makes the spans of a commit, in the trace of its first push and linked to those of the
    /// others, and tells the write where its traces go on.
    fn spans(&self, write: &mut CommitWrite) -> (Span, Span) {
        let mut work = lock(&self.work);
        let waiting = |ticket| work.waiting.get(ticket);
        let pushes: Vec<&Waiting> = write.tickets.iter().filter_map(waiting).collect();
        let first = pushes
            .first()
            .map_or_else(Span::none, |push| push.span.clone());
        let cas = span!(
            parent: &first,
            "journal.cas",
            otel.kind = "client",
            fsync.seq = write.head.seq.0,
            fsync.pushes = pushes.len(),
        );
        for push in &pushes {
            let context = context_of(&push.span);
            let made = write.revisions.iter_mut().find(|new| new.id == push.id);
            if let (Some(context), Some(made)) = (&context, made) {
                made.trace = Some(context.trace_id());
            }
            if let Some(context) = context.filter(|_| push.id != pushes[0].id) {
                trace::link(&cas, context.as_str());
            }
        }
        let publish = span!(parent: &cas, "bus.publish", otel.kind = "producer");
        write.trace = context_of(&publish);
        work.trace = write.trace.clone();
        (cas, publish)
    }

    fn payloads(&self, tickets: &[Ticket]) -> Vec<Arc<Payload>> {
        let work = lock(&self.work);
        let waiting = tickets.iter().filter_map(|ticket| work.waiting.get(ticket));
        waiting
            .map(|waiting| Arc::clone(&waiting.payload))
            .collect()
    }

    fn reply(&self, ticket: Ticket, result: Result<CommitAnswer, ServiceError>) {
        let waiting = lock(&self.work).waiting.remove(&ticket);
        if let Some(waiting) = waiting {
            // The caller may have gone; the commit stands.
            drop(waiting.reply.send(result));
        }
    }
}

fn context_of(span: &Span) -> Option<TraceContext> {
    trace::context_of(span)?.parse().ok()
}

fn inline_bytes(payload: &Payload) -> u64 {
    match payload {
        Payload::Inline(objects) => objects.iter().map(|o| o.bytes.len() as u64).sum(),
        Payload::Packed(..) => 0,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
