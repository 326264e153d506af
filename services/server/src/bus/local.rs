//! The bus of replicas in one process: one of them, as a rule.
//!
//! Guarantees: with one replica it costs nothing. A replica that falls behind by [`WAITING`] wakes
//! hears `Missed`.

use std::collections::BTreeMap;
use std::future::ready;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fsync_core::label::TreeKey;
use fsync_core::wire::RefEvent;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::broadcast::{self, Receiver, Sender};

use super::{Bus, Health, Later, Wake};

/// Wakes that may wait for a replica.
pub const WAITING: usize = 1024;

/// What the replicas of a process share.
#[derive(Debug, Clone)]
pub struct Line {
    sender: Sender<(usize, RefEvent)>,
    members: Arc<AtomicUsize>,
}

impl Default for Line {
    fn default() -> Self {
        Self {
            sender: broadcast::channel(WAITING).0,
            members: Arc::default(),
        }
    }
}

impl Line {
    /// Adds a replica.
    pub fn member(&self) -> Local {
        Local {
            number: self.members.fetch_add(1, Ordering::Relaxed),
            sender: self.sender.clone(),
            receiver: tokio::sync::Mutex::new(self.sender.subscribe()),
            joined: Mutex::default(),
        }
    }
}

/// One replica's end.
#[derive(Debug)]
pub struct Local {
    number: usize,
    sender: Sender<(usize, RefEvent)>,
    receiver: tokio::sync::Mutex<Receiver<(usize, RefEvent)>>,
    joined: Mutex<BTreeMap<TreeKey, usize>>,
}

impl Local {
    fn joined(&self) -> MutexGuard<'_, BTreeMap<TreeKey, usize>> {
        self.joined.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn hear(&self) -> Wake {
        let mut receiver = self.receiver.lock().await;
        loop {
            match receiver.recv().await {
                Ok((from, event)) if from != self.number => {
                    if self.joined().contains_key(&event.tree) {
                        return Wake::Moved(event);
                    }
                }
                Ok(_own) => {}
                Err(RecvError::Lagged(_)) => return Wake::Missed,
                // This end holds a sender, so the line stays open.
                Err(RecvError::Closed) => std::future::pending().await,
            }
        }
    }
}

impl Bus for Local {
    fn join(&self, tree: &TreeKey) {
        *self.joined().entry(tree.clone()).or_default() += 1;
    }

    fn leave(&self, tree: &TreeKey) {
        let mut joined = self.joined();
        if let Some(count) = joined.get_mut(tree) {
            *count -= 1;
            if *count == 0 {
                joined.remove(tree);
            }
        }
    }

    fn settled(&self) -> Later<'_, ()> {
        Box::pin(ready(()))
    }

    fn next(&self) -> Later<'_, Wake> {
        Box::pin(self.hear())
    }

    fn tell(&self, event: &RefEvent) {
        if self.sender.receiver_count() > 1 {
            // An error means that the others have just gone.
            drop(self.sender.send((self.number, event.clone())));
        }
    }

    fn poll_every(&self) -> Option<Duration> {
        None
    }

    fn health(&self) -> Health {
        Health {
            echo_age: Duration::ZERO,
            is_deaf: false,
            can_tell: true,
        }
    }
}
