//! Applies on a real folder: what is put, replaced, taken away; what is never clobbered.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::fixture::{Folder, chunk_id, path};
use fsync_agent::apply::{Applied, Applier, Contents, Open, StepResult, Target};
use fsync_agent::files::Files;
use fsync_agent::state::{Durability, StateError};
use fsync_agent::trash;
use fsync_core::id::{ObjectId, RevisionId};
use fsync_core::node::{Content, Entry, FileEntry, Mtime, Node};
use fsync_core::nodes::NewNodes;
use fsync_core::plan::Step;

#[derive(Default)]
pub(crate) struct Chunks(HashMap<ObjectId, Vec<u8>>);

impl Contents for Chunks {
    fn chunk(&self, id: &ObjectId) -> Option<Cow<'_, [u8]>> {
        self.0.get(id).map(|bytes| Cow::Borrowed(bytes.as_slice()))
    }
}

fn file(text: &str) -> FileEntry {
    FileEntry {
        content: Content::Chunk(chunk_id(text.as_bytes())),
        size: text.len() as u64,
        exec: false,
        mtime: Mtime(1_700_000_000_123_456_789),
    }
}

pub(crate) fn entry(text: &str) -> Entry {
    Entry::File(file(text))
}

pub(crate) fn chunks(texts: &[&str]) -> Chunks {
    let pair = |t: &&str| (chunk_id(t.as_bytes()), t.as_bytes().to_vec());
    Chunks(texts.iter().map(pair).collect())
}

pub(crate) fn put(at: &str, was: Option<Entry>, now: Entry) -> Step {
    Step::Put {
        path: path(at),
        was,
        now,
    }
}

pub(crate) fn revision() -> RevisionId {
    RevisionId::of(b"test")
}

pub(crate) fn applier(folder: &Folder, open: Open) -> Applier<'_> {
    let root = folder.state.snapshot().unwrap().roots().unwrap().synced;
    let target = Target {
        revision: revision(),
        root,
    };
    Applier::new(&folder.disk, &folder.state, target, open)
}

pub(crate) fn apply(folder: &Folder, steps: &[Step], contents: &Chunks) -> Applied {
    let mut applier = applier(folder, Open::default());
    let applied = applier.apply(steps, contents).unwrap();
    applier.finish().unwrap();
    applied
}

pub(crate) fn entry_at(folder: &Folder, at: &str) -> Entry {
    let row = folder.state.snapshot().unwrap().row_at(&path(at)).unwrap();
    *row.unwrap().entry().unwrap()
}

#[test]
fn a_new_tree_is_put_and_a_scan_finds_nothing_to_do() {
    let folder = Folder::new();
    folder.scan();
    let mut new = NewNodes::default();
    let link = new.insert(Node::Symlink(b"../x".to_vec()));
    folder
        .state
        .update::<_, StateError>(Durability::Lazy, |tx| tx.put_nodes(&new))
        .unwrap();
    let exec = Entry::File(FileEntry {
        exec: true,
        ..file("two")
    });
    let steps = [
        Step::MakeDir { path: path("a") },
        Step::MakeDir { path: path("a/b") },
        put("a/b/one", None, entry("one")),
        put("a/two", None, exec),
        put("a/link", None, Entry::Symlink(link)),
    ];
    let applied = apply(&folder, &steps, &chunks(&["one", "two"]));
    assert!(applied.is_complete(), "{applied:?}");
    assert_eq!(folder.read("a/b/one"), "one");
    assert!(folder.stat("a/two").is_exec());
    assert_eq!(folder.stat("a/two").mtime, 1_700_000_000_123_456_789);
    assert_eq!(
        std::fs::read_link(folder.at("a/link")).unwrap().to_str(),
        Some("../x")
    );
    let tree = ["a/", "a/b/", "a/b/one=one", "a/link@", "a/two=two"];
    assert_eq!(folder.working(), tree);
    assert_eq!(folder.synced(), tree);
    assert!(!folder.scan().is_changed);
    assert!(folder.disk.staged().unwrap().is_empty());
    assert!(
        folder
            .state
            .snapshot()
            .unwrap()
            .intents()
            .unwrap()
            .is_empty()
    );
}

#[test]
fn a_replaced_file_goes_to_the_trash_and_keeps_its_permissions() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    folder.write("a", "old");
    std::fs::set_permissions(folder.at("a"), std::fs::Permissions::from_mode(0o600)).unwrap();
    folder.scan();
    let was = entry_at(&folder, "a");
    let applied = apply(
        &folder,
        &[put("a", Some(was), entry("new"))],
        &chunks(&["new"]),
    );
    assert!(applied.is_complete());
    assert_eq!(folder.read("a"), "new");
    assert_eq!(folder.stat("a").mode, 0o600);
    let trashed = trash::list(&folder.disk, &folder.state).unwrap();
    assert_eq!(trashed.len(), 1);
    assert_eq!(trashed[0].entry, Some(was));
    trash::restore(&folder.disk, &folder.state, &trashed[0], &path("back")).unwrap();
    assert_eq!(folder.read("back"), "old");
}

#[test]
fn what_a_rename_brings_keeps_its_permissions_when_it_is_replaced() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    folder.write("a", "old");
    std::fs::set_permissions(folder.at("a"), std::fs::Permissions::from_mode(0o600)).unwrap();
    folder.scan();
    let was = entry_at(&folder, "a");
    let rename = Step::Move {
        from: path("a"),
        to: path("b"),
        was,
    };
    let steps = [rename, put("b", Some(was), entry("new"))];
    let applied = apply(&folder, &steps, &chunks(&["new"]));
    assert!(applied.is_complete(), "{applied:?}");
    assert_eq!(folder.read("b"), "new");
    assert_eq!(folder.stat("b").mode, 0o600);
}

#[test]
fn many_batches_come_to_what_one_by_one_would() {
    let folder = Folder::new();
    for n in 0..900 {
        folder.write(&format!("old/{n}"), &format!("was {n}"));
    }
    folder.age();
    folder.scan();
    folder.sync_all_known();
    // Each content moves on by one name, through every batch: what a step puts, another takes away.
    let text = |n: usize| format!("was {n}");
    let at = |n: usize| format!("old/{n}");
    let mut steps = Vec::new();
    for n in 0..900 {
        let now = entry(&text((n + 1) % 900));
        steps.push(put(&at(n), Some(entry(&text(n))), now));
        steps.push(put(&format!("new-{n}"), None, entry("new")));
    }
    let applied = apply(&folder, &steps, &chunks(&["new"]));
    for (step, result) in steps.iter().zip(&applied.results) {
        // What just went to the trash may not be found right then; it is fetched.
        let is_right = matches!(result, StepResult::Done | StepResult::Unfetched);
        assert!(is_right, "{step:?} {result:?}");
    }
    let unfetched = applied
        .results
        .iter()
        .filter(|r| !matches!(r, StepResult::Done))
        .count();
    assert!(unfetched < 450, "{unfetched}");
    assert_eq!(folder.read("new-0"), "new");
    assert_eq!(folder.read("new-899"), "new");
    assert_eq!(folder.working(), folder.synced());
    folder.scan();
    assert_eq!(folder.working(), folder.synced());
    assert!(folder.disk.staged().unwrap().is_empty());
    assert!(
        folder
            .state
            .snapshot()
            .unwrap()
            .intents()
            .unwrap()
            .is_empty()
    );
}

/// Puts `first`, lets `meanwhile` happen, goes on with `second`, and looks what a scan reads.
fn in_two_parts(meanwhile: impl FnOnce(&Folder)) -> (Folder, u64) {
    let folder = Folder::new();
    folder.scan();
    let mut first = applier(&folder, Open::default());
    let applied = first.apply(&[put("first", None, entry("one"))], &chunks(&["one"]));
    assert!(applied.unwrap().is_complete());
    let open = first.pause().unwrap();
    assert_eq!(
        folder.state.snapshot().unwrap().intents().unwrap().len(),
        1,
        "not durable yet"
    );
    folder.age();
    meanwhile(&folder);
    // Else the row is too young to be trusted, whatever it says.
    folder.age();
    let mut second = applier(&folder, open);
    let applied = second.apply(&[put("second", None, entry("two"))], &chunks(&["two"]));
    assert!(applied.unwrap().is_complete());
    second.finish().unwrap();
    assert_eq!(folder.state.snapshot().unwrap().intents().unwrap(), []);
    let hashed = folder.scan().counts.hashed;
    (folder, hashed)
}

#[test]
fn what_was_put_is_not_read_again() {
    let (folder, hashed) = in_two_parts(|_| {});
    // The second may be too young to be sure of.
    assert!(hashed <= 1, "{hashed}");
    assert_eq!(folder.working(), ["first=one", "second=two"]);
}

#[test]
fn a_change_right_after_a_put_is_an_edit() {
    // The same size and time: only the change time tells.
    let (folder, _) = in_two_parts(|folder| {
        let mtime = folder.stat("first").mtime;
        folder.write("first", "odd");
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_nanos(mtime.cast_unsigned());
        let file = std::fs::File::options()
            .write(true)
            .open(folder.at("first"));
        file.unwrap().set_modified(time).unwrap();
    });
    assert_eq!(folder.working(), ["first=odd", "second=two"]);
    assert_eq!(folder.synced(), ["first=one", "second=two"]);
}

#[test]
fn a_path_that_changed_since_the_plan_is_stale_and_untouched() {
    let folder = Folder::new();
    for name in ["replace", "remove", "move", "meta"] {
        folder.write(name, "old");
    }
    folder.scan();
    let was = entry_at(&folder, "replace");
    for name in ["replace", "remove", "move", "meta", "create"] {
        folder.write(name, "user's own");
    }
    let steps = [
        put("replace", Some(was), entry("new")),
        put("create", None, entry("new")),
        Step::Remove {
            path: path("remove"),
            was,
        },
        Step::Move {
            from: path("move"),
            to: path("moved"),
            was,
        },
        Step::Meta {
            path: path("meta"),
            was: *was.as_file().unwrap(),
            now: file("old"),
        },
    ];
    let applied = apply(&folder, &steps, &chunks(&["new"]));
    for result in &applied.results {
        assert!(matches!(result, StepResult::Stale), "{result:?}");
    }
    for name in ["replace", "remove", "move", "meta", "create"] {
        assert_eq!(folder.read(name), "user's own");
    }
    assert!(folder.disk.staged().unwrap().is_empty());
    assert!(trash::list(&folder.disk, &folder.state).unwrap().is_empty());
}

#[test]
fn a_change_within_one_clock_tick_is_noticed() {
    let folder = Folder::new();
    folder.write("a", "old");
    folder.scan();
    let was = entry_at(&folder, "a");
    // The same size and, by force, the same times: only the content tells.
    let before = folder.stat("a");
    folder.write("a", "odd");
    let time =
        std::time::UNIX_EPOCH + std::time::Duration::from_nanos(before.mtime.cast_unsigned());
    let file = std::fs::File::options()
        .write(true)
        .open(folder.at("a"))
        .unwrap();
    file.set_modified(time).unwrap();
    let applied = apply(
        &folder,
        &[put("a", Some(was), entry("new"))],
        &chunks(&["new"]),
    );
    assert!(matches!(applied.results[0], StepResult::Stale));
    assert_eq!(folder.read("a"), "odd");
}

#[test]
fn a_directory_rename_is_one_row_and_reads_nothing() {
    let folder = Folder::new();
    for n in 0..20 {
        folder.write(&format!("old/{n}"), "x");
    }
    folder.age();
    folder.scan();
    folder.sync_all_known();
    let roots = folder.state.snapshot().unwrap().roots().unwrap();
    let was = fsync_core::tree::lookup(&folder.state, &roots.working, &path("old"));
    let was = was.unwrap().unwrap();
    let step = Step::Move {
        from: path("old"),
        to: path("new"),
        was,
    };
    assert!(apply(&folder, &[step], &Chunks::default()).is_complete());
    let outcome = folder.scan();
    assert!(!outcome.is_changed);
    assert_eq!(outcome.counts.hashed, 0);
    assert_eq!(folder.synced().len(), 21);
    assert!(folder.synced().contains(&"new/7=x".to_owned()));
}

#[test]
fn a_directory_is_removed_only_when_empty() {
    let folder = Folder::new();
    folder.write("plain/x", "x");
    folder.write("ignored/x", "x");
    folder.write("ignored/.git/config", "c");
    folder.write("grown/x", "x");
    folder.scan();
    folder.sync_all_known();
    folder.write("grown/new", "n");
    let was = entry_at(&folder, "plain/x");
    let mut steps = Vec::new();
    for dir in ["plain", "ignored", "grown"] {
        steps.push(Step::Remove {
            path: path(&format!("{dir}/x")),
            was,
        });
        steps.push(Step::RemoveDir { path: path(dir) });
    }
    // The target has none of the three.
    let mut new = NewNodes::default();
    let root = fsync_core::tree::write_empty(&mut new);
    folder
        .state
        .update::<_, StateError>(Durability::Lazy, |tx| tx.put_nodes(&new))
        .unwrap();
    let target = Target {
        revision: revision(),
        root,
    };
    let mut applier = Applier::new(&folder.disk, &folder.state, target, Open::default());
    let applied = applier.apply(&steps, &Chunks::default()).unwrap();
    applier.finish().unwrap();
    let ends: Vec<_> = applied
        .results
        .iter()
        .map(|r| match r {
            StepResult::Done => "done",
            StepResult::Stale => "stale",
            StepResult::Blocked(_) => "blocked",
            _ => "other",
        })
        .collect();
    assert_eq!(ends, ["done", "done", "done", "blocked", "done", "stale"]);
    assert_eq!(folder.read("ignored/.git/config"), "c");
    folder.scan();
    assert_eq!(
        folder.working(),
        ["grown/", "grown/new"].map(|p| if p.ends_with('/') {
            p.to_owned()
        } else {
            format!("{p}=n")
        })
    );
    folder.write("ignored/mine", "m");
    folder.look(&["ignored/mine"]);
    assert!(folder.working().contains(&"ignored/mine=m".to_owned()));
}

#[test]
fn content_that_is_taken_away_is_used_again() {
    let folder = Folder::new();
    folder.write("from", "content");
    folder.scan();
    let was = entry_at(&folder, "from");
    let steps = [
        Step::Remove {
            path: path("from"),
            was,
        },
        Step::MakeDir { path: path("d") },
        put("d/to", None, entry("content")),
    ];
    assert!(apply(&folder, &steps, &Chunks::default()).is_complete());
    assert_eq!(folder.read("d/to"), "content");
}

#[test]
fn a_link_in_the_way_is_never_followed() {
    let folder = Folder::new();
    folder.dir("d");
    folder.scan();
    folder.remove("d");
    let outside = folder.temp.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::os::unix::fs::symlink(&outside, folder.at("d")).unwrap();
    let applied = apply(
        &folder,
        &[put("d/x", None, entry("new"))],
        &chunks(&["new"]),
    );
    assert!(matches!(applied.results[0], StepResult::Stale));
    assert_eq!(std::fs::read_dir(outside).unwrap().count(), 0);
}

#[test]
fn content_that_does_not_match_its_id_is_never_put() {
    let folder = Folder::new();
    folder.scan();
    let lie = Chunks(HashMap::from([(chunk_id(b"new"), b"lie".to_vec())]));
    let applied = apply(&folder, &[put("a", None, entry("new"))], &lie);
    assert!(matches!(applied.results[0], StepResult::Unfetched));
    assert!(!folder.at("a").exists());
}

#[test]
fn properties_are_not_set_on_what_has_other_names() {
    let folder = Folder::new();
    folder.write("f", "text");
    std::fs::hard_link(folder.at("f"), folder.at("g")).unwrap();
    folder.scan();
    folder.sync_all_known();
    let Entry::File(was) = entry_at(&folder, "f") else {
        panic!("f is a file");
    };
    let now = FileEntry { exec: true, ..was };
    let before = folder.stat("g");
    let step = Step::Meta {
        path: path("f"),
        was,
        now,
    };
    let applied = apply(&folder, &[step], &Chunks::default());
    assert!(applied.is_complete(), "{applied:?}");
    let (f, g) = (folder.stat("f"), folder.stat("g"));
    assert!(f.is_exec() && !g.is_exec());
    assert_eq!((g.ino, g.mtime, g.nlink), (before.ino, before.mtime, 2));
    assert_eq!(
        (folder.read("f"), folder.read("g")),
        ("text".into(), "text".into())
    );
    assert_ne!(f.ino, g.ino);
    assert!(folder.disk.staged().unwrap().is_empty());
    assert!(folder.look(&["f"]).moves.is_empty());
}
