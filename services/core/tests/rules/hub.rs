//! What the hub tells to whom: presences and wants.

use fsync_core::id::ObjectId;
use fsync_core::label::TreeKey;
use fsync_core::limits;
use fsync_core::service::Now;
use fsync_core::service::subscribe::{Effect, Frame, Hub, Input, SocketNo};
use fsync_core::wire::{Cursor, Presence, PresenceState, Subscribe, Want};

use PresenceState::{Held, InStep, Offline, Syncing};

mod heads;

fn tree(name: &str) -> TreeKey {
    name.parse().unwrap()
}

fn presence(agent: &str, state: PresenceState) -> Presence {
    Presence {
        tree: tree("docs"),
        agent: agent.parse().unwrap(),
        state,
    }
}

/// A hub whose frames are all taken.
#[derive(Default)]
struct World {
    hub: Hub,
    now: u64,
}

impl World {
    /// Returns which frames went to whom.
    fn input(&mut self, input: Input) -> Vec<(u64, Frame)> {
        let mut sent = Vec::new();
        for effect in self.hub.handle(input, Now(self.now)) {
            if let Effect::Send(socket, frame) = effect {
                self.hub.handle(Input::Taken(socket), Now(self.now));
                sent.push((socket.0, frame));
            }
        }
        sent
    }

    fn join(&mut self, socket: u64, trees: &[&str]) -> Vec<(u64, Presence)> {
        self.input(Input::Connected(SocketNo(socket)));
        self.subscribe(socket, trees)
    }

    fn subscribe(&mut self, socket: u64, trees: &[&str]) -> Vec<(u64, Presence)> {
        let cursor = |name: &&str| Cursor {
            tree: tree(name),
            base: None,
        };
        let trees = trees.iter().map(cursor).collect();
        let subscribe = Subscribe { id: 1, trees };
        presences(self.input(Input::Subscribe(SocketNo(socket), subscribe)))
    }

    fn say(&mut self, socket: u64, what: Presence) {
        let sent = self.input(Input::Presence(SocketNo(socket), what));
        assert_eq!(sent, [], "a presence waits for others");
    }

    fn gone(&mut self, socket: u64) -> Vec<(u64, Presence)> {
        presences(self.input(Input::Gone(SocketNo(socket))))
    }

    fn later(&mut self) -> Vec<(u64, Presence)> {
        self.now += limits::PRESENCE_MS;
        presences(self.input(Input::Tick))
    }

    fn lost(&mut self, ids: impl IntoIterator<Item = u8>) -> Vec<(u64, usize)> {
        let objects = ids.into_iter().map(|id| ObjectId::from_bytes([id; 32]));
        self.lost_ids(objects.collect())
    }

    fn lost_ids(&mut self, objects: Vec<ObjectId>) -> Vec<(u64, usize)> {
        let want = Want {
            tree: tree("docs"),
            objects,
        };
        let sent = self.input(Input::Lost(want)).into_iter();
        let count = |(socket, frame)| match frame {
            Frame::Want(want) => (socket, want.objects.len()),
            other => panic!("{other:?}"),
        };
        sent.map(count).collect()
    }
}

fn presences(sent: Vec<(u64, Frame)>) -> Vec<(u64, Presence)> {
    let presence = |(socket, frame)| match frame {
        Frame::Presence(presence) => (socket, presence),
        other => panic!("{other:?}"),
    };
    sent.into_iter().map(presence).collect()
}

#[test]
fn a_presence_is_told_to_the_others_of_its_tree_once() {
    let mut world = World::default();
    world.join(1, &["docs"]);
    world.join(2, &["docs"]);
    world.join(3, &["other"]);
    world.say(1, presence("desk", InStep));
    assert_eq!(world.later(), [(2, presence("desk", InStep))]);
    world.say(1, presence("desk", InStep));
    assert_eq!(world.later(), []);
}

#[test]
fn of_quick_changes_only_the_last_is_told_and_only_if_it_is_news() {
    let mut world = World::default();
    world.join(1, &["docs"]);
    world.join(2, &["docs"]);
    world.say(1, presence("desk", Syncing));
    world.say(1, presence("desk", InStep));
    assert_eq!(world.later(), [(2, presence("desk", InStep))]);
    world.say(1, presence("desk", Syncing));
    world.say(1, presence("desk", InStep));
    assert_eq!(world.later(), []);
}

#[test]
fn a_newcomer_is_told_who_is_there_and_leaving_is_told_as_offline() {
    let mut world = World::default();
    world.join(1, &["docs"]);
    world.say(1, presence("desk", Held));
    world.later();
    assert_eq!(world.join(2, &["docs"]), [(2, presence("desk", Held))]);
    assert_eq!(world.subscribe(2, &["docs"]), [], "only once");
    assert_eq!(world.gone(1), [(2, presence("desk", Offline))]);
    // A socket that was never told of is not told of as gone either.
    world.join(3, &["docs"]);
    assert_eq!(world.gone(3), []);
}

#[test]
fn an_agent_that_came_back_is_not_offline_when_its_old_socket_goes() {
    let mut world = World::default();
    world.join(1, &["docs"]);
    world.join(2, &["docs"]);
    world.say(1, presence("desk", InStep));
    world.later();
    world.join(3, &["docs"]);
    world.say(3, presence("desk", Syncing));
    assert_eq!(world.gone(1), []);
    assert_eq!(world.later(), [(2, presence("desk", Syncing))]);
}

#[test]
fn leaving_a_tree_is_as_good_as_going() {
    let mut world = World::default();
    world.join(1, &["docs"]);
    world.join(2, &["docs"]);
    world.say(1, presence("desk", InStep));
    world.later();
    let told = world.subscribe(1, &["other"]);
    assert_eq!(told, [(2, presence("desk", Offline))]);
    world.say(1, presence("desk", InStep));
    assert_eq!(world.later(), [], "it is not at that tree any more");
}

#[test]
fn what_no_agent_may_say_is_dropped() {
    let mut world = World::default();
    world.join(1, &["docs"]);
    world.join(2, &["docs"]);
    world.say(1, presence("desk", Offline));
    assert_eq!(world.later(), []);
    world.say(1, presence("desk", InStep));
    world.say(1, presence("laptop", InStep));
    assert_eq!(world.later(), [(2, presence("desk", InStep))]);
    let text = r#"{"tree":"docs","agent":"desk","state":"<b>"}"#;
    assert!(serde_json::from_str::<Presence>(text).is_err());
    let text = r#"{"tree":"docs","agent":"../x","state":"in-step"}"#;
    assert!(serde_json::from_str::<Presence>(text).is_err());
}

#[test]
fn a_crowded_tree_tells_only_of_those_who_came_first() {
    let mut world = World::default();
    let most = limits::PRESENCE_SOCKETS as u64;
    for socket in 1..=most + 1 {
        world.join(socket, &["docs"]);
    }
    world.say(most + 1, presence("late", InStep));
    assert_eq!(world.later(), []);
    world.say(1, presence("desk", InStep));
    let told = world.later();
    assert_eq!(told.len() as u64, most - 1);
    assert!(told.iter().all(|(socket, _)| *socket <= most));
    world.gone(2);
    assert_eq!(
        world.subscribe(most + 1, &["docs"]),
        [(most + 1, presence("desk", InStep))]
    );
}

#[test]
fn a_stuck_reader_gets_the_last_presence_later() {
    let mut world = World::default();
    world.join(1, &["docs"]);
    world.join(2, &["docs"]);
    world.say(1, presence("desk", InStep));
    let told = world.later();
    let refused = Frame::Presence(told[0].1.clone());
    world.input(Input::Refused(SocketNo(2), refused));
    world.say(1, presence("desk", Held));
    // The tick offers what waits, then tells what is new.
    assert_eq!(world.later().last(), Some(&(2, presence("desk", Held))));
}

#[test]
fn lost_objects_are_asked_for_at_the_trees_sockets_and_not_too_often() {
    let mut world = World::default();
    world.join(1, &["docs"]);
    world.join(2, &["docs"]);
    world.join(3, &["other"]);
    assert_eq!(world.lost([1, 2]), [(1, 2), (2, 2)]);
    world.now += limits::WANT_MS - 1;
    assert_eq!(world.lost([3]), []);
    world.now += 1;
    assert_eq!(world.lost([3]), [(1, 1), (2, 1)]);
}

#[test]
fn a_want_is_bounded() {
    let mut world = World::default();
    assert_eq!(world.lost([1]), [], "nobody is there");
    world.join(1, &["docs"]);
    assert_eq!(world.lost([]), []);
    let many = 0..2 * limits::WANT_OBJECTS as u64;
    let id = |n: u64| ObjectId::of(fsync_core::id::ObjectKind::Chunk, &n.to_be_bytes());
    let sent = world.lost_ids(many.map(id).collect());
    assert_eq!(sent, [(1, limits::WANT_OBJECTS)]);
}
