//! Packs: read in pieces of any size, verified, and refused when they lie.

use fsync_core::id::{ObjectId, ObjectKind};
use fsync_core::limits::{CHUNK_MAX_BYTES, NODE_BYTES, REQUEST_OBJECTS, REVISION_BYTES};
use fsync_core::node::Node;
use fsync_core::pack::{
    Object, PACK_HEADER_BYTES, PackError, PackReader, PackWriter, RECORD_HEADER_BYTES, Record,
    read_all,
};
use fsync_core::revision::Revision;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::strategies::{nodes, revisions};

fn pack(objects: &[Object], revision: Option<&Revision>) -> Vec<u8> {
    let mut writer = PackWriter::new();
    for object in objects {
        let at = writer.push(object.kind, &object.id, &object.bytes);
        assert_eq!(at, (writer.len() - object.bytes.len()) as u64);
    }
    if let Some(revision) = revision {
        let (id, bytes) = revision.encode();
        writer.push_revision(&id, &bytes);
    }
    writer.finish()
}

fn records(objects: &[Object], revision: Option<&Revision>) -> Vec<Record> {
    let revision = revision.map(Revision::encode);
    let objects = objects.iter().cloned().map(Record::Object);
    objects
        .chain(revision.map(|(id, bytes)| Record::Revision(id, bytes)))
        .collect()
}

fn chunk(bytes: &[u8]) -> Object {
    Object::new(ObjectKind::Chunk, bytes.to_vec())
}

/// Returns a pack of one record with this header and body.
fn raw(kind: u8, codec: u8, length: u32, id: &ObjectId, body: &[u8]) -> Vec<u8> {
    let mut bytes = PackWriter::new().finish();
    bytes.extend_from_slice(&[kind, codec]);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(id.as_bytes());
    bytes.extend_from_slice(body);
    bytes
}

#[test]
fn an_empty_pack_is_its_header() {
    let bytes = PackWriter::new().finish();
    assert!(PackWriter::new().is_empty());
    assert_eq!(bytes.len(), PACK_HEADER_BYTES);
    assert_eq!(read_all(&bytes), Ok(Vec::new()));
}

/// Large objects become pieces that are not copied: the pack on the wire is the same.
#[test]
fn objects_that_are_given_away_make_the_same_pack_as_copied_ones() {
    let sizes = [0, 1, 15_999, 16_384, 40_000, 3, 16_383, 16_383, 250_000, 12];
    let objects = sizes.map(|size| chunk(&vec![7; size]));
    let (mut copied, mut given) = (PackWriter::new(), PackWriter::new());
    for object in objects.iter().cycle().take(60) {
        let at = copied.push(object.kind, &object.id, &object.bytes);
        assert_eq!(given.push_object(object.clone()), at);
        assert_eq!(given.len(), copied.len());
    }
    let pieces = given.into_pieces();
    assert!(pieces.iter().all(|piece| !piece.is_empty()));
    assert_eq!(pieces.concat(), copied.finish());
}

#[test]
fn what_is_no_pack_is_refused() {
    for bytes in [&b""[..], b"FSPK", b"FSPK\x02", b"PK\x03\x04\x00", b"<html>"] {
        assert!(
            matches!(read_all(bytes), Err(PackError::NotAPack(_))),
            "{bytes:?}"
        );
    }
}

#[test]
fn lies_are_refused() {
    let id = chunk(b"abc").id;
    let other = chunk(b"abd").id;
    let node = Node::DirLeaf(Vec::new());
    let (node_id, node_bytes) = node.encode();
    let length = u32::try_from(node_bytes.len()).unwrap();
    let mismatch = [
        ("bytes of another chunk", raw(0, 0, 3, &other, b"abc")),
        ("a chunk posing as a node", raw(2, 0, 3, &id, b"abc")),
        (
            "a node posing as a chunk",
            raw(0, 0, length, &node_id, &node_bytes),
        ),
        (
            "a directory posing as a file",
            raw(1, 0, length, &node_id, &node_bytes),
        ),
        ("a chunk posing as a revision", raw(16, 0, 3, &id, b"abc")),
    ];
    for (what, bytes) in mismatch {
        assert!(
            matches!(read_all(&bytes), Err(PackError::HashMismatch { .. })),
            "{what}"
        );
    }
    for (kind, codec) in [(4, 0), (15, 0), (17, 0), (255, 0), (0, 1), (16, 1)] {
        let read = read_all(&raw(kind, codec, 3, &id, b"abc"));
        assert!(
            matches!(read, Err(PackError::Unknown { at: 5, .. })),
            "{kind} {codec}"
        );
    }
}

#[test]
fn lengths_are_checked_before_the_body_comes() {
    let id = chunk(b"").id;
    let table = [
        (0, CHUNK_MAX_BYTES),
        (1, NODE_BYTES),
        (2, NODE_BYTES),
        (3, NODE_BYTES),
        (16, REVISION_BYTES),
    ];
    for (kind, limit) in table {
        for length in [limit + 1, u32::MAX as usize] {
            let mut reader = PackReader::default();
            reader.feed(&raw(kind, 0, u32::try_from(length).unwrap(), &id, b""));
            assert!(
                matches!(reader.next_record(), Err(PackError::Limit(_))),
                "{kind} {length}"
            );
        }
        let mut reader = PackReader::default();
        reader.feed(&raw(kind, 0, u32::try_from(limit).unwrap(), &id, b""));
        assert_eq!(reader.next_record(), Ok(None), "{kind}");
    }
}

#[test]
fn a_pack_cut_anywhere_is_refused_but_between_records() {
    let objects = [chunk(b"one"), chunk(b""), chunk(b"three")];
    let bytes = pack(&objects, None);
    let mut ends = vec![PACK_HEADER_BYTES];
    for object in &objects {
        ends.push(ends[ends.len() - 1] + object.packed_bytes());
    }
    for length in 0..bytes.len() {
        let is_whole = ends.contains(&length);
        assert_eq!(read_all(&bytes[..length]).is_ok(), is_whole, "{length}");
    }
    let error = read_all(&bytes[..bytes.len() - 1]).unwrap_err();
    assert_eq!(error, PackError::Truncated { at: ends[2] as u64 });
}

#[test]
fn more_records_than_one_request_may_hold_are_refused() {
    let object = chunk(b"");
    let mut bytes = PackWriter::new().finish();
    let record = &pack(std::slice::from_ref(&object), None)[PACK_HEADER_BYTES..];
    assert_eq!(record.len(), RECORD_HEADER_BYTES);
    bytes.extend(record.repeat(REQUEST_OBJECTS));
    assert_eq!(read_all(&bytes).map(|r| r.len()), Ok(REQUEST_OBJECTS));
    bytes.extend_from_slice(record);
    assert!(matches!(read_all(&bytes), Err(PackError::Limit(_))));
}

fn objects() -> impl Strategy<Value = Vec<Object>> {
    let chunks = vec(any::<u8>(), 0..2000).prop_map(|b| Object::new(ObjectKind::Chunk, b));
    let nodes = nodes()
        .prop_map(|n| Object::new(n.kind(), n.to_bytes()))
        .prop_filter("fits", |o| o.bytes.len() <= NODE_BYTES);
    vec(prop_oneof![chunks, nodes], 0..12)
}

proptest! {
    #[test]
    fn pieces_of_any_size_give_the_same_records(
        objects in objects(),
        revision in proptest::option::of(revisions()),
        pieces in vec(1..3000usize, 1..6),
    ) {
        let bytes = pack(&objects, revision.as_ref());
        let mut reader = PackReader::default();
        let mut read = Vec::new();
        let mut rest = &bytes[..];
        for size in pieces.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, tail) = rest.split_at((*size).min(rest.len()));
            reader.feed(piece);
            while let Some(record) = reader.next_record().unwrap() {
                read.push(record);
            }
            rest = tail;
        }
        prop_assert_eq!(reader.finish(), Ok(()));
        prop_assert_eq!(&read, &records(&objects, revision.as_ref()));
        prop_assert_eq!(read_all(&bytes), Ok(read));
    }

    #[test]
    fn a_damaged_pack_never_gives_another_object(
        objects in objects(), at in any::<prop::sample::Index>(), bit in 0..8u8,
    ) {
        let mut bytes = pack(&objects, None);
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let honest = records(&objects, None);
        if let Ok(read) = read_all(&bytes) {
            prop_assert!(read.iter().all(|r| honest.contains(r)));
        }
    }

    #[test]
    fn any_bytes_are_judged_without_a_panic(bytes in vec(any::<u8>(), 0..200)) {
        drop(read_all(&bytes));
        drop(read_all(&[&b"FSPK\x01"[..], &bytes].concat()));
    }
}
