//! What every [`Files`] must do, run over the disk and over the simulated file system.

use std::path::Path;
use std::sync::Arc;

use fsync_agent::files::disk::Disk;
use fsync_agent::files::{Files, Kind, Meta, Place, Problem, Rename, Result, StageKey, TrashSlot};
use fsync_core::node::Mtime;
use fsync_core::path::RelPath;
use fsync_tests::sim::files::SimFiles;
use fsync_tests::sim::hand::{Hand, Story};
use fsync_tests::sim::rng::Rng;
use fsync_tests::sim::volume::{Clock, Volume};

const SLOT: TrashSlot = TrashSlot {
    time_ms: 5,
    number: 1,
};

fn path(text: &str) -> RelPath {
    RelPath::parse(text.as_bytes()).unwrap()
}

fn problem<T>(result: Result<T>) -> Option<Problem> {
    result.err().map(|error| error.problem)
}

fn read(files: &dyn Files, at: Place<'_>) -> Vec<u8> {
    let file = files.open(at).unwrap();
    let mut bytes = Vec::new();
    let mut buffer = [0; 1000];
    loop {
        match file.read_at(bytes.len() as u64, &mut buffer).unwrap() {
            0 => return bytes,
            count => bytes.extend_from_slice(&buffer[..count]),
        }
    }
}

/// Puts a file into the tree as apply does.
fn put(files: &dyn Files, at: &str, bytes: &[u8]) {
    let key = StageKey::small(99);
    files.stage(&key, bytes, &Meta::default()).unwrap();
    let at = path(at);
    files
        .rename(Place::Stage(&key), Place::Tree(&at), Rename::NoReplace)
        .unwrap();
}

fn dir(files: &dyn Files, at: &str) {
    files.make_dir(Place::Tree(&path(at))).unwrap();
}

fn link(files: &dyn Files, at: &str, target: &str) {
    let key = StageKey::small(98);
    files.stage_link(&key, target.as_bytes()).unwrap();
    files
        .rename(
            Place::Stage(&key),
            Place::Tree(&path(at)),
            Rename::NoReplace,
        )
        .unwrap();
}

fn kind_of(files: &dyn Files, at: &str) -> Option<Kind> {
    let stat = files.stat(Place::Tree(&path(at))).unwrap();
    stat.map(|stat| stat.kind)
}

fn nothing_is_overwritten_by_a_rename(files: &dyn Files) {
    put(files, "a", b"a");
    put(files, "b", b"b");
    let (a, b) = (path("a"), path("b"));
    let refused = files.rename(Place::Tree(&a), Place::Tree(&b), Rename::NoReplace);
    assert_eq!(problem(refused), Some(Problem::Exists));
    assert_eq!(read(files, Place::Tree(&b)), b"b");
    let c = path("c");
    files
        .rename(Place::Tree(&a), Place::Tree(&c), Rename::NoReplace)
        .unwrap();
    assert_eq!(read(files, Place::Tree(&c)), b"a");
    assert_eq!(kind_of(files, "a"), None);
    let gone = files.rename(Place::Tree(&a), Place::Tree(&c), Rename::NoReplace);
    assert!(matches!(
        problem(gone),
        Some(Problem::NotFound | Problem::Exists)
    ));
}

fn an_exchange_swaps_and_needs_both(files: &dyn Files) {
    put(files, "old", b"old");
    dir(files, "d");
    let key = StageKey::exchange(1);
    files.stage(&key, b"new", &Meta::default()).unwrap();
    let (old, stage) = (path("old"), Place::Stage(&key));
    let before = files.stat(stage).unwrap().unwrap();
    files
        .rename(stage, Place::Tree(&old), Rename::Exchange)
        .unwrap();
    assert_eq!(read(files, Place::Tree(&old)), b"new");
    assert_eq!(read(files, stage), b"old");
    let after = files.stat(Place::Tree(&old)).unwrap().unwrap();
    assert!(after.is_same_content(&before), "{after:?} {before:?}");
    let missing = path("missing");
    let refused = files.rename(stage, Place::Tree(&missing), Rename::Exchange);
    assert_eq!(problem(refused), Some(Problem::NotFound));
    let d = path("d");
    files
        .rename(stage, Place::Tree(&d), Rename::Exchange)
        .unwrap();
    assert_eq!(kind_of(files, "d"), Some(Kind::File));
    assert_eq!(files.stat(stage).unwrap().unwrap().kind, Kind::Dir);
}

fn a_directory_cannot_move_into_itself(files: &dyn Files) {
    dir(files, "d");
    dir(files, "d/e");
    let (d, below) = (path("d"), path("d/e/f"));
    let refused = files.rename(Place::Tree(&d), Place::Tree(&below), Rename::NoReplace);
    assert_eq!(problem(refused), Some(Problem::Unsupported));
    let refused = files.rename(Place::Tree(&d), Place::Tree(&path("d/e")), Rename::Exchange);
    assert_eq!(problem(refused), Some(Problem::Unsupported));
    assert_eq!(kind_of(files, "d/e"), Some(Kind::Dir));
}

fn links_are_never_followed(files: &dyn Files) {
    dir(files, "d");
    put(files, "d/f", b"f");
    link(files, "l", "d");
    let through = path("l/f");
    assert_eq!(kind_of(files, "l"), Some(Kind::Symlink));
    assert_eq!(files.stat(Place::Tree(&through)).unwrap(), None);
    assert_eq!(
        problem(files.open(Place::Tree(&through))),
        Some(Problem::NotFound)
    );
    assert_eq!(
        problem(files.open(Place::Tree(&path("l")))),
        Some(Problem::NotFound)
    );
    assert_eq!(
        problem(files.list(Place::Tree(&path("l")))),
        Some(Problem::NotFound)
    );
    assert_eq!(
        problem(files.make_dir(Place::Tree(&path("l/x")))),
        Some(Problem::NotFound)
    );
    assert_eq!(files.read_link(Place::Tree(&path("l"))).unwrap(), b"d");
    assert_eq!(
        problem(files.read_link(Place::Tree(&path("d/f")))),
        Some(Problem::NotFound)
    );
}

fn names_are_looked_at_together_as_one_by_one(files: &dyn Files) {
    dir(files, "d");
    put(files, "d/f", b"f");
    link(files, "d/l", "f");
    link(files, "l", "d");
    let names = ["f", "missing", "l"].map(|name| path(name).split_last().unwrap().1);
    let look = |dir: &str| files.stat_all(&path(dir), &names).unwrap();
    let singly = names.clone().map(|name| {
        let at = path("d").join(&name);
        files.stat(Place::Tree(&at)).unwrap()
    });
    assert_eq!(look("d"), singly);
    assert!(singly[0].is_some() && singly[1].is_none() && singly[2].is_some());
    for dir in ["l", "missing", "d/f"] {
        assert_eq!(look(dir), [None; 3], "{dir}");
    }
    let in_root = files.stat_all(&RelPath::root(), &names[2..]).unwrap();
    assert_eq!(in_root[0].map(|stat| stat.kind), Some(Kind::Symlink));
}

fn a_staged_file_is_what_staging_said(files: &dyn Files) {
    for exec in [false, true] {
        let key = StageKey::small(5);
        let meta = Meta {
            exec,
            mtime: Mtime(1_000_000_007),
            like: Some(0o640),
        };
        let said = files.stage(&key, b"bytes", &meta).unwrap();
        assert_eq!(files.stat(Place::Stage(&key)).unwrap(), Some(said));
        assert_eq!((said.size, said.mtime), (5, 1_000_000_007));
        assert_eq!(said.mode, if exec { 0o750 } else { 0o640 });
    }
}

fn an_open_file_stays_what_it_was(files: &dyn Files) {
    put(files, "f", b"before");
    let f = path("f");
    let open = files.open(Place::Tree(&f)).unwrap();
    let key = StageKey::exchange(2);
    files.stage(&key, b"after", &Meta::default()).unwrap();
    files
        .rename(Place::Stage(&key), Place::Tree(&f), Rename::Exchange)
        .unwrap();
    files.remove_file(Place::Stage(&key)).unwrap();
    let mut buffer = [0; 100];
    assert_eq!(open.read_at(0, &mut buffer).unwrap(), 6);
    assert_eq!(&buffer[..6], b"before");
    assert_eq!(open.stat().unwrap().nlink, 0);
    assert_eq!(read(files, Place::Tree(&f)), b"after");
}

fn listings_are_in_order_and_hide_the_marker(files: &dyn Files) {
    for name in ["b", "a", "a.x", "Z"] {
        put(files, name, b"");
    }
    let listed = files.list(Place::Tree(&RelPath::root())).unwrap();
    let names: Vec<String> = listed.iter().map(|l| l.name.to_string()).collect();
    assert_eq!(names, ["Z", "a", "a.x", "b"]);
    assert_eq!(
        problem(files.list(Place::Tree(&path("a")))),
        Some(Problem::NotFound)
    );
    assert_eq!(
        problem(files.list(Place::Tree(&path("q")))),
        Some(Problem::NotFound)
    );
}

fn directories_go_only_when_empty(files: &dyn Files) {
    dir(files, "d");
    put(files, "d/f", b"f");
    let d = path("d");
    assert_eq!(
        problem(files.make_dir(Place::Tree(&d))),
        Some(Problem::Exists)
    );
    assert_eq!(
        problem(files.remove_dir(Place::Tree(&d))),
        Some(Problem::NotEmpty)
    );
    assert_eq!(
        problem(files.remove_dir(Place::Tree(&path("d/f")))),
        Some(Problem::NotFound)
    );
    files
        .rename(
            Place::Tree(&path("d/f")),
            Place::Trash(SLOT, &path("d/f")),
            Rename::NoReplace,
        )
        .unwrap();
    files.remove_dir(Place::Tree(&d)).unwrap();
    assert_eq!(kind_of(files, "d"), None);
    assert_eq!(
        problem(files.remove_dir(Place::Tree(&d))),
        Some(Problem::NotFound)
    );
}

fn the_tree_is_never_unlinked_from(files: &dyn Files) {
    put(files, "f", b"f");
    let refused = files.remove_file(Place::Tree(&path("f")));
    assert_eq!(problem(refused), Some(Problem::Unsupported));
    assert_eq!(kind_of(files, "f"), Some(Kind::File));
}

fn the_trash_makes_its_own_directories(files: &dyn Files) {
    put(files, "f", b"f");
    let (f, in_trash) = (path("f"), path("x/y/f"));
    assert_eq!(files.trash_slots().unwrap(), []);
    files
        .rename(
            Place::Tree(&f),
            Place::Trash(SLOT, &in_trash),
            Rename::NoReplace,
        )
        .unwrap();
    assert_eq!(files.trash_slots().unwrap(), [SLOT]);
    assert_eq!(read(files, Place::Trash(SLOT, &in_trash)), b"f");
    let top = files.list(Place::Trash(SLOT, &RelPath::root())).unwrap();
    assert_eq!(top.len(), 1);
    files.remove_file(Place::Trash(SLOT, &in_trash)).unwrap();
    files.remove_dir(Place::Trash(SLOT, &path("x/y"))).unwrap();
    files.remove_dir(Place::Trash(SLOT, &path("x"))).unwrap();
    files
        .remove_dir(Place::Trash(SLOT, &RelPath::root()))
        .unwrap();
    assert_eq!(files.trash_slots().unwrap(), []);
}

fn staged_ranges_leave_holes(files: &dyn Files) {
    let key = StageKey::small(3);
    files.stage_write(&key, 1 << 20, b"end").unwrap();
    files.stage_write(&key, 0, b"start").unwrap();
    let meta = Meta {
        exec: true,
        mtime: Mtime(1_000_000_007),
        like: None,
    };
    files.stage_finish(&key, 2 << 20, &meta).unwrap();
    let at = Place::Stage(&key);
    let stat = files.stat(at).unwrap().unwrap();
    assert_eq!(
        (stat.size, stat.mtime, stat.is_exec()),
        (2 << 20, 1_000_000_007, true)
    );
    let file = files.open(at).unwrap();
    assert_eq!(file.next_data(0).unwrap(), Some(0));
    assert_eq!(file.next_data(64 * 1024).unwrap(), Some(1 << 20));
    assert_eq!(file.next_data((1 << 20) + (64 << 10)).unwrap(), None);
    let mut buffer = [1; 5];
    assert_eq!(file.read_at(500_000, &mut buffer).unwrap(), 5);
    assert_eq!(buffer, [0; 5]);
    files.sync_staged(std::slice::from_ref(&key)).unwrap();
    assert_eq!(files.staged().unwrap(), [key]);
}

fn staging_again_starts_afresh(files: &dyn Files) {
    let key = StageKey::small(4);
    files
        .stage(&key, b"a longer one", &Meta::default())
        .unwrap();
    files.stage(&key, b"short", &Meta::default()).unwrap();
    assert_eq!(read(files, Place::Stage(&key)), b"short");
}

fn properties_are_those_of_files_alone(files: &dyn Files) {
    put(files, "f", b"f");
    dir(files, "d");
    link(files, "l", "f");
    let meta = Meta {
        exec: true,
        mtime: Mtime(77),
        like: None,
    };
    files.set_meta(Place::Tree(&path("f")), &meta).unwrap();
    let stat = files.stat(Place::Tree(&path("f"))).unwrap().unwrap();
    assert_eq!((stat.is_exec(), stat.mtime), (true, 77));
    for other in ["d", "l", "q"] {
        let refused = files.set_meta(Place::Tree(&path(other)), &meta);
        assert_eq!(problem(refused), Some(Problem::NotFound), "{other}");
    }
}

fn the_root_itself_is_never_touched(files: &dyn Files) {
    let root = RelPath::root();
    let refused = files.rename(
        Place::Tree(&root),
        Place::Trash(SLOT, &path("x")),
        Rename::NoReplace,
    );
    assert_eq!(problem(refused), Some(Problem::Busy));
    assert_eq!(
        problem(files.remove_dir(Place::Tree(&root))),
        Some(Problem::Busy)
    );
    assert_eq!(files.root().unwrap().kind, Kind::Dir);
    let stat = files.stat(Place::Tree(&root)).unwrap().unwrap();
    assert!(stat.is_same_inode(&files.root().unwrap()));
}

type Rule = (&'static str, fn(&dyn Files));

const RULES: &[Rule] = &[
    (
        "nothing_is_overwritten_by_a_rename",
        nothing_is_overwritten_by_a_rename,
    ),
    (
        "an_exchange_swaps_and_needs_both",
        an_exchange_swaps_and_needs_both,
    ),
    (
        "a_directory_cannot_move_into_itself",
        a_directory_cannot_move_into_itself,
    ),
    ("links_are_never_followed", links_are_never_followed),
    (
        "names_are_looked_at_together_as_one_by_one",
        names_are_looked_at_together_as_one_by_one,
    ),
    (
        "a_staged_file_is_what_staging_said",
        a_staged_file_is_what_staging_said,
    ),
    (
        "an_open_file_stays_what_it_was",
        an_open_file_stays_what_it_was,
    ),
    (
        "listings_are_in_order_and_hide_the_marker",
        listings_are_in_order_and_hide_the_marker,
    ),
    (
        "directories_go_only_when_empty",
        directories_go_only_when_empty,
    ),
    (
        "the_tree_is_never_unlinked_from",
        the_tree_is_never_unlinked_from,
    ),
    (
        "the_trash_makes_its_own_directories",
        the_trash_makes_its_own_directories,
    ),
    ("staged_ranges_leave_holes", staged_ranges_leave_holes),
    ("staging_again_starts_afresh", staging_again_starts_afresh),
    (
        "properties_are_those_of_files_alone",
        properties_are_those_of_files_alone,
    ),
    (
        "the_root_itself_is_never_touched",
        the_root_itself_is_never_touched,
    ),
];

fn check(make: &dyn Fn(&Path) -> Arc<dyn Files>) {
    for (name, rule) in RULES {
        println!("{name}");
        let folder = tempfile::tempdir().unwrap();
        rule(&*make(folder.path()));
    }
}

#[test]
fn the_disk_keeps_the_contract() {
    check(&|folder| Arc::new(Disk::open(folder).unwrap()));
}

#[test]
fn the_simulated_disk_keeps_the_contract() {
    check(&|_| {
        let hand = Hand::new("nobody", Rng::new(0), Story::default());
        Arc::new(SimFiles::new(Volume::new(Clock::default(), 0, hand)))
    });
}
