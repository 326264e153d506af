//! Names, paths, labels and ids: nothing that parses leads out of a tree, and taking paths apart
//! and joining them gives them again. NUL, which no name holds, ends the first of two texts.
#![no_main]

use fsync_core::conflict;
use fsync_core::id::{ObjectId, ObjectKind};
use fsync_core::label::{AgentName, TreeKey, TreeName};
use fsync_core::limits;
use fsync_core::path::{MARKER_DIR, Name, PathError, RelPath};
use fsync_core::revision::Timestamp;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut texts = data.splitn(2, |byte| *byte == 0);
    let (first, second) = (texts.next(), texts.next());
    let (first, second) = (first.unwrap_or_default(), second.unwrap_or_default());
    check_text(&String::from_utf8_lossy(first));
    if let Ok(name) = Name::new(first) {
        assert!(is_plain(name.as_bytes()));
        let author = AgentName::from_lossy(&String::from_utf8_lossy(second));
        let time = Timestamp(second.iter().fold(0, |n, b| n << 8 | u64::from(*b)));
        let content = ObjectId::of(ObjectKind::Chunk, second);
        for copy in conflict::candidates(&name, &author, time, &content) {
            assert!(is_plain(copy.as_bytes()));
            assert!(conflict::is_conflict_copy(&copy), "{copy} has no mark");
        }
    }
    let Ok(path) = RelPath::parse(first) else {
        return;
    };
    check_path(&path);
    if let Ok(other) = RelPath::parse(second) {
        check_two(&path, &other);
        check_two(&other, &path);
    }
});

fn is_plain(name: &[u8]) -> bool {
    let is_dots = matches!(name, b"" | b"." | b"..");
    !is_dots
        && name.len() <= limits::NAME_BYTES
        && !name.iter().any(|byte| matches!(byte, b'/' | 0))
        && !name.eq_ignore_ascii_case(MARKER_DIR.as_bytes())
}

fn check_path(path: &RelPath) {
    assert!(path.names().all(|name| is_plain(name.as_bytes())));
    let shown = path.to_string();
    assert!(
        shown
            .split('/')
            .all(|part| part != ".." && !part.is_empty())
    );
    let joined = path
        .names()
        .fold(RelPath::root(), |dir, name| dir.join(&name));
    assert_eq!(joined, *path);
    let Some((dir, name)) = path.split_last() else {
        assert!(path.is_root() && path.parent().is_none() && path.depth() == 0);
        return;
    };
    assert_eq!(dir.join(&name), *path);
    assert_eq!(path.parent().as_ref(), Some(&dir));
    assert_eq!(dir.depth() + 1, path.depth());
    assert!(path.is_within(&dir) && path.is_within(path) && !dir.is_within(path));
    check_two(path, &dir);
}

fn check_two(path: &RelPath, dir: &RelPath) {
    match path.strip_prefix(dir) {
        Some(tail) => assert_eq!(dir.concat(&tail), *path),
        None => assert!(!path.is_within(dir)),
    }
    let below = dir.concat(path);
    assert!(below.is_within(dir));
    assert_eq!(below.strip_prefix(dir).as_ref(), Some(path));
    match RelPath::parse(below.as_bytes()) {
        Ok(parsed) => assert_eq!(parsed, below),
        Err(PathError::Limit(_)) => {}
        Err(error) => panic!("joined paths do not parse: {error}"),
    }
}

fn check_text(text: &str) {
    let name = AgentName::from_lossy(text);
    assert_eq!(name.as_str().parse(), Ok(name));
    if let Ok(key) = text.parse::<TreeKey>() {
        assert_eq!(key.to_string().parse(), Ok(key));
    }
    if let Ok(name) = text.parse::<TreeName>() {
        assert!(is_plain(name.as_str().as_bytes()));
    }
    if let Ok(id) = text.parse::<ObjectId>() {
        assert_eq!(id.to_string(), text);
    }
}
