//! Trees as one line of text, so that a table row shows what happens.
//!
//! ```text
//! a=1        file `a` with text `1`
//! a*=1       the same, executable
//! a@5=1      the same as `a=1`, modified at 5
//! d/f=1      file `f` in directory `d`
//! d/         directory `d`; only empty ones are shown
//! l>x        symlink `l` to `x`
//! a~ours=1   conflict copy of `a`, lost by the side `ours`
//! ```

use std::collections::BTreeMap;

use fsync_core::id::ObjectId;
use fsync_core::merge::{self, Merged, Side};
use fsync_core::node::{Entry, FileEntry, Mtime};
use fsync_core::path::RelPath;
use fsync_core::revision::{MoveHint, Timestamp};
use fsync_core::tree;

use crate::fixtures::{Store, chunk, file, path, with_meta};

/// Every text that a sketch can show.
const TEXTS: usize = 400;
const TIME: &str = " 1970-01-01 000000Z)";

/// Writes a tree as text shows it and returns its root.
pub(crate) fn draw(store: &mut Store, text: &str) -> ObjectId {
    let items: Vec<(String, Entry)> = text.split_whitespace().map(|t| item(store, t)).collect();
    store.tree(items.iter().map(|(path, entry)| (path.as_str(), *entry)))
}

fn item(store: &mut Store, text: &str) -> (String, Entry) {
    if let Some((path, target)) = text.split_once('>') {
        return (path.to_owned(), store.link(target));
    }
    if let Some(path) = text.strip_suffix('/') {
        return (path.to_owned(), store.empty_dir());
    }
    let (path, content) = text.split_once('=').unwrap();
    let (path, mtime) = path.split_once('@').unwrap_or((path, "1"));
    let plain = path.trim_end_matches('*');
    let entry = with_meta(file(content), plain != path, mtime.parse().unwrap());
    (plain.to_owned(), entry)
}

/// Shows a tree as text.
pub(crate) fn show(store: &Store, root: ObjectId) -> String {
    let all = store.list(root);
    let texts: BTreeMap<ObjectId, usize> = (0..TEXTS).map(|n| (chunk(&n.to_string()), n)).collect();
    let shown = all.iter().filter_map(|(path, entry)| {
        let name = short(path);
        match entry {
            Entry::Dir(_) if all.keys().any(|p| p != path && p.is_within(path)) => None,
            Entry::Dir(_) => Some(format!("{name}/")),
            Entry::Symlink(id) => Some(format!("{name}>{}", target(store, id))),
            Entry::File(file) => Some(format!(
                "{name}{}={}",
                meta(file),
                texts[&file.content.id()]
            )),
        }
    });
    let mut shown: Vec<String> = shown.collect();
    shown.sort_unstable();
    shown.join(" ")
}

fn meta(file: &FileEntry) -> String {
    let exec = if file.exec { "*" } else { "" };
    match file.mtime {
        Mtime(1) => exec.to_owned(),
        Mtime(other) => format!("{exec}@{other}"),
    }
}

fn target(store: &Store, id: &ObjectId) -> String {
    use fsync_core::id::ObjectKind;
    use fsync_core::node::Node;
    use fsync_core::nodes::Nodes;
    let node = store.0.node(ObjectKind::Symlink, id).unwrap();
    let Node::Symlink(target) = &*node else {
        panic!("a link's node is a link");
    };
    String::from_utf8(target.clone()).unwrap()
}

/// Shows conflict copies short.
fn short(path: &RelPath) -> String {
    path.to_string()
        .replace(" (conflicted copy ", "~")
        .replace(TIME, "")
}

/// Reads hints written as `from>to,from>to`.
pub(crate) fn hints(text: &str) -> Vec<MoveHint> {
    let hint = |text: &str| {
        let (from, to) = text.split_once('>').unwrap();
        MoveHint {
            from: path(from),
            to: path(to),
        }
    };
    text.split(',')
        .filter(|t| !t.is_empty())
        .map(hint)
        .collect()
}

/// Returns one side of a merge that has this name.
pub(crate) fn side(name: &str, root: ObjectId, moves: Vec<MoveHint>) -> Side {
    Side {
        root,
        author: name.parse().unwrap(),
        time: Timestamp(0),
        moves,
    }
}

/// Merges and keeps the new nodes.
pub(crate) fn merge(store: &mut Store, base: Option<ObjectId>, sides: (&Side, &Side)) -> Merged {
    let merged = merge::merge(&store.0, base, sides.0, sides.1).unwrap();
    store.keep(&merged.new);
    merged
}

/// Returns how many files and links have each content.
pub(crate) fn contents(store: &Store, root: ObjectId) -> BTreeMap<ObjectId, usize> {
    let mut count = BTreeMap::new();
    tree::walk(&store.0, &root, &mut |_, entry| {
        if entry.as_dir().is_none() {
            *count.entry(entry.id()).or_default() += 1;
        }
    })
    .unwrap();
    count
}
