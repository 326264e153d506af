//! The bus over Redis: sharded publish, one channel per partition.
//!
//! Guarantees: a replica listens to the partitions of the trees that its agents listen to, and to
//! one more, so that it always hears something; whatever breaks a subscription (a lost connection,
//! a failover, a slot that moved) is followed by subscribing again and by `Missed`; a wake-up that
//! does not follow the one before is one that was missed.
//! A replica listens to itself: every [`PROBE`] it publishes to some of its partitions, and if it
//! hears nothing of that for [`DEAF`], it subscribes again, then connects again. (fred reports a
//! connection as sound whose subscriptions are gone.)
//! Does not: publish wake-ups; the journal's commit does, in the same script.
//! Tasks: `bus`, started by [`Wires::new`], keeps subscriptions what they must be; ends at shutdown.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use fred::clients::SubscriberClient;
use fred::interfaces::{ClientLike, EventInterface, PubsubInterface};
use fred::types::Message as Heard;
use fsync_core::label::TreeKey;
use fsync_core::wire::RefEvent;
use fsync_runtime::Shutdown;
use futures_util::future::join_all;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::{debug, info, warn};

use super::{Bus, Health, Later, Wake};
use crate::clock;
use crate::redis::keys::Partition;
use crate::redis::wake::Message;
use crate::redis::{Redis, RedisError};

mod ear;

use ear::Ear;

/// Time between two probes.
const PROBE: Duration = Duration::from_secs(2);
/// Partitions that one probe goes to, spread over those that are listened to, so that in a Cluster
/// each connection has its turn.
const PROBED: usize = 4;
/// Time without an own probe after which the replica is deaf.
const DEAF: Duration = Duration::from_secs(6);
/// Longest wait for a subscription before heads are read without it.
const SETTLE: Duration = Duration::from_secs(1);
/// Pause before a subscription that failed is tried again.
const AGAIN: Duration = Duration::from_millis(200);
/// Time between two looks at heads although nothing was heard; with the look itself no agent is
/// behind for more than 15 s.
const POLL: Duration = Duration::from_secs(9);

/// One replica's end.
#[derive(Debug)]
pub struct Wires {
    shared: Arc<Shared>,
    messages: tokio::sync::Mutex<Receiver<Heard>>,
}

#[derive(Debug)]
struct Shared {
    redis: Redis,
    subscriber: SubscriberClient,
    ear: Ear,
    replica: u64,
    probes: AtomicU64,
    /// Whether the last probes were published.
    can_tell: AtomicBool,
}

impl Wires {
    /// Connects and listens.
    ///
    /// # Errors
    /// [`RedisError`] if the second connection cannot be made.
    pub async fn new(redis: Redis, tasks: &Shutdown) -> Result<Self, RedisError> {
        let subscriber = redis.subscriber()?;
        // Before the first connection, so that nothing is missed.
        let messages = subscriber.message_rx();
        drop(subscriber.init().await?);
        let replica = clock::random_u64();
        let shared = Arc::new(Shared {
            redis,
            subscriber,
            ear: Ear::new(Partition::nth(replica)),
            replica,
            probes: AtomicU64::new(0),
            can_tell: AtomicBool::new(true),
        });
        drop(tasks.spawn("bus", keep(Arc::clone(&shared), tasks.clone())));
        Ok(Self {
            shared,
            messages: tokio::sync::Mutex::new(messages),
        })
    }

    async fn hear(&self) -> Wake {
        let mut messages = self.messages.lock().await;
        loop {
            let heard = tokio::select! {
                () = self.shared.ear.missed() => return Wake::Missed,
                heard = messages.recv() => heard,
            };
            match heard {
                Ok(heard) => {
                    if let Some(event) = self.shared.understand(&heard) {
                        return Wake::Moved(event);
                    }
                }
                Err(RecvError::Lagged(count)) => {
                    warn!(count, "wake-ups came faster than they were taken");
                    return Wake::Missed;
                }
                // Only at the end, when the client is gone.
                Err(RecvError::Closed) => std::future::pending().await,
            }
        }
    }
}

impl Shared {
    fn understand(&self, heard: &Heard) -> Option<RefEvent> {
        let text = heard.value.as_str()?;
        match Message::decode(&text)? {
            Message::WakeUp(wake_up) => self.ear.hear(*wake_up),
            Message::Probe { replica, .. } => {
                if replica == self.replica {
                    self.ear.echo();
                }
                None
            }
        }
    }

    /// Subscribes to what is wanted and not heard, and the reverse; `false` if something failed.
    async fn settle(&self) -> bool {
        let (wanted, unwanted) = self.ear.differences();
        let subscribe = wanted.into_iter().map(async |partition| {
            // One by one: in a Cluster each is in a slot of its own.
            let channel = self.redis.keys().wake(partition);
            let done = self.subscriber.ssubscribe(channel).await;
            if done.is_ok() {
                self.ear.set_heard(partition);
            }
            done
        });
        let unsubscribe = unwanted.into_iter().map(async |partition| {
            let channel = self.redis.keys().wake(partition);
            let done = self.subscriber.sunsubscribe(channel).await;
            if done.is_ok() {
                self.ear.set_unheard(partition);
            }
            done
        });
        let done = join_all(subscribe).await.into_iter();
        let done = done.chain(join_all(unsubscribe).await);
        let failed = done.filter_map(Result::err).next();
        if let Some(error) = &failed {
            debug!(%error, "a subscription is tried again");
        }
        failed.is_none()
    }

    /// Publishes probes to some of the partitions that are heard.
    async fn probe(self: Arc<Self>) {
        let number = self.probes.fetch_add(1, Ordering::Relaxed);
        let heard = self.ear.heard();
        let step = heard.len().div_ceil(PROBED).max(1);
        let offset = usize::try_from(number).unwrap_or_default() % step;
        let message = Message::Probe {
            replica: self.replica,
            number,
        };
        let Ok(text) = message.encode() else { return };
        let calls = heard.iter().skip(offset).step_by(step).map(|partition| {
            let channel = self.redis.keys().wake(*partition);
            let text = Bytes::from(text.clone());
            self.redis.call("SPUBLISH", channel, vec![text])
        });
        let told = join_all(calls).await;
        self.can_tell
            .store(told.iter().all(Result::is_ok), Ordering::Relaxed);
        for error in told.into_iter().filter_map(Result::err) {
            debug!(%error, "a probe was not published");
        }
    }

    /// Looks whether the replica still hears itself.
    async fn look(&self) {
        let age = self.ear.echo_age();
        match (age > DEAF, self.ear.was_deaf(age > DEAF)) {
            (true, false) => warn!(
                ?age,
                "wake-ups are not heard: new heads come by polling until they are"
            ),
            (false, true) => info!("wake-ups are heard again"),
            _ => {}
        }
        if age > DEAF * 2 && self.ear.may_connect_again(DEAF * 2) {
            drop(self.subscriber.force_reconnection().await);
        }
        if age > DEAF {
            self.ear.forget();
        }
    }
}

/// Keeps the subscriptions what they must be.
async fn keep(shared: Arc<Shared>, tasks: Shutdown) {
    let mut connected = shared.subscriber.reconnect_rx();
    let mut moved = shared.subscriber.cluster_change_rx();
    let mut ticks = interval(PROBE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut is_settled = true;
    loop {
        let again = async {
            match is_settled {
                true => std::future::pending().await,
                false => tokio::time::sleep(AGAIN).await,
            }
        };
        tokio::select! {
            () = shared.ear.changed() => {}
            () = again => {}
            connected = connected.recv() => {
                debug!(?connected, "subscriptions are made anew");
                shared.ear.forget();
            }
            moved = moved.recv() => {
                debug!(?moved, "slots moved: subscriptions are made anew");
                shared.ear.forget();
            }
            _ = ticks.tick() => {
                shared.look().await;
                drop(tasks.spawn("probe", Arc::clone(&shared).probe()));
            }
            () = tasks.triggered() => break,
        }
        is_settled = shared.settle().await;
    }
    // One that is broken is closed already.
    drop(shared.subscriber.quit().await);
}

impl Bus for Wires {
    fn join(&self, tree: &TreeKey) {
        self.shared.ear.join(tree);
    }

    fn leave(&self, tree: &TreeKey) {
        self.shared.ear.leave(tree);
    }

    fn settled(&self) -> Later<'_, ()> {
        Box::pin(async {
            if timeout(SETTLE, self.shared.ear.settled()).await.is_err() {
                debug!("heads are read before their wake-ups are heard");
            }
        })
    }

    fn next(&self) -> Later<'_, Wake> {
        Box::pin(self.hear())
    }

    fn tell(&self, _event: &RefEvent) {
        // The commit's script has told it.
    }

    fn poll_every(&self) -> Option<Duration> {
        Some(POLL)
    }

    fn health(&self) -> Health {
        let echo_age = self.shared.ear.echo_age();
        Health {
            echo_age,
            is_deaf: echo_age > DEAF,
            can_tell: self.shared.can_tell.load(Ordering::Relaxed),
        }
    }
}
