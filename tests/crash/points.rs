//! Every point, first and again: whoever ends there and starts again loses nothing.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use fsync_runtime::fault::{Point, Program, Side};

use super::run::{Plan, name_of, run};

/// Runs at the same time: they wait more than they work.
const WORKERS: usize = 6;
/// Names the one run that is to be done, as `exchange.before:2`, or several with commas between, for
/// one process that ends at one after the other.
const ONLY: &str = "FSYNC_CRASH";

/// Points that are only reached, or only have something to do, after an end at another one.
const AFTER: &[(Point, &[&str])] = &[
    (
        Point::Recover,
        &[
            "create.after:3",
            "rows.before:1",
            "trash.after:1",
            "move.after:1",
        ],
    ),
    (Point::Rescue, &["exchange.after:1"]),
];

/// A plan's faults, by name.
type Named = (String, Plan);

fn plan(victim: Program, faults: &[String], number: usize) -> Named {
    let plan = Plan {
        victim,
        faults: faults.to_vec(),
        is_all: number % 2 == 1,
        address: format!("127.77.{}.{}", number / 250, number % 250 + 1),
        log: None,
    };
    (faults.join(","), plan)
}

/// Returns how often each program comes to each side of its points when nobody ends.
fn counts() -> Result<BTreeMap<String, usize>> {
    let logs = tempfile::tempdir()?;
    let (_, mut quiet) = plan(Program::Server, &[], 0);
    quiet.log = Some(logs.path().to_owned());
    run(&quiet).context("without any end")?;
    let mut counts = BTreeMap::new();
    for point in Point::ALL {
        let log = fs::read_to_string(logs.path().join(name_of(point.program())))?;
        for side in Side::BOTH {
            let name = format!("{point}.{side}");
            let count = log.lines().filter(|line| *line == name).count();
            counts.insert(name, count);
        }
    }
    Ok(counts)
}

/// Returns all plans: each point for the first time, and halfway through a run.
fn plans(counts: &BTreeMap<String, usize>) -> Vec<Named> {
    let mut plans = Vec::new();
    let mut add = |victim: Program, faults: &[String]| {
        plans.push(plan(victim, faults, plans.len() + 1));
    };
    for point in Point::ALL {
        for side in Side::BOTH {
            let name = format!("{point}.{side}");
            let first = [format!("{name}:1")];
            if let Some((_, befores)) = AFTER.iter().find(|(after, _)| after == point) {
                for before in *befores {
                    add(point.program(), &[(*before).to_owned(), first[0].clone()]);
                }
                continue;
            }
            add(point.program(), &first);
            let half = counts.get(&name).map_or(0, |count| count.div_ceil(2));
            if half > 1 {
                add(point.program(), &[format!("{name}:{half}")]);
            }
        }
    }
    plans
}

/// Returns the plans that the caller's environment asks for.
fn chosen() -> Result<Option<Vec<Named>>> {
    let Ok(text) = std::env::var(ONLY) else {
        return Ok(None);
    };
    let faults: Vec<String> = text.split(',').map(str::to_owned).collect();
    let name = faults[0].split('.').next().unwrap_or_default();
    let point = Point::ALL.iter().find(|point| point.name() == name);
    let point = point.with_context(|| format!("{ONLY} names no point: {text}"))?;
    Ok(Some(vec![plan(point.program(), &faults, 1)]))
}

fn run_all(plans: Vec<Named>) -> Vec<(String, usize, Result<usize>)> {
    let (queue, done) = (Mutex::new(VecDeque::from(plans)), Mutex::new(Vec::new()));
    let next = || {
        queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front()
    };
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while let Some((name, plan)) = next() {
                    let wanted = plan.faults.len();
                    let outcome = run(&plan);
                    let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
                    done.push((name, wanted, outcome));
                }
            });
        }
    });
    done.into_inner().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn whoever_ends_at_any_point_loses_nothing() -> Result<()> {
    let plans = match chosen()? {
        Some(plans) => plans,
        None => plans(&counts()?),
    };
    let mut wrong = Vec::new();
    let mut table = Vec::new();
    for (name, wanted, outcome) in run_all(plans) {
        let is_first = name.ends_with(":1");
        table.push(match &outcome {
            Ok(deaths) => format!("{name}: ended {deaths} of {wanted} times"),
            Err(_) => format!("{name}: WRONG"),
        });
        match outcome {
            // Later visits may be fewer from run to run; a first one is always there.
            Ok(deaths) if deaths < wanted && is_first => wrong.push(format!("{name} was never reached")),
            Ok(_) => {}
            Err(error) => wrong.push(format!(
                "{error:#}\nagain: {ONLY}={name} cargo nextest run --release --workspace -E 'binary(crash)'"
            )),
        }
    }
    table.sort();
    println!("{}", table.join("\n"));
    ensure!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    Ok(())
}
