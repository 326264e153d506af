//! The contract's rows about packs.

use super::*;

pub(super) async fn inline_objects_move_to_packs(journal: &dyn Journal) {
    commit(journal, &tree("docs"), (1, None), &["one", "two"]).await;
    assert_eq!(journal.inline_bytes().await.unwrap(), 6);
    let (owner, ids) = journal.inline(1000).await.unwrap().unwrap();
    assert_eq!((owner, ids.len()), (tenant(), 2));
    let entries = vec![entry("one", 50), entry("two", 90), entry("never", 99)];
    journal
        .repoint(tenant(), None, PackId(7), entries)
        .await
        .unwrap();
    assert_eq!(journal.inline_bytes().await.unwrap(), 0);
    assert_eq!(journal.inline(1000).await.unwrap(), None);
    let place = PackPlace {
        pack: PackId(7),
        offset: 90,
        bytes: 3,
    };
    let ids = vec![chunk("two").id, chunk("never").id];
    let located = journal.locate(tenant(), ids).await.unwrap();
    assert_eq!(
        located,
        [Some((ObjectKind::Chunk, Place::Pack(place))), None]
    );
    // What is elsewhere already stays there.
    journal
        .repoint(tenant(), None, PackId(8), vec![entry("two", 1)])
        .await
        .unwrap();
    let located = journal
        .locate(tenant(), vec![chunk("two").id])
        .await
        .unwrap();
    assert_eq!(located, [Some((ObjectKind::Chunk, Place::Pack(place)))]);
}

pub(super) async fn packs_are_doomed_then_forgotten(journal: &dyn Journal) {
    let entries = vec![entry("one", 5)];
    journal
        .index_pack(tenant(), PackId(1), entries, Now(10))
        .await
        .unwrap();
    assert_eq!(
        journal.packs(tenant()).await.unwrap(),
        BTreeSet::from([PackId(1)])
    );
    let (objects, uses) = journal.sweep_objects(tenant(), sweep(100)).await.unwrap();
    assert_eq!(
        (objects, uses.len(), uses[0].live_bytes, uses[0].bytes),
        (1, 1, 0, 3)
    );
    journal
        .doom_pack(tenant(), PackId(1), Now(100))
        .await
        .unwrap();
    assert_eq!(journal.doomed(tenant(), Now(100)).await.unwrap(), []);
    assert_eq!(
        journal.doomed(tenant(), Now(101)).await.unwrap(),
        [PackId(1)]
    );
    assert_eq!(
        journal.packs(tenant()).await.unwrap(),
        BTreeSet::from([PackId(1)])
    );
    journal.forget_pack(tenant(), PackId(1)).await.unwrap();
    assert_eq!(journal.packs(tenant()).await.unwrap(), BTreeSet::new());
}
