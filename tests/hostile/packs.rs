//! Packs that lie: about hashes, sizes, kinds and counts, or that are far more than was asked for.

use anyhow::Result;
use fsync_core::id::ObjectKind;

use crate::forge::{Item, KIND_REVISION, MAGIC, Raw, dir, list, pack};
use crate::http::Reply;
use crate::trial::Trial;

/// A record repeated until it is so many bytes.
fn many(raw: &Raw, bytes: usize) -> Vec<u8> {
    let record = raw.record();
    record.repeat(bytes / record.len())
}

/// The answers to a `delta` that leads to a good revision, and words of the error.
#[expect(clippy::too_many_lines, reason = "a table")]
fn deltas(root: &Raw, revision: &Raw) -> Vec<(Reply, &'static str)> {
    let good = pack([root, revision]);
    let other = Raw::revision_of(b"not a revision".to_vec());
    let codec = |codec: u8| {
        let mut record = Raw::chunk(vec![0; 100]).record();
        record[1] = codec;
        [MAGIC.to_vec(), record].concat()
    };
    let kind = |kind: u8| Raw {
        kind,
        ..Raw::chunk("x")
    };
    let lie = Raw {
        bytes: b"other bytes".to_vec(),
        ..Raw::chunk("some bytes")
    };
    let long = Raw::chunk("short").record_of(u32::MAX);
    let node = Raw::object(ObjectKind::Directory, vec![0; 20_000]);
    let tiny = Raw::chunk(b"t".to_vec());
    vec![
        (
            Reply::bytes(b"<html>not a pack</html>".to_vec()),
            "not a pack",
        ),
        (Reply::bytes(Vec::new()), "not a pack"),
        (Reply::bytes(MAGIC.to_vec()), "does not hold revision"),
        (
            Reply::bytes(good[..good.len() - 1].to_vec()),
            "in the middle of a record",
        ),
        (Reply::bytes(pack([root])), "does not hold revision"),
        (Reply::bytes(pack([root, &other])), "malformed revision"),
        (Reply::bytes(pack([&lie])), "the sender lied"),
        (Reply::bytes(pack([&kind(9)])), "unknown kind 9"),
        (
            Reply::bytes(pack([&kind(KIND_REVISION)])),
            "the sender lied",
        ),
        // No codec is known: nothing is ever unpacked to more than came.
        (Reply::bytes(codec(1)), "codec 1"),
        (Reply::bytes(codec(255)), "codec 255"),
        (
            Reply::bytes([MAGIC.to_vec(), long].concat()),
            "chunk size in bytes is 4294967295",
        ),
        (Reply::bytes(pack([&node])), "node size in bytes is 20000"),
        (
            Reply::bytes([MAGIC.to_vec(), many(&tiny, 30 << 20)].concat()),
            "longer than what was asked for",
        ),
        (
            Reply::Endless([MAGIC.to_vec(), many(&tiny, 1 << 20)].concat()),
            "unknown kind",
        ),
        (
            Reply::Endless(
                [
                    MAGIC.to_vec(),
                    many(&Raw::chunk(vec![7; 4 << 20]), 500 << 20),
                ]
                .concat(),
            ),
            "longer than what was asked for",
        ),
        (Reply::Endless(MAGIC.to_vec()), "unknown kind"),
        // What unpacks to much more than it is: the agent asked for nothing packed.
        (
            Reply::bytes([0x1f, 0x8b, 8, 0, 0, 0, 0, 0].repeat(1000))
                .with_header("content-encoding", "gzip"),
            "not a pack",
        ),
        (
            Reply::bytes(good.clone()).with_header("x-fsync-moves", "zz"),
            "not hex",
        ),
        (
            Reply::bytes(good.clone()).with_header("x-fsync-moves", "8182"),
            "malformed",
        ),
        (
            // [["../a", "b"]]
            Reply::bytes(good).with_header("x-fsync-moves", "8182442e2e2f614162"),
            "a name is",
        ),
    ]
}

#[test]
fn a_delta_that_lies_is_of_no_use_and_the_next_one_is_taken() -> Result<()> {
    let mut trial = Trial::start()?;
    let content = Raw::chunk("new");
    let before = dir(&[Item::file(b"never", &content)]);
    for (number, (reply, says)) in deltas(&before, &Raw::revision(&before, Vec::new()))
        .into_iter()
        .enumerate()
    {
        let (answer, mark) = (reply.clone(), format!("delta {number}"));
        // Each has a revision of its own, so that the words are of this one.
        let root = Trial::tree(&[Item::file(mark.as_bytes(), &content)]);
        trial
            .server
            .lie(move |asked| (asked.what() == "delta").then(|| answer.clone()));
        let already = trial.said(says);
        trial.publish(&root, [content.clone()]);
        trial.until_said_more(&["bad answer to delta", says], already)?;
        trial.unharmed()?;
        trial.survives(&mark)?;
    }
    Ok(())
}

/// The answers to `objects` that ask for one chunk, and words of the error.
fn chunks(wanted: &Raw) -> Vec<(Reply, &'static str)> {
    let other = Raw::chunk("never asked for");
    let node = Raw::object(ObjectKind::Symlink, wanted.bytes.clone());
    let lie = Raw {
        id: wanted.id.clone(),
        ..Raw::chunk(vec![b'x'; wanted.bytes.len()])
    };
    let revision = Raw::revision(&dir(&[]), Vec::new());
    vec![
        (Reply::bytes(pack([&other])), "was not asked for"),
        (Reply::bytes(pack([&lie])), "the sender lied"),
        (Reply::bytes(pack([&node])), "malformed node"),
        (
            Reply::bytes(pack([&revision])),
            "longer than what was asked for",
        ),
        (
            Reply::bytes(pack([wanted, wanted])),
            "longer than what was asked for",
        ),
        (
            Reply::Endless(pack([wanted])),
            "longer than what was asked for",
        ),
    ]
}

#[test]
fn a_content_that_is_not_what_was_asked_for_is_never_put() -> Result<()> {
    let mut trial = Trial::start()?;
    for number in 0..6 {
        let content = Raw::chunk(format!("wanted {number}"));
        let (reply, says) = chunks(&content).swap_remove(number);
        let mark = format!("content {number}");
        let root = Trial::tree(&[Item::file(mark.as_bytes(), &content)]);
        let first = pack([&root, &Raw::revision(&root, Vec::new())]);
        let already = trial.said(says);
        trial.server.lie(move |asked| match asked.what() {
            "delta" => Some(Reply::bytes(first.clone())),
            "objects" => Some(reply.clone()),
            _ => None,
        });
        trial.publish(&root, [content]);
        trial.until_said_more(&["bad answer to objects", says], already)?;
        assert!(!trial.agent.root.join(&mark).exists());
        trial.unharmed()?;
        trial.survives(&format!("after content {number}"))?;
    }
    Ok(())
}

#[test]
fn a_size_that_lies_puts_nothing() -> Result<()> {
    let mut trial = Trial::start()?;
    let content = Raw::chunk("five!");
    let lying = list(&[(&content, 5), (&content, 1 << 21)]);
    let absurd = list(&[(&content, 4 << 20); 100]);
    let whole = |size| Item::file(b"lie", &content).with_size(size);
    for (number, item) in [
        whole(0),
        whole(4),
        whole(1 << 30),
        whole(i64::MAX.unsigned_abs()),
        whole(u64::MAX),
        Item::large(b"lie", &lying, 5 + (1 << 21)),
        Item::large(b"lie", &absurd, 400 << 20),
        Item::large(b"lie", &absurd, 1),
        Item::large(b"lie", &absurd, i64::MAX.unsigned_abs()),
        // Not what it claims to be.
        Item::file(b"lie", &lying),
        Item::dir(b"lie", &content),
        Item::link(b"lie", &content),
        Item::file(b"lie", &content).with_code(7),
    ]
    .into_iter()
    .enumerate()
    {
        let root = Trial::tree(&[item]);
        let before = trial.server.asked("delta") + trial.server.asked("objects");
        trial.publish(&root, [content.clone(), lying.clone(), absurd.clone()]);
        trial.until_refused(before)?;
        assert!(!trial.agent.root.join("lie").exists(), "case {number}");
        trial.survives(&format!("after size {number}"))?;
        assert!(!trial.agent.root.join("lie").exists(), "case {number}");
    }
    Ok(())
}
