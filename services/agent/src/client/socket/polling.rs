//! Heads by HTTP, where a network breaks WebSockets: requests that wait for news.
//!
//! Guarantees: entered only after HTTP was seen to reach the server; what a socket would tell of
//! heads and lost objects is told in the same words; a WebSocket is tried again after
//! [`RETURN_FIRST`], and ever less often up to [`RETURN_LAST`], while requests go on.
//! Does not: tell others what this agent does; a replica knows of it only while a request waits.

use std::pin::Pin;
use std::time::Duration;

use fsync_core::limits;
use fsync_core::wire::{Cursor, Head, Heads, Subscribe, Watch, WatchAnswer, Watched};
use tokio::time::{Instant, sleep_until};
use tracing::{debug, info};

use super::supervisor::Supervisor;
use super::{Command, End, Link, SocketEvent, connect};
use crate::client::ClientError;
use crate::client::NextStep;
use crate::client::backoff::Backoff;

/// First time between two attempts to have a WebSocket again.
const RETURN_FIRST: Duration = Duration::from_secs(5);
/// Longest time.
const RETURN_LAST: Duration = Duration::from_secs(600);
/// Shortest time between two requests: news that come faster are told together.
const ASK: Duration = Duration::from_millis(100);
/// After so many failures in a row it is not the WebSockets that are broken.
const FAILURES: u32 = 3;

/// Whether requests stand in for the WebSocket, and since when.
#[derive(Debug)]
pub(super) struct Polling {
    is_on: bool,
    /// No WebSocket was had since.
    is_unbroken: bool,
    /// When a WebSocket is tried again.
    return_at: Instant,
    pause: Duration,
    failures: u32,
}

impl Default for Polling {
    fn default() -> Self {
        Self {
            is_on: false,
            is_unbroken: false,
            return_at: Instant::now(),
            pause: RETURN_FIRST,
            failures: 0,
        }
    }
}

impl Polling {
    pub(super) fn is_on(&self) -> bool {
        self.is_on
    }

    fn begin(&mut self) {
        *self = Self {
            is_on: true,
            is_unbroken: true,
            return_at: Instant::now() + RETURN_FIRST,
            ..Self::default()
        };
    }

    /// A WebSocket was had: returns whether requests stood in for it until now.
    pub(super) fn end(&mut self) -> bool {
        self.is_on = false;
        std::mem::take(&mut self.is_unbroken)
    }

    fn put_off(&mut self) {
        self.pause = (self.pause * 2).min(RETURN_LAST);
        self.return_at = Instant::now() + self.pause;
    }
}

type Asking = Pin<Box<dyn Future<Output = Result<WatchAnswer, ClientError>> + Send>>;
type Returning = Pin<Box<dyn Future<Output = Result<Link, End>> + Send>>;

/// What is asked for: the trees, and their heads as far as they were told.
#[derive(Debug)]
struct Trees {
    id: u64,
    cursors: Vec<(Cursor, Option<Head>)>,
    /// The answer to a subscribe is still to come.
    is_new: bool,
    /// When the next request may leave.
    ask_at: Instant,
}

impl Trees {
    fn of(subscribe: Subscribe) -> Self {
        Self {
            id: subscribe.id,
            cursors: subscribe.trees.into_iter().map(|c| (c, None)).collect(),
            is_new: true,
            ask_at: Instant::now(),
        }
    }

    /// Returns what to ask: the answer to a subscribe comes at once, news when there are some.
    fn request(&self) -> Watch {
        let watched = |(cursor, known): &(Cursor, Option<Head>)| Watched {
            cursor: cursor.clone(),
            known: *known,
        };
        Watch {
            id: self.id,
            trees: self.cursors.iter().map(watched).collect(),
            wait_ms: if self.is_new { 0 } else { limits::WATCH_MS },
        }
    }

    /// Takes an answer and says it in a socket's words.
    fn take(&mut self, answer: WatchAnswer) -> Vec<SocketEvent> {
        let WatchAnswer { heads, refs, wants } = answer;
        self.ask_at = Instant::now() + ASK;
        for (cursor, known) in &mut self.cursors {
            let told = heads.trees.iter().find(|tree| tree.tree == cursor.tree);
            *known = told.and_then(|tree| tree.head);
        }
        let id = std::mem::take(&mut self.is_new).then_some(self.id);
        let heads = SocketEvent::Heads(Heads { id, ..heads });
        // The heads last: they may be newer than the refs that led to them.
        let news = refs.into_iter().map(SocketEvent::Ref);
        let wants = wants.into_iter().map(SocketEvent::Want);
        news.chain(wants).chain([heads]).collect()
    }
}

impl Supervisor {
    /// Returns whether the server answers by HTTP though the WebSocket failed; from now on it is
    /// asked so.
    pub(super) async fn reaches_by_http(&mut self, reason: &str) -> bool {
        let probe = Watch {
            id: 0,
            trees: Vec::new(),
            wait_ms: 0,
        };
        let answer = tokio::select! {
            () = self.stop.cancelled() => return false,
            answer = self.config.http.watch(&probe) => answer,
        };
        match answer {
            Ok(_) => {
                info!(
                    server = %self.config.server,
                    reason,
                    "WebSockets do not pass: asking for changes by HTTP"
                );
                self.polling.begin();
                true
            }
            Err(error) => {
                debug!(%error, "HTTP does not reach the server either");
                false
            }
        }
    }

    /// Asks by HTTP until that fails, or a WebSocket can be had again.
    pub(super) async fn poll(&mut self) -> End {
        if !self.tell_at_last(SocketEvent::Connected).await {
            return End::Stop;
        }
        let mut trees: Option<Trees> = None;
        let mut asking: Option<Asking> = None;
        let mut returning: Option<Returning> = None;
        loop {
            if asking.is_none() {
                asking = trees.as_ref().map(|trees| self.ask(trees));
            }
            tokio::select! {
                () = self.stop.cancelled() => return End::Stop,
                command = self.commands.recv() => match command {
                    None => return End::Stop,
                    Some(Command::Subscribe(subscribe)) => {
                        trees = Some(Trees::of(subscribe));
                        asking = None;
                    }
                    Some(Command::Presence(_)) => {}
                },
                answer = now_or_never(&mut asking) => {
                    asking = None;
                    let end = trees.as_mut().and_then(|trees| self.answered(answer, trees));
                    if let Some(end) = end {
                        return end;
                    }
                }
                () = sleep_until(self.polling.return_at), if returning.is_none() => {
                    let (config, token) = (self.config.clone(), self.token.clone());
                    returning = Some(Box::pin(async move { connect(&config, token.as_ref()).await }));
                }
                link = now_or_never(&mut returning) => {
                    returning = None;
                    match link {
                        Ok(link) => return self.back(link).await,
                        Err(End::Denied(reason)) => return End::Denied(reason),
                        Err(_) => self.polling.put_off(),
                    }
                }
            }
        }
    }

    fn ask(&self, trees: &Trees) -> Asking {
        let (http, request) = (self.config.http.clone(), trees.request());
        let at = trees.ask_at;
        Box::pin(async move {
            sleep_until(at).await;
            http.watch(&request).await
        })
    }

    /// Tells what an answer says; returns how polling ends, if it does.
    fn answered(
        &mut self,
        answer: Result<WatchAnswer, ClientError>,
        trees: &mut Trees,
    ) -> Option<End> {
        let error = match answer {
            Ok(answer) => {
                self.was_joined = true;
                self.polling.failures = 0;
                let mut told = trees.take(answer).into_iter();
                let is_full = told.any(|event| self.events.try_send(event).is_err());
                let reason = "the agent is too busy to take events".to_owned();
                return is_full.then_some(End::Again(reason, None));
            }
            // Another token may be at hand; the same one is of no use any more.
            Err(ClientError::Token { message }) => return Some(End::Denied(message)),
            Err(error) => error,
        };
        self.polling.failures += 1;
        // The network is another one, perhaps: WebSockets may pass again.
        (self.polling.pause, self.polling.return_at) = (RETURN_FIRST, Instant::now());
        if self.polling.failures >= FAILURES {
            self.polling.is_on = false;
        }
        Some(match error.next_step() {
            NextStep::AskUser => End::Denied(error.to_string()),
            NextStep::Retry(wait) => End::Again(error.to_string(), Some(wait)),
            NextStep::Reconnect | NextStep::Repair => End::Again(error.to_string(), None),
        })
    }

    /// Goes on with a WebSocket.
    async fn back(&mut self, link: Link) -> End {
        let reason = "going on by WebSocket".to_owned();
        if !self
            .tell_at_last(SocketEvent::Disconnected { reason })
            .await
        {
            return End::Stop;
        }
        self.live(link, &mut Backoff::new()).await
    }
}

/// Waits for what is under way; for ever if nothing is.
async fn now_or_never<F: Future + Unpin>(work: &mut Option<F>) -> F::Output {
    match work {
        Some(work) => work.await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fsync_core::id::RevisionId;
    use fsync_core::wire::{Epoch, Seq, TreeHead};

    fn head(seq: u64) -> Head {
        Head {
            epoch: Epoch(1),
            seq: Seq(seq),
            revision: RevisionId::of(&seq.to_le_bytes()),
        }
    }

    fn answer(seq: u64) -> WatchAnswer {
        WatchAnswer {
            heads: Heads {
                id: Some(7),
                trees: vec![TreeHead {
                    tree: "docs".parse().unwrap(),
                    head: Some(head(seq)),
                    base_known: None,
                }],
            },
            refs: Vec::new(),
            wants: Vec::new(),
        }
    }

    #[test]
    fn a_subscribe_is_answered_at_once_and_news_are_waited_for() {
        let cursor = Cursor {
            tree: "docs".parse().unwrap(),
            base: None,
        };
        let mut trees = Trees::of(Subscribe {
            id: 7,
            trees: vec![cursor],
        });
        assert_eq!(trees.request().wait_ms, 0);
        let told = trees.take(answer(1));
        assert!(matches!(&told[..], [SocketEvent::Heads(h)] if h.id == Some(7)));
        let next = trees.request();
        assert_eq!(
            (next.wait_ms, next.trees[0].known),
            (limits::WATCH_MS, Some(head(1)))
        );
        let told = trees.take(answer(2));
        assert!(matches!(&told[..], [SocketEvent::Heads(h)] if h.id.is_none()));
    }
}
