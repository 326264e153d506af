//! What is read of one tree, from one state of it.

use std::collections::BTreeMap;

use bytes::{BufMut, Bytes, BytesMut};
use fred::types::Value;
use fsync_core::id::{ID_BYTES, ObjectId, RevisionId};
use fsync_core::label::TreeKey;
use fsync_core::limits;
use fsync_core::service::facts::{Answers, CHAIN_REVISIONS, Questions};
use fsync_core::service::record::{HeadState, Held, Stored, UploadId};
use fsync_core::wire::{Epoch, Head, Seq};

use super::{JournalError, Shared, damaged};
use crate::journal::rows::{ObjectRow, read_revision};
use crate::redis::script::ASK;
use crate::redis::{bytes, decimal, list, number, pairs};

impl Shared {
    pub(super) async fn answer(
        &self,
        tree: &TreeKey,
        questions: &Questions,
    ) -> Result<Answers, JournalError> {
        let keys = self.redis.keys();
        let mut sessions: Vec<UploadId> = questions.held.iter().filter_map(|h| h.0).collect();
        sessions.dedup();
        limits::check(
            "sessions of one question",
            usize::from(u8::MAX),
            sessions.len(),
        )
        .map_err(|e| JournalError::Failed(e.to_string()))?;
        let of_tree = [
            keys.head(tree),
            keys.log(tree),
            keys.lineage(tree),
            keys.complete(tree),
            keys.uploads(tree),
        ];
        let objects = sessions.iter().map(|session| keys.upload(tree, *session));
        let asked = of_tree.into_iter().chain(objects).collect();
        let reply = self
            .redis
            .run(&ASK, asked, args(questions, &sessions))
            .await?;
        let mut reply = list(reply).into_iter();
        let mut next = || reply.next().ok_or_else(|| damaged("an answer"));
        let generation = number(&next()?).ok_or_else(|| damaged("a generation"))?;
        let head = head([next()?, next()?, next()?], next()?)?;
        let revisions = stored(next()?)?;
        let flags = bytes(next()?).unwrap_or_default();
        let chain = chain(next()?)?;
        let held = self.held(tree, questions, &flags).await?;
        Ok(Answers {
            generation,
            head: questions.head.then_some(head),
            revisions: questions.revisions.iter().copied().zip(revisions).collect(),
            held,
            nodes: Vec::new(),
            chain: questions.chain_after.map(|after| (after, chain)),
        })
    }

    /// Joins what the tree may use with what the tenant's index has.
    async fn held(
        &self,
        tree: &TreeKey,
        questions: &Questions,
        flags: &[u8],
    ) -> Result<Vec<((Option<UploadId>, ObjectId), Option<Held>)>, JournalError> {
        let asked = questions.held.iter().copied().zip(flags);
        let usable: Vec<ObjectId> = asked
            .clone()
            .filter(|(_, flag)| **flag != b'-')
            .map(|((_, id), _)| id)
            .collect();
        let rows = self.rows(&tree.tenant, &usable).await?;
        let rows: BTreeMap<ObjectId, Option<ObjectRow>> = usable.into_iter().zip(rows).collect();
        let answer = |((upload, id), flag): ((Option<UploadId>, ObjectId), &u8)| {
            let row = rows.get(&id).copied().flatten();
            let held = row.map(|row| Held {
                kind: row.kind,
                bytes: row.bytes,
                is_complete: *flag == b'c',
            });
            ((upload, id), held)
        };
        Ok(asked.map(answer).collect())
    }
}

fn args(questions: &Questions, sessions: &[UploadId]) -> Vec<Bytes> {
    let refs = questions.revisions.iter();
    let refs: Vec<u8> = refs.flat_map(|id| *id.as_bytes()).collect();
    let mut held = BytesMut::with_capacity(questions.held.len() * (1 + ID_BYTES));
    for (upload, id) in &questions.held {
        let at = upload.and_then(|upload| sessions.iter().position(|s| *s == upload));
        held.put_u8(at.map_or(0, |at| u8::try_from(at + 1).unwrap_or_default()));
        held.put_slice(id.as_bytes());
    }
    let after = questions
        .chain_after
        .map_or_else(Bytes::new, |seq| decimal(seq.0));
    let numbers = sessions.iter().map(|session| decimal(session.0));
    [
        after,
        decimal(CHAIN_REVISIONS as u64 + 1),
        Bytes::from(refs),
        held.freeze(),
    ]
    .into_iter()
    .chain(numbers)
    .collect()
}

/// Reads epoch, seq and ref as a head's hash holds them; nothing for a tree without head.
pub(super) fn head_of(fields: [Value; 3]) -> Result<Option<Head>, JournalError> {
    let [epoch, seq, id] = fields;
    let Some(id) = bytes(id) else {
        return Ok(None);
    };
    let parts = (number(&epoch), number(&seq), RevisionId::from_slice(&id));
    match parts {
        (Some(epoch), Some(seq), Some(revision)) => Ok(Some(Head {
            epoch: Epoch(epoch),
            seq: Seq(seq),
            revision,
        })),
        _ => Err(damaged("a head")),
    }
}

fn head(fields: [Value; 3], row: Value) -> Result<Option<HeadState>, JournalError> {
    let Some(head) = head_of(fields)? else {
        return Ok(None);
    };
    let row = bytes(row).ok_or_else(|| JournalError::damaged("a head's revision is lost"))?;
    let stored = read_revision(head.seq, &row)?;
    Ok(Some(HeadState {
        head,
        revision: stored.revision,
    }))
}

/// Reads pairs of seq and row; a missing row is a revision that is not here.
fn stored(found: Value) -> Result<Vec<Option<Stored>>, JournalError> {
    let read = |(seq, row): (Value, Value)| match (number(&seq), bytes(row)) {
        (Some(seq), Some(row)) => read_revision(Seq(seq), &row).map(Some),
        _ => Ok(None),
    };
    pairs(found).map(read).collect()
}

fn chain(found: Value) -> Result<Vec<Stored>, JournalError> {
    let chain: Vec<Stored> = pairs(found)
        .map(|(entry, row)| entry_of(entry, row))
        .collect::<Result<_, _>>()?;
    // One more than may be told means that the chain is too long to be told.
    match chain.len() > CHAIN_REVISIONS {
        true => Ok(Vec::new()),
        false => Ok(chain),
    }
}

/// Reads an entry of the log's stream, whose id is `SEQ-0`.
pub(super) fn entry_of(entry: Value, row: Value) -> Result<Stored, JournalError> {
    let id = entry.into_string().unwrap_or_default();
    let seq = id.split('-').next().and_then(|seq| seq.parse().ok());
    match (seq, bytes(row)) {
        (Some(seq), Some(row)) => read_revision(Seq(seq), &row),
        _ => Err(damaged("a log entry")),
    }
}
