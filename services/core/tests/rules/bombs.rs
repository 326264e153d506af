//! Few nodes that stand for more paths than anybody can visit: whoever meets them stops.

use std::collections::BTreeMap;

use crate::fixtures::{Store, file, name, path};
use fsync_core::changed::changed;
use fsync_core::id::{ObjectId, ObjectKind};
use fsync_core::label::AgentName;
use fsync_core::merge::{Side, merge};
use fsync_core::node::{Entry, Node};
use fsync_core::nodes::{NewNodes, NodesError};
use fsync_core::plan::{Skip, plan};
use fsync_core::revision::Timestamp;
use fsync_core::service::delta::delta;
use fsync_core::tree::{self, Entries};

/// 2^60 paths.
const LEVELS: usize = 60;

/// Writes directories of which each holds the next one twice; the last one holds one file.
fn bomb(store: &mut Store, text: &str) -> ObjectId {
    let mut new = NewNodes::default();
    let mut dir = tree::write_dir(&Entries::from([(name("f"), file(text))]), &mut new);
    for _ in 0..LEVELS {
        let twice = ["a", "b"].map(|n| (name(n), Entry::Dir(dir)));
        dir = tree::write_dir(&Entries::from(twice), &mut new);
    }
    store.keep(&new);
    dir
}

fn side(root: ObjectId) -> Side {
    Side {
        root,
        author: AgentName::from_lossy("m"),
        time: Timestamp(0),
        moves: Vec::new(),
    }
}

fn is_too_much<T>(result: Result<T, NodesError>) -> bool {
    matches!(result, Err(NodesError::Limit(limit)) if limit.what == "work of one walk of a tree")
}

#[test]
fn what_walks_a_bomb_stops_and_says_why() {
    let mut store = Store::default();
    let [one, two, three] = ["1", "2", "3"].map(|text| bomb(&mut store, text));
    let nodes = &store.0;
    assert!(is_too_much(tree::walk(nodes, &one, &mut |_, _| {})));
    let (ours, theirs) = (side(two), side(three));
    assert!(is_too_much(merge(nodes, Some(one), &ours, &theirs)));
    assert!(is_too_much(plan(nodes, (&one, &two), &[], &Skip::new())));
    assert!(is_too_much(changed(nodes, Some(&one), &two, &[])));
}

#[test]
fn a_delta_names_each_node_of_a_bomb_once() {
    let mut store = Store::default();
    let [one, two] = ["1", "2"].map(|text| bomb(&mut store, text));
    let sent = delta(&store.0, Some(one), two).unwrap();
    assert_eq!(sent.nodes.len(), LEVELS + 1);
}

#[test]
fn a_part_that_holds_other_names_than_it_stands_for_is_refused() {
    let mut store = Store::default();
    let empty = store.empty_dir().id();
    let mut new = NewNodes::default();
    let leaf = |names: &[&str]| {
        let items = names.iter().map(|n| (name(n), file(n))).collect();
        Node::DirLeaf(items)
    };
    let [first, last, early] = [&["a", "c"], &["x", "z"], &["b", "z"]].map(|n| new.insert(leaf(n)));
    let mut inner = |height, parts: &[(&str, ObjectId)]| {
        let parts = parts.iter().map(|(end, id)| (name(end), *id)).collect();
        new.insert(Node::DirInner(height, parts))
    };
    let holds = inner(1, &[("c", first), ("z", last)]);
    let wrong = [
        // `c` is there for a walk, and a look-up for it would go to the second part.
        inner(1, &[("b", first), ("z", last)]),
        // `b` likewise, in the first.
        inner(1, &[("c", first), ("z", early)]),
        inner(2, &[("y", holds)]),
    ];
    store.keep(&new);
    for dir in wrong {
        let read = tree::read_dir(&store.0, &dir).map(drop);
        let planned = plan(&store.0, (&empty, &dir), &[], &Skip::new()).map(drop);
        for refused in [read, planned] {
            assert!(
                matches!(&refused, Err(NodesError::Invalid { reason, .. }) if reason.contains("stands for")),
                "{refused:?}"
            );
        }
    }
    assert_eq!(tree::read_dir(&store.0, &holds).unwrap().len(), 4);
}

#[test]
fn parts_that_stand_for_a_directory_again_and_again_are_refused_at_once() {
    let mut store = Store::default();
    let mut new = NewNodes::default();
    let mut part = new.insert(Node::DirLeaf(vec![(name("a"), file("a"))]));
    for height in 1..=6 {
        let names = (0..100u8).map(|n| (name(&format!("{n:03}")), part));
        part = new.insert(Node::DirInner(height, names.collect()));
    }
    store.keep(&new);
    let read = tree::read_dir(&store.0, &part);
    assert!(matches!(read, Err(NodesError::Invalid { .. })), "{read:?}");
}

#[test]
fn honest_sharing_costs_nothing() {
    let mut store = Store::default();
    let many: BTreeMap<String, Entry> = (0..100).map(|n| (format!("{n}"), file("same"))).collect();
    let root = store.tree(many.iter().map(|(n, e)| (n.as_str(), *e)));
    let copies: BTreeMap<_, _> = (0..50)
        .map(|n| (path(&format!("copy {n}")), Some(Entry::Dir(root))))
        .collect();
    let all = store.edit(root, &copies);
    assert_eq!(store.list(all).len(), 100 + 50 * 101);
    let sent = delta(&store.0, None, all).unwrap();
    assert!(
        sent.nodes
            .iter()
            .all(|(kind, _)| *kind == ObjectKind::Directory)
    );
    assert_eq!(sent.nodes.len(), 2);
}
