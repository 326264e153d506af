//! Revisions and move hints: what decodes is the one encoding of its content, and hints keep their
//! rules however lineages join them.
#![no_main]

use fsync_core::cbor::DecodeError;
use fsync_core::hints;
use fsync_core::id::RevisionId;
use fsync_core::limits;
use fsync_core::revision::{self, MoveHint, Revision};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(revision) = Revision::decode(data) {
        let (id, bytes) = revision.encode();
        assert_eq!(bytes, data, "one content has two encodings");
        assert_eq!(id, RevisionId::of(data));
        assert!(revision.parents.len() <= limits::REVISION_PARENTS);
        check_moves(&revision.moves);
    }
    // The same hints come alone in a header of a delta.
    if let Ok(moves) = revision::decode_moves(data) {
        assert_eq!(revision::encode_moves(&moves), data);
        check_moves(&moves);
    }
});

fn check_moves(moves: &[MoveHint]) {
    assert!(moves.len() <= limits::REVISION_MOVES);
    assert!(moves.iter().all(is_sound));
    let middle = moves.len() / 2;
    let (first, second) = moves.split_at(middle);
    for steps in [vec![moves], vec![first, second], vec![second, first, moves]] {
        let composed = hints::compose(steps);
        assert!(composed.iter().all(is_sound));
        // A delta sends what was composed: the agent must be able to read it.
        let sent = revision::encode_moves(&composed);
        match revision::decode_moves(&sent) {
            Ok(read) => assert_eq!(read, composed),
            // Names that were put together may be too long for a path.
            Err(DecodeError::Malformed { .. }) if composed.iter().any(is_long) => {}
            Err(error) => panic!("composed hints do not decode: {error}"),
        }
    }
    hints::in_order(moves);
}

fn is_sound(hint: &MoveHint) -> bool {
    !hint.from.is_root() && !hint.to.is_within(&hint.from) && !hint.from.is_within(&hint.to)
}

fn is_long(hint: &MoveHint) -> bool {
    [&hint.from, &hint.to]
        .into_iter()
        .any(|path| path.as_bytes().len() > limits::PATH_BYTES || path.depth() > limits::PATH_DEPTH)
}
