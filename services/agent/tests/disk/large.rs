//! Large files: put together in any order, resumable, sparse, with what the disk has already.

use std::borrow::Cow;
use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;

use fsync_agent::apply::{Applier, Assembly, Contents, Open, StepResult, Target, recover};
use fsync_agent::files::{Files, Place};
use fsync_agent::state::{Durability, StateError};
use fsync_core::chunk::Chunker;
use fsync_core::filelist;
use fsync_core::id::{ObjectId, RevisionId};
use fsync_core::node::{Entry, FileEntry, Mtime, Run};
use fsync_core::nodes::NewNodes;
use fsync_core::plan::Step;

use crate::fixture::{Folder, path};

struct NoChunks;

impl Contents for NoChunks {
    fn chunk(&self, _: &ObjectId) -> Option<Cow<'_, [u8]>> {
        None
    }
}

fn noise(bytes: usize, mut seed: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes);
    while out.len() < bytes {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        out.extend_from_slice(&seed.to_le_bytes());
    }
    out.truncate(bytes);
    out
}

/// Cuts a content and stores its list, as a delta would have brought it.
fn cut(folder: &Folder, bytes: &[u8]) -> (FileEntry, HashMap<ObjectId, Vec<u8>>) {
    let mut chunks = HashMap::new();
    let mut runs = Vec::new();
    let mut sink = |run: Run, bytes: &[u8]| {
        if let Run::Chunk { id, .. } = run {
            chunks.insert(id, bytes.to_vec());
        }
        runs.push(run);
    };
    let mut chunker = Chunker::new(bytes.len() as u64);
    chunker.push(bytes, &mut sink);
    chunker.finish(&mut sink);
    let mut new = NewNodes::default();
    let content = filelist::write_file(&runs, &mut new);
    folder
        .state
        .update::<_, StateError>(Durability::Durable, |tx| tx.put_nodes(&new))
        .unwrap();
    let file = FileEntry {
        content,
        size: bytes.len() as u64,
        exec: false,
        mtime: Mtime(1_700_000_000_000_000_000),
    };
    (file, chunks)
}

fn put(folder: &Folder, at: &str, was: Option<Entry>, now: FileEntry) -> StepResult {
    let root = folder.state.snapshot().unwrap().roots().unwrap().synced;
    let target = Target {
        revision: RevisionId::of(b"test"),
        root,
    };
    let mut applier = Applier::new(&folder.disk, &folder.state, target, Open::default());
    let step = Step::Put {
        path: path(at),
        was,
        now: Entry::File(now),
    };
    let mut applied = applier.apply(&[step], &NoChunks).unwrap();
    applier.finish().unwrap();
    applied.results.remove(0)
}

#[test]
fn chunks_in_any_order_make_the_file_and_holes_stay_holes() {
    let folder = Folder::new();
    folder.scan();
    let mut bytes = noise(700_000, 1);
    bytes.resize(9_000_000, 0);
    bytes.extend(noise(300_000, 2));
    let (file, chunks) = cut(&folder, &bytes);
    let mut assembly = Assembly::open(&folder.disk, &folder.state, &file).unwrap();
    let mut missing = assembly.missing(u64::MAX);
    assert!(missing.len() > 3);
    missing.reverse();
    for one in missing {
        let part = (one.id, Cow::Borrowed(chunks[&one.id].as_slice()));
        assert_eq!(assembly.put(&[part]).unwrap(), one.bytes);
    }
    assert!(assembly.finish().unwrap());
    assert!(matches!(put(&folder, "big", None, file), StepResult::Done));
    assert!(std::fs::read(folder.at("big")).unwrap() == bytes);
    let blocks = std::fs::metadata(folder.at("big")).unwrap().blocks();
    assert!(blocks * 512 < 2_000_000, "{blocks} blocks");
    assert!(!folder.scan().is_changed);
    assert!(folder.disk.staged().unwrap().is_empty());
}

#[test]
fn an_interrupted_file_goes_on_where_it_was() {
    let folder = Folder::new();
    folder.scan();
    let bytes = noise(2_000_000, 3);
    let (file, chunks) = cut(&folder, &bytes);
    let mut assembly = Assembly::open(&folder.disk, &folder.state, &file).unwrap();
    let all = assembly.missing(u64::MAX);
    for one in &all[..all.len() / 2] {
        let part = (one.id, Cow::Borrowed(chunks[&one.id].as_slice()));
        assembly.put(&[part]).unwrap();
    }
    assert!(!assembly.finish().unwrap());
    assert!(matches!(
        put(&folder, "big", None, file),
        StepResult::Unfetched
    ));
    recover(&folder.disk, &folder.state).unwrap();
    let mut assembly = Assembly::open(&folder.disk, &folder.state, &file).unwrap();
    let rest = assembly.missing(u64::MAX);
    assert_eq!(rest, all[all.len() / 2..]);
    for one in rest {
        let part = (one.id, Cow::Borrowed(chunks[&one.id].as_slice()));
        assembly.put(&[part]).unwrap();
    }
    assert!(assembly.finish().unwrap());
    assert!(matches!(put(&folder, "big", None, file), StepResult::Done));
    assert!(std::fs::read(folder.at("big")).unwrap() == bytes);
}

#[test]
fn a_new_version_uses_what_the_old_one_has() {
    let folder = Folder::new();
    let old = noise(3_000_000, 4);
    std::fs::write(folder.at("big"), &old).unwrap();
    folder.scan();
    let row = folder
        .state
        .snapshot()
        .unwrap()
        .row_at(&path("big"))
        .unwrap();
    let was = *row.unwrap().entry().unwrap();
    let mut bytes = b"!".to_vec();
    bytes.extend_from_slice(&old);
    let (file, chunks) = cut(&folder, &bytes);
    let mut assembly = Assembly::open(&folder.disk, &folder.state, &file).unwrap();
    let reused = assembly
        .reuse(Place::Tree(&path("big")), was.as_file().unwrap())
        .unwrap();
    assert!(reused > 2_500_000, "{reused}");
    let missing = assembly.missing(u64::MAX);
    assert!(missing.len() <= 2, "{missing:?}");
    for one in missing {
        let part = (one.id, Cow::Borrowed(chunks[&one.id].as_slice()));
        assembly.put(&[part]).unwrap();
    }
    assert!(assembly.finish().unwrap());
    assert!(matches!(
        put(&folder, "big", Some(was), file),
        StepResult::Done
    ));
    assert!(std::fs::read(folder.at("big")).unwrap() == bytes);
}

#[test]
fn a_chunk_that_does_not_match_its_id_is_not_written() {
    let folder = Folder::new();
    folder.scan();
    let (file, _) = cut(&folder, &noise(500_000, 5));
    let mut assembly = Assembly::open(&folder.disk, &folder.state, &file).unwrap();
    let first = assembly.missing(1)[0];
    let lie = vec![0; usize::try_from(first.bytes).unwrap()];
    assert_eq!(assembly.put(&[(first.id, Cow::Owned(lie))]).unwrap(), 0);
    assert_eq!(assembly.missing(1)[0], first);
}
