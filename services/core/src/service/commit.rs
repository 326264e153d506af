//! Commits of one tree: a queue that is folded into compare-and-sets of the head.
//!
//! ```text
//! Push -> queue -> batch --(facts missing)--> Load --Loaded--> ... --> Commit --Committed--> Reply to all, Publish
//!                    ^                                                    |
//!                    +------------------- Conflict (at most 8 times) -----+
//! ```
//!
//! Guarantees: a revision in the lineage is answered `Done`, however late; parents stand in the
//! lineage; what is admitted is complete; replies and the wake-up come after the journal said that
//! the commit is durable; every push gets exactly one reply. The merge is always exactly (head,
//! incoming), with the base that is the incoming revision's parent of highest seq (ties: lowest
//! id).
//! Does not: keep objects. The driver stores those of the tickets that a [`CommitWrite`] names.
//! Place: one [`Commits`] per tree; driven by the server's `tree.rs` and by the simulator.

use std::collections::VecDeque;

use crate::id::{ObjectId, RevisionId};
use crate::label::AgentName;
use crate::limits;
use crate::mutant::{self, Mutant};
use crate::revision::Revision;
use crate::service::Now;
use crate::service::admit::Pushed;
use crate::service::error::ServiceError;
use crate::service::facts::{Answers, Facts, Questions};
use crate::service::record::{CommitWrite, HeadState, Ticket, UploadId};
use crate::wire::{CommitAnswer, CommitOutcome, Head, Seq};

mod draft;

use draft::Draft;

/// Most commits that one compare-and-set takes in: bounds how long the first of them waits.
const BATCH_PUSHES: usize = 64;
/// Most commits that wait for one tree; further ones are told to come back.
const QUEUE_PUSHES: usize = 512;
/// Shortest time after which a refused commit may come back, in milliseconds.
const RETRY_MIN_MS: u64 = 50;
/// Room for jitter above it, in milliseconds.
const RETRY_JITTER_MS: u64 = 450;

/// One commit.
#[derive(Debug)]
pub struct Push {
    /// The driver's name for it.
    pub ticket: Ticket,
    /// Ref of the revision.
    pub id: RevisionId,
    /// The revision.
    pub revision: Revision,
    /// What it brought.
    pub objects: Pushed,
    /// The upload session whose objects count as well.
    pub upload: Option<UploadId>,
    /// A random number: jitter, and the epoch of a new tree.
    pub entropy: u64,
}

/// What happens to a tree.
#[derive(Debug)]
pub enum Input {
    /// A commit came in.
    Push(Box<Push>),
    /// Answers to [`Effect::Load`].
    Loaded(Box<Answers>),
    /// What became of [`Effect::Commit`].
    Committed(Committed),
    /// Looking something up or committing failed; all commits in work are answered so.
    Failed(ServiceError),
}

/// What became of a compare-and-set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Committed {
    /// It is durable.
    Done,
    /// The head or the generation is another: nothing was changed.
    Conflict,
}

/// What the driver does next.
#[derive(Debug)]
pub enum Effect {
    /// Look these up and come back with [`Input::Loaded`].
    Load(Questions),
    /// Make this durable and come back with [`Input::Committed`].
    Commit(Box<CommitWrite>),
    /// Answer a push; its objects may be forgotten.
    Reply(Ticket, Result<CommitAnswer, ServiceError>),
    /// Tell everyone: the tree has this head.
    Publish(Advert),
}

/// A new head as it is advertised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advert {
    /// The head.
    pub head: Head,
    /// Its root.
    pub root: ObjectId,
    /// Who made it.
    pub author: AgentName,
}

/// The commits of one tree.
#[derive(Debug, Default)]
pub struct Commits {
    facts: Facts,
    queue: VecDeque<Push>,
    batch: Vec<Push>,
    retries: u32,
    stage: Stage,
}

#[derive(Debug, Default)]
enum Stage {
    #[default]
    Idle,
    Loading(Questions),
    Committing {
        head: HeadState,
        /// Where each admitted push stands.
        placed: Vec<(Ticket, RevisionId, Placed)>,
    },
}

/// How a push ends once the compare-and-set is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Placed {
    /// It is in the lineage by this compare-and-set.
    New(Seq),
    /// It was there before.
    Before(Seq),
}

impl Commits {
    /// Returns whether nothing is in work, so that the machine may be dropped.
    pub fn is_idle(&self) -> bool {
        matches!(self.stage, Stage::Idle) && self.queue.is_empty()
    }

    /// Takes one input and says what to do.
    pub fn handle(&mut self, input: Input, now: Now) -> Vec<Effect> {
        let mut effects = Vec::new();
        match input {
            Input::Push(push) => self.enqueue(*push, &mut effects),
            Input::Loaded(answers) => self.loaded(*answers, &mut effects),
            Input::Committed(Committed::Done) => self.done(&mut effects),
            Input::Committed(Committed::Conflict) => self.conflict(&mut effects),
            Input::Failed(error) => self.fail(&error, &mut effects),
        }
        if matches!(self.stage, Stage::Idle) {
            self.advance(now, &mut effects);
        }
        effects
    }

    fn enqueue(&mut self, push: Push, effects: &mut Vec<Effect>) {
        if self.queue.len() >= QUEUE_PUSHES {
            let error = busy("too many commits wait for this tree", push.entropy);
            effects.push(Effect::Reply(push.ticket, Err(error)));
            return;
        }
        self.queue.push_back(push);
    }

    fn loaded(&mut self, answers: Answers, effects: &mut Vec<Effect>) {
        let Stage::Loading(asked) = std::mem::take(&mut self.stage) else {
            return;
        };
        if !is_answered(&asked, &answers) {
            let error = ServiceError::Internal("the journal left a question open".to_owned());
            self.fail(&error, effects);
            return;
        }
        self.facts.learn(answers);
    }

    fn advance(&mut self, now: Now, effects: &mut Vec<Effect>) {
        loop {
            if self.batch.is_empty() {
                let count = self.queue.len().min(BATCH_PUSHES);
                self.batch.extend(self.queue.drain(..count));
                self.retries = 0;
            }
            if self.batch.is_empty() {
                return;
            }
            let draft = Draft::of(&self.facts, &self.batch);
            if !draft.questions.is_empty() {
                self.stage = Stage::Loading(draft.questions.clone());
                effects.push(Effect::Load(draft.questions));
                return;
            }
            let (write, placed, refused) = draft.finish(now);
            for (ticket, error) in refused {
                self.batch.retain(|push| push.ticket != ticket);
                effects.push(Effect::Reply(ticket, Err(error)));
            }
            match write {
                Some((write, head)) => {
                    if mutant::is_on(Mutant::EarlyAnswer) {
                        reply_all(&head.head, &placed, effects);
                    }
                    self.stage = Stage::Committing { head, placed };
                    effects.push(Effect::Commit(Box::new(write)));
                    return;
                }
                None => self.reply_before(&placed, effects),
            }
        }
    }

    /// Answers pushes that changed nothing, because they were in the lineage. Whoever put them there
    /// may not have learned of it, and told nobody.
    fn reply_before(&mut self, placed: &[(Ticket, RevisionId, Placed)], effects: &mut Vec<Effect>) {
        if let Some(Some(state)) = &self.facts.head {
            reply_all(&state.head, placed, effects);
            effects.push(publish(state));
        }
        self.batch.clear();
        // Whoever asks next must see what other replicas did meanwhile.
        self.facts.forget();
    }

    fn done(&mut self, effects: &mut Vec<Effect>) {
        let Stage::Committing { head, placed } = std::mem::take(&mut self.stage) else {
            return;
        };
        reply_all(&head.head, &placed, effects);
        if !mutant::is_on(Mutant::NoPublish) {
            effects.push(publish(&head));
        }
        self.batch.clear();
        self.facts.keep_head(head);
    }

    fn conflict(&mut self, effects: &mut Vec<Effect>) {
        self.stage = Stage::Idle;
        self.facts.forget();
        self.retries += 1;
        if self.retries > limits::COMMIT_RETRIES {
            for push in self.batch.drain(..) {
                let error = busy("other commits of this tree came first", push.entropy);
                effects.push(Effect::Reply(push.ticket, Err(error)));
            }
        }
    }

    fn fail(&mut self, error: &ServiceError, effects: &mut Vec<Effect>) {
        self.stage = Stage::Idle;
        self.facts.forget();
        for push in self.batch.drain(..) {
            effects.push(Effect::Reply(push.ticket, Err(error.clone())));
        }
    }
}

fn reply_all(head: &Head, placed: &[(Ticket, RevisionId, Placed)], effects: &mut Vec<Effect>) {
    for (ticket, id, how) in placed {
        let (outcome, seq) = match how {
            Placed::Before(seq) => (CommitOutcome::Done, *seq),
            Placed::New(seq) if *id == head.revision => (CommitOutcome::Head, *seq),
            Placed::New(seq) => (CommitOutcome::Merged, *seq),
        };
        let answer = CommitAnswer {
            outcome,
            head: *head,
            seq,
        };
        effects.push(Effect::Reply(*ticket, Ok(answer)));
    }
}

fn publish(state: &HeadState) -> Effect {
    Effect::Publish(Advert {
        head: state.head,
        root: state.revision.root,
        author: state.revision.author.clone(),
    })
}

fn busy(reason: &str, entropy: u64) -> ServiceError {
    ServiceError::Unavailable {
        reason: reason.to_owned(),
        retry_after_ms: RETRY_MIN_MS + entropy % RETRY_JITTER_MS,
    }
}

/// Every question has an answer; otherwise the machine would ask for ever.
fn is_answered(asked: &Questions, answers: &Answers) -> bool {
    let revisions: std::collections::BTreeSet<_> = answers.revisions.iter().map(|a| a.0).collect();
    let held: std::collections::BTreeSet<_> = answers.held.iter().map(|a| a.0).collect();
    let nodes: std::collections::BTreeSet<_> = answers.nodes.iter().map(|a| a.0).collect();
    (!asked.head || answers.head.is_some())
        && asked.revisions.is_subset(&revisions)
        && asked.held.is_subset(&held)
        && asked.nodes.iter().all(|(_, id)| nodes.contains(id))
        && asked.chain_after == answers.chain.as_ref().map(|c| c.0)
}
