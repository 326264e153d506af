//! Runs one folder: the sync thread and what feeds it.
//!
//! ```text
//!   watch ----\                              /--> net (HTTP tasks) --> inputs
//!   socket ----> events (bounded) -> sync thread --> socket (subscribe)
//!   control --/        `Folder` lives here   \--> control (answers), progress
//! ```
//!
//! Guarantees: the folder is touched by the sync thread alone; when it ends, all that was done is
//! durable and everything that fed it ends too. Work in flight on the network is dropped: it is
//! done again at the next start.
//! Place: `commands/sync.rs`, the demo and the tests call [`run`].

mod control;
mod driver;
mod history;
mod net;
mod others;
mod restore;
mod trash;
mod verify;
mod want;

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fsync_core::clock::Moment;
use fsync_core::id::ObjectId;
use fsync_core::revision::Timestamp;
use fsync_core::wire::{Presence, RefEvent};
use fsync_runtime::Shutdown;
use tokio::sync::mpsc;

use crate::client::http::{self, Http};
use crate::client::socket::{self, Socket, SocketEvent};
use crate::client::{ClientError, NextStep, TokenSource};
use crate::control::{self as control_socket, Command};
use crate::files::disk::Disk;
use crate::folder::{Folder, FolderError, FolderInput, Now, Parts};
use crate::marker::{Claim, MarkerError};
use crate::progress::{Latest, Progress};
use crate::state::{State, StateError};
use crate::watch::{Watch, WatchError};
use driver::Driver;

/// Events that may wait for the sync thread; what feeds it waits beyond that (the watcher gathers
/// meanwhile).
const EVENTS: usize = 256;
/// Requests of verbs that may wait.
const COMMANDS: usize = 16;
/// Name of the state file in the state directory.
const STATE_FILE: &str = "state.redb";
/// How long `--once` waits for a connection that does not come, and for contents that the service
/// has lost.
const ONCE_PATIENCE: Duration = Duration::from_secs(10);
/// How long tasks may take to end.
const END: Duration = Duration::from_secs(5);

/// What to run.
#[derive(Debug, Clone)]
pub struct Options {
    /// The folder, locked for this process.
    pub claim: Arc<Claim>,
    /// The bearer token.
    pub token: TokenSource,
    /// Certificates in PEM to trust beside the system's.
    pub ca_pem: Option<Vec<u8>>,
    /// End when folder and head are in step; else go on until told to stop.
    pub is_once: bool,
    /// How long the trash keeps what was taken away.
    pub trash_keep: Duration,
    /// Who is told.
    pub progress: Arc<dyn Progress>,
}

/// How it ended, when nothing failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Folder and head are in step (only with `is_once`).
    InStep,
    /// It was told to stop.
    Stopped,
    /// Holds wait for the user (only with `is_once`); says which, and the commands that release
    /// them.
    Held(String),
    /// The server could not be reached (only with `is_once`); says why.
    Unreachable(String),
}

/// Why a folder cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The server is none of ours, of another version, or does not let us in.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The server refused the connection for good.
    #[error(
        "the server refuses this agent: {0}; nothing that was saved is lost: with a new token (--token-file, or \
         `fsync-agent login`) start it again"
    )]
    Denied(String),
    /// The folder cannot be opened.
    #[error("cannot open the folder {}: {source}", dir.display())]
    Disk {
        /// The folder.
        dir: PathBuf,
        /// Why.
        source: crate::files::FilesError,
    },
    /// The state.
    #[error(transparent)]
    State(#[from] StateError),
    /// Changes cannot be watched.
    #[error(transparent)]
    Watch(#[from] WatchError),
    /// The control socket.
    #[error(transparent)]
    Control(#[from] control_socket::server::ServeError),
    /// The folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// A directory that was accepted as the folder cannot be synced.
    #[error(transparent)]
    Marker(#[from] MarkerError),
    /// The head cannot be applied: the service lost contents that nobody who is connected has, or
    /// its tree breaks a rule (only with `is_once`).
    #[error("{0}")]
    Stuck(String),
    /// The sync thread died.
    #[error("the sync thread died; this is a bug, its log says more")]
    Died,
}

/// What reaches the sync thread.
#[derive(Debug)]
pub(crate) enum Event {
    /// Something for the folder.
    Input(FolderInput),
    /// A verb asks.
    Command(Command),
    /// The server does not let this agent in.
    Denied(String),
    /// The service lost these objects.
    Want(Vec<ObjectId>),
    /// What another agent of the tree is doing.
    Presence(Presence),
    /// A new head.
    Ref(RefEvent),
}

/// The two clocks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock(Instant);

impl Clock {
    fn now(self) -> Now {
        let since_1970 = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Now {
            moment: Moment(u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX)),
            time: Timestamp(u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX)),
        }
    }

    fn instant(self, at: Moment) -> Instant {
        self.0 + Duration::from_millis(at.0)
    }
}

/// Runs a folder until it is in step ([`Options::is_once`]) or told to stop.
///
/// # Errors
/// [`RunError`]: nothing that was saved is lost; run it again.
pub fn run(options: Options, shutdown: &Shutdown) -> Running<'_> {
    // Boxed: an async function is compiled anew in each program that awaits it, with all below it.
    Box::pin(sync(options, shutdown))
}

/// A folder being kept in step.
pub type Running<'a> = Pin<Box<dyn Future<Output = Result<Outcome, RunError>> + Send + 'a>>;

async fn sync(options: Options, shutdown: &Shutdown) -> Result<Outcome, RunError> {
    let config = &options.claim.config;
    let client = http::Options {
        token: options.token.clone(),
        ca_pem: options.ca_pem.clone(),
    };
    let http = Http::new(config.server.clone(), config.tree.clone(), client)?;
    if let Err(error) = http.check_version().await {
        match error.next_step() {
            NextStep::AskUser => return Err(error.into()),
            _ if options.is_once => return Ok(Outcome::Unreachable(error.to_string())),
            _ => tracing::warn!(%error, "server not reached, going on offline"),
        }
    }
    let mut options = options;
    loop {
        let tasks = shutdown.child();
        let outcome = run_tasks(options.clone(), http.clone(), &tasks).await;
        tasks.trigger();
        if let Err(unfinished) = tasks.end(END).await {
            tracing::warn!(%unfinished, "some tasks did not end in time");
        }
        match outcome? {
            Ended::Outcome(outcome) => return Ok(outcome),
            Ended::Replaced => options.claim = Arc::new(options.claim.renew()?),
        }
    }
}

/// How one opening of the folder ended.
#[derive(Debug)]
enum Ended {
    /// For good.
    Outcome(Outcome),
    /// Another directory was accepted as the folder.
    Replaced,
}

async fn run_tasks(options: Options, http: Http, tasks: &Shutdown) -> Result<Ended, RunError> {
    let clock = Clock(Instant::now());
    let (events, queue) = mpsc::channel(EVENTS);
    let parts = open_parts(&options)?;
    let progress = Arc::new(Latest::new(options.progress.clone()));
    let options = Options {
        progress: progress.clone(),
        ..options
    };
    // The watcher starts before the first scan, so that no change falls between the two.
    let watch = match options.is_once {
        false => Some(start_watch(&options, &events, tasks)?),
        true => None,
    };
    let (commands, command_queue) = mpsc::channel(COMMANDS);
    let control = options.claim.config.control_path();
    control_socket::serve(&control, commands, tasks)?;
    let (socket, socket_events) = start_socket(&options, http.clone(), tasks);
    drop(tasks.spawn(
        "socket events",
        feed_socket(socket_events, http.tree().clone(), events.clone()),
    ));
    drop(tasks.spawn(
        "control events",
        feed_commands(command_queue, events.clone()),
    ));
    trash::start(
        parts.clone(),
        options.trash_keep,
        options.progress.clone(),
        tasks,
    );
    let net = net::Net {
        http,
        agent: parts.agent.clone(),
        parts: parts.clone(),
        shutdown: tasks.clone(),
        events,
        progress,
    };
    let thread = tasks.spawn_blocking("sync", move || {
        let (folder, effects) = Folder::open(parts, clock.now())?;
        let driver = Driver::new(folder, net, socket, clock, options);
        let driver = driver.watched_by(watch.as_ref().map(Watch::report));
        let outcome = driver.run(queue, effects);
        drop(watch);
        outcome
    });
    thread.await.map_err(|_panicked| RunError::Died)?
}

fn open_parts(options: &Options) -> Result<Parts, RunError> {
    let folder = &options.claim;
    let disk = Disk::open(&folder.dir).map_err(|source| RunError::Disk {
        dir: folder.dir.clone(),
        source,
    })?;
    let opened = State::open(&folder.config.state_dir.join(STATE_FILE))?;
    if let Some(aside) = opened.moved_aside {
        tracing::warn!(moved_to = %aside.display(), "the agent's state was damaged; it is rebuilt from disk and head");
    }
    Ok(Parts {
        files: Arc::new(disk),
        state: Arc::new(opened.state),
        agent: folder.config.agent.clone(),
    })
}

fn start_watch(
    options: &Options,
    events: &mpsc::Sender<Event>,
    tasks: &Shutdown,
) -> Result<Watch, RunError> {
    let (changes, mut batches) = mpsc::channel(EVENTS);
    let watch = Watch::start(&options.claim.dir, changes)?;
    let events = events.clone();
    let feed = async move {
        while let Some(batch) = batches.recv().await {
            if events.send(Event::Input(batch)).await.is_err() {
                return;
            }
        }
    };
    drop(tasks.spawn("watch events", feed));
    Ok(watch)
}

fn start_socket(
    options: &Options,
    http: Http,
    tasks: &Shutdown,
) -> (Socket, mpsc::Receiver<SocketEvent>) {
    let config = socket::Config {
        server: options.claim.config.server.clone(),
        agent: options.claim.config.agent.clone(),
        token: options.token.clone(),
        ca_pem: options.ca_pem.clone(),
        http,
    };
    Socket::start(config, tasks)
}

async fn feed_commands(mut queue: mpsc::Receiver<Command>, events: mpsc::Sender<Event>) {
    while let Some(command) = queue.recv().await {
        if events.send(Event::Command(command)).await.is_err() {
            return;
        }
    }
}

/// Turns what the socket says of this tree into inputs.
async fn feed_socket(
    mut queue: mpsc::Receiver<SocketEvent>,
    tree: fsync_core::label::TreeKey,
    events: mpsc::Sender<Event>,
) {
    while let Some(event) = queue.recv().await {
        let inputs = match event {
            SocketEvent::Connected => vec![Event::Input(FolderInput::Connected)],
            SocketEvent::Disconnected { reason } => {
                tracing::info!(%reason, "disconnected");
                vec![Event::Input(FolderInput::Disconnected)]
            }
            SocketEvent::Heads(heads) => {
                let is_answer = heads.id.is_some();
                let ours = heads.trees.into_iter().filter(|head| head.tree == tree);
                ours.map(|t| {
                    Event::Input(FolderInput::Head {
                        head: t.head,
                        base_known: t.base_known,
                        is_answer,
                    })
                })
                .collect()
            }
            SocketEvent::Ref(news) if news.tree == tree => vec![Event::Ref(news)],
            SocketEvent::Denied { reason } => vec![Event::Denied(reason)],
            SocketEvent::Want(want) if want.tree == tree => vec![Event::Want(want.objects)],
            SocketEvent::Presence(news) if news.tree == tree => vec![Event::Presence(news)],
            other => {
                tracing::debug!(?other, "event of the server");
                Vec::new()
            }
        };
        for input in inputs {
            if events.send(input).await.is_err() {
                return;
            }
        }
    }
}
