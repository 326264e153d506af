//! A checker of merge, comparison and plan together, in the way of Dropbox's CanopyCheck (Jayakar
//! 2020): one tree is perturbed two or three times, then agents and a service sync it, with late
//! wake-ups, lost answers, interrupted and shuffled applies, unreadable files, wrong and lost move
//! hints, and users who go on.
//!
//! Checks: nothing panics or fails; a plan runs in order on a folder that nobody touched meanwhile;
//! after the last act all come in step within [`ROUNDS`] turns each; disks, synced trees and head
//! are equal then; a content that somebody wrote and nobody took off his own disk is in the head,
//! and nothing is that nobody wrote; without renames, what somebody took off his disk does not come
//! back; a lone rename redirects what others write.
//! Does not: model contents, crashes inside a step, holds or ignore rules; the simulator does.
//!
//! `PROPTEST_CASES` runs more cases than CI does.

mod agent;
mod dice;
mod disk;
mod scan;
mod service;
mod user;
mod world;

use fsync_core::id::ObjectId;
use fsync_core::path::RelPath;
use proptest::prelude::*;

use crate::folder::Folder;
use user::{Act, any_act, edit, plain_act, rename};
use world::{Event, World};

/// Cases in CI.
const CASES: u32 = 2_000;
/// Turns that each agent gets after the last act.
const ROUNDS: usize = 64;

/// A failure is told whole and becomes a row of a table, so no seeds are kept.
fn config() -> ProptestConfig {
    let config = ProptestConfig::default();
    ProptestConfig {
        cases: config.cases.max(CASES),
        failure_persistence: None,
        ..config
    }
}

/// Everything that chance decides, so that all of it shrinks.
#[derive(Debug, Clone)]
struct Case {
    /// Makes the tree that all start from.
    plant: Vec<Act>,
    /// What the user of each agent does before anybody syncs.
    perturb: Vec<Vec<Act>>,
    /// The last agent has nothing in common with the head.
    has_stranger: bool,
    events: Vec<(usize, Event)>,
    /// Seed of the turns after the last event.
    seed: u64,
}

fn dice() -> impl Strategy<Value = u64> {
    prop_oneof![1 => Just(0), 3 => any::<u64>()]
}

fn acts(act: impl Strategy<Value = Act>, most: usize) -> impl Strategy<Value = Vec<Act>> {
    proptest::collection::vec(act, 0..most)
}

/// Cases of two or three agents with everything that may happen.
fn wild() -> impl Strategy<Value = Case> {
    let event = prop_oneof![
        8 => dice().prop_map(Event::Turn),
        4 => any_act().prop_map(Event::Act),
        2 => user::spot().prop_map(Event::Lock),
        1 => Just(Event::Unlock),
        1 => Just(Event::Restart),
        1 => (user::spot(), user::spot()).prop_map(|(from, to)| Event::Lie(from, to)),
        1 => Just(Event::Forget),
    ];
    cases(any_act(), any_act(), event, proptest::bool::weighted(0.1))
}

/// Cases without renames, copies, exec bits, strangers and exceptions: what is taken away is gone
/// for good.
fn tame() -> impl Strategy<Value = Case> {
    let event = prop_oneof![
        6 => dice().prop_map(Event::Turn),
        4 => plain_act().prop_map(Event::Act),
        1 => Just(Event::Restart),
    ];
    cases(plain_act(), plain_act(), event, Just(false))
}

fn cases(
    plant: impl Strategy<Value = Act>,
    perturb: impl Strategy<Value = Act>,
    event: impl Strategy<Value = Event>,
    has_stranger: impl Strategy<Value = bool>,
) -> impl Strategy<Value = Case> {
    let perturb = proptest::collection::vec(acts(perturb, 6), 2..=3);
    let events = proptest::collection::vec((0usize..3, event), 0..40);
    (acts(plant, 10), perturb, has_stranger, events, dice()).prop_map(
        |(plant, perturb, has_stranger, events, seed)| Case {
            plant,
            perturb,
            has_stranger,
            events,
            seed,
        },
    )
}

type Start = fn(World) -> World;

/// Checks a case; one that fails happens again, and is told.
fn check(case: impl Fn(Start) -> Result<(), TestCaseError>) -> Result<(), TestCaseError> {
    case(|world| world).or_else(|_| case(World::told))
}

/// Lets a case happen; returns the world when all is in step.
fn run(case: &Case, start: Start) -> Result<World, TestCaseError> {
    let mut world = start(World::new(
        &case.plant,
        case.perturb.len(),
        case.has_stranger,
    ));
    for (agent, acts) in case.perturb.iter().enumerate() {
        acts.iter().for_each(|act| world.act(agent, act));
    }
    for (agent, event) in &case.events {
        world.event(agent % case.perturb.len(), event);
    }
    let turns = ROUNDS * case.perturb.len();
    prop_assert!(world.settle(turns, case.seed), "no end{}", world.tell());
    Ok(world)
}

fn in_step(world: &World) -> Result<(), TestCaseError> {
    let head = world.service.root();
    let folder = Folder::of(&world.store, head);
    for agent in &world.agents {
        let (name, refused) = (&agent.name, &agent.refused);
        prop_assert!(refused.is_none(), "{refused:?} at {name}{}", world.tell());
        prop_assert_eq!(
            &agent.disk.folder,
            &folder,
            "disk of {}{}",
            name,
            world.tell()
        );
        prop_assert_eq!(
            agent.synced,
            head,
            "synced tree of {}{}",
            name,
            world.tell()
        );
    }
    Ok(())
}

fn nothing_is_lost(world: &World) -> Result<(), TestCaseError> {
    let kept = world.contents_of_head();
    let contents = &world.contents;
    for written in contents.written.keys() {
        let is_safe = kept.contains(written) || contents.removed.contains(written);
        prop_assert!(is_safe, "lost {written:?}{}", world.tell());
    }
    let is_made_up = |kept: &ObjectId| !contents.written.contains_key(kept);
    prop_assert!(!kept.iter().any(is_made_up), "made up{}", world.tell());
    Ok(())
}

fn nothing_comes_back(world: &World) -> Result<(), TestCaseError> {
    // A copy beside is another file: to remove one does not remove the other.
    let disputed = world.service.disputed(&world.store);
    let kept = world.contents_of_head();
    for removed in world.contents.removed.difference(&disputed) {
        let is_back = kept.contains(removed);
        prop_assert!(!is_back, "{removed:?} is back{}", world.tell());
    }
    Ok(())
}

/// A tree, one rename in one folder, and what is written in another folder meanwhile.
#[derive(Debug, Clone)]
struct Redirect {
    plant: Vec<Act>,
    rename: Act,
    writes: Vec<Act>,
    turns: Vec<(usize, u64)>,
    seed: u64,
}

fn redirects() -> impl Strategy<Value = Redirect> {
    let turns = proptest::collection::vec((0usize..3, dice()), 0..20);
    (
        acts(any_act(), 10),
        rename(),
        acts(edit(), 5),
        turns,
        dice(),
    )
        .prop_map(|(plant, rename, writes, turns, seed)| Redirect {
            plant,
            rename,
            writes,
            turns,
            seed,
        })
}

/// Returns where the one rename of a disk went, if there was one and nothing was overwritten.
fn renamed(before: &Folder, world: &World) -> Option<(RelPath, RelPath)> {
    let after = &world.agents[0].disk.folder;
    (before.0.len() == after.0.len()).then_some(())?;
    let mut gone = before.0.keys().filter(|p| !after.0.contains_key(*p));
    let mut came = after.0.keys().filter(|p| !before.0.contains_key(*p));
    Some((gone.next()?.clone(), came.next()?.clone()))
}

impl Redirect {
    fn check(&self, start: Start) -> Result<(), TestCaseError> {
        let mut world = start(World::new(&self.plant, 3, false));
        let before = world.agents[0].disk.folder.clone();
        world.act(0, &self.rename);
        self.writes.iter().for_each(|act| world.act(1, act));
        let Some((from, to)) = renamed(&before, &world) else {
            return Ok(());
        };
        let written = world.agents[1].disk.folder.clone();
        let is_apart =
            |p: &RelPath| before.0.contains_key(p) || !p.is_within(&to) && !to.is_within(p);
        if !written.0.keys().all(is_apart) {
            return Ok(());
        }
        let moved = |(path, entry): (RelPath, _)| match path.strip_prefix(&from) {
            Some(tail) => (to.concat(&tail), entry),
            None => (path, entry),
        };
        let expected = Folder(written.0.into_iter().map(moved).collect());
        for (agent, dice) in &self.turns {
            world.event(*agent, &Event::Turn(*dice));
        }
        let is_settled = world.settle(3 * ROUNDS, self.seed);
        prop_assert!(is_settled, "no end{}", world.tell());
        in_step(&world)?;
        let there = &world.agents[2].disk.folder;
        prop_assert_eq!(there, &expected, "{} -> {}{}", from, to, world.tell());
        Ok(())
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn all_come_in_step_and_nothing_is_lost(case in wild()) {
        check(|start| {
            let world = run(&case, start)?;
            in_step(&world)?;
            nothing_is_lost(&world)
        })?;
    }

    #[test]
    fn what_is_taken_away_does_not_come_back(case in tame()) {
        check(|start| {
            let world = run(&case, start)?;
            in_step(&world)?;
            nothing_is_lost(&world)?;
            nothing_comes_back(&world)
        })?;
    }

    #[test]
    fn a_rename_redirects_what_others_write(case in redirects()) {
        check(|start| case.check(start))?;
    }
}
