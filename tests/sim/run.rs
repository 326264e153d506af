//! One run: a seed makes a world, lets it live through some rounds of edits and faults, and checks
//! it after each.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::backend::Meter;
use super::check::{check, contents_of, disk_picture, still};
use super::event::{Event, Weather};
use super::follow;
use super::rng::Rng;
use super::volume::Faults;
use super::world::World;

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;
/// About the most edits of a user in one storm.
const EDITS_SHORT: u64 = 24;
/// The same in one of twenty storms.
const EDITS_LONG: u64 = 300;
/// A world must become quiet within this virtual time.
const SETTLE: u64 = 600 * SECOND;
/// A quiet world is watched for so long.
const WATCHED: u64 = 30 * SECOND;
/// In how many of 1,000 calls of an agent its user acts meanwhile, where that is often.
const INTERRUPTS_HARD: u64 = 120;
/// More events than this in one run are a loop.
const EVENTS_MAX: u64 = 400_000;

/// How a run ended.
#[derive(Debug)]
pub struct Outcome {
    /// Hash over the log.
    pub hash: u64,
    /// Lines of the log.
    pub events: u64,
    /// Revisions that were made.
    pub revisions: u64,
    /// What does not hold.
    pub failure: Option<String>,
}

/// Runs a seed; prints its log if asked to.
pub fn run(seed: u64, prints_log: bool) -> Outcome {
    let mut rng = Rng::new(seed ^ 0xabcd);
    let machines = usize::try_from(3 + rng.below(6) / 4).unwrap_or(3);
    let replicas = 1 + rng.below(6) / 3 * rng.between(1, 2);
    let mut world = World::new(seed, (machines, replicas), prints_log);
    let ran = catch_unwind(AssertUnwindSafe(|| live(&mut world, &mut rng)));
    let failure = match ran {
        Ok(result) => result.err(),
        Err(panic) => Some(format!("panicked: {}", words_of(&*panic))),
    };
    Outcome {
        hash: world.log.hash(),
        events: world.log.count(),
        revisions: world.last_seq,
        failure,
    }
}

/// Runs a seed whose first machine loses its power at one call of its agent, be it to the folder's
/// disk or the state's; in every other run the agent ended shortly before. All else goes well. Call 0 never comes. Returns also how many calls there
/// were.
pub fn run_dark(seed: u64, call: u64, prints_log: bool) -> (Outcome, u64) {
    let mut rng = Rng::new(seed ^ 0xdead);
    let mut world = World::new(seed, (2, 1), prints_log);
    let meter = Meter::default();
    let mut chance = Rng::new(seed ^ call << 32);
    if call > 0 && chance.chance(500) {
        // What a process left undone when it ended is not durable either.
        meter.end_at(call.saturating_sub(chance.between(1, 40)));
    }
    meter.cut_at(call, chance);
    world.machines[0].meter(&meter);
    let ran = catch_unwind(AssertUnwindSafe(|| live_dark(&mut world, &mut rng)));
    let failure = match ran {
        Ok(result) => result.err(),
        Err(panic) => Some(format!("panicked: {}", words_of(&*panic))),
    };
    let outcome = Outcome {
        hash: world.log.hash(),
        events: world.log.count(),
        revisions: world.last_seq,
        failure,
    };
    (outcome, meter.calls())
}

/// Edits on both machines, in fair weather.
fn live_dark(world: &mut World, rng: &mut Rng) -> Result<(), String> {
    for at in 0..world.machines.len() {
        world.within_ms(0, 1_000, Event::Start(at));
        // The one that loses its power is the other, then.
        if at == 1 || !world.is_lone {
            world.within_ms(0, 2_000, Event::User(at));
        }
    }
    world.pause_ms = *rng.pick(&[40, 300]).unwrap_or(&300);
    world.edits_until = storm_length(world.pause_ms, rng);
    calm(world);
    while world.step(world.edits_until) {
        bound(world)?;
    }
    settle(world)?;
    check(world, &BTreeSet::new())?;
    watch(world)
}

fn words_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "without words".to_owned())
}

fn live(world: &mut World, rng: &mut Rng) -> Result<(), String> {
    let mut ghosts = BTreeSet::new();
    for at in 0..world.machines.len() {
        world.within_ms(0, 3_000, Event::Start(at));
    }
    let rounds = 1 + rng.below(3);
    for round in 0..rounds {
        world.say(&format!("round {round}"));
        storm(world, rng)?;
        calm(world);
        settle(world)?;
        let head = check(world, &ghosts)?;
        watch(world)?;
        // What stands on a disk alone may become part of the tree again: its user may move it.
        let mut contents = contents_of(&head);
        for machine in &world.machines {
            contents.extend(contents_of(&disk_picture(&machine.files.volume())));
        }
        let gone = |id: &&fsync_core::id::ObjectId| !contents.contains(id);
        ghosts = world
            .story
            .told()
            .written
            .keys()
            .filter(gone)
            .copied()
            .collect();
        if round + 1 == rounds
            && !world.is_lone
            && rng.chance(400)
            && let Some(scene) = follow::begin(world, rng, &head)
        {
            settle(world)?;
            scene.check(&check(world, &ghosts)?)?;
        }
    }
    Ok(())
}

/// Edits and faults for a while.
fn storm(world: &mut World, rng: &mut Rng) -> Result<(), String> {
    world.pause_ms = *rng.pick(&[40, 300, 1_500, 4_000]).unwrap_or(&300);
    let length = storm_length(world.pause_ms, rng);
    world.edits_until = world.now_ns() + length;
    world.weather = Weather {
        loss: *rng.pick(&[0, 0, 30, 150]).unwrap_or(&0),
        doubles: *rng.pick(&[0, 50, 200]).unwrap_or(&0),
        delay_ms: *rng.pick(&[2, 30, 400]).unwrap_or(&30),
        crashes: *rng.pick(&[0, 0, 5, 40]).unwrap_or(&0),
        overflows: *rng.pick(&[0, 50]).unwrap_or(&0),
    };
    let mut interrupts = *rng.pick(&[0, 2, 15]).unwrap_or(&0);
    if world.hard.as_mut().is_some_and(|hard| hard.chance(300)) {
        interrupts = INTERRUPTS_HARD;
    }
    for at in 0..world.machines.len() {
        let is_user = at == 0 || !world.is_lone;
        let mut volume = world.machines[at].files.volume();
        volume.interrupts = if is_user { interrupts } else { 0 };
        volume.faults = Faults {
            no_space: *rng.pick(&[0, 0, 0, 50]).unwrap_or(&0),
            denied: *rng.pick(&[0, 0, 0, 100]).unwrap_or(&0),
            io: *rng.pick(&[0, 0, 0, 0, 2]).unwrap_or(&0),
        };
        if world.is_lone {
            // What could not be read or changed for a while is merged without an ancestor.
            (volume.faults.io, volume.faults.denied) = (0, 0);
        }
        drop(volume);
        // Some users only look on for a while.
        if rng.chance(850) && is_user {
            world.within_ms(0, 2_000, Event::User(at));
        }
    }
    plan_faults(world, rng, length);
    plan_hard_faults(world, length);
    let end = world.now_ns() + length;
    while world.step(end) {
        bound(world)?;
    }
    Ok(())
}

/// Most storms are short: many small worlds find more than few large ones, and sooner. A hasty
/// user's storm is cut by the number of edits.
fn storm_length(pause_ms: u64, rng: &mut Rng) -> u64 {
    let edits_max = match rng.chance(50) {
        true => EDITS_LONG,
        false => EDITS_SHORT,
    };
    let enough = pause_ms * rng.between(4, edits_max) / 2;
    (enough * MS).clamp(SECOND / 5, 8 * SECOND)
}

fn plan_faults(world: &mut World, rng: &mut Rng, length: u64) {
    let count = rng.below(6);
    for _ in 0..count {
        let pause = rng.below(length);
        let at = usize::try_from(rng.below(world.machines.len() as u64)).unwrap_or(0);
        let event = match rng.below(10) {
            0 => {
                let replicas = world.replicas.len() as u64;
                Event::ServerCrash(usize::try_from(rng.below(replicas)).unwrap_or(0))
            }
            1..4 => Event::Crash(at),
            _ => Event::Cut(at),
        };
        world.after_ns(pause, event);
    }
}

/// What some worlds have on top, by a chance of their own: the others stay what they are.
fn plan_hard_faults(world: &mut World, length: u64) {
    let Some(mut rng) = world.hard.take() else {
        return;
    };
    for _ in 0..rng.below(4) {
        let pause = rng.below(length);
        let at = usize::try_from(rng.below(world.machines.len() as u64)).unwrap_or(0);
        let event = match rng.below(3) {
            // Who forgot what he had sent is in conflict with himself.
            0 if world.is_lone => Event::Crash(at),
            0 => Event::Forget(at),
            1 => Event::Silence(at),
            _ => Event::Away(at, rng.below(length)),
        };
        world.after_ns(pause, event);
    }
    world.hard = Some(rng);
}

/// Ends all faults.
fn calm(world: &mut World) {
    world.say("calm");
    world.weather = Weather {
        delay_ms: 10,
        ..Weather::default()
    };
    for machine in &mut world.machines {
        machine.cut_off(0);
        let mut volume = machine.files.volume();
        volume.interrupts = 0;
        volume.faults = Faults::default();
        if let Some(mut hand) = volume.hand.take() {
            hand.let_go(&mut volume);
            volume.hand = Some(hand);
        }
    }
}

fn bound(world: &World) -> Result<(), String> {
    if let Some(broken) = world.broken.first() {
        return Err(broken.clone());
    }
    match world.log.count() {
        0..EVENTS_MAX => Ok(()),
        _ => Err("I2 convergence: it goes on and on".to_owned()),
    }
}

fn settle(world: &mut World) -> Result<(), String> {
    let end = world.now_ns() + SETTLE;
    while !world.is_quiet() {
        bound(world)?;
        if !world.step(end) {
            let states: Vec<String> = world.machines.iter().map(|m| m.describe()).collect();
            return Err(format!(
                "I2 convergence: not quiet in time: {}",
                states.join("; ")
            ));
        }
    }
    Ok(())
}

/// I11: nothing moves any more.
fn watch(world: &mut World) -> Result<(), String> {
    let before = still(world);
    let end = world.now_ns() + WATCHED;
    while world.step(end) {
        bound(world)?;
    }
    let after = still(world);
    match before == after && world.is_in_step() {
        true => Ok(()),
        false => Err(format!("I11 quiescence: {before:?} became {after:?}")),
    }
}
