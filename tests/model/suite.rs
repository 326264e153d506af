//! The black-box model on this build, for a short time, and tests of the model itself.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on may end where it stands"
)]

use anyhow::Result;
use fsync_tests::model::explain::{Answer, explain};
use fsync_tests::model::fsync::Fsync;
use fsync_tests::model::history::{Event, NOTHING, Round, Settled, Value};
use fsync_tests::model::judge::{Verdict, judge};
use fsync_tests::model::mirror::Mirror;
use fsync_tests::model::rules::{Rule, Waived};
use fsync_tests::model::run::{Outcome, programs, run};
use fsync_tests::model::tool::Tool;

/// Seeds that run on this build each time; half a minute at most.
const SEEDS: u64 = 4;
const ROUNDS: usize = 5;

const A: usize = 0;
const B: usize = 1;

fn read(user: usize, path: usize, saw: Value) -> Event {
    Event::Read { user, path, saw }
}

fn write(user: usize, path: usize, value: Value, over: Value) -> Event {
    Event::Write {
        user,
        path,
        value,
        over,
        is_sure: true,
    }
}

fn rename(user: usize, from: usize, to: usize) -> Event {
    Event::Rename { user, from, to }
}

fn settled(a: Value, b: Value, copies: &[Value]) -> Settled {
    Settled {
        values: [a, b, NOTHING],
        copies: copies.iter().copied().collect(),
    }
}

fn round(before: Settled, events: &[Event], after: Settled) -> Round {
    Round {
        before,
        events: events.to_vec(),
        after,
    }
}

fn play(mut tool: impl Tool, seed: u64) -> Result<Outcome> {
    let scratch = tempfile::tempdir()?;
    run(&mut tool, &programs(seed, ROUNDS), scratch.path())
}

#[test]
fn whatever_users_see_of_this_build_has_an_explanation() -> Result<()> {
    for seed in 0..SEEDS {
        let outcome = play(Fsync::new()?, seed)?;
        if let Some(failure) = outcome.failure {
            panic!(
                "seed {seed}: {failure}\nrepeat: model --runs 1 --from {seed} --rounds {ROUNDS}"
            );
        }
        assert_eq!((outcome.rounds, outcome.unknown), (ROUNDS, 0));
    }
    Ok(())
}

#[test]
fn a_tool_that_lets_the_newer_file_win_is_found_out() -> Result<()> {
    let mut broken = Vec::new();
    for seed in 0..5 {
        broken.extend(
            play(Mirror::new()?, seed)?
                .failure
                .map(|failure| failure.kind),
        );
    }
    assert!(!broken.is_empty());
    Ok(())
}

#[test]
fn histories_of_a_right_tool_are_explained() {
    let empty = settled(0, 0, &[]);
    let table = [
        // The old value is seen until the new one arrives.
        (
            settled(1, 0, &[]),
            vec![write(0, A, 2, 1), read(1, A, 1), read(1, A, 2)],
            settled(2, 0, &[]),
        ),
        // Either of two edits may stay at the path.
        (
            settled(1, 0, &[]),
            vec![write(0, A, 2, 1), write(1, A, 3, 1)],
            settled(2, 0, &[3]),
        ),
        (
            settled(1, 0, &[]),
            vec![write(0, A, 2, 1), write(1, A, 3, 1)],
            settled(3, 0, &[2]),
        ),
        // The second edit knew of the first.
        (
            settled(1, 0, &[]),
            vec![write(0, A, 2, 1), write(1, A, 3, 2)],
            settled(3, 0, &[]),
        ),
        // An edit beats a delete, whichever comes first.
        (
            settled(1, 0, &[]),
            vec![write(0, A, 0, 1), write(1, A, 3, 1)],
            settled(3, 0, &[]),
        ),
        (
            settled(1, 0, &[]),
            vec![write(0, A, 2, 1), write(1, A, 0, 1)],
            settled(2, 0, &[]),
        ),
        // A rename, and an edit that follows it or does not.
        (
            settled(1, 0, &[]),
            vec![rename(0, A, B), read(1, B, 1)],
            settled(0, 1, &[]),
        ),
        (
            settled(1, 0, &[]),
            vec![rename(0, A, B), write(1, A, 2, 1)],
            settled(0, 2, &[]),
        ),
        (
            settled(1, 0, &[]),
            vec![rename(0, A, B), write(1, A, 2, 1)],
            settled(2, 1, &[]),
        ),
        // Three new files of one name.
        (
            empty,
            vec![write(0, A, 1, 0), write(1, A, 2, 0), write(2, A, 3, 0)],
            settled(2, 0, &[1, 3]),
        ),
    ];
    for (before, events, after) in table {
        let round = round(before, &events, after);
        let answer = explain(&round, Waived::default());
        assert_eq!(answer, Answer::Explained, "{round}");
    }
}

#[test]
fn each_rule_that_is_broken_is_named() {
    let start = || settled(1, 0, &[]);
    let two = || vec![write(0, A, 2, 1), write(1, A, 3, 1)];
    let table = [
        (
            start(),
            two(),
            settled(2, 0, &[]),
            Some(Rule::ConcurrentEditsAreKept),
        ),
        // What was written is gone from the very folder before anyone else could have it.
        (
            start(),
            vec![write(0, A, 2, 1), read(0, A, 1)],
            settled(2, 0, &[]),
            Some(Rule::NothingComesBack),
        ),
        (
            start(),
            vec![write(0, A, 0, 1), write(1, A, 3, 1)],
            settled(0, 0, &[]),
            Some(Rule::EditsBeatDeletes),
        ),
        (
            start(),
            vec![write(0, A, 0, 1), read(1, A, 0)],
            settled(1, 0, &[]),
            Some(Rule::NothingComesBack),
        ),
        (
            start(),
            vec![write(0, A, 2, 1)],
            settled(2, 0, &[1]),
            Some(Rule::CopiesNeedAConflict),
        ),
        // A value that nobody wrote.
        (start(), vec![read(0, A, 9)], start(), None),
    ];
    for (before, events, after, rule) in table {
        let round = round(before, &events, after);
        let Verdict::Broken(breach) = judge(&round) else {
            panic!("explained: {round}");
        };
        assert_eq!(
            breach.rules.rules().collect::<Vec<_>>(),
            Vec::from_iter(rule),
            "{round}"
        );
    }
}

#[test]
fn a_breach_is_told_without_what_does_not_matter() {
    let looks = [read(2, A, 1), read(0, B, 7), read(1, A, 1)];
    let events = [
        &looks[..],
        &[write(0, A, 2, 1), write(1, A, 3, 1)],
        &looks[..0],
    ]
    .concat();
    let Verdict::Broken(breach) = judge(&round(settled(1, 7, &[]), &events, settled(2, 7, &[])))
    else {
        panic!("explained");
    };
    assert_eq!(breach.round.events.len(), 2);
    assert_eq!(breach.round.before.values[B], NOTHING);
}

#[test]
fn a_copy_that_vanishes_is_a_breach() {
    let round = round(settled(1, 0, &[5]), &[], settled(1, 0, &[]));
    let Verdict::Broken(breach) = judge(&round) else {
        panic!("explained");
    };
    assert_eq!(breach.lost_copies, [5]);
}
