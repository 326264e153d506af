//! Seeds that once failed, each with what they found.

use fsync_tests::sim::run::run;

/// The worlds follow from the seeds: a change of the world makes a row another world, which must
/// hold as well.
const ONCE_FAILED: &[(u64, &str)] = &[
    (
        4,
        "a released delete left the working tree as it was while held",
    ),
    (9, "a step that stayed stale was tried without a pause"),
    (
        20,
        "an edit in a file that the head renamed was taken for the head's",
    ),
    (
        49,
        "a directory in the place of a held delete was never looked into",
    ),
    (
        234,
        "a directory kept for a held file was taken for what the head has there",
    ),
    (
        466,
        "recovery took another directory for the one that it had moved",
    ),
    (
        706,
        "a list of chunks that only the service has stopped a push",
    ),
    (
        1052,
        "a delete below a renamed directory was held under a path that nobody has",
    ),
    (
        1315,
        "a rename that a crash undid made an unsent edit look agreed",
    ),
    (
        1534,
        "what happened in a held directory was not scanned after its release",
    ),
    (
        1729,
        "files of a directory that had moved away were taken for deleted",
    ),
    (
        1918,
        "a directory that vanished under a look at it ended the agent",
    ),
    (2002, "a burst of deletes was judged as a new one each time"),
    (2149, "what was asked for again was sent without the rest"),
    (3213, "an old answer without a head was believed"),
    (
        101_285,
        "a directory forgotten and found in one scan lost what is in it",
    ),
    (
        101_449,
        "an old version kept on one disk masked a file that came later",
    ),
    (102_343, "a rename over a disputed file was seen by half"),
    (
        1016,
        "an exec bit that was set right after a put was taken for settled",
    ),
    (
        1860,
        "a directory that was emptied while it was removed counted as one of ignored files",
    ),
    (
        131,
        "an exception that ended while a push was under way made a version look removed",
    ),
    (
        941,
        "a directory that was gone came back empty when what was blocked in it was released",
    ),
    (
        1035,
        "a renamed file whose new name was not told yet counted as deleted",
    ),
    (
        2028,
        "a commit whose outcome was unknown was told to nobody",
    ),
    (
        2137,
        "tries of what is blocked came ever less often because users touched it",
    ),
    (
        3815,
        "a directory was renamed by its user after a rename of it was refused",
    ),
    (10358, "the same, with the rename still to be tried again"),
    (13822, "as 2137, with several agents"),
    (14346, "as 2137, after a restart"),
    (
        13174,
        "a directory that changed places with the one above it during a scan stood in itself for ever",
    ),
    (
        1746,
        "a directory that its user moved off a path with a held delete stayed in the tree",
    ),
];

#[test]
fn seeds_that_once_failed_hold() {
    let broken: Vec<String> = ONCE_FAILED
        .iter()
        .filter_map(|(seed, what)| {
            let failure = run(*seed, false).failure?;
            Some(format!(
                "{what}: {failure}\n  repeat: cargo run --release -p fsync-tests --bin sim -- --seeds 1 --from {seed} --log"
            ))
        })
        .collect();
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn the_same_seed_gives_the_same_log() {
    for seed in 0..20 {
        assert_eq!(run(seed, false).hash, run(seed, false).hash, "seed {seed}");
    }
}
