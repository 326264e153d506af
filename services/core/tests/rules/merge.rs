//! The merge, row by row: what base, ours and theirs give.
//!
//! Numbers in brackets are the rows of the table of nasty cases that a merge can show.

use fsync_core::merge::Conflict;

use crate::fixtures::{Store, path};
use crate::sketch::{draw, hints, merge, show, side};

/// One row: three trees, and the renames of ours and theirs.
struct Row {
    base: Option<&'static str>,
    ours: (&'static str, &'static str),
    theirs: (&'static str, &'static str),
    merged: &'static str,
}

/// A row without renames.
fn row(base: &'static str, ours: &'static str, theirs: &'static str, merged: &'static str) -> Row {
    Row {
        base: Some(base),
        ours: (ours, ""),
        theirs: (theirs, ""),
        merged,
    }
}

impl Row {
    fn check(&self) {
        let mut store = Store::default();
        let base = self.base.map(|text| draw(&mut store, text));
        let mut make = |name: &str, (text, moves): (&str, &str)| {
            let root = draw(&mut store, text);
            side(name, root, hints(moves))
        };
        let (ours, theirs) = (make("ours", self.ours), make("theirs", self.theirs));
        let merged = merge(&mut store, base, (&ours, &theirs));
        assert_eq!(
            show(&store, merged.root),
            self.merged,
            "base {:?}, ours {:?}, theirs {:?}",
            self.base,
            self.ours,
            self.theirs
        );
    }
}

fn check(rows: &[Row]) {
    rows.iter().for_each(Row::check);
}

#[test]
fn what_one_side_left_alone_is_the_other_sides() {
    check(&[
        row("a=1", "a=1", "a=1", "a=1"),
        row("a=1", "a=2", "a=1", "a=2"),
        row("a=1", "a=1", "a=2", "a=2"),
        row("a=1", "", "a=1", ""),
        row("a=1", "a=1", "", ""),
        row("", "a=1", "b=2", "a=1 b=2"),
        row("a=1 b=2", "a=3 b=2", "a=1 b=4", "a=3 b=4"),
        row("d/a=1", "d/a=1 d/b=2", "d/a=1 d/c=3", "d/a=1 d/b=2 d/c=3"),
    ]);
}

#[test]
fn two_edits_keep_both_contents_and_the_head_keeps_the_path() {
    // [1] [4]
    check(&[
        row("a=1", "a=2", "a=3", "a=2 a~theirs=3"),
        row("", "a=2", "a=3", "a=2 a~theirs=3"),
        row(
            "d/a.txt=1",
            "d/a.txt=2",
            "d/a.txt=3",
            "d/a.txt=2 d/a~theirs.txt=3",
        ),
        row("a=1", "a>x", "a=3", "a>x a~theirs=3"),
        row("a=1", "a=2", "a>x", "a=2 a~theirs>x"),
        row("a>x", "a>y", "a>z", "a>y a~theirs>z"),
    ]);
}

#[test]
fn equal_changes_are_no_conflict() {
    // [1] [3] [4]
    check(&[
        row("a=1", "a=2", "a=2", "a=2"),
        row("", "a=2", "a=2", "a=2"),
        row("a=1", "", "", ""),
        row("d/a=1 d/b=2", "d/b=2", "", ""),
        row("d/a=1 d/b=2", "", "d/b=2", ""),
        row("d/e/a=1", "d/e/", "", ""),
        row("d/a=1", "d/", "d/", "d/"),
        row("d/a=1 d/b=2", "d/a=1", "d/b=2", "d/"),
        row("", "d/", "d/", "d/"),
        row("a>x", "a>y", "a>y", "a>y"),
    ]);
}

#[test]
fn an_edit_beats_a_delete() {
    // [2]
    check(&[
        row("a=1", "", "a=2", "a=2"),
        row("a=1", "a=2", "", "a=2"),
        row("d/a=1 d/b=2", "", "d/a=3 d/b=2", "d/a=3"),
        row("d/a=1 d/b=2", "d/a=3 d/b=2", "", "d/a=3"),
        row("d/a=1", "", "d/a=1 d/new=2", "d/new=2"),
        row("d/a=1", "", "d/a=1 d/e/", "d/e/"),
        row("a=1", "", "a>x", "a>x"),
    ]);
}

#[test]
fn a_directory_keeps_its_path_against_a_file() {
    // [5] [6]
    check(&[
        row("a=1", "a/f=2", "a=1", "a/f=2"),
        row("a=1", "a=1", "a/f=2", "a/f=2"),
        row("d/f=1", "d=2", "d/f=1", "d=2"),
        row("", "a=1", "a/f=2", "a/f=2 a~ours=1"),
        row("", "a/f=2", "a=1", "a/f=2 a~theirs=1"),
        row("a=1", "a=3", "a/f=2", "a/f=2 a~ours=3"),
        row("d/f=1", "d=2", "d/f=3", "d/f=3 d~ours=2"),
        row("d/f=1", "d/f=3", "d=2", "d/f=3 d~theirs=2"),
        row("d/f=1", "d=2", "d/", "d=2"),
        row("d/f=1", "d=2", "d=3", "d=2 d~theirs=3"),
        row("a=1", "a/f=2", "a/f=3", "a/f=2 a/f~theirs=3"),
        row("a>x", "a/f=2", "a>y", "a/f=2 a~theirs>y"),
        row("a=1", "a/", "a=2", "a/ a~theirs=2"),
    ]);
}

#[test]
fn exec_bit_and_content_are_merged_apart() {
    check(&[
        row("a=1", "a*=1", "a=2", "a*=2"),
        row("a=1", "a=2", "a*=1", "a*=2"),
        row("a*=1", "a=1", "a*=2", "a=2"),
        row("a=1", "a*=1", "a*=1", "a*=1"),
        row("a=1", "a*=2", "a=2", "a*=2"),
        row("a=1", "a*=2", "a=3", "a*=2 a~theirs=3"),
        row("a=1", "", "a*=1", "a*=1"),
    ]);
}

#[test]
fn times_never_conflict() {
    check(&[
        row("a@5=1", "a@6=1", "a@7=1", "a@5=1"),
        row("", "a@6=1", "a@7=1", "a@6=1"),
        row("", "a@7=1", "a@6=1", "a@6=1"),
        row("a@5=1", "a@7=2", "a@6=2", "a@6=2"),
        row("a@5=1", "a@9=1", "a@6=2", "a@6=2"),
        row("a@5=1", "", "a@6=1", ""),
        row("d/a@5=1 d/b=2", "", "d/a@6=1 d/b=2", ""),
    ]);
}

#[test]
fn without_a_base_nothing_counts_as_deleted() {
    let union = |ours, theirs, merged| Row {
        base: None,
        ..row("", ours, theirs, merged)
    };
    check(&[
        union("a=1 b=2", "b=2 c=3", "a=1 b=2 c=3"),
        union("", "a=1", "a=1"),
        union("a=1", "", "a=1"),
        union("a=1", "a=2", "a=1 a~theirs=2"),
        union("d/a=1", "d/b=2", "d/a=1 d/b=2"),
        union("d/a=1", "d=2", "d/a=1 d~theirs=2"),
        union("a*=1", "a=1", "a*=1"),
        union("", "", ""),
    ]);
}

/// A row with renames of ours and theirs.
fn moved(
    base: &'static str,
    ours: (&'static str, &'static str),
    theirs: (&'static str, &'static str),
    merged: &'static str,
) -> Row {
    Row {
        base: Some(base),
        ours,
        theirs,
        merged,
    }
}

#[test]
fn edits_follow_a_renamed_directory() {
    // [7] [8]
    check(&[
        moved("d/f=1", ("e/f=1", "d>e"), ("d/f=2", ""), "e/f=2"),
        moved("d/f=1", ("d/f=2", ""), ("e/f=1", "d>e"), "e/f=2"),
        moved(
            "d/f=1",
            ("e/f=1", "d>e"),
            ("d/f=1 d/g=2", ""),
            "e/f=1 e/g=2",
        ),
        moved(
            "d/f=1",
            ("d/f=1 d/g=2", ""),
            ("e/f=1", "d>e"),
            "e/f=1 e/g=2",
        ),
        moved(
            "d/f=1 d/g=2",
            ("e/f=1 e/g=2", "d>e"),
            ("d/f=1", ""),
            "e/f=1",
        ),
        moved(
            "d/f=1",
            ("e/f=3", "d>e"),
            ("d/f=2", ""),
            "e/f=3 e/f~theirs=2",
        ),
        moved(
            "d/f=1 x/",
            ("x/d/f=1", "d>x/d"),
            ("d/f=2 x/", ""),
            "x/d/f=2",
        ),
        moved("a=1", ("b=1", "a>b"), ("a=2", ""), "b=2"),
        moved("a=1", ("a=2", ""), ("b=1", "a>b"), "b=2"),
    ]);
}

#[test]
fn both_may_rename_alike_or_inside_one_another() {
    check(&[
        moved("d/f=1", ("e/f=1", "d>e"), ("e/f=1", "d>e"), "e/f=1"),
        moved("d/f=1", ("e/f=1", "d>e"), ("e/f=2", "d>e"), "e/f=2"),
        moved("d/f=1", ("e/f=1", "d>e"), ("d/g=1", "d/f>d/g"), "e/g=1"),
        moved("d/f=1", ("d/g=1", "d/f>d/g"), ("e/f=1", "d>e"), "e/g=1"),
        moved("a=1 b=2", ("c=1 b=2", "a>c"), ("a=1 d=2", "b>d"), "c=1 d=2"),
    ]);
}

#[test]
fn a_rename_into_what_the_other_side_renamed_is_followed() {
    check(&[
        moved(
            "c/x=1 c/y=2 d/z=3",
            ("d/c/x=1 d/c/y=2 d/z=3", "c>d/c"),
            ("c/y=2 e/z=3", "d>e"),
            "e/c/y=2 e/z=3",
        ),
        moved(
            "c/x=1 c/y=2 d/z=3",
            ("c/y=2 e/z=3", "d>e"),
            ("d/c/x=1 d/c/y=2 d/z=3", "c>d/c"),
            "e/c/y=2 e/z=3",
        ),
    ]);
}

#[test]
fn a_rename_out_of_what_is_renamed_is_followed_in_any_order() {
    for hints in ["d>e,d/x>y", "d/x>y,d>e", "d>e,e/x>y"] {
        check(&[
            moved(
                "d/f=1 d/x=2",
                ("e/f=1 y=2", hints),
                ("d/f=1 d/x=3", ""),
                "e/f=1 y=3",
            ),
            moved(
                "d/f=1 d/x=2",
                ("d/f=1 d/x=3", ""),
                ("e/f=1 y=2", hints),
                "e/f=1 y=3",
            ),
        ]);
    }
}

#[test]
fn a_rename_within_what_is_renamed_is_followed() {
    check(&[moved(
        "d/f=1 d/x=2",
        ("e/f=1 e/y=2", "d>e,d/x>e/y"),
        ("d/f=4 d/x=3", ""),
        "e/f=4 e/y=3",
    )]);
}

#[test]
fn one_thing_renamed_to_two_names_keeps_both() {
    // [9]
    check(&[
        moved("a=1", ("b=1", "a>b"), ("c=1", "a>c"), "b=1 c=1"),
        moved("d/f=1", ("b/f=1", "d>b"), ("c/f=1", "d>c"), "b/f=1 c/f=1"),
    ]);
}

#[test]
fn two_things_renamed_to_one_name_keep_both_contents() {
    // [10]
    check(&[
        moved(
            "a=1 b=2",
            ("x=1 b=2", "a>x"),
            ("a=1 x=2", "b>x"),
            "x=1 x~theirs=2",
        ),
        moved(
            "a/f=1 b/f=2",
            ("x/f=1 b/f=2", "a>x"),
            ("a/f=1 x/f=2", "b>x"),
            "x/f=1 x/f~theirs=2",
        ),
    ]);
}

#[test]
fn crossing_renames_tie_no_knot_and_lose_nothing() {
    // [11]
    check(&[moved(
        "a/f=1 b/g=2",
        ("b/a/f=1 b/g=2", "a>b/a"),
        ("a/b/g=2 a/f=1", "b>a/b"),
        "a/b/g=2 b/a/f=1",
    )]);
}

#[test]
fn a_rename_that_changes_only_the_case_is_a_rename() {
    // [13] [14] [15]
    check(&[
        moved("Foo=1", ("foo=1", "Foo>foo"), ("Foo=2", ""), "foo=2"),
        row("", "Foo=1", "foo=2", "Foo=1 foo=2"),
        row(
            "",
            "caf\u{e9}=1",
            "cafe\u{301}=2",
            "cafe\u{301}=2 caf\u{e9}=1",
        ),
    ]);
}

#[test]
fn renames_that_do_not_fit_are_dropped() {
    let edited = "a=1 b=2";
    check(&[
        moved("a=1", ("a=1", "a>b"), ("a=2", ""), "a=2"),
        moved("a=1", (edited, "a>b"), ("a=3", ""), "a=3 b=2"),
        moved("a=1", ("b=2", "x>b"), ("a=3", ""), "a=3 b=2"),
        moved("a=1 b=2", ("b=1", "a>b"), ("a=3 b=2", ""), "a=3 b=1"),
        moved("d/f=1", ("e=1", "d>e"), ("d/f=2", ""), "d/f=2 e=1"),
        moved("a=1", ("b=1", "a>b"), ("a=2 b=3", ""), "a=2 b=1 b~theirs=3"),
        moved("a=1", ("b=1", "a>b"), ("", ""), "b=1"),
        moved(
            "a=1 p=2",
            ("p/a=1", "a>p/a"),
            ("a=3 p=4", ""),
            "a=3 p/a=1 p~theirs=4",
        ),
    ]);
}

#[test]
fn a_rename_of_theirs_is_told_to_those_who_have_ours() {
    let mut store = Store::default();
    let base = draw(&mut store, "d/f=1 e/g=2");
    let ours = draw(&mut store, "d/f=3 x/g=2");
    let theirs = draw(&mut store, "y/f=1 e/g=2");
    let ours = side("ours", ours, hints("e>x"));
    let theirs = side("theirs", theirs, hints("d>y"));
    let merged = merge(&mut store, Some(base), (&ours, &theirs));
    assert_eq!(show(&store, merged.root), "x/g=2 y/f=3");
    assert_eq!(merged.moves, hints("d>y"));
}

#[test]
fn conflicts_are_listed_with_path_and_copy() {
    let mut store = Store::default();
    let base = draw(&mut store, "d/a.txt=1");
    let ours = draw(&mut store, "d/a.txt=2");
    let theirs = draw(&mut store, "d/a.txt=3");
    let (ours, theirs) = (side("ours", ours, vec![]), side("theirs", theirs, vec![]));
    let merged = merge(&mut store, Some(base), (&ours, &theirs));
    let expected = Conflict {
        path: path("d/a.txt"),
        copy: path("d/a (conflicted copy theirs 1970-01-01 000000Z).txt"),
    };
    assert_eq!(merged.conflicts, [expected]);
}

#[test]
fn a_conflict_copy_never_takes_the_place_of_another_file() {
    let copy = "a (conflicted copy theirs 1970-01-01 000000Z)";
    let mut store = Store::default();
    let base = store.tree([("a", crate::fixtures::file("1"))]);
    for (there, expected) in [("3", 2), ("9", 3)] {
        let ours = store.tree([
            ("a", crate::fixtures::file("2")),
            (copy, crate::fixtures::file(there)),
        ]);
        let theirs = store.tree([("a", crate::fixtures::file("3"))]);
        let (ours, theirs) = (side("ours", ours, vec![]), side("theirs", theirs, vec![]));
        let merged = merge(&mut store, Some(base), (&ours, &theirs));
        let names: Vec<_> = store.list(merged.root).into_keys().collect();
        assert_eq!(names.len(), expected, "{names:?}");
    }
}
