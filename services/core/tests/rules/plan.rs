//! The planner: its steps, run one after the other on a strict model of a folder, give the tree
//! that was wanted.

use fsync_core::id::ObjectId;
use fsync_core::node::Entry;
use fsync_core::path::RelPath;
use fsync_core::plan::{Skip, Step, plan};
use proptest::prelude::*;

use crate::fixtures::{Store, file, path};
use crate::folder::Folder;
use crate::merge_properties::{Act, User, acts};
use crate::sketch::{draw, hints, show};

fn words(steps: &[Step]) -> Vec<String> {
    let word = |step: &Step| match step {
        Step::Move { from, to, .. } => format!("move {from} {to}"),
        Step::Remove { path, .. } => format!("remove {path}"),
        Step::RemoveDir { path } => format!("rmdir {path}"),
        Step::MakeDir { path } => format!("mkdir {path}"),
        Step::Put {
            path, was: None, ..
        } => format!("new {path}"),
        Step::Put { path, .. } => format!("put {path}"),
        Step::Meta { path, .. } => format!("meta {path}"),
    };
    steps.iter().map(word).collect()
}

fn steps(from: &str, to: &str, moves: &str, skip: &[&str]) -> Vec<String> {
    let mut store = Store::default();
    let (from, to) = (draw(&mut store, from), draw(&mut store, to));
    let skip = skip.iter().map(|text| path(text)).collect();
    words(&plan(&store.0, (&from, &to), &hints(moves), &skip).unwrap())
}

#[test]
fn steps_do_what_is_needed_and_no_more() {
    let table: &[(&str, &str, &str, &[&str])] = &[
        ("a=1", "a=1", "", &[]),
        ("", "a=1", "", &["new a"]),
        ("a=1", "", "", &["remove a"]),
        ("a=1", "a=2", "", &["put a"]),
        ("a=1", "a*=1", "", &["meta a"]),
        ("a=1", "a@5=1", "", &["meta a"]),
        ("a=1", "a>x", "", &["put a"]),
        ("", "d/e/f=1", "", &["mkdir d", "mkdir d/e", "new d/e/f"]),
        ("d/e/f=1", "", "", &["remove d/e/f", "rmdir d/e", "rmdir d"]),
        ("d/f=1", "d=2", "", &["remove d/f", "rmdir d", "new d"]),
        ("d=2", "d/f=1", "", &["remove d", "mkdir d", "new d/f"]),
        ("d/", "d=2", "", &["rmdir d", "new d"]),
        ("d/f=1", "e/f=1", "d>e", &["move d e"]),
        ("d/f=1", "e/f=2", "d>e", &["move d e", "put e/f"]),
        ("a=1 d/", "d/a=1", "a>d/a", &["move a d/a"]),
        ("d/f=1", "n/e/f=1", "d>n/e", &["mkdir n", "move d n/e"]),
        ("a=1", "b=1", "a>b,a>c", &["move a b"]),
        ("a=1", "a=1 b=1", "a>b", &["new b"]),
    ];
    for (from, to, moves, expected) in table {
        assert_eq!(steps(from, to, moves, &[]), *expected, "{from:?} -> {to:?}");
    }
}

#[test]
fn excepted_paths_and_all_below_are_left_alone() {
    let table: &[(&str, &str, &[&str], &[&str])] = &[
        ("a=1 b=1", "a=2 b=2", &["a"], &["put b"]),
        ("d/f=1 d/g=1", "", &["d/f"], &["remove d/g"]),
        ("d/e/f=1", "d/e/f=2", &["d"], &[]),
        ("", "d/e/f=2", &["d"], &[]),
        ("d/f=1 d/g=1", "d=2", &["d/f"], &["remove d/g"]),
        ("", "d/e/f=1", &["d/e/f"], &[]),
        ("d=1", "d/e/f=1", &["d/e/f"], &[]),
        ("", "d/e/f=1 d/g=1", &["d/e/f"], &["mkdir d", "new d/g"]),
    ];
    for (from, to, skip, expected) in table {
        assert_eq!(
            steps(from, to, "", skip),
            *expected,
            "{from:?} -> {to:?} without {skip:?}"
        );
    }
    assert!(!steps("d/f=1", "e/f=1", "d>e", &["d/f"]).contains(&"move d e".to_owned()));
}

#[test]
fn a_plan_reads_only_what_differs() {
    let mut store = Store::default();
    // Its node exists nowhere, so reading it would fail.
    let far = Entry::Dir(ObjectId::from_bytes([9; 32]));
    let from = store.tree([("far", far), ("a", file("1"))]);
    let to = store.tree([("far", far), ("a", file("2"))]);
    let steps = plan(&store.0, (&from, &to), &[], &Skip::new()).unwrap();
    assert_eq!(words(&steps), ["put a"]);
}

fn scene(base: &[Act], change: &[Act]) -> (Store, ObjectId, User) {
    let mut store = Store::default();
    let root = store.tree([("a/x", file("0")), ("c", file("2")), ("d/x/y", file("3"))]);
    let from = User::new(root, 10).act(&mut store, base).root;
    let to = User::new(from, 100).act(&mut store, change);
    (store, from, to)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn running_the_steps_gives_the_tree(base in acts(8), change in acts(12)) {
        let (store, from, to) = scene(&base, &change);
        let steps = plan(&store.0, (&from, &to.root), &to.moves, &Skip::new()).unwrap();
        let mut folder = Folder::of(&store, from);
        let told = format!("{} -> {} {:?}", show(&store, from), show(&store, to.root), to.moves);
        prop_assert_eq!(folder.run(&steps), Ok(()), "{}", told);
        prop_assert_eq!(folder, Folder::of(&store, to.root), "{}", told);
    }

    #[test]
    fn unrelated_trees_need_no_hints(base in acts(10), change in acts(10)) {
        let (mut store, from, _) = scene(&base, &[]);
        let empty = store.empty_dir().id();
        let to = User::new(empty, 100).act(&mut store, &change).root;
        let steps = plan(&store.0, (&from, &to), &[], &Skip::new()).unwrap();
        let mut folder = Folder::of(&store, from);
        prop_assert_eq!(folder.run(&steps), Ok(()));
        prop_assert_eq!(folder, Folder::of(&store, to));
    }

    #[test]
    fn skipped_paths_stay_as_they_are(
        base in acts(8), change in acts(12),
        skip in proptest::sample::select(&["a", "a/x", "c", "d", "d/x", "d/x/y", "b/y"][..]),
    ) {
        let (store, from, to) = scene(&base, &change);
        let skip = Skip::from([path(skip)]);
        let steps = plan(&store.0, (&from, &to.root), &to.moves, &skip).unwrap();
        let before = Folder::of(&store, from);
        let mut after = before.clone();
        prop_assert_eq!(after.run(&steps), Ok(()));
        let kept = |folder: &Folder| -> Vec<(RelPath, Entry)> {
            let inside = |path: &RelPath| skip.iter().any(|s| path.is_within(s));
            folder.0.iter().filter(|(p, _)| inside(p)).map(|(p, e)| (p.clone(), *e)).collect()
        };
        prop_assert_eq!(kept(&after), kept(&before));
    }
}
