//! Contents in a bucket of S3-compatible storage: agents are in step, whatever happens to replicas
//! and to the bucket.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use fsync_tests::folder::{self, write};
use fsync_tests::redis::RedisServer;
use fsync_tests::s3::proxy::{Harm, Proxy};
use fsync_tests::s3::{Kind, S3Server, environment, url_at};
use fsync_tests::{Server, System, wait};

/// Files of the test that counts requests, and their bytes.
const FILES: usize = 10_000;
const FILE_BYTES: usize = 4096;
/// Requests that may write their contents at most.
const PUTS: usize = 200;
/// How far away the bucket is in that test.
const FAR: Duration = Duration::from_millis(20);

fn replica(system: &System, listen: &str, redis: &RedisServer, bucket: &str) -> Result<Server> {
    let flags = ["--redis", &redis.url(), "--blobs", bucket];
    system.server_in(listen, &flags, &environment())
}

/// Returns text that no other name has, of so many bytes.
fn text(name: &str, bytes: usize) -> String {
    let lines = (0..).map(|n| format!("{name} {n}\n"));
    let mut text = String::new();
    lines
        .take_while(|line| {
            text.push_str(line);
            text.len() < bytes
        })
        .for_each(drop);
    text.truncate(bytes);
    text
}

#[test]
fn three_agents_of_two_replicas_lose_nothing_whatever_ends() -> Result<()> {
    let (redis, mut s3) = (RedisServer::start()?, S3Server::start(Kind::S3sFs)?);
    let system = System::new()?;
    let bucket = s3.url("team/fsync");
    let any = "127.0.0.1:0";
    let mut one = replica(&system, any, &redis, &bucket)?;
    let two = replica(&system, any, &redis, &bucket)?;
    let a = system.agent("a", &one)?;
    let b = system.agent("b", &two)?;
    let c = system.agent("c", &one)?;
    let in_step = |files: usize| {
        wait::until("all have all", wait::PATIENCE, || {
            ensure!(
                folder::list(&a.root)?.len() == files,
                "{:?}",
                folder::list(&a.root)?.keys()
            );
            folder::same(&a.root, &b.root)?;
            folder::same(&a.root, &c.root)
        })
    };
    write(&a.root, "from a", "1")?;
    write(&b.root, "large from b", text("b", 3_000_000))?;
    in_step(2)?;

    one.process.kill()?;
    write(&a.root, "while its replica was away", "2")?;
    write(&b.root, "from b", "3")?;
    let address = one.address().to_owned();
    let _one = replica(&system, &address, &redis, &bucket)?;
    in_step(4)?;

    s3.kill()?;
    write(&a.root, "while the bucket was away", "4")?;
    write(
        &b.root,
        "large while the bucket was away",
        text("c", 2_000_000),
    )?;
    // Nothing can be durable now, so nobody may hear of it.
    let flushed = b.verb("flush", &["--timeout", "3s"])?;
    ensure!(flushed.code == Some(3), "{flushed:?}");
    ensure!(folder::list(&c.root)?.len() == 4);
    s3.start_again()?;
    in_step(6)?;
    system.once("d", &two.url, &[])?.success()?;
    folder::same(&a.root, &system.path("d"))
}

#[test]
fn a_bucket_that_fails_for_a_while_costs_time_only() -> Result<()> {
    let s3 = S3Server::start(Kind::Moto)?;
    let proxy = Proxy::start(s3.port())?;
    let system = System::new()?;
    let bucket = url_at(proxy.port(), "");
    let server = system.server_in("127.0.0.1:0", &["--blobs", &bucket], &environment())?;
    let a = system.agent("a", &server)?;
    let b = system.agent("b", &server)?;
    for n in 0..20 {
        let (method, harm) = match n % 4 {
            0 => ("PUT", Harm::Answer(503, "SlowDown")),
            1 => ("GET", Harm::Tear(1000)),
            2 => ("PUT", Harm::Mute),
            _ => ("GET", Harm::Answer(500, "InternalError")),
        };
        proxy.harm(method, 2, harm);
        let name = format!("{n}");
        write(&a.root, &name, text(&name, 300_000))?;
    }
    a.flush()?;
    b.flush()?;
    folder::same(&a.root, &b.root)
}

#[test]
fn ten_thousand_small_files_cost_few_requests() -> Result<()> {
    let s3 = S3Server::start(Kind::S3sFs)?;
    let proxy = Proxy::start(s3.port())?;
    proxy.delay(FAR);
    let system = System::new()?;
    let root = system.folder("a")?;
    for n in 0..FILES {
        let name = format!("d{}/f{n}", n % 100);
        write(&root, &name, text(&name, FILE_BYTES))?;
    }
    let bucket = url_at(proxy.port(), "");
    let server = system.server_in("127.0.0.1:0", &["--blobs", &bucket], &environment())?;
    let started = Instant::now();
    system.once("a", &server.url, &[])?.success()?;
    let pushed = started.elapsed();
    let puts = proxy.count("PUT");
    system.once("b", &server.url, &[])?.success()?;
    let pulled = started.elapsed() - pushed;
    eprintln!(
        "pushed in {pushed:?} with {puts} PUT, pulled in {pulled:?} with {} GET",
        proxy.count("GET")
    );
    ensure!(puts <= PUTS, "{puts} PUT");
    folder::same(&root, &system.path("b"))
}
