//! The two requests of a virtual agent, made again as a real agent makes them again.
//!
//! Guarantees: a wait that the server asks for is kept; a server that does not answer is asked with
//! growing pauses, for ever (the run's end cuts it); what can never succeed is noted and given up.

use std::sync::Arc;

use bytes::Bytes;
use fsync_agent::client::backoff::{Backoff, jitter};
use fsync_agent::client::http::Delta;
use fsync_agent::client::{ClientError, Http, NextStep};
use fsync_core::id::RevisionId;
use fsync_core::revision::Revision;
use fsync_core::wire::{CommitAnswer, Head};

use super::Common;

/// Waits as the error asks for; `false` if the same request will never succeed.
async fn pause(common: &Common, error: &ClientError, waits: &mut Backoff) -> bool {
    common.tally.note(error);
    let wait = match error.next_step() {
        NextStep::Retry(wait) => wait,
        NextStep::Reconnect => waits.next_wait(jitter()),
        NextStep::Repair | NextStep::AskUser => return false,
    };
    common.tally.retries.add(1);
    tokio::time::sleep(wait).await;
    true
}

/// Commits a pack; `None` if it can never succeed.
pub(super) async fn push(http: Http, common: Arc<Common>, pack: Bytes) -> Option<CommitAnswer> {
    let mut waits = Backoff::new();
    loop {
        common.tally.sent_bytes.add(pack.len() as u64);
        match http.commit(pack.clone(), None).await {
            Ok(answer) => return Some(answer),
            Err(error) if pause(&common, &error, &mut waits).await => {}
            Err(_for_good) => return None,
        }
    }
}

/// Pulls the way to a head; nothing if it can never succeed.
pub(super) async fn pull(
    http: Http,
    common: Arc<Common>,
    mut from: Option<RevisionId>,
    head: Head,
) -> (Head, Option<(Delta, Revision)>) {
    let mut waits = Backoff::new();
    loop {
        let error = match http.delta(from, head.revision).await {
            Ok(delta) => match Revision::decode(&delta.revision.1) {
                Ok(revision) => return (head, Some((delta, revision))),
                Err(error) => {
                    common.tally.note(error);
                    return (head, None);
                }
            },
            Err(error) => error,
        };
        if matches!(error, ClientError::BaseUnknown) && from.take().is_some() {
            common.tally.note(&error);
            continue;
        }
        if !pause(&common, &error, &mut waits).await {
            return (head, None);
        }
    }
}
