//! Nodes: one encoding each, and every other form refused.

use fsync_core::cbor::{self, Writer};
use fsync_core::id::{ObjectId, ObjectKind};
use fsync_core::limits::{CHUNK_MAX_BYTES, FILE_BYTES, NODE_BYTES, NODE_LEVELS, SYMLINK_BYTES};
use fsync_core::node::Node;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::strategies::nodes;

const DIR: ObjectKind = ObjectKind::Directory;
const FILE: ObjectKind = ObjectKind::File;
const LINK: ObjectKind = ObjectKind::Symlink;

/// One entry of a raw directory leaf: name, code, and what follows the id.
type RawEntry<'a> = (&'a [u8], u8, &'a [u8]);
/// Size 1, not executable, modified at 0.
const META: &[u8] = &[0x01, 0xf4, 0x00];

fn write(f: impl FnOnce(&mut Writer)) -> Vec<u8> {
    cbor::encode(|w| {
        f(w);
        w.ok()
    })
}

fn put(w: &mut Writer, bytes: &[u8]) {
    w.writer_mut().extend_from_slice(bytes);
}

fn dir(entries: &[RawEntry<'_>]) -> Vec<u8> {
    write(|w| {
        put(w, &[0x82, 0x03]);
        drop(w.array(entries.len() as u64));
        for (name, code, meta) in entries {
            put(w, &[if *code < 2 { 0x86 } else { 0x83 }]);
            drop(w.bytes(name));
            drop(w.u8(*code));
            drop(w.bytes(&[7; 32]));
            put(w, meta);
        }
    })
}

fn file_leaf(runs: &[&[u64]]) -> Vec<u8> {
    write(|w| {
        put(w, &[0x82, 0x01]);
        drop(w.array(runs.len() as u64));
        for run in runs {
            drop(w.array(run.len() as u64));
            if run.len() > 1 {
                drop(w.bytes(&[7; 32]));
            }
            drop(w.u64(run[run.len() - 1]));
        }
    })
}

fn inner(tag: u8, level: u8, children: &[(&[u8], u64)]) -> Vec<u8> {
    write(|w| {
        put(w, &[0x83, tag, level]);
        drop(w.array(children.len() as u64));
        for (name, bytes) in children {
            put(w, &[0x82]);
            if tag == 2 {
                drop(w.bytes(&[7; 32]));
                drop(w.u64(*bytes));
            } else {
                drop(w.bytes(name));
                drop(w.bytes(&[7; 32]));
            }
        }
    })
}

fn check(table: &[(&str, ObjectKind, Vec<u8>, bool)]) {
    for (what, kind, bytes, expected) in table {
        let node = Node::decode(*kind, bytes);
        assert_eq!(node.is_ok(), *expected, "{what}: {node:?}");
    }
}

#[test]
fn every_other_cbor_form_of_the_empty_directory_is_refused() {
    check(&[
        ("canonical", DIR, vec![0x82, 0x03, 0x80], true),
        ("tag not shortest", DIR, vec![0x82, 0x18, 0x03, 0x80], false),
        (
            "tag in 8 bytes",
            DIR,
            vec![0x82, 0x1b, 0, 0, 0, 0, 0, 0, 0, 3, 0x80],
            false,
        ),
        (
            "outer length not shortest",
            DIR,
            vec![0x98, 0x02, 0x03, 0x80],
            false,
        ),
        (
            "inner length not shortest",
            DIR,
            vec![0x82, 0x03, 0x98, 0x00],
            false,
        ),
        (
            "outer length indefinite",
            DIR,
            vec![0x9f, 0x03, 0x80, 0xff],
            false,
        ),
        (
            "inner length indefinite",
            DIR,
            vec![0x82, 0x03, 0x9f, 0xff],
            false,
        ),
        ("trailing byte", DIR, vec![0x82, 0x03, 0x80, 0x00], false),
    ]);
}

#[test]
fn every_other_shape_than_the_empty_directory_is_refused() {
    check(&[
        (
            "CBOR tag in front",
            DIR,
            vec![0xc1, 0x82, 0x03, 0x80],
            false,
        ),
        ("one part more", DIR, vec![0x83, 0x03, 0x80, 0x00], false),
        ("one part less", DIR, vec![0x81, 0x03], false),
        ("truncated", DIR, vec![0x82, 0x03], false),
        ("nothing", DIR, vec![], false),
        ("unknown tag", DIR, vec![0x82, 0x06, 0x80], false),
        (
            "tag as float",
            DIR,
            vec![0x82, 0xf9, 0x42, 0x00, 0x80],
            false,
        ),
        ("asked for as a file", FILE, vec![0x82, 0x03, 0x80], false),
        (
            "asked for as a chunk",
            ObjectKind::Chunk,
            vec![0x82, 0x03, 0x80],
            false,
        ),
        (
            "length beyond memory",
            DIR,
            vec![0x82, 0x03, 0x9b, 255, 255, 255, 255, 255, 255, 255, 255],
            false,
        ),
    ]);
}

#[test]
fn directory_names_ascend_and_are_names() {
    let one = |name: &[u8]| dir(&[(name, 0, META)]);
    let two = |a: &[u8], b: &[u8]| dir(&[(a, 0, META), (b, 2, &[])]);
    check(&[
        ("one", DIR, one(b"a"), true),
        ("in order", DIR, two(b"a", b"b"), true),
        ("byte order, not letters", DIR, two(b"B", b"a"), true),
        ("out of order", DIR, two(b"b", b"a"), false),
        ("twice the same", DIR, two(b"a", b"a"), false),
        ("dots", DIR, one(b".."), false),
        ("dot", DIR, one(b"."), false),
        ("empty", DIR, one(b""), false),
        ("separator", DIR, one(b"a/b"), false),
        ("absolute", DIR, one(b"/etc"), false),
        ("NUL", DIR, one(b"a\0b"), false),
        ("the agent's own", DIR, one(b".fsync"), false),
        ("the agent's own, in capitals", DIR, one(b".FSYNC"), false),
        ("longest", DIR, one(&[b'n'; 255]), true),
        ("over-long", DIR, one(&[b'n'; 256]), false),
        ("not UTF-8", DIR, one(b"\xff\xfe"), true),
        (
            "name as text",
            DIR,
            vec![0x82, 0x03, 0x81, 0x83, 0x61, b'a', 0x02, 0x40],
            false,
        ),
    ]);
}

#[test]
fn entries_hold_what_their_code_says() {
    let with = |code: u8, meta: &[u8]| dir(&[(b"a", code, meta)]);
    check(&[
        ("directory", DIR, with(2, &[]), true),
        ("symlink", DIR, with(3, &[]), true),
        ("unknown code", DIR, with(4, &[]), false),
        ("directory with a size", DIR, with(2, META), false),
        ("file without a size", DIR, with(0, &[]), false),
        ("exec as a number", DIR, with(0, &[0x01, 0x01, 0x00]), false),
        ("negative size", DIR, with(0, &[0x20, 0xf4, 0x00]), false),
        (
            "size not shortest",
            DIR,
            with(0, &[0x18, 0x01, 0xf4, 0x00]),
            false,
        ),
        (
            "mtime before 1970",
            DIR,
            with(0, &[0x01, 0xf4, 0x38, 0x63]),
            true,
        ),
        (
            "mtime not shortest",
            DIR,
            with(0, &[0x01, 0xf4, 0x38, 0x01]),
            false,
        ),
        (
            "one chunk too large",
            DIR,
            with(0, &[0x1a, 0x00, 0x40, 0x00, 0x01, 0xf4, 0x00]),
            false,
        ),
        (
            "a list for a small file",
            DIR,
            with(1, &[0x1a, 0x00, 0x01, 0x00, 0x00, 0xf4, 0x00]),
            false,
        ),
        (
            "a list for a large file",
            DIR,
            with(1, &[0x1a, 0x00, 0x01, 0x00, 0x01, 0xf4, 0x00]),
            true,
        ),
        (
            "a file beyond off_t",
            DIR,
            with(1, &[0x1b, 0x80, 0, 0, 0, 0, 0, 0, 0, 0xf4, 0]),
            false,
        ),
    ]);
}

#[test]
fn file_lists_hold_possible_runs() {
    let chunk_max = CHUNK_MAX_BYTES as u64;
    check(&[
        (
            "chunks and a hole",
            FILE,
            file_leaf(&[&[0, 5], &[9], &[0, 5]]),
            true,
        ),
        ("the largest hole", FILE, file_leaf(&[&[FILE_BYTES]]), true),
        (
            "a hole beyond off_t",
            FILE,
            file_leaf(&[&[FILE_BYTES + 1]]),
            false,
        ),
        ("an empty hole", FILE, file_leaf(&[&[0]]), false),
        (
            "the largest chunk",
            FILE,
            file_leaf(&[&[0, chunk_max]]),
            true,
        ),
        (
            "a chunk too large",
            FILE,
            file_leaf(&[&[0, chunk_max + 1]]),
            false,
        ),
        ("an empty chunk", FILE, file_leaf(&[&[0, 0]]), false),
        ("no run", FILE, file_leaf(&[]), false),
        ("an empty run", FILE, vec![0x82, 0x01, 0x81, 0x80], false),
    ]);
}

#[test]
fn inner_directories_have_two_children_and_a_level() {
    let (a, b): (&[u8], &[u8]) = (b"a", b"b");
    check(&[
        ("directory", DIR, inner(4, 1, &[(a, 0), (b, 0)]), true),
        (
            "directory, highest",
            DIR,
            inner(4, NODE_LEVELS, &[(a, 0), (b, 0)]),
            true,
        ),
        (
            "directory, too high",
            DIR,
            inner(4, NODE_LEVELS + 1, &[(a, 0), (b, 0)]),
            false,
        ),
        (
            "directory, level of leaves",
            DIR,
            inner(4, 0, &[(a, 0), (b, 0)]),
            false,
        ),
        ("directory, one child", DIR, inner(4, 1, &[(a, 0)]), false),
        (
            "directory, out of order",
            DIR,
            inner(4, 1, &[(b, 0), (a, 0)]),
            false,
        ),
        (
            "directory, twice the same",
            DIR,
            inner(4, 1, &[(a, 0), (a, 0)]),
            false,
        ),
        (
            "directory, bad name",
            DIR,
            inner(4, 1, &[(b"..", 0), (b, 0)]),
            false,
        ),
    ]);
}

#[test]
fn inner_file_lists_have_two_children_and_a_level() {
    let a: &[u8] = b"a";
    check(&[
        ("file", FILE, inner(2, 1, &[(a, 5), (a, 5)]), true),
        (
            "file, level of leaves",
            FILE,
            inner(2, 0, &[(a, 5), (a, 5)]),
            false,
        ),
        (
            "file, too high",
            FILE,
            inner(2, NODE_LEVELS + 1, &[(a, 5), (a, 5)]),
            false,
        ),
        ("file, one child", FILE, inner(2, 1, &[(a, 5)]), false),
        (
            "file, empty child",
            FILE,
            inner(2, 1, &[(a, 0), (a, 5)]),
            false,
        ),
        (
            "file asked for as directory",
            DIR,
            inner(2, 1, &[(a, 5), (a, 5)]),
            false,
        ),
    ]);
}

#[test]
fn symlink_targets_are_text_that_a_system_can_store() {
    let link = |target: &[u8]| {
        write(|w| {
            put(w, &[0x82, 0x05]);
            drop(w.bytes(target));
        })
    };
    check(&[
        ("relative", LINK, link(b"../a"), true),
        ("absolute", LINK, link(b"/etc/passwd"), true),
        ("not UTF-8", LINK, link(b"\xff"), true),
        ("longest", LINK, link(&[b'x'; SYMLINK_BYTES]), true),
        ("empty", LINK, link(b""), false),
        ("NUL", LINK, link(b"a\0b"), false),
        ("over-long", LINK, link(&[b'x'; SYMLINK_BYTES + 1]), false),
    ]);
}

#[test]
fn a_node_beyond_the_limit_is_refused_by_name_of_the_limit() {
    let names: Vec<String> = (0..400).map(|n| format!("name-{n:04}")).collect();
    let entries: Vec<RawEntry<'_>> = names.iter().map(|n| (n.as_bytes(), 2, &[][..])).collect();
    let bytes = dir(&entries);
    let error = Node::decode(DIR, &bytes).unwrap_err().to_string();
    assert_eq!(
        error,
        format!(
            "node size in bytes is {}, the limit is {NODE_BYTES}",
            bytes.len()
        )
    );
}

#[test]
fn ids_of_different_kinds_never_meet() {
    let bytes = Node::DirLeaf(Vec::new()).to_bytes();
    let mut ids: Vec<_> = [ObjectKind::Chunk, FILE, DIR, LINK]
        .map(|kind| ObjectId::of(kind, &bytes))
        .into();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 4);
}

proptest! {
    #[test]
    fn decoding_gives_what_was_encoded(node in nodes()) {
        let (id, bytes) = node.encode();
        prop_assume!(bytes.len() <= NODE_BYTES);
        prop_assert_eq!(ObjectId::of(node.kind(), &bytes), id);
        prop_assert_eq!(Node::decode(node.kind(), &bytes), Ok(node));
    }

    #[test]
    fn damaged_bytes_are_refused_or_are_another_node(
        node in nodes(), at in any::<prop::sample::Index>(), bit in 0..8u8,
    ) {
        let mut bytes = node.to_bytes();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        if let Ok(other) = Node::decode(node.kind(), &bytes) {
            prop_assert_ne!(&other, &node);
            prop_assert_eq!(other.to_bytes(), bytes);
        }
    }

    #[test]
    fn any_bytes_are_judged_without_a_panic(bytes in vec(any::<u8>(), 0..300), tag in 1..6u8) {
        for kind in [FILE, DIR, LINK] {
            drop(Node::decode(kind, &bytes));
            drop(Node::decode(kind, &[&[0x82, tag][..], &bytes].concat()));
            drop(Node::decode(kind, &[&[0x83, tag, 1][..], &bytes].concat()));
        }
    }

    #[test]
    fn an_id_is_its_text(bytes in any::<[u8; 32]>()) {
        let id = ObjectId::from_bytes(bytes);
        prop_assert_eq!(id.to_string().parse(), Ok(id));
        prop_assert!(id.to_string().to_uppercase().parse::<ObjectId>().is_err() || bytes.iter().all(|b| b >> 4 < 10 && b & 15 < 10));
    }
}
