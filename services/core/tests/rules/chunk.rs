//! Chunks, holes and file lists: what a file's bytes become.

use std::collections::HashSet;

use fsync_core::chunk::Chunker;
use fsync_core::filelist;
use fsync_core::id::ObjectId;
use fsync_core::limits::{
    CHUNK_MAX_BYTES, CHUNK_MIN_BYTES, HOLE_BLOCK_BYTES, HOLE_MIN_BYTES, NODE_BYTES,
    WHOLE_FILE_BYTES,
};
use fsync_core::node::{Content, Node, Run};
use fsync_core::nodes::{NewNodes, NodesError};
use proptest::prelude::*;

use crate::fixtures::{Store, noise};

const MIB: usize = 1024 * 1024;

/// Cuts bytes pushed in pieces of the given sizes, over and over.
fn cut(bytes: &[u8], pieces: &[usize]) -> Vec<Run> {
    let mut runs = Vec::new();
    let mut restored = Vec::new();
    let mut sink = |run: Run, data: &[u8]| {
        match run {
            Run::Chunk { bytes, .. } => assert_eq!(bytes, data.len() as u64),
            Run::Hole { .. } => assert!(data.is_empty()),
        }
        restored.extend_from_slice(data);
        restored.resize(
            restored.len() + usize::try_from(run.bytes()).unwrap() - data.len(),
            0,
        );
        runs.push(run);
    };
    let mut chunker = Chunker::new(bytes.len() as u64);
    let mut rest = bytes;
    for size in pieces.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, tail) = rest.split_at((*size).min(rest.len()));
        chunker.push(piece, &mut sink);
        rest = tail;
    }
    chunker.finish(&mut sink);
    assert!(restored == bytes, "the runs do not give the bytes back");
    runs
}

fn whole(bytes: &[u8]) -> Vec<Run> {
    cut(bytes, &[bytes.len().max(1)])
}

fn ids(runs: &[Run]) -> HashSet<ObjectId> {
    let id = |run: &Run| match run {
        Run::Chunk { id, .. } => Some(*id),
        Run::Hole { .. } => None,
    };
    runs.iter().filter_map(id).collect()
}

#[test]
fn a_file_up_to_64_kib_is_one_chunk() {
    for size in [0, 1, 4096, WHOLE_FILE_BYTES] {
        let bytes = noise(1, usize::try_from(size).unwrap());
        assert_eq!(whole(&bytes).len(), 1, "{size}");
        assert_eq!(whole(&vec![0; bytes.len()]).len(), 1, "{size} zeros");
    }
}

#[test]
fn chunks_keep_their_bounds() {
    let runs = whole(&noise(2, 32 * MIB));
    let (last, others) = runs.split_last().unwrap();
    let bounds = CHUNK_MIN_BYTES as u64..=CHUNK_MAX_BYTES as u64;
    assert!(others.iter().all(|run| bounds.contains(&run.bytes())));
    assert!(last.bytes() <= CHUNK_MAX_BYTES as u64);
    let mean = 32 * MIB / runs.len();
    assert!(
        (64 * 1024..=512 * 1024).contains(&mean),
        "mean chunk {mean}"
    );
}

#[test]
fn the_runs_do_not_depend_on_how_the_bytes_are_pushed() {
    let mut bytes = noise(3, 3 * MIB + 17);
    bytes.resize(bytes.len() + 3 * MIB, 0);
    bytes.extend(noise(4, 5 * MIB + 1));
    let expected = whole(&bytes);
    for pieces in [
        &[1][..],
        &[4096],
        &[65_536],
        &[65_537, 3],
        &[1_000_003],
        &[7, 131_072, 999],
    ] {
        assert_eq!(cut(&bytes, pieces), expected, "{pieces:?}");
    }
}

#[test]
fn a_byte_in_front_costs_at_most_four_chunks() {
    let bytes = noise(5, 64 * MIB);
    let before = ids(&whole(&bytes));
    let longer = [&[42][..], &bytes].concat();
    let new = ids(&whole(&longer)).difference(&before).count();
    assert!(new <= 4, "{new} new chunks");
}

#[test]
fn zeros_from_one_mib_on_are_a_hole_on_block_boundaries() {
    let block = usize::try_from(HOLE_BLOCK_BYTES).unwrap();
    let min = usize::try_from(HOLE_MIN_BYTES).unwrap();
    let holes = |zeros: usize, lead: usize| -> Vec<u64> {
        let bytes = [vec![1; lead], vec![0; zeros], vec![1; block]].concat();
        let is_hole = |run: &Run| matches!(run, Run::Hole { .. });
        whole(&bytes)
            .iter()
            .filter(|r| is_hole(r))
            .map(Run::bytes)
            .collect()
    };
    assert_eq!(holes(min, block), [HOLE_MIN_BYTES]);
    assert_eq!(holes(min - 1, block), [0; 0]);
    assert_eq!(holes(min, block + 1), [0; 0]);
    assert_eq!(holes(min + block, block + 1), [HOLE_MIN_BYTES]);
    assert_eq!(holes(3 * min, block), [3 * HOLE_MIN_BYTES]);
}

#[test]
fn zeros_read_and_zeros_skipped_are_the_same_hole() {
    let bytes = [noise(6, 100_000), vec![0; 4 * MIB], noise(7, 200_000)].concat();
    let mut runs = Vec::new();
    let mut sink = |run: Run, _: &[u8]| runs.push(run);
    let mut chunker = Chunker::new(bytes.len() as u64);
    chunker.push(&bytes[..100_000], &mut sink);
    chunker.push_zeros(4 * MIB as u64, &mut sink);
    chunker.push(&bytes[100_000 + 4 * MIB..], &mut sink);
    chunker.finish(&mut sink);
    assert_eq!(runs, whole(&bytes));
}

#[test]
fn a_hole_of_one_tib_is_one_run() {
    let size = 1 << 40;
    let mut runs = Vec::new();
    let mut sink = |run: Run, _: &[u8]| runs.push(run);
    let mut chunker = Chunker::new(size);
    chunker.push_zeros(size, &mut sink);
    chunker.finish(&mut sink);
    assert_eq!(runs, [Run::Hole { bytes: size }]);
    let mut new = NewNodes::default();
    let content = filelist::write_file(&runs, &mut new);
    let mut store = Store::default();
    store.keep(&new);
    assert_eq!(filelist::read_file(&store.0, &content, size), Ok(runs));
}

#[test]
fn zeros_at_the_end_are_kept() {
    for zeros in [1, 65_536, MIB, 3 * MIB + 5] {
        let bytes = [noise(8, 70_000), vec![0; zeros]].concat();
        let total: u64 = whole(&bytes).iter().map(Run::bytes).sum();
        assert_eq!(total, bytes.len() as u64);
    }
}

/// Returns the runs of a made-up file of `count` chunks.
fn many_runs(count: u64) -> Vec<Run> {
    let run = |n: u64| Run::Chunk {
        id: ObjectId::from_bytes(noise(n, 32).try_into().unwrap()),
        bytes: 1 + n % 100_000,
    };
    (0..count).map(run).collect()
}

#[test]
fn a_file_of_one_chunk_is_named_by_its_chunk() {
    let runs = whole(b"small");
    let mut new = NewNodes::default();
    let content = filelist::write_file(&runs, &mut new);
    assert!(new.is_empty());
    assert!(matches!((content, runs[0]), (Content::Chunk(a), Run::Chunk { id: b, .. }) if a == b));
}

#[test]
fn a_list_of_eight_million_chunks_is_split_and_reads_back() {
    // 1 TiB in chunks of 128 KiB.
    let runs = many_runs(8_388_608);
    let size = runs.iter().map(Run::bytes).sum();
    let mut new = NewNodes::default();
    let content = filelist::write_file(&runs, &mut new);
    assert!(new.iter().all(|(kind, _, bytes)| {
        bytes.len() <= NODE_BYTES && Node::decode(kind, bytes).is_ok()
    }));
    let mut store = Store::default();
    store.keep(&new);
    let read = filelist::read_file(&store.0, &content, size).unwrap();
    assert!(read == runs);
}

#[test]
fn a_chunk_in_front_does_not_shift_the_cuts_of_a_list() {
    let runs = many_runs(20_000);
    let (mut before, mut after) = (NewNodes::default(), NewNodes::default());
    filelist::write_file(&runs, &mut before);
    let longer = [&many_runs(20_001)[20_000..], &runs].concat();
    filelist::write_file(&longer, &mut after);
    let new = after
        .iter()
        .filter(|(_, id, _)| before.get(id).is_none())
        .count();
    assert!(new <= 5, "{new} new nodes");
}

#[test]
fn a_list_that_does_not_add_up_is_refused() {
    let runs = many_runs(3000);
    let size: u64 = runs.iter().map(Run::bytes).sum();
    let mut new = NewNodes::default();
    let content = filelist::write_file(&runs, &mut new);
    let mut store = Store::default();
    store.keep(&new);
    for size in [size - 1, size + 1, 0] {
        let read = filelist::read_file(&store.0, &content, size);
        assert!(matches!(read, Err(NodesError::Invalid { .. })));
    }
    assert!(filelist::read_file(&store.0, &content, size).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn any_mix_of_data_and_zeros_pushed_anyhow_gives_the_same_runs(
        parts in proptest::collection::vec((any::<bool>(), 0..2_500_000usize), 0..5),
        pieces in proptest::collection::vec(1..300_000usize, 1..5),
    ) {
        let mut bytes = Vec::new();
        for (seed, (is_zero, length)) in parts.into_iter().enumerate() {
            bytes.extend(if is_zero { vec![0; length] } else { noise(seed as u64, length) });
        }
        prop_assert_eq!(cut(&bytes, &pieces), whole(&bytes));
    }

    #[test]
    fn a_list_reads_back(count in 1..2000u64) {
        let runs = many_runs(count);
        let mut new = NewNodes::default();
        let content = filelist::write_file(&runs, &mut new);
        let mut store = Store::default();
        store.keep(&new);
        let size = runs.iter().map(Run::bytes).sum();
        prop_assert_eq!(filelist::read_file(&store.0, &content, size), Ok(runs));
    }
}
