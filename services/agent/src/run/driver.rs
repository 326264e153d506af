//! The sync thread: feeds the folder, hands out its effects, keeps its time.

use std::collections::BTreeMap;
use std::time::Instant;

use fsync_core::clock::Moment;
use fsync_core::engine::Activity;
use fsync_core::label::TreeKey;
use fsync_core::wire::{Cursor, Presence, PresenceState};
use tokio::sync::mpsc::Receiver;
use tokio::sync::oneshot;

use super::net::Net;
use super::others::Others;
use super::want::Wants;
use super::{Clock, Ended, Event, ONCE_PATIENCE, Options, Outcome, RunError};
use crate::client::socket::Socket;
use crate::control::{Response, State as Word};
use crate::folder::{Folder, FolderEffect, FolderInput, Notice};
use crate::progress::{Amount, Event as Shown, Stage};
use crate::watch::WatchReport;

/// See the module's head.
#[derive(Debug)]
pub(super) struct Driver {
    pub(super) folder: Folder,
    pub(super) net: Net,
    pub(super) options: Options,
    pub(super) activity: Activity,
    pub(super) is_connected: bool,
    /// A connection was made, or a try failed: from then on to have none is to be offline.
    pub(super) has_tried: bool,
    pub(super) flushes: BTreeMap<u64, oneshot::Sender<Response>>,
    pub(super) next_flush: u64,
    pub(super) others: Others,
    /// How changes are noticed; nobody watches with `--once`.
    pub(super) watching: Option<WatchReport>,
    wants: Wants,
    socket: Socket,
    clock: Clock,
    wake: Option<Moment>,
    next_subscribe: u64,
    /// What the folder gave itself to do next.
    own: Option<FolderInput>,
    /// Since when contents of the head are lost.
    stuck_since: Option<Instant>,
    /// How it ends, once that is sure.
    ended: Option<Ended>,
}

enum Woken {
    Event(Event),
    Tick,
    Stop,
}

impl Driver {
    pub(super) fn new(
        folder: Folder,
        net: Net,
        socket: Socket,
        clock: Clock,
        options: Options,
    ) -> Self {
        Self {
            folder,
            net,
            options,
            activity: Activity::Offline,
            is_connected: false,
            has_tried: false,
            flushes: BTreeMap::new(),
            next_flush: 1,
            others: Others::new(Instant::now()),
            watching: None,
            wants: Wants::default(),
            socket,
            clock,
            wake: None,
            next_subscribe: 1,
            own: None,
            stuck_since: None,
            ended: None,
        }
    }

    /// Tells `status` how changes are noticed.
    pub(super) fn watched_by(self, watching: Option<WatchReport>) -> Self {
        Self { watching, ..self }
    }

    /// Runs until the folder is in step (once), it is told to stop, or its directory is another one.
    pub(super) fn run(
        mut self,
        mut queue: Receiver<Event>,
        effects: Vec<FolderEffect>,
    ) -> Result<Ended, RunError> {
        let start = Instant::now();
        self.dispatch_all(effects)?;
        loop {
            let give_up = self.give_up(start);
            if let Some(outcome) = self.once_outcome(give_up)? {
                self.folder.parts().state.make_durable()?;
                return Ok(Ended::Outcome(outcome));
            }
            if let Some(ended) = self.ended.take() {
                return Ok(ended);
            }
            match self.next(&mut queue, give_up) {
                Woken::Event(Event::Input(input)) => self.feed(input)?,
                Woken::Event(Event::Command(command)) => self.command(command)?,
                Woken::Event(Event::Ref(news)) => {
                    let trace = news.trace.map(|context| context.as_str().to_owned());
                    self.folder.traces().heard(trace);
                    self.feed(FolderInput::Head {
                        head: Some(news.head),
                        base_known: None,
                        is_answer: false,
                    })?;
                }
                Woken::Event(Event::Want(objects)) => self.wants.answer(&self.net, objects),
                Woken::Event(Event::Presence(news)) => self.hear(news),
                Woken::Event(Event::Denied(reason)) => return Err(RunError::Denied(reason)),
                Woken::Tick => {
                    self.wake = None;
                    self.feed(FolderInput::Tick)?;
                }
                Woken::Stop => {
                    self.folder.parts().state.make_durable()?;
                    return Ok(Ended::Outcome(Outcome::Stopped));
                }
            }
        }
    }

    /// Takes what another agent tells; one of this agent's own name is told of.
    fn hear(&mut self, news: Presence) {
        let own = &self.options.claim.config.agent;
        if self.others.hear(news, own, Instant::now()) {
            let message = format!(
                "another agent with the name {own} is connected to this tree; nothing is lost, but history and \
                 conflict copies do not tell the two apart: give one of them another name with --agent-name"
            );
            self.options.progress.report(&Shown::Notice { message });
        }
    }

    /// Returns when to stop waiting for a connection, or for a head that can be applied.
    fn give_up(&mut self, start: Instant) -> Option<Instant> {
        if !self.options.is_once {
            return None;
        }
        self.stuck_since = match self.folder.stuck() {
            Some(_) => self.stuck_since.or_else(|| Some(Instant::now())),
            None => None,
        };
        let since = match self.is_connected {
            false => Some(start),
            true => self.stuck_since,
        };
        Some(since? + ONCE_PATIENCE)
    }

    fn next(&mut self, queue: &mut Receiver<Event>, give_up: Option<Instant>) -> Woken {
        let wake = self.wake.map(|at| self.clock.instant(at));
        let until = wake.into_iter().chain(give_up).min();
        let stop = self.net.shutdown.token();
        if let Some(input) = self.own.take().filter(|_| !stop.is_cancelled()) {
            return Woken::Event(Event::Input(input));
        }
        tokio::runtime::Handle::current().block_on(async {
            let pause = async {
                match until {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => Woken::Stop,
                event = queue.recv() => event.map_or(Woken::Stop, Woken::Event),
                () = pause => Woken::Tick,
            }
        })
    }

    /// Gives the folder one input and hands out what it wants.
    pub(super) fn feed(&mut self, input: FolderInput) -> Result<(), RunError> {
        match &input {
            FolderInput::Connected => self.connection(true)?,
            FolderInput::Disconnected => self.connection(false)?,
            _ => {}
        }
        let effects = self.folder.handle(input, self.clock.now())?;
        self.dispatch_all(effects)
    }

    fn connection(&mut self, is_up: bool) -> Result<(), RunError> {
        let was_up = std::mem::replace(&mut self.is_connected, is_up);
        let is_first = !std::mem::replace(&mut self.has_tried, true);
        if is_first && !is_up && self.activity == Activity::Offline {
            self.show(Activity::Offline)?;
        }
        // Whoever is there is told of anew on the next connection.
        self.others = Others::new(Instant::now());
        let server = self.options.claim.config.server.clone();
        match (was_up, is_up) {
            (false, true) => self.options.progress.report(&Shown::Connected { server }),
            (true, false) => {
                // Whatever ended this connection may have ended the others, without a word.
                self.net.http.leave_connections();
                self.options
                    .progress
                    .report(&Shown::Disconnected { server });
            }
            _ => {}
        }
        Ok(())
    }

    fn dispatch_all(&mut self, effects: Vec<FolderEffect>) -> Result<(), RunError> {
        for effect in effects {
            self.dispatch(effect)?;
        }
        // What was handed out is on its way by now: the disk works while the network does.
        self.folder.settle()?;
        Ok(())
    }

    fn dispatch(&mut self, effect: FolderEffect) -> Result<(), RunError> {
        match effect {
            FolderEffect::Subscribe { base } => {
                let id = self.next_subscribe;
                self.next_subscribe += 1;
                let cursor = Cursor {
                    tree: self.tree(),
                    base,
                };
                if self.socket.subscribe(id, vec![cursor]).is_err() {
                    tracing::debug!("the socket is busy; subscribing again later");
                }
            }
            FolderEffect::Fetch(request) => {
                let trace = self.folder.traces().theirs();
                self.net.fetch(request, trace.as_deref());
            }
            FolderEffect::Push(request) => self.net.push(*request),
            FolderEffect::GetChunks { batch, wanted } => self.net.get_chunks(batch, wanted),
            FolderEffect::GoOn => self.own = Some(FolderInput::GoOn),
            FolderEffect::Flushed(id) => {
                if let Some(reply) = self.flushes.remove(&id) {
                    // The verb may be gone; then nobody waits.
                    drop(reply.send(self.flushed()));
                }
            }
            FolderEffect::Show(activity) => self.show(activity)?,
            FolderEffect::Notice(notice) => self.notice(&notice),
            FolderEffect::WakeAt(at) => self.wake = Some(at),
            FolderEffect::Reopen => self.ended = Some(Ended::Replaced),
        }
        Ok(())
    }

    pub(super) fn tree(&self) -> TreeKey {
        self.net.http.tree().clone()
    }

    fn show(&mut self, activity: Activity) -> Result<(), RunError> {
        self.activity = activity;
        let state = self.word()?;
        self.options.progress.report(&Shown::State {
            state,
            reason: String::new(),
        });
        let presence = Presence {
            tree: self.tree(),
            agent: self.options.claim.config.agent.clone(),
            state: match state {
                Word::InStep => PresenceState::InStep,
                Word::Syncing => PresenceState::Syncing,
                Word::Held => PresenceState::Held,
                _ => return Ok(()),
            },
        };
        if self.is_connected && self.socket.presence(presence).is_err() {
            tracing::debug!("presence was not sent");
        }
        Ok(())
    }

    /// Returns the state in one word.
    pub(super) fn word(&self) -> Result<Word, RunError> {
        Ok(match self.activity {
            Activity::InStep if self.folder.has_held()? => Word::Held,
            Activity::InStep => Word::InStep,
            Activity::Syncing => Word::Syncing,
            Activity::Offline if !self.has_tried => Word::Starting,
            Activity::Offline => Word::Offline,
            Activity::RootHeld => Word::Held,
        })
    }

    fn notice(&self, notice: &Notice) {
        let dir = crate::control::status::shell_quoted(&self.options.claim.dir.to_string_lossy());
        let message = match notice {
            // Without contents it is deletes and renames: nothing comes down.
            Notice::Applying { bytes: 0, .. } => return,
            Notice::Applying { done, total, bytes } => {
                let done = Amount {
                    items: *done,
                    bytes: *bytes,
                };
                let total = Some(Amount {
                    items: *total,
                    bytes: 0,
                });
                let stage = Stage::Download;
                self.options
                    .progress
                    .report(&Shown::Progress { stage, done, total });
                return;
            }
            Notice::Applied { paths } => {
                tracing::info!(paths, "applied");
                return;
            }
            Notice::Pushed { revision, files } => {
                tracing::info!(%revision, files, "pushed");
                return;
            }
            Notice::Conflict { path, copy } => {
                format!("conflict: both versions of {path} are kept, this folder's as {copy}")
            }
            Notice::Kept { path } => {
                format!("{path} was deleted elsewhere and edited here: the edit stays")
            }
            Notice::Held { files } => format!(
                "held: deletes of {files} files wait for you; let them happen with \
                 `fsync-agent approve {dir}`, take them back with `fsync-agent reject {dir}`"
            ),
            Notice::RootHeld { reason } => format!(
                "held: {reason}; nothing moves in either direction. Put it back, and syncing goes on; or accept it \
                 as it is with `fsync-agent approve {dir}{}`",
                self.options.claim.state_flag()
            ),
            Notice::HeadUnusable { revision, reason } => format!(
                "revision {revision} cannot be used: {reason}; this folder stays as it is until there is another. \
                 Bring an earlier version back with `fsync-agent restore` on any machine"
            ),
            Notice::Problem { path, reason } => format!("{path}: {reason}; all else goes on"),
            Notice::Trouble(message) => message.clone(),
        };
        self.options.progress.report(&Shown::Notice { message });
    }

    fn once_outcome(&self, give_up: Option<Instant>) -> Result<Option<Outcome>, RunError> {
        if !self.options.is_once {
            return Ok(None);
        }
        let is_over = give_up.is_some_and(|at| Instant::now() >= at);
        let holds = match self.activity {
            Activity::RootHeld | Activity::InStep => self.holds()?,
            _ if is_over && self.is_connected => {
                return Err(RunError::Stuck(self.folder.stuck().unwrap_or_default()));
            }
            _ if is_over => {
                let server = self.net.http.server().as_str();
                let seconds = ONCE_PATIENCE.as_secs();
                return Ok(Some(Outcome::Unreachable(format!(
                    "no connection to {server} within {seconds} s; check the address and the network"
                ))));
            }
            _ => return Ok(None),
        };
        if holds.is_empty() {
            return Ok(Some(Outcome::InStep));
        }
        let lines = holds.iter().map(|hold| {
            format!(
                "held: {}; let it happen: {}; take it back: {}",
                hold.reason,
                hold.approve,
                hold.way_back()
            )
        });
        Ok(Some(Outcome::Held(lines.collect::<Vec<_>>().join("\n"))))
    }
}
