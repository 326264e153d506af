//! The contract of every bus: one suite, run over all implementations; the one over Redis together
//! with the journal, whose commits publish.

use std::sync::Arc;
use std::time::Duration;

use fsync_core::id::RevisionId;
use fsync_core::label::TreeKey;
use fsync_core::wire::{Head, RefEvent};
use fsync_runtime::Shutdown;
use fsync_server::bus::local::{Line, WAITING};
use fsync_server::bus::redis::Wires;
use fsync_server::bus::{Bus, Wake};
use fsync_server::journal::Journal;
use fsync_server::journal::memory::Memory;
use fsync_server::journal::redis::Shared;
use fsync_server::redis::{Redis, RedisConfig};
use tokio::time::timeout;

use crate::contract::{self, tree};
use crate::redis::{RedisCluster, RedisSentinel, RedisServer, config_of, with_prefix};

mod broken;

const PATIENCE: Duration = Duration::from_secs(30);

/// Two replicas of one service.
struct Two {
    a: Arc<dyn Bus>,
    b: Arc<dyn Bus>,
    journal: Arc<dyn Journal>,
    tasks: Shutdown,
}

impl Two {
    fn local() -> Self {
        let line = Line::default();
        Self {
            a: Arc::new(line.member()),
            b: Arc::new(line.member()),
            journal: Arc::new(Memory::default()),
            tasks: Shutdown::new(),
        }
    }

    async fn over(server: &RedisServer) -> Self {
        Self::at(&config_of(server)).await
    }

    async fn at(config: &RedisConfig) -> Self {
        let tasks = Shutdown::new();
        let redis = async || Redis::open(config).await.unwrap();
        let journal = redis().await;
        let a = Wires::new(journal.clone(), &tasks).await.unwrap();
        let b = Wires::new(redis().await, &tasks).await.unwrap();
        Self {
            a: Arc::new(a),
            b: Arc::new(b),
            journal: Arc::new(Shared::new(journal)),
            tasks,
        }
    }

    /// Replica A commits the next revision of a tree, and says so.
    async fn moves(&self, tree: &TreeKey) -> Head {
        let before = contract::head(&*self.journal, tree).await;
        let (seq, parent): (u64, Option<RevisionId>) = match before {
            Some(head) => (head.seq.0 + 1, Some(head.revision)),
            None => (1, None),
        };
        let (_, head) = contract::commit(&*self.journal, tree, (seq, parent), &[]).await;
        let (_, revision) = contract::revision(seq, parent);
        self.a.tell(&RefEvent {
            tree: tree.clone(),
            head,
            root: revision.root,
            author: revision.author,
            trace: None,
        });
        head
    }

    /// Waits until B hears of this head, or that it missed something.
    async fn b_learns(&self, head: Head) {
        loop {
            match timeout(PATIENCE, self.b.next()).await.expect("B hears") {
                Wake::Moved(event) if event.head == head => return,
                Wake::Moved(_) => {}
                Wake::Missed => return,
            }
        }
    }

    async fn end(self) {
        self.tasks.end(PATIENCE).await.unwrap();
    }
}

macro_rules! contract {
    ($($name:ident),* $(,)?) => {
        mod local {
            $(#[tokio::test] async fn $name() { super::$name(super::Two::local()).await; })*
        }
        mod redis {
            $(#[tokio::test] async fn $name() {
                let server = super::RedisServer::start().unwrap();
                super::$name(super::Two::over(&server).await).await;
            })*
        }
        /// All rows on one Cluster, each with keys of its own.
        #[tokio::test]
        async fn a_cluster_keeps_the_contract() {
            let cluster = RedisCluster::start().unwrap();
            $({
                println!("{}", stringify!($name));
                let config = with_prefix(&cluster.url(), stringify!($name));
                $name(Two::at(&config).await).await;
            })*
        }
    };
}

contract!(
    who_joined_a_tree_hears_of_its_heads,
    who_did_not_join_hears_nothing,
    who_joined_twice_hears_until_it_left_twice,
    a_burst_is_heard_or_known_to_be_missed,
);

async fn who_joined_a_tree_hears_of_its_heads(two: Two) {
    let docs = tree("docs");
    two.b.join(&docs);
    two.b.settled().await;
    for _ in 0..3 {
        let head = two.moves(&docs).await;
        let wake = timeout(PATIENCE, two.b.next()).await.unwrap();
        let Wake::Moved(event) = wake else {
            panic!("{wake:?}");
        };
        assert_eq!((event.tree, event.head), (docs.clone(), head));
        assert_eq!(event.author.as_str(), "laptop");
    }
    two.end().await;
}

async fn who_did_not_join_hears_nothing(two: Two) {
    let (docs, other) = (tree("docs"), tree("other"));
    two.b.join(&docs);
    two.b.settled().await;
    two.moves(&other).await;
    let head = two.moves(&docs).await;
    let wake = timeout(PATIENCE, two.b.next()).await.unwrap();
    let Wake::Moved(event) = wake else {
        panic!("{wake:?}");
    };
    assert_eq!((event.tree, event.head), (docs, head));
    two.end().await;
}

async fn who_joined_twice_hears_until_it_left_twice(two: Two) {
    let (docs, last) = (tree("docs"), tree("last"));
    for tree in [&docs, &docs, &last] {
        two.b.join(tree);
    }
    two.b.leave(&docs);
    two.b.settled().await;
    two.b_learns(two.moves(&docs).await).await;
    two.b.leave(&docs);
    two.b.settled().await;
    two.moves(&docs).await;
    let head = two.moves(&last).await;
    let wake = timeout(PATIENCE, two.b.next()).await.unwrap();
    let Wake::Moved(event) = wake else {
        panic!("{wake:?}");
    };
    assert_eq!((event.tree, event.head), (last, head));
    two.end().await;
}

async fn a_burst_is_heard_or_known_to_be_missed(two: Two) {
    let docs = tree("docs");
    two.b.join(&docs);
    two.b.settled().await;
    let mut last = None;
    for _ in 0..2 * WAITING {
        last = Some(two.moves(&docs).await);
    }
    two.b_learns(last.unwrap()).await;
    two.end().await;
}
