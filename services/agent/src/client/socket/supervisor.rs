//! The supervisor: connects, serves, and connects again for ever.

use std::sync::atomic::Ordering;
use std::time::Duration;

use fsync_core::wire::{Subscribe, event};
use tokio::sync::mpsc::{Receiver, Sender};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::polling::Polling;
use super::{Command, Config, End, Inbound, Link, SocketEvent, connect};
use crate::client::backoff::{self, Backoff, jitter};
use crate::client::token::Token;

/// Quiet time after which the connection is probed: the beacon (10 s) is overdue.
const QUIET: Duration = Duration::from_secs(12);
/// Quiet time after which the connection is given up, though it was probed: with the time to make
/// a new one, a change that was missed is here within 35 s.
const DEAD: Duration = Duration::from_secs(25);

/// How long another token is waited for when one that was good is not any more.
const NEW_TOKEN: Duration = Duration::from_secs(10);

/// See the head of [`super`].
pub(super) struct Supervisor {
    pub(super) config: Config,
    pub(super) events: Sender<SocketEvent>,
    pub(super) commands: Receiver<Command>,
    pub(super) polling: Polling,
    last_subscribe: Option<Subscribe>,
    /// The token of the connection.
    pub(super) token: Option<Token>,
    /// Whether the server ever let this agent in.
    pub(super) was_joined: bool,
    pub(super) stop: CancellationToken,
}

impl Supervisor {
    pub(super) fn new(
        config: Config,
        events: Sender<SocketEvent>,
        commands: Receiver<Command>,
        stop: CancellationToken,
    ) -> Self {
        Self {
            config,
            events,
            commands,
            polling: Polling::default(),
            last_subscribe: None,
            token: None,
            was_joined: false,
            stop,
        }
    }

    /// Keeps the connection until told to stop, or denied for good.
    pub(super) async fn run(mut self) {
        let mut waits = Backoff::new();
        loop {
            let end = self.connection(&mut waits).await;
            let (reason, wait) = match end {
                End::Stop => return,
                // It may be another token's turn: then the same question has another answer.
                End::Denied(reason) if self.has_new_token(&reason).await => {
                    (reason, Some(Duration::ZERO))
                }
                End::Denied(reason) => {
                    warn!(server = %self.config.server, reason, "server denies this agent");
                    self.tell_at_last(SocketEvent::Denied { reason }).await;
                    return;
                }
                End::Again(reason, wait) => (reason, wait),
            };
            debug!(server = %self.config.server, reason, "socket disconnected");
            if !self
                .tell_at_last(SocketEvent::Disconnected { reason })
                .await
            {
                return;
            }
            let wait = wait.unwrap_or_else(|| waits.next_wait(jitter()));
            if !self.pause(wait).await {
                return;
            }
        }
    }

    /// Waits a little for another token than the one that was denied.
    async fn has_new_token(&self, reason: &str) -> bool {
        let source = &self.config.token;
        if source.changed(self.token.as_ref(), Duration::ZERO).await {
            return true;
        }
        // Only what was good before can be replaced in time; the first token is simply wrong.
        if !self.was_joined {
            return false;
        }
        warn!(server = %self.config.server, reason, "the token is not taken any more; waiting for another one");
        tokio::select! {
            () = self.stop.cancelled() => false,
            changed = source.changed(self.token.as_ref(), NEW_TOKEN) => changed,
        }
    }

    /// Waits, throwing away frames meant for the lost connection; `false` means stop.
    async fn pause(&mut self, wait: Duration) -> bool {
        let wake = Instant::now() + wait;
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return false,
                command = self.commands.recv() => if command.is_none() { return false },
                () = tokio::time::sleep_until(wake) => return true,
            }
        }
    }

    /// Tells the driver something that must not be dropped; `false` means stop.
    pub(super) async fn tell_at_last(&self, event: SocketEvent) -> bool {
        tokio::select! {
            () = self.stop.cancelled() => false,
            sent = self.events.send(event) => sent.is_ok(),
        }
    }

    async fn connection(&mut self, waits: &mut Backoff) -> End {
        self.last_subscribe = None;
        self.token = self.config.token.current();
        if self.polling.is_on() {
            return self.poll().await;
        }
        let stop = self.stop.clone();
        let link = tokio::select! {
            () = stop.cancelled() => return End::Stop,
            link = connect(&self.config, self.token.as_ref()) => link,
        };
        let link = match link {
            Ok(link) => link,
            Err(End::Again(reason, wait)) => {
                return match self.reaches_by_http(&reason).await {
                    true => self.poll().await,
                    false => End::Again(reason, wait),
                };
            }
            Err(end) => return end,
        };
        self.live(link, waits).await
    }

    /// Serves a connection to its end.
    pub(super) async fn live(&mut self, mut link: Link, waits: &mut Backoff) -> End {
        self.was_joined = true;
        if self.polling.end() {
            info!(server = %self.config.server, "WebSockets pass again");
        }
        let joined = Instant::now();
        let end = if self.tell_at_last(SocketEvent::Connected).await {
            self.serve(&mut link).await
        } else {
            End::Stop
        };
        link.close().await;
        // Not at once: a server that lets everybody in and out again must not be stormed.
        if joined.elapsed() > backoff::LAST {
            waits.reset();
        }
        end
    }

    async fn serve(&mut self, link: &mut Link) -> End {
        loop {
            let patience = patience(link);
            if link.is_lagged.load(Ordering::Acquire) {
                return End::Again("more events came than this agent could take".into(), None);
            }
            let end = tokio::select! {
                () = self.stop.cancelled() => Some(End::Stop),
                command = self.commands.recv() => match command {
                    None => Some(End::Stop),
                    Some(command) => self.emit(link, command).await,
                },
                inbound = link.inbound.recv() => self.take(link, inbound),
                () = sleep(patience) => self.probe(link).await,
            };
            if let Some(end) = end {
                return end;
            }
        }
    }

    fn take(&self, link: &mut Link, inbound: Option<Inbound>) -> Option<End> {
        link.heard = Instant::now();
        link.is_probed = false;
        let again = |reason: &str, wait| Some(End::Again(reason.to_owned(), wait));
        match inbound {
            None | Some(Inbound::Closed) => again("the server closed the connection", None),
            Some(Inbound::Error(reason)) => again(&reason, None),
            Some(Inbound::Connected) => None,
            Some(Inbound::Event(event)) => {
                let end = self.end_of(&event);
                if self.events.try_send(event).is_err() {
                    return again("the agent is too busy to take events", None);
                }
                end
            }
        }
    }

    /// Returns how an event ends the connection, if it does.
    fn end_of(&self, event: &SocketEvent) -> Option<End> {
        let SocketEvent::Bye(bye) = event else {
            return None;
        };
        if bye.code.is_terminal() {
            return Some(End::Denied(bye.reason.clone()));
        }
        // At least a little: a server that says "at once" to everybody must not be stormed.
        let wait = bye
            .retry_after_ms
            .map(|ms| Duration::from_millis(ms.clamp(50, 60_000)));
        Some(End::Again(bye.reason.clone(), wait))
    }

    async fn emit(&mut self, link: &Link, command: Command) -> Option<End> {
        let (name, frame) = match command {
            Command::Subscribe(frame) => {
                let json = serde_json::to_value(&frame);
                self.last_subscribe = Some(frame);
                (event::SUBSCRIBE, json)
            }
            Command::Presence(frame) => (event::PRESENCE, serde_json::to_value(&frame)),
        };
        match frame {
            Ok(frame) => link.emit(name, frame).await,
            Err(error) => {
                warn!(%error, event = name, "frame cannot be encoded");
                None
            }
        }
    }

    /// Asks a quiet connection for a sign of life; one that stays quiet is given up.
    async fn probe(&self, link: &mut Link) -> Option<End> {
        if link.is_probed {
            return Some(End::Again(
                format!("the server was silent for {} s", DEAD.as_secs()),
                None,
            ));
        }
        link.is_probed = true;
        let frame = self.last_subscribe.as_ref().map(serde_json::to_value);
        match frame {
            Some(Ok(frame)) => link.emit(event::SUBSCRIBE, frame).await,
            _ => None,
        }
    }
}

/// Returns how long to wait for the next sign of life.
fn patience(link: &Link) -> Duration {
    let limit = if link.is_probed { DEAD } else { QUIET };
    limit.saturating_sub(link.heard.elapsed())
}
