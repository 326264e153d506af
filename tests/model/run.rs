//! One run: a program of users on a tool, round by round, each judged once the tool is quiet.

use std::fmt;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use super::history::{PATHS, Round, Settled, Value};
use super::judge::{Verdict, judge};
use super::tool::{REPLICAS, Tool};
use super::user::{Op, User, look};
use crate::sim::rng::Rng;

/// A file that nobody touches: a folder that is emptied is a case of its own.
const ANCHOR: &str = "anchor.txt";
/// Pauses of users, in milliseconds: within and beyond what a tool needs for one change.
const PAUSES_MS: [u64; 6] = [0, 0, 2, 10, 40, 150];

/// One line of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    /// A user does something.
    Do(usize, Op),
    /// All wait so many milliseconds.
    Wait(u64),
    /// The tool stops at a replica, until the round's end.
    Stop(usize),
}

/// What users do between two quiet moments.
pub type Program = Vec<Line>;

/// Why a run ended early.
#[derive(Debug, Clone)]
pub struct Failure {
    /// What does not hold, in few words.
    pub kind: String,
    /// What happened.
    pub text: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}", self.kind, self.text)
    }
}

/// How a run went.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Rounds that were judged.
    pub rounds: usize,
    /// What users did and saw.
    pub events: usize,
    /// Conflict copies at the end.
    pub copies: usize,
    /// Rounds whose search was given up.
    pub unknown: usize,
    /// What does not hold.
    pub failure: Option<Failure>,
}

/// Returns the programs of a seed.
pub fn programs(seed: u64, rounds: usize) -> Vec<Program> {
    let mut rng = Rng::new(seed);
    let mut next: Value = 1;
    (0..rounds).map(|_| program(&mut rng, &mut next)).collect()
}

fn small(rng: &mut Rng, end: usize) -> usize {
    usize::try_from(rng.below(end as u64)).unwrap_or(0)
}

fn program(rng: &mut Rng, next: &mut Value) -> Program {
    let mut program = Program::new();
    if rng.chance(350) {
        program.push(Line::Stop(small(rng, REPLICAS)));
    }
    let has_renames = rng.chance(500);
    for _ in 0..rng.between(3, 9) {
        let (user, path) = (small(rng, REPLICAS), small(rng, PATHS.len()));
        let mut value = || {
            *next += 1;
            *next - 1
        };
        let op = match rng.below(100) {
            0..20 => Op::Read(path),
            20..50 => Op::Save(path, value()),
            50..70 => Op::Overwrite(path, value()),
            70..85 => Op::Delete(path),
            _ if !has_renames => Op::Read(path),
            _ => {
                let to = (path + 1 + small(rng, PATHS.len() - 1)) % PATHS.len();
                Op::Rename(path, to)
            }
        };
        program.push(Line::Do(user, op));
        let pause = rng.pick(&PAUSES_MS).copied().unwrap_or(0);
        if pause > 0 {
            program.push(Line::Wait(pause));
        }
    }
    program
}

/// Runs programs on a tool that has not started yet.
///
/// # Errors
/// If the tool cannot be run, or never says that it is quiet.
pub fn run(tool: &mut dyn Tool, programs: &[Program], scratch: &Path) -> Result<Outcome> {
    for replica in 0..REPLICAS {
        fs::create_dir_all(tool.folder(replica))?;
    }
    fs::write(tool.folder(0).join(ANCHOR), "stays\n")?;
    for replica in 0..REPLICAS {
        tool.start(replica)?;
    }
    tool.quiet().context("at the start")?;
    let user = |number| User::new(number, tool.folder(number), scratch.to_owned());
    let users: [User; REPLICAS] = std::array::from_fn(user);
    let mut outcome = Outcome::default();
    let mut before = Settled::default();
    for program in programs {
        let events = play(tool, &users, program)?;
        outcome.rounds += 1;
        outcome.events += events.len();
        let mut round = Round {
            before,
            events,
            after: Settled::default(),
        };
        tool.quiet().with_context(|| format!("after\n{round}"))?;
        match all_look(tool)? {
            Ok(after) => round.after = after,
            Err(failure) => {
                let text = format!("{}\n{round}", failure.text);
                outcome.failure = Some(Failure { text, ..failure });
                return Ok(outcome);
            }
        }
        match judge(&round) {
            Verdict::Explained => {}
            Verdict::Unknown => outcome.unknown += 1,
            Verdict::Broken(breach) => {
                let text = breach.to_string();
                let kind = text.lines().next().unwrap_or_default().to_owned();
                outcome.failure = Some(Failure { kind, text });
                return Ok(outcome);
            }
        }
        outcome.copies = round.after.copies.len();
        before = round.after;
    }
    Ok(outcome)
}

fn play(
    tool: &mut dyn Tool,
    users: &[User; REPLICAS],
    program: &Program,
) -> Result<Vec<super::history::Event>> {
    let mut events = Vec::new();
    let mut stopped = Vec::new();
    for line in program {
        match *line {
            Line::Do(user, op) => events.extend(users[user].perform(op)?),
            // What the users do, not a wait for something: a pause is part of the program.
            Line::Wait(ms) => std::thread::sleep(Duration::from_millis(ms)),
            Line::Stop(replica) => {
                tool.stop(replica)?;
                stopped.push(replica);
            }
        }
    }
    for replica in stopped {
        tool.start(replica)?;
    }
    Ok(events)
}

/// Looks at all folders; they must be the same.
fn all_look(tool: &dyn Tool) -> Result<Result<Settled, Failure>> {
    let mut all = Vec::new();
    for replica in 0..REPLICAS {
        match settled(tool, &tool.folder(replica))? {
            Ok(settled) => all.push(settled),
            Err(failure) => return Ok(Err(failure)),
        }
    }
    let is_same = all.iter().all(|other| *other == all[0]);
    if is_same {
        return Ok(Ok(all.swap_remove(0)));
    }
    let lines = all.iter().enumerate();
    let lines = lines.map(|(replica, found)| format!("  replica {replica}: {found}"));
    Ok(Err(Failure {
        kind: "folders are the same once the tool is quiet".to_owned(),
        text: lines.collect::<Vec<_>>().join("\n"),
    }))
}

fn settled(tool: &dyn Tool, folder: &Path) -> Result<Result<Settled, Failure>> {
    let mut settled = Settled::default();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if tool.is_own(&name) || name == ANCHOR {
            continue;
        }
        let value = look(&folder.join(&name))?;
        if let Some(path) = PATHS.iter().position(|path| *path == name) {
            settled.values[path] = value;
        } else if tool.original(&name).is_some() {
            settled.copies.insert(value);
        } else {
            return Ok(Err(Failure {
                kind: "a file that nobody made".to_owned(),
                text: format!("  {name:?} in {}", folder.display()),
            }));
        }
    }
    Ok(Ok(settled))
}
