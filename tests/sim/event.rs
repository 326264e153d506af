//! What happens in a simulated world, and how bad it is there.

use fsync_agent::folder::FolderInput;
use fsync_core::service::subscribe::SocketNo;
use fsync_core::wire::RefEvent;

use super::net::Request;
use super::server::Work;

/// How bad the world is, in so many of 1,000 cases.
#[derive(Debug, Clone, Copy, Default)]
pub struct Weather {
    /// Requests or answers that are lost.
    pub loss: u64,
    /// Requests that come twice.
    pub doubles: u64,
    /// Longest usual way of a message, in ms.
    pub delay_ms: u64,
    /// Inputs during which an agent's process ends.
    pub crashes: u64,
    /// Watchers that lose what they saw.
    pub overflows: u64,
}

/// Something that happens.
#[derive(Debug)]
pub enum Event {
    /// A user does something.
    User(usize),
    /// A watcher tells what it saw.
    Watch(usize, u64),
    /// An agent asked to be woken.
    Tick(usize, u64, u64),
    /// Something reaches an agent.
    Input(usize, u64, Box<FolderInput>),
    /// A head reaches an agent through its connection.
    Head(usize, SocketNo, Box<FolderInput>),
    /// A request reaches the service.
    Request(usize, u64, Box<Request>),
    /// An agent tries to connect.
    Connect(usize, u64),
    /// A connection breaks.
    Disconnect(usize, SocketNo),
    /// Whatever connection a machine has breaks.
    Cut(usize),
    /// A machine is cut off for so long, in ns: no connection, no request, no answer.
    Away(usize, u64),
    /// Nothing passes between a machine and the service, and neither notices until the agent has
    /// heard nothing for too long.
    Silence(usize),
    /// An agent's process ends.
    Crash(usize),
    /// An agent's process ends and its state is lost.
    Forget(usize),
    /// An agent's process starts.
    Start(usize),
    /// A replica's storage is done with something.
    Work(usize, u64, Box<Work>),
    /// The time of a replica's hub has come.
    HubTick(usize, u64),
    /// A replica hears from another one of a new head.
    Wake(usize, u64, Box<RefEvent>),
    /// A replica reads the heads.
    Poll(usize, u64),
    /// A replica's process ends.
    ServerCrash(usize),
    /// It starts again.
    ServerStart(usize),
    /// The user at a machine lets held deletes through.
    Approve(usize, u64),
}
