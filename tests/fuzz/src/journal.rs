//! The journal that a push of a fuzz target meets.

use fsync_core::id::{ObjectId, ObjectKind};
use fsync_core::service::facts::{Answers, Questions};
use fsync_core::service::record::Held;

/// Answers as a journal of a new tree that has every chunk and no node.
pub fn answer(asked: &Questions) -> Answers {
    let held = |id: &ObjectId| {
        let [first, rest @ ..] = id.as_bytes();
        rest.iter().all(|byte| byte == first).then_some(Held {
            kind: ObjectKind::Chunk,
            bytes: (*first).into(),
            is_complete: true,
        })
    };
    Answers {
        generation: 1,
        head: asked.head.then_some(None),
        revisions: asked.revisions.iter().map(|id| (*id, None)).collect(),
        held: asked.held.iter().map(|key| (*key, held(&key.1))).collect(),
        nodes: asked.nodes.iter().map(|(_, id)| (*id, None)).collect(),
        chain: asked.chain_after.map(|seq| (seq, Vec::new())),
    }
}
