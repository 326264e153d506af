//! An S3 server that is slow, fails, tears answers or harms what it is sent: nothing wrong is read,
//! and nothing counts as stored that is not.

use std::time::{Duration, Instant};

use bytes::Bytes;
use fsync_core::service::record::{PackEntry, PackId};
use fsync_core::wire::ErrorCode;
use fsync_server::Server;
use fsync_server::blobs::{BlobError, Blobs, Refusal};
use futures_util::future::join_all;

use super::{chunks, noise, place};
use crate::agent::{Agent, Files};
use crate::s3::{Harm, Kind, Proxy, S3Server, open, server_config, tenant, url_at};

/// Longest time until a caller hears that the store does not serve; agents wait 60 s.
const PATIENCE: Duration = Duration::from_secs(40);

fn s3_behind_proxy() -> (S3Server, Proxy) {
    let s3 = S3Server::start(Kind::S3sFs).unwrap();
    let proxy = Proxy::start(s3.port()).unwrap();
    (s3, proxy)
}

#[tokio::test]
async fn a_store_that_is_busy_for_a_moment_is_waited_for() {
    let (_s3, proxy) = s3_behind_proxy();
    let blobs = open(proxy.port(), "");
    proxy.harm("PUT", 2, Harm::Answer(503, "SlowDown"));
    proxy.harm("PUT", 1, Harm::Mute);
    let objects = chunks(1, 300_000);
    let (pack, entries) = blobs.put_objects(&tenant(), objects.clone()).await.unwrap();
    assert_eq!(proxy.count("PUT"), 4);
    blobs.forget([pack]);
    proxy.harm("GET", 2, Harm::Answer(503, "SlowDown"));
    proxy.harm("GET", 1, Harm::Answer(500, "InternalError"));
    let read = blobs
        .read(&tenant(), &[place(pack, &entries[0])])
        .await
        .unwrap();
    assert!(read == [Ok(Bytes::from(objects[0].bytes.clone()))]);
    assert_eq!(proxy.count("GET"), 4);
}

#[tokio::test]
async fn torn_answers_are_read_to_their_end() {
    let (_s3, proxy) = s3_behind_proxy();
    let blobs = open(proxy.port(), "");
    let objects = chunks(3, 1_000_000);
    let (pack, entries) = blobs.put_objects(&tenant(), objects.clone()).await.unwrap();
    for bytes in [0, 10, 100_000] {
        proxy.harm("GET", 1, Harm::Tear(bytes));
    }
    let places: Vec<_> = entries.iter().map(|entry| place(pack, entry)).collect();
    let read = blobs.read(&tenant(), &places).await.unwrap();
    let wanted: Vec<_> = objects
        .into_iter()
        .map(|object| Ok(Bytes::from(object.bytes)))
        .collect();
    assert!(read == wanted);
}

/// The servers of these tests do not check it, so the proxy says what one that does would say.
#[tokio::test]
async fn what_does_not_arrive_as_it_was_sent_does_not_count_as_stored() {
    let (_s3, proxy) = s3_behind_proxy();
    let blobs = open(proxy.port(), "");
    proxy.harm("PUT", 1, Harm::Answer(400, "BadDigest"));
    let refused = blobs.put_objects(&tenant(), chunks(1, 1000)).await;
    let refused = refused.unwrap_err();
    assert!(matches!(refused, BlobError::Busy { .. }), "{refused}");
    let large = chunks(3, 4 * 1024 * 1024);
    blobs.put_objects(&tenant(), large).await.unwrap();
    // One that was refused, and three parts of the large pack.
    assert_eq!((proxy.count("PUT"), proxy.checked()), (4, 4));
}

#[tokio::test]
async fn a_full_store_is_full() {
    let (_s3, proxy) = s3_behind_proxy();
    let blobs = open(proxy.port(), "");
    proxy.harm("PUT", 1, Harm::Answer(403, "QuotaExceeded"));
    let refused = blobs
        .put_objects(&tenant(), chunks(1, 1000))
        .await
        .unwrap_err();
    assert!(matches!(refused, BlobError::Full), "{refused}");
}

/// A bucket that is gone for a while, or a proxy that lost its server, must not make the index
/// forget what is there.
#[tokio::test]
async fn a_bucket_or_a_server_that_is_gone_loses_no_object() {
    let (_s3, proxy) = s3_behind_proxy();
    let blobs = open(proxy.port(), "");
    let (pack, entries) = blobs.put_objects(&tenant(), chunks(1, 1000)).await.unwrap();
    blobs.forget([pack]);
    let places = [place(pack, &entries[0])];
    proxy.harm("GET", 1, Harm::Answer(404, "NoSuchBucket"));
    let refused = blobs.read(&tenant(), &places).await.unwrap_err();
    assert!(
        matches!(
            refused,
            BlobError::Refused {
                refusal: Refusal::Bucket,
                ..
            }
        ),
        "{refused}"
    );
    proxy.harm("GET", 1, Harm::Answer(404, "page not found"));
    let refused = blobs.read(&tenant(), &places).await.unwrap_err();
    assert!(matches!(refused, BlobError::Busy { .. }), "{refused}");
    assert!(blobs.read(&tenant(), &places).await.unwrap()[0].is_ok());
}

/// Stores a pack that is far larger than what one read brings.
async fn put_many(blobs: &Blobs) -> (PackId, Vec<PackEntry>) {
    let stored = blobs.put_objects(&tenant(), chunks(2000, 4096)).await;
    stored.unwrap()
}

#[tokio::test]
async fn many_readers_of_one_object_cost_one_small_read() {
    let (_s3, proxy) = s3_behind_proxy();
    let blobs = open(proxy.port(), "");
    let (pack, entries) = put_many(&blobs).await;
    proxy.count_anew();
    proxy.delay(Duration::from_millis(100));
    let places = [place(pack, &entries[1000])];
    let tenant = tenant();
    let read = join_all((0..50).map(|_| blobs.read(&tenant, &places))).await;
    assert!(read.iter().all(|read| read.as_ref().unwrap()[0].is_ok()));
    assert_eq!(proxy.requests().len(), 1);
    assert!(proxy.sent_bytes() <= 128 * 1024, "{}", proxy.sent_bytes());
    blobs.read(&tenant, &places).await.unwrap();
    assert_eq!(proxy.requests().len(), 1);
}

#[tokio::test]
async fn a_reader_that_goes_away_does_not_stop_the_others() {
    let (_s3, proxy) = s3_behind_proxy();
    let blobs = open(proxy.port(), "");
    let (pack, entries) = put_many(&blobs).await;
    proxy.delay(Duration::from_millis(200));
    let (tenant, places) = (tenant(), [place(pack, &entries[0])]);
    let first = tokio::time::timeout(Duration::from_millis(20), blobs.read(&tenant, &places));
    let (first, second) = tokio::join!(first, blobs.read(&tenant, &places));
    assert!(first.is_err());
    assert!(second.unwrap()[0].is_ok());
    let last = [place(pack, &entries[1999])];
    let gone = tokio::time::timeout(Duration::from_millis(20), blobs.read(&tenant, &last));
    assert!(gone.await.is_err());
    assert!(blobs.read(&tenant, &last).await.unwrap()[0].is_ok());
}

fn files(seed: u32) -> Files {
    // So large that it is not kept in the journal.
    Files::from([("file".to_owned(), noise(seed, 400 * 1024))])
}

#[tokio::test]
async fn while_the_store_fails_agents_are_asked_to_come_back_and_no_write_counts() {
    let (_s3, proxy) = s3_behind_proxy();
    let (dir, url) = (tempfile::tempdir().unwrap(), url_at(proxy.port(), ""));
    let server = Server::start(server_config(dir.path(), &url))
        .await
        .unwrap();
    let agent = Agent::new(&server.url(), "docs", "laptop");
    let head = agent.commit(&files(1), &[]).await.unwrap().head;
    // The next one has nothing in memory.
    server.shutdown().await.unwrap();
    let server = Server::start(server_config(dir.path(), &url))
        .await
        .unwrap();
    let agent = Agent::new(&server.url(), "docs", "laptop");
    for method in ["GET", "PUT"] {
        proxy.harm(method, usize::MAX, Harm::Answer(503, "SlowDown"));
    }
    let started = Instant::now();
    let (two, parents) = (files(2), [head.revision]);
    let (written, read) = tokio::join!(
        agent.commit(&two, &parents),
        agent.pull(None, head.revision)
    );
    assert!(started.elapsed() < PATIENCE, "{:?}", started.elapsed());
    for refused in [written.unwrap_err(), read.unwrap_err()] {
        assert_eq!(refused.code, ErrorCode::Unavailable, "{refused:?}");
        assert!(refused.retry_after_ms.is_some(), "{refused:?}");
    }
    assert_eq!(agent.head().await.unwrap(), head);
    proxy.heal();
    assert_eq!(agent.pull(None, head.revision).await.unwrap(), files(1));
    let next = agent.commit(&two, &[head.revision]).await.unwrap().head;
    assert_eq!(agent.pull(None, next.revision).await.unwrap(), two);
    server.shutdown().await.unwrap();
}
