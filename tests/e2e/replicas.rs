//! Several replicas share a Redis and a directory of contents: agents are in step whichever they
//! are connected to, and whatever happens to Redis.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use fsync_tests::folder::{self, write};
use fsync_tests::process::run;
use fsync_tests::redis::{RedisCluster, RedisSentinel, RedisServer};
use fsync_tests::{Server, System, wait};

/// Longest time that an agent may be behind when nothing wakes its replica.
const POLLED: Duration = Duration::from_secs(15);

fn replica(system: &System, redis: &RedisServer) -> Result<Server> {
    replica_at(system, &redis.url())
}

fn replica_at(system: &System, url: &str) -> Result<Server> {
    system.server_on("127.0.0.1:0", &["--redis", url])
}

#[test]
fn an_edit_at_one_replica_reaches_the_agents_of_the_other() -> Result<()> {
    let redis = RedisServer::start()?;
    let system = System::new()?;
    let (one, two) = (replica(&system, &redis)?, replica(&system, &redis)?);
    let a = system.agent("a", &one)?;
    let b = system.agent("b", &two)?;
    write(&a.root, "from a", "1")?;
    system.in_step("a", "b")?;
    write(&b.root, "dir/from b", "2")?;
    system.in_step("a", "b")?;
    write(&a.root, "large", "x".repeat(3_000_000))?;
    system.in_step("a", "b")?;
    assert_eq!(folder::list(&a.root)?.len(), 4);
    Ok(())
}

#[test]
fn edits_at_both_replicas_at_once_lose_nothing() -> Result<()> {
    let redis = RedisServer::start()?;
    let system = System::new()?;
    let (one, two) = (replica(&system, &redis)?, replica(&system, &redis)?);
    let a = system.agent("a", &one)?;
    let b = system.agent("b", &two)?;
    for n in 0..40 {
        write(&a.root, &format!("a{n}"), format!("content {n}"))?;
        write(&b.root, &format!("b{n}"), format!("content {n}"))?;
    }
    a.flush()?;
    b.flush()?;
    system.in_step("a", "b")?;
    assert_eq!(folder::list(&a.root)?.len(), 80);
    Ok(())
}

#[test]
fn a_new_replica_serves_what_others_took() -> Result<()> {
    let redis = RedisServer::start()?;
    let system = System::new()?;
    let mut one = replica(&system, &redis)?;
    let a = system.agent("a", &one)?;
    for n in 0..20 {
        write(&a.root, &format!("{n}"), format!("content {n}"))?;
    }
    a.flush()?;
    one.process.kill()?;
    let two = replica(&system, &redis)?;
    system.once("b", &two.url, &[])?.success()?;
    folder::same(&a.root, &system.path("b"))
}

#[test]
fn nobody_stays_behind_when_no_wake_up_arrives() -> Result<()> {
    let redis = RedisServer::start()?;
    let system = System::new()?;
    let (one, two) = (replica(&system, &redis)?, replica(&system, &redis)?);
    let a = system.agent("a", &one)?;
    let _b = system.agent("b", &two)?;
    write(&a.root, "before", "1")?;
    system.in_step("a", "b")?;
    redis.command(&["ACL", "SETUSER", "default", "-ssubscribe"])?;
    redis.command(&["CLIENT", "KILL", "TYPE", "pubsub"])?;
    write(&a.root, "unheard", "2")?;
    a.flush()?;
    let flushed = Instant::now();
    system.in_step("a", "b")?;
    let behind = flushed.elapsed();
    ensure!(behind <= POLLED, "b was behind for {behind:?}");
    Ok(())
}

#[test]
fn a_redis_that_comes_back_with_its_data_is_gone_on_with() -> Result<()> {
    let mut redis = RedisServer::start_with(&["--appendonly", "yes", "--appendfsync", "always"])?;
    let system = System::new()?;
    let (one, two) = (replica(&system, &redis)?, replica(&system, &redis)?);
    let a = system.agent("a", &one)?;
    let b = system.agent("b", &two)?;
    write(&a.root, "before", "1")?;
    system.in_step("a", "b")?;
    redis.kill()?;
    write(&a.root, "while it was away", "2")?;
    write(&b.root, "there too", "3")?;
    redis.start_again()?;
    system.in_step("a", "b")?;
    wait::until("both edits are there", wait::PATIENCE, || {
        ensure!(folder::list(&a.root)?.len() == 3);
        folder::same(&a.root, &b.root)
    })
}

#[test]
fn a_redis_that_lost_all_is_told_by_the_agents() -> Result<()> {
    let redis = RedisServer::start()?;
    let system = System::new()?;
    let (one, two) = (replica(&system, &redis)?, replica(&system, &redis)?);
    let a = system.agent("a", &one)?;
    let b = system.agent("b", &two)?;
    for n in 0..20 {
        write(&a.root, &format!("{n}"), format!("content {n}"))?;
    }
    system.in_step("a", "b")?;
    redis.command(&["FLUSHALL"])?;
    // Nothing is edited: the agents offer what they have as soon as the loss is seen.
    wait::until("the tree is there again", wait::PATIENCE, || {
        let trees = redis.command(&["KEYS", "*:head:*"])?;
        ensure!(trees.contains("default/docs"), "{trees}");
        Ok(())
    })?;
    write(&b.root, "afterwards", "1")?;
    wait::until("the edit is at both", wait::PATIENCE, || {
        ensure!(folder::list(&a.root)?.len() == 21);
        folder::same(&a.root, &b.root)
    })?;
    system.once("c", &two.url, &[])?.success()?;
    folder::same(&a.root, &system.path("c"))
}

#[test]
fn a_redis_that_went_back_gets_again_what_it_lost() -> Result<()> {
    let mut redis = RedisServer::start()?;
    let system = System::new()?;
    let (one, two) = (replica(&system, &redis)?, replica(&system, &redis)?);
    let a = system.agent("a", &one)?;
    let b = system.agent("b", &two)?;
    write(&a.root, "before", "1")?;
    system.in_step("a", "b")?;
    redis.command(&["SAVE"])?;
    write(&a.root, "after", "2")?;
    system.in_step("a", "b")?;
    let epoch = redis.command(&["HGET", &head_key(&redis)?, "epoch"])?;
    redis.kill()?;
    redis.start_again()?;
    // The old head stands again, with its old position: that must never pass for news or for truth.
    wait::until("positions have another epoch", wait::PATIENCE, || {
        let now = redis.command(&["HGET", &head_key(&redis)?, "epoch"])?;
        ensure!(now != epoch, "still {now}");
        Ok(())
    })?;
    wait::until("a newcomer gets all", wait::PATIENCE, || {
        system.once("c", &two.url, &[])?.success()?;
        folder::same(&a.root, &system.path("c"))
    })?;
    folder::same(&a.root, &b.root)?;
    assert_eq!(folder::list(&a.root)?.len(), 2);
    Ok(())
}

/// Returns the key of the only tree's head.
fn head_key(redis: &RedisServer) -> Result<String> {
    let key = redis.command(&["KEYS", "*:head:*"])?;
    ensure!(!key.is_empty(), "there is no tree");
    Ok(key)
}

#[test]
fn replicas_on_a_cluster_are_in_step() -> Result<()> {
    let cluster = RedisCluster::start()?;
    let system = System::new()?;
    let one = replica_at(&system, &cluster.url())?;
    let two = replica_at(&system, &cluster.url())?;
    let a = system.agent("a", &one)?;
    let b = system.agent("b", &two)?;
    for n in 0..30 {
        write(&a.root, &format!("d{}/{n}", n % 5), format!("content {n}"))?;
    }
    system.in_step("a", "b")?;
    write(&b.root, "d0/0", "other")?;
    system.in_step("a", "b")
}

#[test]
fn a_failover_loses_nothing_that_agents_have() -> Result<()> {
    let mut sentinel = RedisSentinel::start()?;
    let system = System::new()?;
    let one = replica_at(&system, &sentinel.url())?;
    let two = replica_at(&system, &sentinel.url())?;
    let a = system.agent("a", &one)?;
    let b = system.agent("b", &two)?;
    write(&a.root, "before", "1")?;
    system.in_step("a", "b")?;
    sentinel.fail_over()?;
    write(&a.root, "from a", "2")?;
    write(&b.root, "from b", "3")?;
    wait::until("both edits are at both", wait::PATIENCE, || {
        ensure!(folder::list(&a.root)?.len() == 3);
        folder::same(&a.root, &b.root)
    })
}

#[test]
fn a_server_without_its_redis_does_not_start_and_says_why() -> Result<()> {
    let system = System::new()?;
    let data = system.path("data").display().to_string();
    let port = fsync_tests::redis::free_port()?;
    let url = format!("redis://me:secret@127.0.0.1:{port}");
    let flags = [
        "--listen",
        "127.0.0.1:0",
        "--data-dir",
        &data,
        "--redis",
        &url,
    ];
    let ended = run("fsync-server", flags)?;
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""));
    ensure!(
        ended.stderr.contains("cannot be reached"),
        "{}",
        ended.stderr
    );
    ensure!(!ended.stderr.contains("secret"), "{}", ended.stderr);
    Ok(())
}
