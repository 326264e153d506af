//! Containment on a real folder: no call of the disk leaves the root through a link, not even while
//! links and directories change places under it.
//!
//! The witness is a tree outside, compared byte for byte with modes and times; inotify tells
//! whether anything in it was as much as opened.

use std::collections::BTreeMap;
use std::fs;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::apply::{applier, chunks, entry, put};
use crate::fixture::{Folder, path};
use fsync_agent::apply::{Open, StepResult, recover};
use fsync_agent::files::{Files, FilesError, Meta, Place, Problem, Rename, StageKey, TrashSlot};
use fsync_agent::scan::Scope;
use fsync_core::node::Mtime;
use fsync_core::path::Name;
use fsync_core::plan::Step;
use rustix::fs::{CWD, RenameFlags, inotify, renameat_with};

/// Rounds of the race, each with all calls.
const ROUNDS: u64 = 3000;
/// Applies of the race, each with a plan.
const APPLIES: u64 = 60;
const STEPS: u64 = 24;
const INSIDE: &str = "inside";
const SECRET: &str = "secret";

/// What a path outside is: kind and mode, inode, links, size, both times, content.
type Seen = (u32, u64, u64, u64, [i64; 4], Vec<u8>);

/// The tree outside. It has the names that the calls name inside.
struct Canary {
    root: PathBuf,
    before: BTreeMap<PathBuf, Seen>,
    events: OwnedFd,
}

fn look(root: &Path) -> BTreeMap<PathBuf, Seen> {
    let mut seen = BTreeMap::new();
    let mut open = vec![root.to_owned()];
    while let Some(at) = open.pop() {
        let meta = fs::symlink_metadata(&at).unwrap();
        let content = match meta.is_file() {
            true => fs::read(&at).unwrap(),
            false => Vec::new(),
        };
        if meta.is_dir() {
            open.extend(
                fs::read_dir(&at)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        }
        let times = [
            meta.mtime(),
            meta.mtime_nsec(),
            meta.ctime(),
            meta.ctime_nsec(),
        ];
        let what = (
            meta.mode(),
            meta.ino(),
            meta.nlink(),
            meta.size(),
            times,
            content,
        );
        seen.insert(at, what);
    }
    seen
}

impl Canary {
    fn new(folder: &Folder) -> Self {
        let root = folder.temp.path().join("outside");
        fs::create_dir_all(root.join("empty")).unwrap();
        fs::create_dir_all(root.join("full")).unwrap();
        for name in ["f", "g", "full/f"] {
            fs::write(root.join(name), SECRET).unwrap();
        }
        symlink("f", root.join("link")).unwrap();
        let before = look(&root);
        let events = inotify::init(inotify::CreateFlags::NONBLOCK).unwrap();
        for path in before.keys().filter(|path| !path.is_symlink()) {
            inotify::add_watch(&events, path, inotify::WatchFlags::ALL_EVENTS).unwrap();
        }
        Self {
            root,
            before,
            events,
        }
    }

    fn assert_untouched(&self) {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let first = inotify::Reader::new(&self.events, &mut buffer)
            .next()
            .map(|event| format!("{event:?}"));
        assert_eq!(first.unwrap_err(), rustix::io::Errno::AGAIN);
        assert_eq!(look(&self.root), self.before);
    }
}

/// A folder with a directory, a link of the same shape outside, and what the calls need.
fn attacked() -> (Folder, Canary) {
    let folder = Folder::new();
    folder.dir("d/empty");
    folder.dir("d/full");
    for name in ["d/f", "d/full/f"] {
        folder.write(name, INSIDE);
    }
    let canary = Canary::new(&folder);
    folder.link("l", "../outside");
    (folder, canary)
}

/// Makes every call of the disk on a directory; returns how each ended.
fn all_calls(folder: &Folder, dir: &str, round: u64) -> Vec<Result<(), FilesError>> {
    let disk = &folder.disk;
    let at = |name: &str| path(&format!("{dir}/{name}"));
    let (file, other, made, empty, link) = (at("f"), at("g"), at("new"), at("empty"), at("link"));
    let (key, own) = (StageKey::small(round), StageKey::small(round + ROUNDS));
    let slot = TrashSlot {
        time_ms: round,
        number: 1,
    };
    let trashed = path("taken");
    let meta = Meta {
        exec: round.is_multiple_of(2),
        mtime: Mtime(i64::try_from(round).unwrap()),
        like: None,
    };
    let read = || {
        let opened = disk.open(Place::Tree(&file))?;
        let mut bytes = [0; 16];
        let read = opened.read_at(0, &mut bytes)?;
        assert_ne!(&bytes[..read], SECRET.as_bytes());
        Ok(())
    };
    let swap = || {
        disk.stage(&own, INSIDE.as_bytes(), &Meta::default())?;
        let swapped = disk.rename(Place::Stage(&own), Place::Tree(&file), Rename::Exchange);
        disk.remove_file(Place::Stage(&own)).unwrap();
        swapped
    };
    let create = || {
        disk.stage(&key, INSIDE.as_bytes(), &Meta::default())?;
        let put = disk.rename(Place::Stage(&key), Place::Tree(&made), Rename::NoReplace);
        // Whichever way it went, the next round finds the name free.
        let taken = Place::Trash(slot, &made);
        drop(disk.remove_file(Place::Stage(&key)));
        drop(disk.rename(Place::Tree(&made), taken, Rename::NoReplace));
        put
    };
    let tree = Place::Tree;
    vec![
        disk.list(tree(&path(dir))).map(drop),
        read(),
        disk.read_link(tree(&link)).map(drop),
        swap(),
        create(),
        disk.set_meta(tree(&file), &meta),
        disk.rename(tree(&file), tree(&other), Rename::NoReplace),
        disk.rename(tree(&other), tree(&file), Rename::NoReplace),
        disk.remove_dir(tree(&empty)),
        disk.make_dir(tree(&empty)),
        disk.rename(
            tree(&at("full")),
            Place::Trash(slot, &trashed),
            Rename::NoReplace,
        ),
        disk.rename(
            Place::Trash(slot, &trashed),
            tree(&at("full")),
            Rename::NoReplace,
        ),
        disk.sync_dirs(&[path(dir)]),
    ]
}

#[test]
fn no_call_goes_through_a_link() {
    let (folder, canary) = attacked();
    for (number, result) in all_calls(&folder, "l", 1).into_iter().enumerate() {
        match result {
            // Taken for gone, as there is no directory.
            Ok(()) => assert_eq!(number, 12, "only what need not be there may pass"),
            Err(error) => assert!(error.is(Problem::NotFound), "{number}: {error}"),
        }
    }
    assert_eq!(folder.disk.stat(Place::Tree(&path("l/f"))).unwrap(), None);
    let names = [Name::new(b"f".as_slice()).unwrap()];
    assert_eq!(folder.disk.stat_all(&path("l"), &names).unwrap(), [None]);
    let meta = Meta::default();
    assert!(
        folder
            .disk
            .set_meta(Place::Tree(&path("l")), &meta)
            .is_err()
    );
    assert!(folder.disk.open(Place::Tree(&path("l"))).is_err());
    canary.assert_untouched();
}

#[test]
fn no_call_goes_through_a_link_in_the_trash_or_the_stage() {
    let (folder, canary) = attacked();
    let slot = TrashSlot {
        time_ms: 1,
        number: 1,
    };
    let disk = &folder.disk;
    let (link, file, empty) = (path("l"), path("l/f"), path("l/empty"));
    disk.rename(
        Place::Tree(&link),
        Place::Trash(slot, &link),
        Rename::NoReplace,
    )
    .unwrap();
    assert!(disk.list(Place::Trash(slot, &link)).is_err());
    assert!(disk.open(Place::Trash(slot, &file)).is_err());
    assert!(disk.remove_file(Place::Trash(slot, &file)).is_err());
    assert!(disk.remove_dir(Place::Trash(slot, &empty)).is_err());
    let (key, target) = (StageKey::small(7), b"../../../outside/f");
    disk.stage_link(&key, target).unwrap();
    assert!(
        disk.stage(&key, INSIDE.as_bytes(), &Meta::default())
            .is_err()
    );
    assert!(disk.stage_write(&key, 0, INSIDE.as_bytes()).is_err());
    assert!(disk.stage_finish(&key, 0, &Meta::default()).is_err());
    disk.sync_staged(std::slice::from_ref(&key)).unwrap();
    disk.remove_file(Place::Stage(&key)).unwrap();
    canary.assert_untouched();
}

/// Swaps the directory and the link, as fast as it goes, while `work` is done.
fn swapping<T>(folder: &Folder, work: impl FnOnce() -> T) -> T {
    let is_over = AtomicBool::new(false);
    let swap = || {
        let (dir, link) = (folder.at("d"), folder.at("l"));
        renameat_with(CWD, &dir, CWD, &link, RenameFlags::EXCHANGE).unwrap();
    };
    std::thread::scope(|scope| {
        let attacker = scope.spawn(|| {
            let mut is_swapped = false;
            while is_swapped || !is_over.load(Ordering::Acquire) {
                swap();
                is_swapped = !is_swapped;
            }
        });
        let done = work();
        is_over.store(true, Ordering::Release);
        attacker.join().unwrap();
        done
    })
}

#[test]
fn no_call_goes_through_a_link_that_takes_the_place_of_its_directory() {
    let (folder, canary) = attacked();
    let (mut done, mut refused) = (0, 0);
    swapping(&folder, || {
        for result in (1..=ROUNDS).flat_map(|round| all_calls(&folder, "d", round)) {
            match result {
                Ok(()) => done += 1,
                Err(_) => refused += 1,
            }
        }
    });
    canary.assert_untouched();
    // Else nothing was raced.
    assert!(
        done > 100 && refused > 100,
        "{done} done, {refused} refused"
    );
}

#[test]
fn an_apply_goes_on_beside_links_that_take_the_place_of_its_directory() {
    let (folder, canary) = attacked();
    folder.scan();
    let (mut done, mut stale) = (0, 0);
    swapping(&folder, || {
        for number in 0..APPLIES {
            let name = |step: u64| format!("d/new-{}", number * STEPS + step);
            let mut steps: Vec<Step> = (0..STEPS)
                .map(|step| put(&name(step), None, entry("new")))
                .collect();
            steps.push(Step::MakeDir {
                path: path(&format!("d/dir-{number}")),
            });
            let mut applier = applier(&folder, Open::default());
            let applied = applier.apply(&steps, &chunks(&["new"]));
            match applied.and_then(|applied| applier.finish().map(|()| applied)) {
                Ok(applied) => {
                    let is_done = |result: &&StepResult| matches!(result, StepResult::Done);
                    let count = applied.results.iter().filter(is_done).count();
                    done += count;
                    stale += applied.results.len() - count;
                }
                // As the agent does when a disk fails under it.
                Err(_) => drop(recover(&folder.disk, &folder.state).unwrap()),
            }
            // What the scan meets is in motion too; a later one finds it whole.
            drop(folder.try_scan(&Scope::Whole));
        }
    });
    canary.assert_untouched();
    assert!(done + stale > 0);
    folder.scan();
    assert!(folder.working().contains(&"d/f=inside".to_owned()));
    assert!(folder.working().contains(&"l@".to_owned()));
}
