//! Shows that the simulator finds faults: runs it with each mutant of the product on the seed that is
//! known to kill it, and with none. `mutants --find NAME [--seeds N] [--dark CALLS]` looks for
//! seeds that kill one.
//!
//! Built with `--features fsync-tests/mutants`, beside the shipped programs.

use std::process::ExitCode;

use fsync_core::mutant::{self, Mutant};
use fsync_tests::sim::run::{run, run_dark};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A run that fails with a mutant and passes without.
#[derive(Debug, Clone, Copy)]
enum Kill {
    /// The usual run of this seed.
    Seed(u64),
    /// The run of this seed in which power is lost at this call.
    Dark(u64, u64),
}

/// What kills which mutant; found with `--find`, and to be found anew when worlds change.
const KILLS: &[(Mutant, Kill)] = &[
    (Mutant::OldHead, Kill::Seed(2)),
    (Mutant::DeafOverflow, Kill::Seed(13)),
    (Mutant::NoCopy, Kill::Seed(1)),
    (Mutant::DeleteWins, Kill::Seed(2)),
    (Mutant::UnsafeSteps, Kill::Seed(11)),
    (Mutant::NoMoves, Kill::Seed(0)),
    (Mutant::EarlyAnswer, Kill::Seed(0)),
    (Mutant::BlindCommit, Kill::Seed(2)),
    (Mutant::NoPublish, Kill::Seed(0)),
    (Mutant::EarlySync, Kill::Seed(18)),
    (Mutant::NoSecondLook, Kill::Seed(360)),
    (Mutant::TrustTick, Kill::Seed(315)),
    (Mutant::NoStageSync, Kill::Dark(0, 641)),
    (Mutant::NoDirSync, Kill::Dark(0, 235)),
];

/// More seeds than this say that the simulator does not find a mutant.
const SEEDS: u64 = 5_000;
/// Seeds that `--find` shows.
const FOUND: usize = 3;

impl Kill {
    fn failure(self) -> Option<String> {
        match self {
            Self::Seed(seed) => run(seed, false).failure,
            Self::Dark(seed, call) => run_dark(seed, call, false).0.failure,
        }
    }
}

#[expect(clippy::print_stderr, reason = "how it is used is its output")]
fn main() -> ExitCode {
    std::panic::set_hook(Box::new(|_| {}));
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |name: &str| {
        let at = args.iter().position(|arg| arg == name)?;
        args.get(at + 1)?.parse::<u64>().ok()
    };
    let wanted = args.iter().position(|arg| arg == "--find");
    let wanted = wanted.and_then(|at| args.get(at + 1));
    let mutant = Mutant::ALL
        .iter()
        .find(|m| Some(m.name()) == wanted.map(String::as_str));
    match (args.is_empty(), mutant) {
        (true, _) => killed(),
        (false, Some(mutant)) => {
            let seeds = number("--seeds").unwrap_or(SEEDS);
            find(*mutant, seeds, number("--dark"));
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("usage: mutants [--find NAME [--seeds N] [--dark CALLS]]; the names:");
            Mutant::ALL.iter().for_each(|m| eprintln!("  {}", m.name()));
            ExitCode::FAILURE
        }
    }
}

/// Runs each mutant on what kills it.
#[expect(clippy::print_stdout, reason = "what it tells is its output")]
fn killed() -> ExitCode {
    let mut alive = 0;
    for (mutant, kill) in KILLS {
        mutant::set(Some(*mutant));
        let failure = kill.failure();
        mutant::set(None);
        let without = kill.failure();
        let name = mutant.name();
        match (failure, without) {
            (Some(failure), None) => println!("{name}: {kill:?}: {failure}"),
            (None, None) => {
                alive += 1;
                println!("{name}: ALIVE: {kill:?} passes; find another: mutants --find {name}");
            }
            (_, Some(failure)) => {
                alive += 1;
                println!("{name}: {kill:?} fails without it too: {failure}");
            }
        }
    }
    println!("{} mutants, {alive} not found", KILLS.len());
    ExitCode::from(u8::from(alive > 0))
}

/// Prints the first runs that kill a mutant.
#[expect(clippy::print_stdout, reason = "what it tells is its output")]
fn find(mutant: Mutant, seeds: u64, dark: Option<u64>) {
    mutant::set(Some(mutant));
    let usual = |seed: u64| vec![Kill::Seed(seed)];
    let powerless = |calls: u64, seed: u64| {
        let count = run_dark(seed, 0, false).1;
        let stride = usize::try_from(count.div_ceil(calls).max(1)).unwrap_or(1);
        let calls = (1..=count).step_by(stride);
        calls.map(|call| Kill::Dark(seed, call)).collect()
    };
    let kills = (0..seeds).flat_map(|seed| match dark {
        Some(calls) => powerless(calls, seed),
        None => usual(seed),
    });
    let found = kills.filter_map(|kill| Some((kill, kill.failure()?)));
    let mut count = 0;
    for (kill, failure) in found.take(FOUND) {
        count += 1;
        println!("{}: {kill:?}: {failure}", mutant.name());
    }
    if count == 0 {
        println!("{}: not found within {seeds} seeds", mutant.name());
    }
}
