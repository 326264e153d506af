//! Packs that lie: every kind of damage to a good one.

use fsync_core::id::{ObjectId, ObjectKind};
use fsync_core::pack::{Object, PackWriter};
use fsync_core::wire::ErrorCode;

use super::Scene;
use crate::agent::{Agent, Files};

fn pack(objects: &[Object], revision: Option<&fsync_core::revision::Revision>) -> Vec<u8> {
    let mut pack = PackWriter::new();
    for object in objects {
        pack.push(object.kind, &object.id, &object.bytes);
    }
    if let Some(revision) = revision {
        let (id, bytes) = revision.encode();
        pack.push_revision(&id, &bytes);
    }
    pack.finish()
}

/// Objects that are well hashed and break a rule of what they are.
fn liars() -> Vec<(String, Object)> {
    let mut all = Vec::new();
    let mut add =
        |name: &str, kind, bytes: Vec<u8>| all.push((name.to_owned(), Object::new(kind, bytes)));
    for (name, bytes) in [
        ("empty", Vec::new()),
        ("zeros", vec![0; 64]),
        ("high bytes", vec![0xff; 64]),
        ("an endless list", vec![0x9f; 64]),
        ("a deep list", vec![0x81; 8000]),
        (
            "a list beyond numbers",
            vec![0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        ),
        (
            "bytes beyond numbers",
            vec![0x5b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        ),
        ("a map of itself", vec![0xbf; 64]),
        ("tags", vec![0xc0; 4000]),
        ("a float", vec![0xfb, 0x7f, 0xf8, 0, 0, 0, 0, 0, 0]),
        ("too large", vec![0x40; 17 * 1024]),
    ] {
        for kind in [ObjectKind::Directory, ObjectKind::File] {
            add(&format!("{kind:?} of {name}"), kind, bytes.clone());
        }
    }
    all
}

fn damaged(good: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    let step = (good.len() / 48).max(1);
    for at in (0..good.len()).step_by(step) {
        let mut bytes = good.to_vec();
        bytes[at] ^= 0x41;
        all.push((format!("byte {at} flipped"), bytes));
    }
    for at in (0..good.len()).step_by(step * 2) {
        all.push((format!("cut at {at}"), good[..at].to_vec()));
    }
    for (name, more) in [
        ("a byte", &b"x"[..]),
        ("itself", good),
        ("zeros", &[0; 4096]),
    ] {
        all.push((format!("followed by {name}"), [good, more].concat()));
    }
    all.push(("backwards".to_owned(), good.iter().rev().copied().collect()));
    all.push(("gzip".to_owned(), [&[0x1f, 0x8b, 8, 0][..], good].concat()));
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pack_that_lies_changes_nothing() {
    let mut scene = Scene::new().await;
    let evil = Agent::with_token(&scene.server.url(), "evil/own", &scene.token());
    let files = Files::from([
        ("dir/a".to_owned(), vec![7; 3000]),
        ("b".to_owned(), b"two".to_vec()),
    ]);
    let (revision, objects) = evil.revision(&files, &[]);
    let mut packs = damaged(&pack(&objects, Some(&revision)));
    for (name, liar) in liars() {
        let with = [&objects[..], &[liar]].concat();
        packs.push((name, pack(&with, Some(&revision))));
    }
    let mut misnamed = objects.clone();
    misnamed[0].id = ObjectId::from_bytes([7; 32]);
    packs.push((
        "an object under another name".to_owned(),
        pack(&misnamed, Some(&revision)),
    ));
    packs.push(("no revision".to_owned(), pack(&objects, None)));
    packs.push(("no objects".to_owned(), pack(&[], Some(&revision))));
    packs.push((
        "a part of the objects".to_owned(),
        pack(&objects[1..], Some(&revision)),
    ));
    let twice = [pack(&[], Some(&revision)), pack(&objects, Some(&revision))].concat();
    packs.push(("a pack in a pack".to_owned(), twice));
    let mut orphan = revision.clone();
    orphan.parents = vec![fsync_core::id::RevisionId::from_bytes([9; 32])];
    packs.push((
        "an unknown parent".to_owned(),
        pack(&objects, Some(&orphan)),
    ));
    let mut rootless = revision.clone();
    rootless.root = ObjectId::from_bytes([9; 32]);
    packs.push((
        "a root that is nowhere".to_owned(),
        pack(&objects, Some(&rootless)),
    ));
    assert!(packs.len() > 100, "{}", packs.len());
    for (name, bytes) in packs {
        let refused = evil.post_raw("commits", bytes).await.expect_err(&name);
        let known = [
            ErrorCode::Malformed,
            ErrorCode::HashMismatch,
            ErrorCode::TooLarge,
            ErrorCode::Missing,
            ErrorCode::BaseUnknown,
        ];
        assert!(known.contains(&refused.code), "{name}: {refused:?}");
        assert_eq!(evil.head().await, None, "{name}");
    }
    // What a lying pack held cannot be used later either: a head takes all its objects.
    scene.is_unharmed().await;
    evil.commit(&files, &[]).await.unwrap();
    scene.end().await;
}

/// Contents of others cannot be had by naming them: not as an object, not as a child, not as a root.
#[tokio::test(flavor = "multi_thread")]
async fn naming_what_others_have_does_not_give_it() {
    let scene = Scene::new().await;
    let files = Files::from([("secret".to_owned(), b"only for the victim".to_vec())]);
    let (_, objects) = scene.victim.revision(&files, &[]);
    let parents: Vec<_> = scene
        .victim
        .head()
        .await
        .map(|head| head.revision)
        .into_iter()
        .collect();
    let head = scene.victim.commit(&files, &parents).await.unwrap().head;
    // A tree of the same tenant, and one of another.
    for (tenant, tree) in [("evil", "evil/own"), ("default", "default/own")] {
        let token = scene.key.token(tenant, &["own:rw"]);
        let evil = Agent::with_token(&scene.server.url(), tree, &token);
        let (theirs, _) = evil.revision(&files, &[]);
        let refused = evil.push(&theirs, &[], None).await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::Missing, "{tree}");
        let ids: Vec<ObjectId> = objects.iter().map(|object| object.id).collect();
        assert_eq!(evil.have(&ids, None).await, ids, "{tree}");
        assert_eq!(
            evil.objects(&ids).await.unwrap_err().code,
            ErrorCode::NotFound,
            "{tree}"
        );
        let refused = evil.delta(None, head.revision).await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::NotFound, "{tree}");
        let upload = evil.open_upload().await;
        let refused = scene.victim.have(&ids, Some(upload)).await;
        assert!(refused.is_empty(), "the victim has its own");
    }
    scene.server.shutdown().await.unwrap();
}
