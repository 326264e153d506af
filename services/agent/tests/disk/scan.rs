//! Scans of a real folder: what becomes an edit, what is never read, what is unknown and so
//! untouched.

use crate::fixture::{Folder, moves};
use fsync_agent::scan::Scope;
use fsync_core::exception::Exception;

#[test]
fn a_new_tree_is_read_once_and_then_never_again() {
    let folder = Folder::new();
    folder.write("a/b/one.txt", "one");
    folder.write("two.txt", "two");
    folder.link("a/link", "b/one.txt");
    folder.dir("empty");
    let first = folder.scan();
    assert!(first.is_changed);
    assert_eq!(
        folder.working(),
        [
            "a/",
            "a/b/",
            "a/b/one.txt=one",
            "a/link@",
            "empty/",
            "two.txt=two"
        ]
    );
    folder.age();
    folder.scan();
    let second = folder.scan();
    assert!(!second.is_changed);
    assert_eq!(second.counts.hashed, 0);
    assert_eq!(second.counts.seen, 3);
}

#[test]
fn a_bare_touch_changes_nothing() {
    let folder = Folder::new();
    folder.write("a", "one");
    folder.scan();
    folder.set_mtime("a", 1_000_000_000);
    let outcome = folder.scan();
    assert!(!outcome.is_changed);
    assert_eq!(outcome.counts.hashed, 1);
}

#[test]
fn edits_and_deletes_are_found_and_counted() {
    let folder = Folder::new();
    for name in ["a/1", "a/2", "b/1", "c"] {
        folder.write(name, name);
    }
    folder.scan();
    folder.remove("a");
    folder.write("c", "changed");
    let outcome = folder.scan();
    assert_eq!((outcome.deletes, outcome.tracked_before), (2, 4));
    assert_eq!(folder.working(), ["b/", "b/1=b/1", "c=changed"]);
}

#[test]
fn a_renamed_directory_is_not_read_again() {
    let folder = Folder::new();
    for n in 0..50 {
        folder.write(&format!("old/sub/{n}"), "x");
    }
    folder.write("other", "o");
    folder.age();
    folder.scan();
    folder.rename("old", "new");
    let outcome = folder.scan();
    assert_eq!(outcome.counts.hashed, 0);
    assert_eq!(outcome.deletes, 0);
    assert_eq!(moves(&outcome), ["old -> new"]);
    assert_eq!(folder.working().len(), 53);
    assert!(folder.working().contains(&"new/sub/7=x".to_owned()));
    assert!(!folder.scan().is_changed);
}

#[test]
fn a_directory_renamed_out_of_a_renamed_one_keeps_its_rows() {
    let folder = Folder::new();
    folder.write("a/b/f", "f");
    folder.write("a/g", "g");
    folder.age();
    folder.scan();
    folder.rename("a/b", "c");
    folder.rename("a", "d");
    folder.write("a/new", "n");
    let outcome = folder.scan();
    assert_eq!(outcome.deletes, 0);
    assert_eq!(outcome.counts.hashed, 1);
    assert_eq!(
        folder.working(),
        ["a/", "a/new=n", "c/", "c/f=f", "d/", "d/g=g"]
    );
}

#[test]
fn a_renamed_file_gives_a_hint() {
    let folder = Folder::new();
    folder.write("a/one", "content");
    folder.scan();
    folder.rename("a/one", "two");
    let outcome = folder.scan();
    assert_eq!(moves(&outcome), ["a/one -> two"]);
}

#[test]
fn what_becomes_ignored_is_an_exception_and_no_delete() {
    let folder = Folder::new();
    folder.write("a.o", "object");
    folder.write("dir/x", "x");
    folder.scan();
    folder.sync_all_known();
    folder.write(".fsyncignore", "*.o\n/dir/\n");
    let outcome = folder.look(&[".fsyncignore"]);
    assert_eq!(outcome.deletes, 0);
    let began: Vec<_> = outcome
        .began
        .iter()
        .map(|(p, e)| (p.to_string(), e.clone()))
        .collect();
    assert_eq!(
        began,
        [
            ("a.o".to_owned(), Exception::Ignored),
            ("dir".to_owned(), Exception::Ignored)
        ]
    );
    folder.write("a.o", "changed");
    folder.remove("dir");
    folder.scan();
    assert_eq!(
        folder.working(),
        [".fsyncignore=*.o\n/dir/\n", "a.o=object", "dir/", "dir/x=x"]
    );
    folder.remove(".fsyncignore");
    let outcome = folder.scan();
    let mut ended: Vec<_> = outcome.ended.iter().map(ToString::to_string).collect();
    ended.sort();
    assert_eq!(ended, ["a.o", "dir"]);
    assert_eq!(folder.working(), ["a.o=changed"]);
}

#[test]
fn specials_and_unreadable_files_are_exceptions() {
    let folder = Folder::new();
    folder.fifo("pipe");
    folder.write("a", "a");
    let outcome = folder.scan();
    assert_eq!(outcome.began.len(), 1);
    assert!(matches!(outcome.began[0].1, Exception::Skipped { .. }));
    assert_eq!(folder.working(), ["a=a"]);
}

#[test]
fn a_look_at_some_paths_costs_only_them() {
    let folder = Folder::new();
    for n in 0..100 {
        folder.write(&format!("d/{n}"), "x");
    }
    folder.age();
    folder.scan();
    folder.write("d/7", "seven");
    folder.write("new/deep/file", "f");
    folder.remove("d/8");
    let outcome = folder.look(&["d/7", "new/deep", "d/8", "d/nothing"]);
    assert_eq!(outcome.counts.seen, 2);
    assert_eq!(outcome.deletes, 1);
    assert!(folder.working().contains(&"new/deep/file=f".to_owned()));
    assert!(folder.working().contains(&"d/7=seven".to_owned()));
}

#[test]
fn file_and_directory_swap() {
    let folder = Folder::new();
    folder.write("a", "file");
    folder.write("b/x", "x");
    folder.scan();
    folder.remove("a");
    folder.remove("b");
    folder.write("a/y", "y");
    folder.write("b", "file");
    let outcome = folder.scan();
    assert_eq!(outcome.deletes, 2);
    assert_eq!(folder.working(), ["a/", "a/y=y", "b=file"]);
    assert!(!folder.scan().is_changed);
}

#[test]
fn a_replaced_or_emptied_root_is_a_hold() {
    let folder = Folder::new();
    for n in 0..30 {
        folder.write(&format!("{n}"), "x");
    }
    folder.scan();
    for n in 0..30 {
        folder.remove(&format!("{n}"));
    }
    assert!(folder.try_scan(&Scope::Whole).is_err());
    folder.write("one", "x");
    assert_eq!(folder.scan().deletes, 30);
}

#[test]
fn what_is_excepted_in_a_directory_does_not_move_with_it() {
    let folder = Folder::new();
    folder.write("g/a", "1");
    folder.write("g/b", "old");
    folder.scan();
    folder.sync_all_known();
    folder.remove("g/b");
    folder.fifo("g/b");
    folder.scan();
    assert_eq!(
        folder.working(),
        ["g/", "g/a=1", "g/b=old"],
        "the FIFO is no delete"
    );
    folder.rename("g", "h");
    folder.scan();
    assert_eq!(folder.working(), ["h/", "h/a=1"]);
}
