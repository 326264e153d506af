//! What is known of the head beside its position: its root and whether its deletes were approved.

use fsync_core::id::{ID_BYTES, ObjectId, RevisionId};
use fsync_core::revision::{MoveHint, Revision};
use fsync_core::wire::Head;
use fsync_runtime::fault::{self, Point};

use super::{FetchAnswer, Folder, FolderEffect, FolderError, NetFailure, Notice};
use crate::state::{Durability, State};
use fsync_core::engine::{Failure, Input};

/// Name of the record in the state: ref, root, approved.
const RECORD: &str = "folder.head";

/// A revision as far as a comparison needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) revision: RevisionId,
    pub(super) root: ObjectId,
    pub(super) is_approved: bool,
}

/// The last head whose root is known, and the renames that lead to it from the base.
#[derive(Debug, Default)]
pub(super) struct HeadCache {
    known: Option<Known>,
    pub(super) moves: Vec<MoveHint>,
}

impl HeadCache {
    pub(super) fn load(state: &State) -> Result<Self, FolderError> {
        let Some(record) = state.snapshot()?.value(RECORD)? else {
            return Ok(Self::default());
        };
        let id = |at: usize| record.get(at..at + ID_BYTES);
        let known = id(0)
            .and_then(RevisionId::from_slice)
            .zip(id(ID_BYTES).and_then(ObjectId::from_slice));
        let (revision, root) = known.ok_or(FolderError::Damaged("head record"))?;
        let is_approved = record.last() == Some(&1);
        Ok(Self {
            known: Some(Known {
                revision,
                root,
                is_approved,
            }),
            moves: Vec::new(),
        })
    }

    /// Returns what is known of this head.
    pub(super) fn get(&self, head: &Head) -> Option<Known> {
        self.known.filter(|known| known.revision == head.revision)
    }
}

impl Folder {
    /// Remembers a head's root; `moves` lead to it from the base.
    pub(super) fn remember_head(
        &mut self,
        known: Known,
        moves: Vec<MoveHint>,
    ) -> Result<(), FolderError> {
        let record = [
            &known.revision.as_bytes()[..],
            &known.root.as_bytes()[..],
            &[u8::from(known.is_approved)],
        ]
        .concat();
        self.parts
            .state
            .update(Durability::Lazy, |tx| tx.set_value(RECORD, Some(&record)))?;
        self.head = HeadCache {
            known: Some(known),
            moves,
        };
        Ok(())
    }

    /// Takes what a fetch brought.
    pub(super) fn fetched(
        &mut self,
        answer: Result<FetchAnswer, NetFailure>,
        out: &mut Vec<FolderEffect>,
    ) -> Result<Input, FolderError> {
        let answer = match answer {
            Ok(answer) => answer,
            Err(failure) => return Ok(fetch_failed(failure, out)),
        };
        match answer {
            FetchAnswer::Delta {
                revision,
                moves,
                objects,
            } => {
                let decoded = Revision::decode(&revision)?;
                self.keep(objects)?;
                let known = Known {
                    revision: RevisionId::of(&revision),
                    root: decoded.root,
                    is_approved: decoded.is_approved,
                };
                self.remember_head(known, moves)?;
            }
            FetchAnswer::Nodes(objects) => self.keep(objects)?,
            FetchAnswer::Known(known) => self.introduce(&known)?,
        }
        Ok(Input::Fetched)
    }

    /// Keeps nodes in the state and small chunks in memory, for the apply that follows.
    fn keep(&mut self, objects: Vec<fsync_core::pack::Object>) -> Result<(), FolderError> {
        fault::around(Point::KeepNodes, || {
            self.parts.state.update(Durability::Lazy, |tx| {
                objects
                    .iter()
                    .filter(|object| object.kind.is_node())
                    .try_for_each(|object| tx.put_node(object.kind, &object.id, &object.bytes))
            })
        })?;
        self.pull.keep_chunks(objects);
        Ok(())
    }
}

fn fetch_failed(failure: NetFailure, out: &mut Vec<FolderEffect>) -> Input {
    match failure {
        NetFailure::Retry(after) => Input::Failed(Failure::Retry(after)),
        NetFailure::Unreachable => Input::Failed(Failure::Unreachable),
        NetFailure::Gone => Input::Failed(Failure::Again),
        NetFailure::BaseUnknown => Input::Failed(Failure::BaseLost),
        NetFailure::Missing(ids) => {
            let count = ids.len();
            out.push(FolderEffect::Notice(Notice::Trouble(format!(
                "the service has lost {count} objects of the head; waiting until an agent that has them sends them"
            ))));
            Input::Failed(Failure::Retry(std::time::Duration::from_secs(2)))
        }
        NetFailure::Refused(reason) | NetFailure::ReadOnly(reason) => {
            out.push(FolderEffect::Notice(Notice::Trouble(reason)));
            Input::Failed(Failure::Retry(std::time::Duration::from_secs(5)))
        }
    }
}
