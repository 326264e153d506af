//! Revisions: one encoding each, and what a decoder refuses.

use fsync_core::cbor::{self, Writer};
use fsync_core::id::{ObjectId, RevisionId};
use fsync_core::limits::REVISION_BYTES;
use fsync_core::revision::{MoveHint, Revision, Timestamp};
use proptest::prelude::*;

use crate::fixtures::path;
use crate::strategies::revisions;

fn with_moves(moves: &[(&str, &str)]) -> Revision {
    Revision {
        root: ObjectId::from_bytes([1; 32]),
        parents: vec![RevisionId::from_bytes([2; 32])],
        author: "laptop".parse().unwrap(),
        time: Timestamp(3),
        is_approved: false,
        moves: moves
            .iter()
            .map(|(from, to)| MoveHint {
                from: path(from),
                to: path(to),
            })
            .collect(),
    }
}

#[test]
fn a_move_of_a_path_into_itself_is_refused() {
    let table = [
        ("a", "b", true),
        ("a/b", "b", true),
        ("a", "ab", true),
        ("a", "a", false),
        ("a", "a/b", false),
        ("a/b", "a", false),
        ("a", "", false),
        ("", "a", false),
    ];
    for (from, to, expected) in table {
        let bytes = with_moves(&[(from, to)]).to_bytes();
        assert_eq!(
            Revision::decode(&bytes).is_ok(),
            expected,
            "{from:?} -> {to:?}"
        );
    }
}

/// Writes a revision with one part replaced.
fn raw(part: usize, write: impl FnOnce(&mut Writer)) -> Vec<u8> {
    cbor::encode(|w| {
        let mut write = Some(write);
        w.array(7)?;
        for at in 0..7 {
            if at == part
                && let Some(write) = write.take()
            {
                write(w);
                continue;
            }
            match at {
                0 => w.u64(1)?,
                1 => w.bytes(&[1; 32])?,
                3 => w.str("laptop")?,
                4 => w.u64(3)?,
                5 => w.u64(0)?,
                _ => w.array(0)?,
            };
        }
        w.ok()
    })
}

/// Appends raw bytes to what is being written.
fn put(w: &mut Writer, bytes: &[u8]) {
    w.writer_mut().extend_from_slice(bytes);
}

#[test]
fn malformed_revisions_are_refused() {
    assert!(Revision::decode(&raw(9, |_| {})).is_ok());
    let text = |text: &'static str| move |w: &mut Writer| drop(w.str(text));
    let three_parents = [
        &[0x83u8][..],
        &[[0x58, 0x20].as_slice(), &[0; 32]].concat().repeat(3),
    ]
    .concat();
    let table: Vec<(&str, Vec<u8>)> = vec![
        ("other version", raw(0, |w| drop(w.u64(2)))),
        ("version not shortest", raw(0, |w| put(w, &[0x18, 1]))),
        ("short root", raw(1, |w| drop(w.bytes(&[1; 31])))),
        ("root as text", raw(1, text("root"))),
        ("three parents", raw(2, |w| put(w, &three_parents))),
        (
            "parents of no definite length",
            raw(2, |w| put(w, &[0x9f, 0xff])),
        ),
        ("author with a separator", raw(3, text("a/b"))),
        ("empty author", raw(3, text(""))),
        ("negative time", raw(4, |w| drop(w.i64(-1)))),
        ("unknown flag", raw(5, |w| drop(w.u64(2)))),
        (
            "more moves than bytes",
            raw(6, |w| put(w, &[0x9a, 0xff, 0xff, 0xff, 0xff])),
        ),
        ("trailing byte", [raw(9, |_| {}), vec![0]].concat()),
        ("nothing", Vec::new()),
        ("too large", vec![0; REVISION_BYTES + 1]),
    ];
    for (what, bytes) in table {
        assert!(Revision::decode(&bytes).is_err(), "{what}");
    }
}

proptest! {
    #[test]
    fn decoding_gives_what_was_encoded(revision in revisions()) {
        let (id, bytes) = revision.encode();
        prop_assert_eq!(Revision::decode(&bytes), Ok(revision));
        prop_assert_eq!(RevisionId::of(&bytes), id);
    }

    #[test]
    fn damaged_bytes_are_refused_or_are_another_revision(
        revision in revisions(), at in any::<prop::sample::Index>(), bit in 0..8u8,
    ) {
        let mut bytes = revision.to_bytes();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        if let Ok(other) = Revision::decode(&bytes) {
            prop_assert_ne!(&other, &revision);
            prop_assert_eq!(other.to_bytes(), bytes);
        }
    }
}
