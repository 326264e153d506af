//! What the hub makes of heads that come twice, late, not at all, or back.

use fsync_core::id::{ObjectId, ObjectKind, RevisionId};
use fsync_core::wire::{ByeCode, Epoch, Head, Heads, RefEvent, Seq, TreeHead};

use super::*;

fn head(epoch: u64, seq: u64) -> Head {
    Head {
        epoch: Epoch(epoch),
        seq: Seq(seq),
        revision: RevisionId::of(&[epoch.to_be_bytes(), seq.to_be_bytes()].concat()),
    }
}

fn moved(head: Head) -> Input {
    Input::Moved(RefEvent {
        tree: tree("docs"),
        head,
        root: ObjectId::of(ObjectKind::Directory, b"root"),
        author: "laptop".parse().unwrap(),
        trace: None,
    })
}

fn truth(head: Option<Head>) -> Input {
    Input::Truth(vec![(tree("docs"), head)])
}

impl World {
    /// Returns which socket was told which head.
    fn refs(&mut self, input: Input) -> Vec<(u64, u64)> {
        let told = |(socket, frame)| match frame {
            Frame::Ref(event) => (socket, event.head.seq.0),
            other => panic!("{other:?}"),
        };
        self.input(input).into_iter().map(told).collect()
    }

    fn effects(&mut self, input: Input) -> Vec<Effect> {
        self.hub.handle(input, Now(self.now))
    }
}

fn listening() -> World {
    let mut world = World::default();
    world.join(1, &["docs"]);
    world
}

#[test]
fn of_heads_that_come_twice_or_late_the_newest_is_told_once() {
    let mut world = listening();
    assert_eq!(world.refs(moved(head(1, 5))), [(1, 5)]);
    assert_eq!(world.refs(moved(head(1, 5))), []);
    assert_eq!(world.refs(moved(head(1, 4))), []);
    assert_eq!(world.refs(moved(head(1, 7))), [(1, 7)]);
    assert_eq!(world.refs(moved(head(2, 3))), [(1, 3)], "another epoch");
}

#[test]
fn a_head_that_a_newcomer_learned_is_still_told_to_the_others() {
    let mut world = listening();
    world.refs(moved(head(1, 5)));
    world.join(2, &["docs"]);
    let heads = Heads {
        id: Some(1),
        trees: vec![TreeHead {
            tree: tree("docs"),
            head: Some(head(1, 6)),
            base_known: None,
        }],
    };
    world.input(Input::HeadsLoaded(SocketNo(2), Ok(heads)));
    assert_eq!(world.refs(moved(head(1, 6))), [(1, 6), (2, 6)]);
}

#[test]
fn the_first_listener_joins_a_tree_before_its_head_is_read_and_the_last_leaves() {
    let mut world = World::default();
    world.input(Input::Connected(SocketNo(1)));
    let cursor = Cursor {
        tree: tree("docs"),
        base: None,
    };
    let subscribe = Subscribe {
        id: 1,
        trees: vec![cursor],
    };
    let effects = world.effects(Input::Subscribe(SocketNo(1), subscribe.clone()));
    let load = Effect::LoadHeads(SocketNo(1), subscribe);
    assert_eq!(effects, [Effect::Join(tree("docs")), load]);
    world.join(2, &["docs"]);
    assert_eq!(world.effects(Input::Gone(SocketNo(1))), []);
    assert_eq!(
        world.effects(Input::Gone(SocketNo(2))),
        [Effect::Leave(tree("docs"))]
    );
}

#[test]
fn a_head_that_no_wake_up_brought_is_looked_up() {
    let mut world = listening();
    let load = Effect::LoadRef(tree("docs"));
    assert_eq!(world.effects(truth(None)), []);
    assert_eq!(world.effects(truth(Some(head(1, 1)))), [load]);
    world.refs(moved(head(1, 5)));
    assert_eq!(world.effects(truth(Some(head(1, 5)))), []);
    let load = Effect::LoadRef(tree("docs"));
    assert_eq!(world.effects(truth(Some(head(1, 6)))), [load]);
    let nobody = Input::Truth(vec![(tree("other"), Some(head(1, 6)))]);
    assert_eq!(world.effects(nobody), []);
}

#[test]
fn a_head_that_went_back_is_put_into_another_epoch() {
    let mut world = listening();
    world.refs(moved(head(1, 5)));
    let renew = Effect::Renew(tree("docs"), head(1, 4));
    assert_eq!(world.effects(truth(Some(head(1, 4)))), [renew]);
    let other = Head {
        revision: RevisionId::of(b"other"),
        ..head(1, 5)
    };
    let renew = Effect::Renew(tree("docs"), other);
    assert_eq!(world.effects(truth(Some(other))), [renew]);
}

#[test]
fn agents_of_a_tree_whose_head_is_lost_come_back() {
    let mut world = listening();
    world.refs(moved(head(1, 5)));
    let sent = world.input(truth(None));
    let byes: Vec<_> = sent
        .iter()
        .map(|(socket, frame)| match frame {
            Frame::Bye(bye) => (*socket, bye.code),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(byes, [(1, ByeCode::Shutdown)]);
    assert!(world.hub.is_empty());
}
