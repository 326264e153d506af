//! The contract of every blob store: one suite, over a directory, memory, Redis alone and as a
//! Cluster, and two S3 servers.

use bytes::Bytes;
use fsync_core::id::ObjectKind;
use fsync_core::limits;
use fsync_core::pack::Object;
use fsync_core::service::record::{PackEntry, PackId, PackPlace};
use fsync_server::blobs::{Blobs, Gone};
use fsync_server::cluster::ClusterId;
use fsync_server::redis::Redis;

use crate::redis::{RedisCluster, RedisServer, with_prefix};
use crate::s3::{Kind, S3Server, open, tenant};

mod faults;
mod start;

/// Runs all checks over every store; each check has a part of its own.
macro_rules! contract {
    ($($name:ident),* $(,)?) => {
        mod directory {
            $(#[tokio::test] async fn $name() {
                let dir = tempfile::tempdir().unwrap();
                super::$name(&super::Blobs::directory(dir.path()).unwrap()).await;
            })*
        }
        mod memory {
            $(#[tokio::test] async fn $name() { super::$name(&super::Blobs::memory()).await; })*
        }
        async fn redis_contract(url: &str) {
            $({
                println!("{} {url}", stringify!($name));
                let redis = Redis::open(&with_prefix(url, stringify!($name))).await.unwrap();
                $name(&Blobs::redis(redis, url)).await;
            })*
        }
        async fn keeps_the_contract(server: &S3Server) {
            $({
                println!("{}", stringify!($name));
                $name(&open(server.port(), concat!("part/", stringify!($name)))).await;
            })*
        }
    };
}

contract!(
    what_is_put_is_read_in_the_order_asked,
    what_is_not_there_is_told_apart_from_what_is,
    a_large_pack_is_read_as_it_was_put,
    a_footer_tells_what_stands_where,
    a_long_footer_is_read_whole,
    packs_and_tenants_are_listed_until_they_are_deleted,
    the_first_owner_stays,
);

#[tokio::test]
async fn s3s_fs_keeps_the_contract() {
    keeps_the_contract(&S3Server::start(Kind::S3sFs).unwrap()).await;
}

/// Alone, and as three masters, so that keys that belong together are not in one place.
#[tokio::test]
async fn redis_keeps_the_contract() {
    let (alone, cluster) = (
        RedisServer::start().unwrap(),
        RedisCluster::start().unwrap(),
    );
    for url in [alone.url(), cluster.url()] {
        redis_contract(&url).await;
    }
}

#[tokio::test]
async fn moto_keeps_the_contract() {
    keeps_the_contract(&S3Server::start(Kind::Moto).unwrap()).await;
}

/// Returns bytes that no two seeds share.
pub(crate) fn noise(seed: u32, count: usize) -> Vec<u8> {
    let mut state = u64::from(seed) + 1;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    (0..count).map(|_| next()).collect()
}

pub(crate) fn chunks(count: u32, bytes: usize) -> Vec<Object> {
    (0..count)
        .map(|seed| Object::new(ObjectKind::Chunk, noise(seed, bytes)))
        .collect()
}

pub(crate) fn place(pack: PackId, entry: &PackEntry) -> PackPlace {
    PackPlace {
        pack,
        offset: entry.offset,
        bytes: entry.bytes,
    }
}

async fn read(blobs: &Blobs, places: &[PackPlace]) -> Vec<Result<Bytes, Gone>> {
    blobs.read(&tenant(), places).await.unwrap()
}

async fn what_is_put_is_read_in_the_order_asked(blobs: &Blobs) {
    let objects = chunks(300, 2000);
    let (one, first) = blobs
        .put_objects(&tenant(), objects[..200].to_vec())
        .await
        .unwrap();
    let (two, second) = blobs
        .put_objects(&tenant(), objects[200..].to_vec())
        .await
        .unwrap();
    blobs.forget([one, two]);
    let first = first.iter().map(|entry| place(one, entry));
    let places: Vec<_> = first
        .chain(second.iter().map(|entry| place(two, entry)))
        .collect();
    let picked: Vec<usize> = (0..300).map(|n| n * 7 % 300).collect();
    let asked: Vec<_> = picked.iter().map(|n| places[*n]).collect();
    let wanted: Vec<_> = picked
        .iter()
        .map(|n| Ok(Bytes::from(objects[*n].bytes.clone())))
        .collect();
    assert!(read(blobs, &asked).await == wanted);
}

async fn what_is_not_there_is_told_apart_from_what_is(blobs: &Blobs) {
    let (pack, entries) = blobs.put_objects(&tenant(), chunks(2, 1000)).await.unwrap();
    let here = place(pack, &entries[1]);
    let beyond = PackPlace {
        bytes: 1_000_000,
        ..here
    };
    let far = PackPlace {
        offset: 10_000_000,
        ..here
    };
    let nowhere = PackPlace {
        pack: PackId(7),
        ..here
    };
    let found = read(blobs, &[nowhere, beyond, here, far]).await;
    assert!(found[2].is_ok());
    let told = [found[0].clone(), found[1].clone(), found[3].clone()];
    assert_eq!(told, [Err(Gone::Pack), Err(Gone::Run), Err(Gone::Run)]);
}

async fn a_large_pack_is_read_as_it_was_put(blobs: &Blobs) {
    let mut objects = chunks(8, 1024 * 1024);
    objects.push(Object::new(
        ObjectKind::Chunk,
        noise(99, limits::CHUNK_MAX_BYTES),
    ));
    let (pack, entries) = blobs.put_objects(&tenant(), objects.clone()).await.unwrap();
    let places: Vec<_> = entries.iter().map(|entry| place(pack, entry)).collect();
    let wanted: Vec<_> = objects
        .into_iter()
        .map(|object| Ok(Bytes::from(object.bytes)))
        .collect();
    assert!(read(blobs, &places).await == wanted);
    assert_eq!(blobs.footer(&tenant(), pack).await.unwrap(), entries);
}

async fn a_footer_tells_what_stands_where(blobs: &Blobs) {
    let (pack, entries) = blobs.put_objects(&tenant(), chunks(3, 10)).await.unwrap();
    assert_eq!(blobs.footer(&tenant(), pack).await.unwrap(), entries);
    let bare = blobs
        .put(&tenant(), vec![Bytes::from_static(b"x")], &[])
        .await
        .unwrap();
    assert_eq!(blobs.footer(&tenant(), bare).await.unwrap(), []);
}

async fn a_long_footer_is_read_whole(blobs: &Blobs) {
    let (pack, entries) = blobs.put_objects(&tenant(), chunks(5000, 4)).await.unwrap();
    assert!(blobs.footer(&tenant(), pack).await.unwrap() == entries);
}

async fn packs_and_tenants_are_listed_until_they_are_deleted(blobs: &Blobs) {
    assert_eq!(blobs.tenants().await.unwrap(), []);
    let other = "other".parse().unwrap();
    let (pack, _) = blobs.put_objects(&tenant(), chunks(1, 10)).await.unwrap();
    let (second, _) = blobs.put_objects(&tenant(), chunks(1, 10)).await.unwrap();
    blobs.put_objects(&other, chunks(1, 10)).await.unwrap();
    let mut tenants = blobs.tenants().await.unwrap();
    tenants.sort();
    assert_eq!(tenants, [tenant(), other]);
    let listed = blobs.list(&tenant()).await.unwrap();
    assert_eq!(listed.len(), 2);
    assert!(listed.iter().all(|stored| stored.written_ms > 0));
    blobs.delete(&tenant(), pack).await.unwrap();
    blobs.delete(&tenant(), pack).await.unwrap();
    let left = blobs.list(&tenant()).await.unwrap();
    assert_eq!(
        left.iter().map(|stored| stored.pack).collect::<Vec<_>>(),
        [second]
    );
}

async fn the_first_owner_stays(blobs: &Blobs) {
    assert_eq!(blobs.owner().await.unwrap(), None);
    assert_eq!(blobs.own(ClusterId(7)).await.unwrap(), ClusterId(7));
    assert_eq!(blobs.own(ClusterId(8)).await.unwrap(), ClusterId(7));
    assert_eq!(blobs.owner().await.unwrap(), Some(ClusterId(7)));
}
