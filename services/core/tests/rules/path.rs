//! Names and paths: what is one and what is refused.

use fsync_core::limits::{NAME_BYTES, PATH_BYTES, PATH_DEPTH};
use fsync_core::path::{Name, PathError, RelPath};
use proptest::prelude::*;

use crate::fixtures::path;
use crate::strategies::paths;

/// What [`PathError`] a refused name gives.
fn refusal(bytes: &[u8]) -> &'static str {
    match Name::new(bytes) {
        Ok(_) => "accepted",
        Err(PathError::Empty) => "empty",
        Err(PathError::Dots(_)) => "dots",
        Err(PathError::Forbidden(_)) => "forbidden",
        Err(PathError::Reserved(_)) => "reserved",
        Err(PathError::Limit(_)) => "limit",
    }
}

#[test]
fn a_name_is_one_component_that_no_system_call_reads_otherwise() {
    let table: &[(&[u8], &str)] = &[
        (b"a", "accepted"),
        (b"...", "accepted"),
        (b"..a", "accepted"),
        (b" ", "accepted"),
        (b"-rf", "accepted"),
        (b"a\\b", "accepted"),
        (b"a\nb", "accepted"),
        (b"\xff\xfe", "accepted"),
        (b".fsyncignore", "accepted"),
        (b"fsync", "accepted"),
        (b"", "empty"),
        (b".", "dots"),
        (b"..", "dots"),
        (b"/", "forbidden"),
        (b"/etc", "forbidden"),
        (b"a/b", "forbidden"),
        (b"../x", "forbidden"),
        (b"a\0", "forbidden"),
        (b"\0", "forbidden"),
        (b".fsync", "reserved"),
        (b".FSYNC", "reserved"),
        (b".fSync", "reserved"),
        (&[b'x'; NAME_BYTES], "accepted"),
        (&[b'x'; NAME_BYTES + 1], "limit"),
    ];
    for (bytes, expected) in table {
        assert_eq!(refusal(bytes), *expected, "{}", bytes.escape_ascii());
    }
}

#[test]
fn a_path_with_any_bad_name_is_refused() {
    for text in [
        "/",
        "/a",
        "a/",
        "a//b",
        "./a",
        "a/.",
        "../a",
        "a/..",
        "a/../b",
        "a/.fsync/b",
        "a\0/b",
    ] {
        assert!(RelPath::parse(text.as_bytes()).is_err(), "{text:?}");
    }
}

#[test]
fn length_and_depth_are_limited_and_the_error_names_the_limit() {
    let deepest = vec!["d"; PATH_DEPTH].join("/");
    assert_eq!(path(&deepest).depth(), PATH_DEPTH);
    let deeper = format!("{deepest}/d");
    let error = RelPath::parse(deeper.as_bytes()).unwrap_err().to_string();
    assert_eq!(
        error,
        format!(
            "path depth in names is {}, the limit is {PATH_DEPTH}",
            PATH_DEPTH + 1
        )
    );
    let long = vec!["x".repeat(NAME_BYTES); PATH_BYTES / NAME_BYTES + 1].join("/");
    let error = RelPath::parse(long.as_bytes()).unwrap_err().to_string();
    assert!(error.starts_with("path length in bytes is"), "{error}");
}

#[test]
fn the_root_is_the_empty_path() {
    let root = RelPath::parse(b"").unwrap();
    assert_eq!(root, RelPath::root());
    assert!(root.is_root() && root.parent().is_none() && root.split_last().is_none());
    assert_eq!((root.depth(), root.to_string().as_str()), (0, "."));
}

#[test]
fn within_counts_whole_names() {
    let table = [
        ("a", "a", true),
        ("a/b", "a", true),
        ("a/b/c", "a/b", true),
        ("a", "", true),
        ("", "", true),
        ("ab", "a", false),
        ("a", "a/b", false),
        ("a.b", "a", false),
        ("", "a", false),
    ];
    for (inner, outer, expected) in table {
        assert_eq!(
            path(inner).is_within(&path(outer)),
            expected,
            "{inner:?} in {outer:?}"
        );
        assert_eq!(path(inner).strip_prefix(&path(outer)).is_some(), expected);
    }
    assert_eq!(path("a/b/c").strip_prefix(&path("a")), Some(path("b/c")));
    assert_eq!(path("a").strip_prefix(&path("a")), Some(RelPath::root()));
}

proptest! {
    #[test]
    fn a_path_is_its_bytes(p in paths()) {
        prop_assert_eq!(RelPath::parse(p.as_bytes()), Ok(p));
    }

    #[test]
    fn joining_and_splitting_are_inverse(p in paths()) {
        let (dir, last) = p.split_last().unwrap();
        prop_assert_eq!(dir.join(&last), p.clone());
        let joined = p.names().fold(RelPath::root(), |at, n| at.join(&n));
        prop_assert_eq!(joined, p);
    }

    #[test]
    fn stripping_and_concatenating_are_inverse(dir in paths(), tail in paths()) {
        let whole = dir.concat(&tail);
        prop_assert!(whole.is_within(&dir));
        prop_assert_eq!(whole.strip_prefix(&dir), Some(tail));
    }

    #[test]
    fn any_bytes_are_judged_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        if let Ok(p) = RelPath::parse(&bytes) {
            prop_assert!(p.names().all(|n| Name::new(n.as_bytes()).is_ok()));
        }
    }
}
