//! Golden vectors: every encoding and its id, pinned in `tests/golden/*.txt`.
//!
//! An encoding that changes makes every stored tree unreadable and every id another one. So a
//! difference here means: undo the change. Only when the format is changed on purpose (with a new
//! version and a way to read the old one) are the files written anew: `FSYNC_GOLDEN=write cargo
//! test --release -p fsync-core --test rules golden`.

use std::fmt::Write as _;

use fsync_core::filelist;
use fsync_core::id::{ObjectId, ObjectKind, RevisionId};
use fsync_core::node::{Content, Entry, FileEntry, Mtime, Node, Run};
use fsync_core::nodes::NewNodes;
use fsync_core::pack::PackWriter;
use fsync_core::revision::{MoveHint, Revision, Timestamp};
use fsync_core::tree::{self, Entries};

use crate::fixtures::{chunk, hex, name, noise, path};

/// One pinned thing: a line for people, then `id`, then the bytes, all in hex.
fn vector(out: &mut String, what: &str, id: &impl ToString, bytes: &[u8]) {
    writeln!(out, "# {what}\nid {}", id.to_string()).unwrap();
    for line in bytes.chunks(48) {
        writeln!(out, "{}", hex(line)).unwrap();
    }
}

/// Pins all nodes of a split list: the top first, the others in the order of their ids.
fn vectors(out: &mut String, what: &str, top: ObjectId, new: &NewNodes) {
    writeln!(out, "## {what}: {} nodes", new.len()).unwrap();
    let bytes = |id: ObjectId| new.get(&id).unwrap().to_bytes();
    vector(out, "top", &top, &bytes(top));
    for (_, id, bytes) in new.iter().filter(|(_, id, _)| *id != top) {
        vector(out, "part", &id, bytes);
    }
}

fn file(text: &str, exec: bool, mtime: i64) -> Entry {
    Entry::File(FileEntry {
        content: Content::Chunk(chunk(text)),
        size: text.len() as u64,
        exec,
        mtime: Mtime(mtime),
    })
}

fn chunks() -> String {
    let mut out = String::new();
    for text in ["", "a", "hello, world\n"] {
        let id = ObjectId::of(ObjectKind::Chunk, text.as_bytes());
        vector(&mut out, &format!("chunk {text:?}"), &id, text.as_bytes());
    }
    out
}

fn nodes() -> String {
    let mut out = String::new();
    let leaf = Node::DirLeaf(vec![
        (
            name("Makefile"),
            file("all:\n", false, 1_769_903_999_123_456_789),
        ),
        (
            name("docs"),
            Entry::Dir(Node::DirLeaf(Vec::new()).encode().0),
        ),
        (
            name("large"),
            Entry::File(FileEntry {
                content: Content::List(ObjectId::from_bytes([0xab; 32])),
                size: 1 << 40,
                exec: false,
                mtime: Mtime(-1),
            }),
        ),
        (
            name("newest"),
            Entry::Symlink(Node::Symlink(b"docs".to_vec()).encode().0),
        ),
        (name("run.sh"), file("#!/bin/sh\n", true, 0)),
        (
            fsync_core::path::Name::new(*b"\xff\x01").unwrap(),
            file("", false, i64::MIN),
        ),
    ]);
    let runs = Node::FileLeaf(vec![
        Run::Chunk {
            id: chunk("first"),
            bytes: 70_000,
        },
        Run::Hole { bytes: 1 << 40 },
        Run::Chunk {
            id: chunk("last"),
            bytes: 4 << 20,
        },
    ]);
    let link = Node::Symlink(b"../over/there".to_vec());
    let empty = Node::DirLeaf(Vec::new());
    let all = [
        ("empty directory", empty),
        ("directory", leaf),
        ("file list", runs),
        ("symlink", link),
    ];
    for (what, node) in all {
        let (id, bytes) = node.encode();
        assert_eq!(Node::decode(node.kind(), &bytes), Ok(node));
        vector(&mut out, what, &id, &bytes);
    }
    out
}

fn split_directory() -> String {
    let entries: Entries = (0..1000)
        .map(|n| {
            (
                name(&format!("{n:04}")),
                file(&n.to_string(), n % 7 == 0, n),
            )
        })
        .collect();
    let mut new = NewNodes::default();
    let top = tree::write_dir(&entries, &mut new);
    let mut out = String::new();
    vectors(&mut out, "directory of 1,000 files", top, &new);
    out
}

fn split_file() -> String {
    let run = |n: u64| match n % 100 {
        99 => Run::Hole { bytes: 1 << 20 },
        _ => Run::Chunk {
            id: ObjectId::of(ObjectKind::Chunk, &n.to_be_bytes()),
            bytes: 16_384 + n,
        },
    };
    let runs: Vec<Run> = (0..1000).map(run).collect();
    let mut new = NewNodes::default();
    let Content::List(top) = filelist::write_file(&runs, &mut new) else {
        panic!("a thousand runs are a list");
    };
    let mut out = String::new();
    vectors(&mut out, "file of 1,000 runs", top, &new);
    out
}

/// The cuts of FastCDC are as much a part of the format as any encoding.
fn cuts() -> String {
    let mut out = String::new();
    let mut bytes = noise(2026, 2_000_000);
    bytes.resize(4_000_000, 0);
    bytes.extend(noise(11, 500_000));
    let mut sink = |run: Run, _: &[u8]| match run {
        Run::Chunk { id, bytes } => writeln!(out, "chunk {id} {bytes}").unwrap(),
        Run::Hole { bytes } => writeln!(out, "hole {bytes}").unwrap(),
    };
    let mut chunker = fsync_core::chunk::Chunker::new(bytes.len() as u64);
    chunker.push(&bytes, &mut sink);
    chunker.finish(&mut sink);
    out
}

fn full_revision() -> Revision {
    let hint = |from, to| MoveHint {
        from: path(from),
        to: path(to),
    };
    Revision {
        root: Node::DirLeaf(Vec::new()).encode().0,
        parents: vec![
            RevisionId::from_bytes([1; 32]),
            RevisionId::from_bytes([2; 32]),
        ],
        author: "laptop-7f3a".parse().unwrap(),
        time: Timestamp(1_769_903_999_000),
        is_approved: true,
        moves: vec![hint("old/dir", "new/dir"), hint("a", "b")],
    }
}

fn revisions() -> String {
    let first = Revision {
        parents: Vec::new(),
        is_approved: false,
        moves: Vec::new(),
        ..full_revision()
    };
    let mut out = String::new();
    for (what, revision) in [
        ("first revision", first),
        ("revision with all fields", full_revision()),
    ] {
        let (id, bytes) = revision.encode();
        assert_eq!(Revision::decode(&bytes), Ok(revision));
        vector(&mut out, what, &id, &bytes);
    }
    out
}

fn pack() -> String {
    let mut writer = PackWriter::new();
    writer.push(ObjectKind::Chunk, &chunk("hello"), b"hello");
    for node in [Node::DirLeaf(Vec::new()), Node::Symlink(b"x".to_vec())] {
        let (id, bytes) = node.encode();
        writer.push(node.kind(), &id, &bytes);
    }
    let (id, bytes) = full_revision().encode();
    writer.push_revision(&id, &bytes);
    let mut out = String::new();
    vector(
        &mut out,
        "pack of a chunk, two nodes and a revision",
        &"none",
        &writer.finish(),
    );
    out
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test that rewrites its own vectors when told to"
)]
fn check(file: &str, pinned: &str, actual: &str) {
    if std::env::var("FSYNC_GOLDEN").as_deref() == Ok("write") {
        let path = format!("{}/tests/golden/{file}.txt", env!("CARGO_MANIFEST_DIR"));
        std::fs::write(path, actual).unwrap();
        return;
    }
    let differs = pinned.lines().zip(actual.lines()).position(|(a, b)| a != b);
    assert!(
        pinned == actual,
        "{file}.txt differs from line {:?} on: the encoding changed, see the head of golden.rs",
        differs.map(|line| line + 1)
    );
}

macro_rules! golden {
    ($($test:ident, $file:literal, $make:ident;)*) => {$(
        #[test]
        fn $test() {
            check($file, include_str!(concat!("../golden/", $file, ".txt")), &$make());
        }
    )*};
}

golden! {
    chunks_keep_their_ids, "chunks", chunks;
    nodes_keep_their_encoding, "nodes", nodes;
    split_directories_keep_their_encoding, "split-directory", split_directory;
    split_files_keep_their_encoding, "split-file", split_file;
    cuts_stay_where_they_are, "cuts", cuts;
    revisions_keep_their_encoding, "revisions", revisions;
    packs_keep_their_encoding, "pack", pack;
}
