//! The contract's rows about objects whose places were found empty.

use fsync_core::service::record::Loss;

use super::*;

fn place(pack: u128, text: &str, offset: u32) -> PackPlace {
    PackPlace {
        pack: PackId(pack),
        offset,
        bytes: u32::try_from(text.len()).unwrap(),
    }
}

/// Commits objects and packs them: the first of each pair into that pack.
async fn packed(journal: &dyn Journal, key: &TreeKey, objects: &[(u128, &str)]) -> Head {
    let texts: Vec<&str> = objects.iter().map(|o| o.1).collect();
    let (_, head) = commit(journal, key, (1, None), &texts).await;
    for (pack, text) in objects {
        let entries = vec![entry(text, 7)];
        let (tenant, pack) = (key.tenant.clone(), PackId(*pack));
        journal.repoint(tenant, None, pack, entries).await.unwrap();
    }
    head
}

async fn is_located(journal: &dyn Journal, text: &str) -> bool {
    let located = journal.locate(tenant(), vec![chunk(text).id]).await;
    located.unwrap()[0].is_some()
}

async fn lost(journal: &dyn Journal, key: &TreeKey) -> Vec<ObjectId> {
    let from = ObjectId::from_bytes([0; 32]);
    journal.lost(key.clone(), from, 100).await.unwrap()
}

pub(super) async fn a_lost_object_is_lacking_until_it_is_stored_again(journal: &dyn Journal) {
    let key = tree("docs");
    packed(journal, &key, &[(7, "gone"), (7, "here")]).await;
    let id = chunk("gone").id;
    let loss = vec![Loss::Object(id, place(7, "gone", 7))];
    assert_eq!(journal.lose(tenant(), loss.clone()).await.unwrap(), 1);
    assert_eq!(journal.lose(tenant(), loss).await.unwrap(), 0);
    assert_eq!(held(journal, &key, None, "gone").await, None);
    assert_eq!(held(journal, &key, None, "here").await, Some(true));
    assert!(!is_located(journal, "gone").await);
    assert_eq!(lost(journal, &key).await, [id]);
    // The tree's right to it stays.
    let ids = vec![id, chunk("never").id];
    assert_eq!(journal.owned(key.clone(), ids).await.unwrap(), [id]);

    let upload = UploadId(9);
    let opened = journal.open_upload(key.clone(), upload, lease(0)).await;
    opened.unwrap();
    let payload = Payload::Packed(PackId(8), vec![entry("gone", 40)]);
    let added = journal.add_upload(key.clone(), upload, payload, lease(0));
    assert!(added.await.unwrap());
    assert_eq!(held(journal, &key, None, "gone").await, Some(true));
    let located = journal.locate(tenant(), vec![id]).await.unwrap();
    let there = Place::Pack(place(8, "gone", 40));
    assert_eq!(located, [Some((ObjectKind::Chunk, there))]);
    assert_eq!(lost(journal, &key).await, []);
}

pub(super) async fn a_lost_pack_takes_all_its_objects_and_no_others(journal: &dyn Journal) {
    let key = tree("docs");
    packed(journal, &key, &[(7, "one"), (7, "two"), (8, "three")]).await;
    let losses = vec![Loss::Pack(PackId(7)), Loss::Pack(PackId(99))];
    assert_eq!(journal.lose(tenant(), losses).await.unwrap(), 2);
    assert_eq!(held(journal, &key, None, "one").await, None);
    assert_eq!(held(journal, &key, None, "two").await, None);
    assert_eq!(held(journal, &key, None, "three").await, Some(true));
    // A small object comes back inline.
    commit(journal, &tree("other"), (1, None), &["one"]).await;
    assert_eq!(held(journal, &key, None, "one").await, Some(true));
    assert_eq!(lost(journal, &key).await, [chunk("two").id]);
}

pub(super) async fn an_object_that_stands_elsewhere_by_now_is_not_lost(journal: &dyn Journal) {
    let key = tree("docs");
    packed(journal, &key, &[(7, "moved")]).await;
    let entries = vec![entry("moved", 50)];
    let moved = journal.repoint(tenant(), Some(PackId(7)), PackId(8), entries);
    moved.await.unwrap();
    let id = chunk("moved").id;
    let losses = vec![
        Loss::Object(id, place(7, "moved", 7)),
        Loss::Object(id, place(8, "moved", 51)),
        Loss::Pack(PackId(7)),
    ];
    assert_eq!(journal.lose(tenant(), losses).await.unwrap(), 0);
    assert_eq!(held(journal, &key, None, "moved").await, Some(true));
    assert_eq!(lost(journal, &key).await, []);
}

pub(super) async fn a_loss_makes_admissions_before_it_doubtful(journal: &dyn Journal) {
    let key = tree("docs");
    packed(journal, &key, &[(7, "one")]).await;
    let before = generation(journal, &key).await;
    let nothing = journal.lose(tenant(), vec![Loss::Pack(PackId(8))]).await;
    assert_eq!(nothing.unwrap(), 0);
    assert_eq!(generation(journal, &key).await, before);
    journal
        .lose(tenant(), vec![Loss::Pack(PackId(7))])
        .await
        .unwrap();
    assert_ne!(generation(journal, &key).await, before);
}

pub(super) async fn lost_objects_are_told_of_to_their_tree_only_and_in_turn(journal: &dyn Journal) {
    let (one, two) = (tree("one"), tree("two"));
    packed(journal, &one, &[(7, "a"), (7, "b"), (7, "c")]).await;
    packed(journal, &two, &[(7, "d")]).await;
    journal
        .lose(tenant(), vec![Loss::Pack(PackId(7))])
        .await
        .unwrap();
    let mut ids = vec![chunk("a").id, chunk("b").id, chunk("c").id];
    ids.sort();
    assert_eq!(lost(journal, &one).await, ids);
    assert_eq!(lost(journal, &two).await, [chunk("d").id]);
    let from_second = journal.lost(one.clone(), ids[1], 10).await.unwrap();
    assert_eq!(from_second, [ids[1], ids[2], ids[0]]);
    let limited = journal.lost(one, ids[2], 2).await.unwrap();
    assert_eq!(limited, [ids[2], ids[0]]);
}

pub(super) async fn a_sweep_keeps_what_is_lost_and_owed(journal: &dyn Journal) {
    let key = tree("docs");
    let head = packed(journal, &key, &[(7, "live"), (7, "dead"), (8, "dead too")]).await;
    let losses = vec![Loss::Pack(PackId(7)), Loss::Pack(PackId(8))];
    assert_eq!(journal.lose(tenant(), losses).await.unwrap(), 3);
    let live = Arc::new(BTreeSet::from([chunk("live").id]));
    let swept = journal.sweep_tree(key.clone(), Some(head), live, sweep(1000));
    assert_eq!(swept.await.unwrap(), Some(2));
    let (_, uses) = journal.sweep_objects(tenant(), sweep(1000)).await.unwrap();
    let bytes = |pack| {
        let used = uses.iter().find(|used| used.pack == PackId(pack)).unwrap();
        (used.live_bytes, used.lost_bytes)
    };
    assert_eq!((bytes(7), bytes(8)), ((0, 4), (0, 0)));
    assert_eq!(lost(journal, &key).await, [chunk("live").id]);
    let owned = journal.owned(key, vec![chunk("live").id, chunk("dead").id]);
    assert_eq!(owned.await.unwrap(), [chunk("live").id]);
}
