//! The service of a simulated world: core's commits and subscriptions over a [`Ledger`].
//!
//! Guarantees: several servers share one ledger, as replicas share a journal. Nothing is answered or advertised before the ledger has it. A crash takes the
//! machines and what waits in them; the ledger stays.
//! Does not: know time or loss; the world decides when work is done and which answers arrive.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fsync_agent::folder::{FetchAnswer, FetchRequest, NetFailure};
use fsync_core::hints;
use fsync_core::id::{ObjectId, ObjectKind, RevisionId};
use fsync_core::label::TreeKey;
use fsync_core::node::Node;
use fsync_core::nodes::{Nodes, NodesError};
use fsync_core::pack::Object;
use fsync_core::path::RelPath;
use fsync_core::revision::{MoveHint, Revision};
use fsync_core::service::Now;
use fsync_core::service::admit::Pushed;
use fsync_core::service::commit::{Commits, Committed, Effect, Input, Push};
use fsync_core::service::delta::delta;
use fsync_core::service::error::ServiceError;
use fsync_core::service::facts::Questions;
use fsync_core::service::known::Known;
use fsync_core::service::ledger::Ledger;
use fsync_core::service::record::{CommitWrite, Payload, Place, Stored, Ticket, UploadId};
use fsync_core::service::subscribe::{self, Hub};
use fsync_core::wire::{CommitAnswer, Head, Heads, RefEvent, Seq, Subscribe, TreeHead};

/// How far before `from` the chain of hints is read.
const LOOK_BACK: u64 = 100;
/// How long an upload session lives, in ms.
const SESSION_MS: u64 = 3_600_000;

/// Work of the commit machine that takes time.
#[derive(Debug)]
pub enum Work {
    /// Look something up.
    Load(Questions),
    /// Make something durable.
    Commit(Box<CommitWrite>),
}

/// What the world has to do for the service.
#[derive(Debug)]
pub enum Todo {
    /// Come back with this when some time has passed.
    Work(Work),
    /// Tell the author of a push.
    Reply(Ticket, Result<CommitAnswer, ServiceError>),
    /// Carry out what the hub wants.
    Hub(subscribe::Effect),
    /// Tell the other replicas.
    Wake(RefEvent),
}

/// See the module's head.
#[derive(Debug)]
pub struct Server {
    /// What survives; all replicas have it.
    pub ledger: SharedLedger,
    /// Who hears of what.
    pub hub: Hub,
    tree: TreeKey,
    commits: Commits,
    waiting: BTreeMap<Ticket, Vec<Object>>,
    next: u64,
}

/// The ledger of all replicas.
pub type SharedLedger = Arc<Mutex<Ledger>>;

struct LedgerNodes<'a>(&'a Mutex<Ledger>, &'a TreeKey);

fn locked(ledger: &Mutex<Ledger>) -> MutexGuard<'_, Ledger> {
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Nodes for LedgerNodes<'_> {
    fn node(&self, kind: ObjectKind, id: &ObjectId) -> Result<Arc<Node>, NodesError> {
        let found = locked(self.0).locate(&self.1.tenant, id);
        match found {
            Some((_, Place::Inline(bytes))) => {
                let source = |source| NodesError::Decode { id: *id, source };
                Node::decode(kind, &bytes).map(Arc::new).map_err(source)
            }
            _ => Err(NodesError::Missing(vec![(kind, *id)])),
        }
    }
}

impl Server {
    /// Starts a replica; its number keeps its names apart from others'.
    pub fn new(tree: TreeKey, ledger: SharedLedger, number: u64) -> Self {
        Self {
            ledger,
            hub: Hub::default(),
            tree,
            commits: Commits::default(),
            waiting: BTreeMap::new(),
            next: number << 40,
        }
    }

    /// Ends and starts again: only the ledger stays.
    pub fn crash(&mut self) {
        self.commits = Commits::default();
        self.hub = Hub::default();
        self.waiting.clear();
    }

    /// Returns where nodes are found.
    pub fn nodes(&self) -> impl Nodes + '_ {
        LedgerNodes(&self.ledger, &self.tree)
    }

    /// Returns an object's bytes.
    pub fn object(&self, id: &ObjectId) -> Option<Object> {
        let found = locked(&self.ledger).locate(&self.tree.tenant, id)?;
        match found {
            (kind, Place::Inline(bytes)) => Some(Object::new(kind, bytes)),
            _ => None,
        }
    }

    /// Takes objects for a new upload session.
    pub fn upload(&mut self, objects: Vec<Object>, now: Now) -> UploadId {
        self.next += 1;
        let upload = UploadId(self.next);
        let expires = now.plus_ms(SESSION_MS);
        locked(&self.ledger).open_upload(&self.tree, upload, expires);
        let payload = Payload::Inline(objects);
        locked(&self.ledger).add_upload(&self.tree, upload, payload, (now, expires));
        upload
    }

    /// Takes a push in; its reply comes later under the ticket.
    ///
    /// # Errors
    /// [`ServiceError`] if it does not decode.
    pub fn push(
        &mut self,
        (revision, objects): (&[u8], Vec<Object>),
        upload: Option<UploadId>,
        entropy: u64,
        now: Now,
    ) -> Result<(Ticket, Vec<Todo>), ServiceError> {
        let invalid = |e: &dyn std::fmt::Display| ServiceError::Invalid(e.to_string());
        let decoded = Revision::decode(revision).map_err(|e| invalid(&e))?;
        let mut pushed = Pushed::default();
        for object in &objects {
            pushed.add(object).map_err(|e| invalid(&e))?;
        }
        self.next += 1;
        let ticket = Ticket(self.next);
        self.waiting.insert(ticket, objects);
        let push = Push {
            ticket,
            id: RevisionId::of(revision),
            revision: decoded,
            objects: pushed,
            upload,
            entropy,
        };
        Ok((ticket, self.commit_input(Input::Push(Box::new(push)), now)))
    }

    /// Does work whose time has come.
    ///
    /// # Panics
    /// If the ledger finds a commit damaged: the machine made it.
    pub fn work(&mut self, work: Work, now: Now) -> Vec<Todo> {
        let input = match work {
            Work::Load(questions) => Input::Loaded(Box::new(
                locked(&self.ledger).answer(&self.tree, &questions),
            )),
            Work::Commit(write) => Input::Committed(self.store(&write)),
        };
        self.commit_input(input, now)
    }

    /// Does work whose outcome gets lost on its way back.
    pub fn work_blindly(&mut self, work: Work, now: Now) -> Vec<Todo> {
        // What came of it shows to whoever reads the head again.
        let _outcome = match work {
            Work::Commit(write) => Some(self.store(&write)),
            Work::Load(_) => None,
        };
        let error = ServiceError::Unavailable {
            reason: "the journal did not answer".to_owned(),
            retry_after_ms: 100,
        };
        self.commit_input(Input::Failed(error), now)
    }

    fn store(&mut self, write: &CommitWrite) -> Committed {
        let objects = |ticket| self.waiting.get(ticket).cloned().map(Payload::Inline);
        let payloads = write.tickets.iter().filter_map(objects).collect();
        let committed = locked(&self.ledger).commit(&self.tree, write, payloads);
        committed.expect("what the machine commits decodes")
    }

    /// Returns the tree's head.
    pub fn head(&self) -> Option<Head> {
        locked(&self.ledger).head(&self.tree)
    }

    /// Returns the tree's head as it is advertised.
    pub fn newest(&self) -> Option<RefEvent> {
        let head = self.head()?;
        let newest = self.log().into_iter().next()?;
        Some(RefEvent {
            tree: self.tree.clone(),
            head,
            root: newest.revision.root,
            author: newest.revision.author,
            trace: None,
        })
    }

    fn commit_input(&mut self, input: Input, now: Now) -> Vec<Todo> {
        let mut todo = Vec::new();
        for effect in self.commits.handle(input, now) {
            match effect {
                Effect::Load(questions) => todo.push(Todo::Work(Work::Load(questions))),
                Effect::Commit(write) => todo.push(Todo::Work(Work::Commit(write))),
                Effect::Reply(ticket, answer) => {
                    self.waiting.remove(&ticket);
                    todo.push(Todo::Reply(ticket, answer));
                }
                Effect::Publish(advert) => {
                    let event = RefEvent {
                        tree: self.tree.clone(),
                        head: advert.head,
                        root: advert.root,
                        author: advert.author,
                        trace: None,
                    };
                    todo.push(Todo::Wake(event.clone()));
                    todo.extend(self.hub_input(subscribe::Input::Moved(event), now));
                }
            }
        }
        todo
    }

    /// Gives the hub an input.
    pub fn hub_input(&mut self, input: subscribe::Input, now: Now) -> Vec<Todo> {
        self.hub
            .handle(input, now)
            .into_iter()
            .map(Todo::Hub)
            .collect()
    }

    /// Looks up the heads that a subscribe asks for.
    pub fn heads(&self, subscribe: &Subscribe) -> Heads {
        let tree_head = |cursor: &fsync_core::wire::Cursor| {
            let questions = Questions {
                head: true,
                revisions: cursor.base.iter().map(|base| base.revision).collect(),
                ..Questions::default()
            };
            let answers = locked(&self.ledger).ask(&cursor.tree, &questions);
            let is_known = answers.revisions.iter().any(|(_, known)| known.is_some());
            TreeHead {
                tree: cursor.tree.clone(),
                head: answers.head.flatten().map(|state| state.head),
                base_known: cursor.base.map(|_| is_known),
            }
        };
        Heads {
            id: Some(subscribe.id),
            trees: subscribe.trees.iter().map(tree_head).collect(),
        }
    }

    /// Answers a fetch; `budget` bounds the objects of a delta, as sizes do in the real service.
    ///
    /// # Errors
    /// [`NetFailure`] as the agent sees it.
    pub fn fetch(&self, request: &FetchRequest, budget: usize) -> Result<FetchAnswer, NetFailure> {
        match request {
            FetchRequest::Delta { from, to } => self.delta(from.as_ref(), to, budget),
            FetchRequest::Nodes(ids) => {
                let ids: Vec<ObjectId> = ids.iter().map(|(_, id)| *id).collect();
                self.objects(&ids).map(FetchAnswer::Nodes)
            }
            FetchRequest::Known(versions) => Ok(FetchAnswer::Known(self.known(versions))),
        }
    }

    /// Reads objects that are complete for the tree.
    ///
    /// # Errors
    /// [`NetFailure::Missing`] with those that are not.
    pub fn objects(&self, ids: &[ObjectId]) -> Result<Vec<Object>, NetFailure> {
        let questions = Questions {
            held: ids.iter().map(|id| (None, *id)).collect(),
            ..Questions::default()
        };
        let answers = locked(&self.ledger).ask(&self.tree, &questions);
        let lacking: BTreeSet<ObjectId> = answers
            .held
            .iter()
            .filter(|(_, held)| held.is_none_or(|h| !h.is_complete))
            .map(|((_, id), _)| *id)
            .collect();
        if !lacking.is_empty() {
            return Err(NetFailure::Missing(lacking.into_iter().collect()));
        }
        Ok(ids.iter().filter_map(|id| self.object(id)).collect())
    }

    fn stored(&self, id: &RevisionId) -> Option<Stored> {
        let questions = Questions {
            revisions: [*id].into(),
            ..Questions::default()
        };
        let answers = locked(&self.ledger).ask(&self.tree, &questions);
        answers.revisions.into_iter().find_map(|(_, stored)| stored)
    }

    fn delta(
        &self,
        from: Option<&RevisionId>,
        to: &RevisionId,
        budget: usize,
    ) -> Result<FetchAnswer, NetFailure> {
        let refused = |_| NetFailure::Refused("no such revision".to_owned());
        let to = self.stored(to).ok_or(()).map_err(refused)?;
        let from = match from {
            Some(id) => Some(self.stored(id).ok_or(NetFailure::BaseUnknown)?),
            None => None,
        };
        let moves = from
            .as_ref()
            .map_or(Vec::new(), |from| self.moves(from, &to));
        let from_root = from.map(|from| from.revision.root);
        let found = delta(&self.nodes(), from_root, to.revision.root)
            .map_err(|e| NetFailure::Refused(e.to_string()))?;
        let nodes = found.nodes.iter().map(|(_, id)| id).take(budget);
        let chunks = found.chunks.iter().take(budget);
        Ok(FetchAnswer::Delta {
            revision: to.revision.to_bytes(),
            moves,
            objects: nodes
                .chain(chunks)
                .filter_map(|id| self.object(id))
                .collect(),
        })
    }

    fn moves(&self, from: &Stored, to: &Stored) -> Vec<MoveHint> {
        let questions = Questions {
            chain_after: Some(Seq(from.seq.0.saturating_sub(LOOK_BACK))),
            ..Questions::default()
        };
        let chain = locked(&self.ledger).ask(&self.tree, &questions).chain;
        let chain = chain.map(|c| c.1).unwrap_or_default();
        let known = chain.iter().map(|s| (s.id, &s.revision)).collect();
        hints::along(&known, (&from.id, &from.revision.parents), &to.id)
    }

    fn known(&self, versions: &[(RelPath, ObjectId)]) -> Vec<bool> {
        let mut known = Known::new(versions);
        for stored in self.log() {
            // A root whose nodes were dropped tells nothing.
            drop(known.look(&self.nodes(), &stored.revision.root));
        }
        known.into_found()
    }

    /// Returns all revisions, newest first.
    pub fn log(&self) -> Vec<Stored> {
        locked(&self.ledger).log(&self.tree, None, usize::MAX)
    }
}
