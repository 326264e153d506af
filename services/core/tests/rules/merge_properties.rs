//! What every merge keeps to, tried on random histories of two sides, with honest and with wrong
//! move hints.

use std::collections::{BTreeMap, BTreeSet};

use fsync_core::id::{ObjectId, ObjectKind};
use fsync_core::merge::{self, Side};
use fsync_core::node::Entry;
use fsync_core::nodes::{MemoryNodes, Nodes, NodesError};
use fsync_core::path::RelPath;
use fsync_core::revision::MoveHint;
use fsync_core::tree::{self, Edits};
use proptest::prelude::*;
use proptest::sample::select;

use crate::fixtures::{Store, file, path, with_meta};
use crate::sketch::{contents, merge, show, side};

/// One thing that a user does; what cannot be done is skipped.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    Write(&'static str),
    Remove(&'static str),
    MakeDir(&'static str),
    Rename(&'static str, &'static str),
    Toggle(&'static str),
    Link(&'static str, &'static str),
    /// A hint that nothing stands behind.
    Lie(&'static str, &'static str),
}

const PATHS: &[&str] = &[
    "a", "b", "c", "d", "a/x", "a/y", "b/x", "b/y", "c/x", "c/x/y", "d/x/y", "d/x/z", "a/b/c",
];

fn any_path() -> impl Strategy<Value = &'static str> {
    select(PATHS)
}

/// A few acts of one user.
pub(crate) fn acts(most: usize) -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        4 => any_path().prop_map(Act::Write),
        3 => any_path().prop_map(Act::Remove),
        1 => any_path().prop_map(Act::MakeDir),
        4 => (any_path(), any_path()).prop_map(|(from, to)| Act::Rename(from, to)),
        1 => any_path().prop_map(Act::Toggle),
        1 => (any_path(), select(&["t", "u"][..])).prop_map(|(at, to)| Act::Link(at, to)),
        1 => (any_path(), any_path()).prop_map(|(from, to)| Act::Lie(from, to)),
    ];
    proptest::collection::vec(act, 0..most)
}

/// A user's tree while acts are done on it.
#[derive(Debug, Clone)]
pub(crate) struct User {
    pub(crate) root: ObjectId,
    pub(crate) moves: Vec<MoveHint>,
    /// Texts are numbered on, so that no two writes give the same content.
    next: usize,
}

impl User {
    /// Starts at a tree; this user's texts are numbered from `first`.
    pub(crate) fn new(root: ObjectId, first: usize) -> Self {
        Self {
            root,
            moves: Vec::new(),
            next: first,
        }
    }

    /// Does all acts.
    pub(crate) fn act(mut self, store: &mut Store, acts: &[Act]) -> Self {
        for act in acts {
            self.one(store, act);
        }
        self
    }

    fn at(&self, store: &Store, text: &str) -> Option<Entry> {
        tree::lookup(&store.0, &self.root, &path(text)).unwrap()
    }

    fn put(&mut self, store: &mut Store, text: &str, entry: Option<Entry>) {
        self.root = store.edit(self.root, &Edits::from([(path(text), entry)]));
    }

    fn one(&mut self, store: &mut Store, act: &Act) {
        match act {
            Act::Write(at) => {
                self.put(store, at, Some(file(&self.next.to_string())));
                self.next += 1;
            }
            Act::Remove(at) => self.put(store, at, None),
            Act::MakeDir(at) => {
                let dir = store.empty_dir();
                self.put(store, at, Some(dir));
            }
            Act::Link(at, to) => {
                let link = store.link(to);
                self.put(store, at, Some(link));
            }
            Act::Toggle(at) => {
                if let Some(Entry::File(was)) = self.at(store, at) {
                    self.put(store, at, Some(with_meta(Entry::File(was), !was.exec, 2)));
                }
            }
            Act::Rename(from, to) => self.rename(store, from, to),
            Act::Lie(from, to) => self.moves.push(MoveHint {
                from: path(from),
                to: path(to),
            }),
        }
    }

    fn rename(&mut self, store: &mut Store, from: &str, to: &str) {
        let parent = path(to).parent().unwrap().to_string();
        let is_dir = parent == "."
            || self
                .at(store, &parent)
                .is_some_and(|e| e.as_dir().is_some());
        let is_possible =
            is_dir && self.at(store, to).is_none() && !path(to).is_within(&path(from));
        let (Some(entry), true) = (self.at(store, from), is_possible) else {
            return;
        };
        self.put(store, from, None);
        self.put(store, to, Some(entry));
        self.moves.push(MoveHint {
            from: path(from),
            to: path(to),
        });
    }

    fn side(&self, name: &str) -> Side {
        side(name, self.root, self.moves.clone())
    }

    fn without_hints(mut self) -> Self {
        self.moves.clear();
        self
    }
}

/// Base and two users who went on from it.
struct Scene {
    store: Store,
    base: ObjectId,
    ours: User,
    theirs: User,
}

impl Scene {
    fn new((base, ours, theirs): &Acts) -> Self {
        let mut store = Store::default();
        let root = store.tree([
            ("a/x", file("0")),
            ("b/x", file("1")),
            ("c", file("2")),
            ("d/x/y", file("3")),
        ]);
        let base = User::new(root, 10).act(&mut store, base).root;
        let ours = User::new(base, 100).act(&mut store, ours);
        let theirs = User::new(base, 200).act(&mut store, theirs);
        Self {
            store,
            base,
            ours,
            theirs,
        }
    }

    fn merge(&mut self) -> ObjectId {
        let sides = (self.ours.side("ours"), self.theirs.side("theirs"));
        merge(&mut self.store, Some(self.base), (&sides.0, &sides.1)).root
    }

    fn swapped(&mut self) -> ObjectId {
        let sides = (self.ours.side("ours"), self.theirs.side("theirs"));
        merge(&mut self.store, Some(self.base), (&sides.1, &sides.0)).root
    }

    fn contents(&self, root: ObjectId) -> BTreeSet<ObjectId> {
        contents(&self.store, root).into_keys().collect()
    }

    fn tell(&self, merged: ObjectId) -> String {
        let show = |root| show(&self.store, root);
        format!(
            "\nbase   {}\nours   {} {:?}\ntheirs {} {:?}\nmerged {}",
            show(self.base),
            show(self.ours.root),
            self.ours.moves,
            show(self.theirs.root),
            self.theirs.moves,
            show(merged)
        )
    }
}

type Acts = (Vec<Act>, Vec<Act>, Vec<Act>);

fn scenes() -> impl Strategy<Value = Acts> {
    (acts(8), acts(7), acts(7))
}

/// Nodes that come only when they were asked for, as over a network.
struct Remote<'a> {
    all: &'a MemoryNodes,
    here: MemoryNodes,
}

impl Nodes for Remote<'_> {
    fn node(
        &self,
        kind: ObjectKind,
        id: &ObjectId,
    ) -> Result<std::sync::Arc<fsync_core::node::Node>, NodesError> {
        self.here.node(kind, id)
    }
}

impl Remote<'_> {
    fn fetch(&mut self, ids: &[(ObjectKind, ObjectId)]) {
        for (kind, id) in ids {
            let bytes = self.all.node(*kind, id).unwrap().to_bytes();
            self.here.insert(*kind, *id, &bytes).unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn every_new_content_of_either_side_survives(acts in scenes()) {
        let mut scene = Scene::new(&acts);
        let merged = scene.merge();
        let base = scene.contents(scene.base);
        let after = scene.contents(merged);
        for root in [scene.ours.root, scene.theirs.root] {
            for content in scene.contents(root).difference(&base) {
                prop_assert!(after.contains(content), "lost {content:?}{}", scene.tell(merged));
            }
        }
    }

    #[test]
    fn what_both_sides_still_have_survives(acts in scenes()) {
        let mut scene = Scene::new(&acts);
        let merged = scene.merge();
        let ours = scene.contents(scene.ours.root);
        let after = scene.contents(merged);
        // A content that stands at one path alone in the base was not deleted by either, only
        // moved.
        let once: Vec<_> = contents(&scene.store, scene.base).into_iter().filter(|(_, n)| *n == 1).collect();
        for (content, _) in once {
            let both = ours.contains(&content) && scene.contents(scene.theirs.root).contains(&content);
            prop_assert!(!both || after.contains(&content), "lost {content:?}{}", scene.tell(merged));
        }
    }

    #[test]
    fn nothing_appears_that_neither_side_has(acts in scenes()) {
        let mut scene = Scene::new(&acts);
        let merged = scene.merge();
        let mut before = scene.contents(scene.ours.root);
        before.extend(scene.contents(scene.theirs.root));
        let after = scene.contents(merged);
        prop_assert!(after.is_subset(&before), "{}", scene.tell(merged));
    }

    #[test]
    fn the_same_contents_stand_whichever_side_is_the_head(acts in scenes()) {
        let mut scene = Scene::new(&acts);
        let (one, other) = (scene.merge(), scene.swapped());
        prop_assert_eq!(
            scene.contents(one), scene.contents(other),
            "{}\nswapped {}", scene.tell(one), show(&scene.store, other)
        );
    }

    #[test]
    fn a_side_that_did_nothing_gives_way(acts in scenes()) {
        let mut scene = Scene::new(&acts);
        let idle = scene.base;
        scene.theirs.root = idle;
        prop_assert_eq!(scene.merge(), scene.ours.root);
        prop_assert_eq!(scene.swapped(), scene.ours.root);
    }

    #[test]
    fn merging_what_is_equal_changes_nothing(acts in scenes()) {
        let mut scene = Scene::new(&acts);
        scene.theirs = scene.ours.clone();
        prop_assert_eq!(scene.merge(), scene.ours.root);
    }

    #[test]
    fn merging_a_side_in_again_changes_nothing(acts in scenes()) {
        let mut scene = Scene::new(&acts);
        scene.ours = scene.ours.without_hints();
        scene.theirs = scene.theirs.without_hints();
        let merged = scene.merge();
        let before = scene.tell(merged);
        scene.ours.root = merged;
        let again = scene.merge();
        prop_assert_eq!(again, merged, "{}\nagain  {}", before, show(&scene.store, again));
    }

    #[test]
    fn nodes_that_come_late_change_nothing_but_time(acts in scenes()) {
        let mut scene = Scene::new(&acts);
        let expected = scene.merge();
        let mut remote = Remote { all: &scene.store.0, here: MemoryNodes::default() };
        let sides = (scene.ours.side("ours"), scene.theirs.side("theirs"));
        let mut asked = BTreeSet::new();
        let merged = loop {
            match merge::merge(&remote, Some(scene.base), &sides.0, &sides.1) {
                Ok(merged) => break merged.root,
                Err(NodesError::Missing(ids)) => {
                    prop_assert!(!ids.is_empty() && ids.iter().all(|id| asked.insert(*id)), "asked twice");
                    remote.fetch(&ids);
                }
                Err(other) => return Err(TestCaseError::fail(other.to_string())),
            }
        };
        prop_assert_eq!(merged, expected);
    }

    #[test]
    fn a_union_keeps_every_path_and_content(acts in scenes()) {
        let mut scene = Scene::new(&acts);
        let sides = (scene.ours.side("ours"), scene.theirs.side("theirs"));
        let merged = merge(&mut scene.store, None, (&sides.0, &sides.1)).root;
        let after = scene.store.list(merged);
        let mut wanted: BTreeMap<RelPath, Entry> = scene.store.list(scene.ours.root);
        wanted.extend(scene.store.list(scene.theirs.root));
        for path in wanted.keys() {
            prop_assert!(after.contains_key(path), "lost {path}{}", scene.tell(merged));
        }
        let mut contents = scene.contents(scene.ours.root);
        contents.extend(scene.contents(scene.theirs.root));
        prop_assert_eq!(scene.contents(merged), contents, "{}", scene.tell(merged));
    }
}
