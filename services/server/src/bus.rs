//! The bus: how replicas wake one another when a head moved.
//!
//! Guarantees: what is told after [`Bus::settled`] returned is heard, or [`Wake::Missed`] says that
//! something was not; memory is bounded. Contract suite in `tests/it/bus.rs`, over both
//! implementations.
//! Does not: carry truth. A wake-up saves time; who hears `Missed`, or nothing for a while, reads
//! the heads.
//! Place: `follow.rs` listens, `tree.rs` tells, `socket.rs` says which trees matter.

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use fsync_core::label::TreeKey;
use fsync_core::wire::RefEvent;

pub mod local;
pub mod redis;

/// What a replica hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wake {
    /// A tree that was joined has a new head.
    Moved(RefEvent),
    /// Something may have been missed: read the heads of all trees.
    Missed,
}

/// How well a replica hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Health {
    /// Time since the replica last heard itself.
    pub echo_age: Duration,
    /// Whether that is too long ago: new heads come by polling only.
    pub is_deaf: bool,
    /// Whether it can tell others: one that can, and is deaf, is worse off than the rest.
    pub can_tell: bool,
}

/// What a bus answers when it is ready.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Wakes replicas.
pub trait Bus: Debug + Send + Sync {
    /// Hears of a tree from soon on; as many [`Bus::leave`]s end it.
    fn join(&self, tree: &TreeKey);

    /// Takes back one [`Bus::join`].
    fn leave(&self, tree: &TreeKey);

    /// Resolves when all that was joined is heard of, or when waiting longer makes no sense because
    /// the bus is down; then `Missed` follows once it is up.
    fn settled(&self) -> Later<'_, ()>;

    /// Returns the next wake; one caller at a time. Cancel safe.
    fn next(&self) -> Later<'_, Wake>;

    /// Tells other replicas of a durable head, unless the journal's commit did.
    fn tell(&self, event: &RefEvent);

    /// Returns how often heads are to be read although nothing was heard; `None` if nothing can be
    /// lost silently.
    fn poll_every(&self) -> Option<Duration>;

    /// Returns how well it hears.
    fn health(&self) -> Health;
}
