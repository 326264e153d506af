//! Heads, logs and the list of trees.

use std::sync::Arc;

use bytes::Bytes;
use fsync_core::id::ID_BYTES;
use fsync_core::label::{TenantName, TreeKey};
use fsync_core::revision::Revision;
use fsync_core::service::commit::Committed;
use fsync_core::service::facts::Questions;
use fsync_core::service::record::{CommitWrite, Payload, Stored};
use fsync_core::trace::TraceContext;
use fsync_core::wire::{Epoch, Head, RefEvent, Seq};
use futures_util::future::try_join_all;

use super::ask::{entry_of, head_of};
use super::{JournalError, Shared, damaged};
use crate::journal::rows::revision_row;
use crate::redis::keys::Partition;
use crate::redis::script::{COMMIT, RENEW};
use crate::redis::wake::{Message, WakeUp};
use crate::redis::{RedisError, decimal, is_yes, list};

/// An id and a length, as the commit script takes them.
const MARK_BYTES: usize = ID_BYTES + size_of::<u32>();
/// What the commit script answers beside yes.
const CONFLICT: i64 = 0;

impl Shared {
    pub(super) async fn move_head(
        &self,
        tree: &TreeKey,
        write: &CommitWrite,
        payloads: &[Arc<Payload>],
    ) -> Result<Committed, JournalError> {
        let questions = Questions {
            head: true,
            ..Questions::default()
        };
        // Looked at first: what is stored for a commit that fails is garbage.
        let now = self.answer(tree, &questions).await?;
        let head = now.head.flatten().map(|state| state.head);
        if head.map(|head| head.revision) != write.expected || now.generation != write.generation {
            return Ok(Committed::Conflict);
        }
        let payloads = payloads.iter().map(|payload| &**payload);
        self.store(&tree.tenant, payloads, write.now).await?;
        self.store_made(&tree.tenant, &write.made, write.now)
            .await?;
        let keys = self.redis.keys();
        let partition = Partition::of(tree);
        let touched = vec![
            keys.head(tree),
            keys.log(tree),
            keys.lineage(tree),
            keys.complete(tree),
            keys.trees(partition),
            keys.wake(partition),
        ];
        let after = head.map_or(Seq(0), |head| head.seq);
        let args = args(tree, write, after)?;
        let answer = match self.redis.run(&COMMIT, touched, args).await {
            Err(error @ RedisError::Unreachable(_)) => {
                return self.resolve(tree, write, error.into()).await;
            }
            answer => answer?,
        };
        match answer.as_i64() {
            Some(1) => Ok(Committed::Done),
            Some(CONFLICT) => Ok(Committed::Conflict),
            _ => Err(JournalError::damaged(
                "the log of the tree is longer than its head says",
            )),
        }
    }

    /// No answer came: the lineage tells whether the script ran. If not, it may run yet; whoever
    /// comes again then is told that all is done.
    async fn resolve(
        &self,
        tree: &TreeKey,
        write: &CommitWrite,
        error: JournalError,
    ) -> Result<Committed, JournalError> {
        let questions = Questions {
            revisions: [write.head.revision].into(),
            ..Questions::default()
        };
        let Ok(answers) = self.answer(tree, &questions).await else {
            return Err(error);
        };
        let found = answers.revisions.into_iter().find_map(|(_, stored)| stored);
        match found.is_some_and(|stored| stored.seq == write.head.seq) {
            true => Ok(Committed::Done),
            false => Err(error),
        }
    }

    pub(super) async fn heads_of(
        &self,
        trees: &[TreeKey],
    ) -> Result<Vec<Option<Head>>, JournalError> {
        let fields = ["epoch", "seq", "ref"].map(|name| Bytes::from_static(name.as_bytes()));
        // Started together, they go in one pipeline.
        let calls = trees.iter().map(async |tree| {
            let key = self.redis.keys().head(tree);
            let found = self.redis.call("HMGET", key, fields.to_vec()).await?;
            let fields = list(found).try_into().map_err(|_e| damaged("a head"))?;
            head_of(fields)
        });
        try_join_all(calls).await
    }

    pub(super) async fn renew_epoch(
        &self,
        tree: &TreeKey,
        head: Head,
        epoch: Epoch,
    ) -> Result<bool, JournalError> {
        let questions = Questions {
            head: true,
            ..Questions::default()
        };
        let found = self.answer(tree, &questions).await?.head.flatten();
        let Some(state) = found.filter(|state| state.head == head) else {
            return Ok(false);
        };
        let renewed = Head { epoch, ..head };
        let text = wake_up(tree, renewed, head.seq, (&state.revision, None))?;
        let keys = self.redis.keys();
        let touched = vec![keys.head(tree), keys.wake(Partition::of(tree))];
        let args = vec![
            Bytes::copy_from_slice(head.revision.as_bytes()),
            decimal(head.epoch.0),
            decimal(epoch.0),
            text,
        ];
        Ok(is_yes(&self.redis.run(&RENEW, touched, args).await?))
    }

    pub(super) async fn newest(
        &self,
        tree: &TreeKey,
        before: Option<Seq>,
        limit: usize,
    ) -> Result<Vec<Stored>, JournalError> {
        let end = before.map_or_else(|| "+".to_owned(), |seq| format!("({}-0", seq.0));
        let args = vec![
            Bytes::from(end),
            Bytes::from_static(b"-"),
            Bytes::from_static(b"COUNT"),
            decimal(limit as u64),
        ];
        let key = self.redis.keys().log(tree);
        let entries = list(self.redis.call("XREVRANGE", key, args).await?).into_iter();
        let read = |entry| {
            let mut entry = list(entry).into_iter();
            let (id, fields) = (entry.next(), entry.next().map(list));
            let row = fields.and_then(|fields| fields.into_iter().nth(1));
            match (id, row) {
                (Some(id), Some(row)) => entry_of(id, row),
                _ => Err(damaged("a log entry")),
            }
        };
        entries.map(read).collect()
    }

    pub(super) async fn all_trees(&self) -> Result<Vec<TreeKey>, JournalError> {
        let calls = Partition::all().map(async |partition| {
            let key = self.redis.keys().trees(partition);
            self.redis.call("SMEMBERS", key, Vec::new()).await
        });
        let mut trees = Vec::new();
        for found in try_join_all(calls).await? {
            for name in list(found) {
                let name = name.into_string().unwrap_or_default();
                trees.push(name.parse().map_err(|_e| damaged("a tree's name"))?);
            }
        }
        trees.sort();
        Ok(trees)
    }

    /// Makes admissions of all trees of a tenant doubtful.
    pub(super) async fn raise_generations(&self, tenant: &TenantName) -> Result<(), JournalError> {
        let trees = self.all_trees().await?.into_iter();
        let calls = trees
            .filter(|tree| tree.tenant == *tenant)
            .map(async |tree| {
                let args = vec![Bytes::from_static(b"gen"), decimal(1)];
                let key = self.redis.keys().head(&tree);
                self.redis.call("HINCRBY", key, args).await
            });
        try_join_all(calls).await?;
        Ok(())
    }
}

fn args(tree: &TreeKey, write: &CommitWrite, after: Seq) -> Result<Vec<Bytes>, JournalError> {
    let head = &write.head;
    let newest = write.revisions.iter().find(|new| new.id == head.revision);
    let newest = newest.ok_or_else(|| JournalError::damaged("a commit brings no head"))?;
    let revision = Revision::decode(&newest.bytes)
        .map_err(|e| JournalError::Failed(format!("a new revision does not decode: {e}")))?;
    let mut complete = Vec::with_capacity(write.complete.len() * MARK_BYTES);
    for (id, bytes) in &write.complete {
        complete.extend_from_slice(id.as_bytes());
        complete.extend_from_slice(&bytes.to_be_bytes());
    }
    let expected = write.expected.as_ref();
    let expected = expected.map_or_else(Bytes::new, |id| Bytes::copy_from_slice(id.as_bytes()));
    let mut args = vec![
        Bytes::from(tree.to_string()),
        expected,
        decimal(write.generation),
        decimal(head.epoch.0),
        decimal(head.seq.0),
        Bytes::copy_from_slice(head.revision.as_bytes()),
        decimal(write.now.0),
        wake_up(tree, *head, after, (&revision, write.trace.clone()))?,
        Bytes::from(complete),
    ];
    for new in &write.revisions {
        args.push(decimal(new.seq.0));
        args.push(Bytes::copy_from_slice(new.id.as_bytes()));
        args.push(Bytes::from(revision_row(new, write.now)));
    }
    Ok(args)
}

fn wake_up(
    tree: &TreeKey,
    head: Head,
    after: Seq,
    (revision, trace): (&Revision, Option<TraceContext>),
) -> Result<Bytes, JournalError> {
    let event = RefEvent {
        tree: tree.clone(),
        head,
        root: revision.root,
        author: revision.author.clone(),
        trace,
    };
    let message = Message::WakeUp(Box::new(WakeUp { after, event }));
    let text = message.encode();
    let text = text.map_err(|e| JournalError::Failed(format!("a wake-up does not encode: {e}")))?;
    Ok(Bytes::from(text))
}
