//! What breaks between a replica and Redis: nothing stays unheard for ever.

use super::*;

/// How long a replica may take to notice, subscribe again and hear.
const BACK: Duration = Duration::from_secs(15);

async fn listening(server: &RedisServer) -> (Two, TreeKey) {
    listening_at(&config_of(server)).await
}

async fn listening_at(config: &RedisConfig) -> (Two, TreeKey) {
    let two = Two::at(config).await;
    let docs = tree("docs");
    two.b.join(&docs);
    two.b.settled().await;
    two.b_learns(two.moves(&docs).await).await;
    (two, docs)
}

/// Moves the head until B hears of one; `Missed` must come first, because some went unheard.
async fn hears_again(two: &Two, docs: &TreeKey) {
    let missed = async { while two.b.next().await != Wake::Missed {} };
    timeout(BACK, missed)
        .await
        .expect("B knows that it missed something");
    two.b.settled().await;
    let head = two.moves(docs).await;
    let heard = async {
        loop {
            match two.b.next().await {
                Wake::Moved(event) => break event.head,
                // Connections may come back one by one.
                Wake::Missed => {}
            }
        }
    };
    let heard = timeout(BACK, heard).await.expect("B hears again");
    assert_eq!(heard, head);
}

#[tokio::test]
async fn a_killed_subscription_is_made_again() {
    let server = RedisServer::start().unwrap();
    let (two, docs) = listening(&server).await;
    for _ in 0..3 {
        server
            .command(&["CLIENT", "KILL", "TYPE", "pubsub"])
            .unwrap();
        hears_again(&two, &docs).await;
    }
    two.end().await;
}

#[tokio::test]
async fn a_redis_that_comes_back_empty_is_listened_to() {
    let mut server = RedisServer::start().unwrap();
    let (two, docs) = listening(&server).await;
    server.kill().unwrap();
    server.start_again().unwrap();
    hears_again(&two, &docs).await;
    assert!(!two.b.health().is_deaf);
    two.end().await;
}

#[tokio::test]
async fn a_replica_that_hears_nothing_of_itself_is_deaf_until_it_does() {
    let server = RedisServer::start().unwrap();
    let (two, docs) = listening(&server).await;
    assert!(!two.b.health().is_deaf);
    // No command is answered for a while, although connections stay.
    server.command(&["CLIENT", "PAUSE", "9000", "ALL"]).unwrap();
    let deaf = async {
        while !two.b.health().is_deaf {
            drop(timeout(Duration::from_millis(50), two.b.next()).await);
        }
    };
    timeout(BACK, deaf).await.expect("B is deaf");
    hears_again(&two, &docs).await;
    let hears = async {
        while two.b.health().is_deaf {
            drop(timeout(Duration::from_millis(50), two.b.next()).await);
        }
    };
    timeout(BACK, hears).await.expect("B hears itself");
    two.end().await;
}

#[tokio::test]
async fn subscriptions_in_a_cluster_are_made_again_on_every_node() {
    let cluster = RedisCluster::start().unwrap();
    let (two, docs) = listening_at(&with_prefix(&cluster.url(), "fsync")).await;
    // Trees enough for all three masters.
    let trees: Vec<TreeKey> = (0..24).map(|n| tree(&format!("tree-{n}"))).collect();
    trees.iter().for_each(|tree| two.b.join(tree));
    two.b.settled().await;
    for node in cluster.nodes() {
        node.command(&["CLIENT", "KILL", "TYPE", "pubsub"]).unwrap();
    }
    hears_again(&two, &docs).await;
    for tree in &trees {
        two.b_learns(two.moves(tree).await).await;
    }
    two.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_is_survived_by_journal_and_bus() {
    let mut sentinel = RedisSentinel::start().unwrap();
    let (two, docs) = listening_at(&with_prefix(&sentinel.url(), "fsync")).await;
    let before = contract::head(&*two.journal, &docs).await;
    tokio::task::block_in_place(|| sentinel.fail_over()).unwrap();
    // What the new master has may lack the last writes; here they had time to get there.
    let head = async {
        loop {
            match two.journal.heads(vec![docs.clone()]).await {
                Ok(heads) => break heads[0],
                Err(error) => println!("not yet: {error}"),
            }
        }
    };
    let head = timeout(PATIENCE, head).await.expect("the journal is back");
    assert_eq!(head, before);
    hears_again(&two, &docs).await;
    two.end().await;
}
