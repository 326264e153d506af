//! Shows that the simulator finds faults: runs it with each mutant of the product on the seed that is
//! known to kill it, and with none. `mutants --find NAME [--seeds N] [--dark CALLS]` looks for
//! seeds that kill one.
//!
//! Built with `--features fsync-tests/mutants`, beside the shipped programs.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

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
    (Mutant::OldHead, Kill::Seed(4)),
    (Mutant::DeafOverflow, Kill::Seed(3)),
    (Mutant::NoCopy, Kill::Seed(2)),
    (Mutant::DeleteWins, Kill::Seed(6)),
    (Mutant::UnsafeSteps, Kill::Seed(6)),
    (Mutant::NoMoves, Kill::Seed(0)),
    (Mutant::EarlyAnswer, Kill::Seed(0)),
    (Mutant::BlindCommit, Kill::Seed(4)),
    (Mutant::NoPublish, Kill::Seed(0)),
    (Mutant::EarlySync, Kill::Seed(7)),
    (Mutant::NoCheck, Kill::Seed(715)),
    (Mutant::NoSecondLook, Kill::Seed(117)),
    (Mutant::NoTrash, Kill::Dark(2, 596)),
    (Mutant::TrustTick, Kill::Seed(37)),
    (Mutant::LazyIntents, Kill::Dark(39, 544)),
    (Mutant::NoRecovery, Kill::Dark(34, 217)),
    (Mutant::NoStageSync, Kill::Dark(0, 641)),
    (Mutant::NoDirSync, Kill::Dark(0, 317)),
    (Mutant::NoSettle, Kill::Dark(3, 681)),
];

/// More seeds than this say that the simulator does not find a mutant.
const SEEDS: u64 = 5_000;
/// So many seeds, and calls of each at which power is lost, where that is what kills a mutant.
const DARK_SEEDS: u64 = 60;
const DARK_CALLS: u64 = 250;
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

/// Runs each mutant on what is known to kill it; where the world has changed since, looks for
/// another run that does.
#[expect(clippy::print_stdout, reason = "what it tells is its output")]
fn killed() -> ExitCode {
    let mut alive = 0;
    for (mutant, kill) in KILLS {
        let name = mutant.name();
        if let Some(failure) = kills(*mutant, *kill) {
            println!("{name}: {kill:?}: {failure}");
            continue;
        }
        let others = match kill {
            Kill::Seed(_) => search(*mutant, SEEDS, None, 1),
            Kill::Dark(..) => search(*mutant, DARK_SEEDS, Some(DARK_CALLS), 1),
        };
        match others.into_iter().next() {
            Some((other, failure)) => {
                println!("{name}: {kill:?} kills it no more, record {other:?}: {failure}");
            }
            None => {
                alive += 1;
                println!("{name}: ALIVE: {kill:?} passes, and so do all others that were tried");
            }
        }
    }
    println!("{} mutants, {alive} not found", KILLS.len());
    ExitCode::from(u8::from(alive > 0))
}

/// Returns how a run fails with a mutant, if it passes without.
fn kills(mutant: Mutant, kill: Kill) -> Option<String> {
    mutant::set(Some(mutant));
    let failure = kill.failure();
    mutant::set(None);
    failure.filter(|_| kill.failure().is_none())
}

/// Prints the first runs that kill a mutant.
#[expect(clippy::print_stdout, reason = "what it tells is its output")]
fn find(mutant: Mutant, seeds: u64, dark: Option<u64>) {
    let found = search(mutant, seeds, dark, FOUND);
    for (kill, failure) in &found {
        println!("{}: {kill:?}: {failure}", mutant.name());
    }
    if found.is_empty() {
        println!("{}: not found within {seeds} seeds", mutant.name());
    }
}

/// Looks for runs that a mutant fails and the product passes, with all cores; the first few.
fn search(mutant: Mutant, seeds: u64, dark: Option<u64>, enough: usize) -> Vec<(Kill, String)> {
    mutant::set(Some(mutant));
    let (next, found) = (AtomicU64::new(0), Mutex::new(Vec::new()));
    let look = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            let is_enough = || lock(&found).len() >= enough;
            if seed >= seeds || is_enough() {
                return;
            }
            for kill in runs(seed, dark) {
                if let Some(failure) = kill.failure() {
                    lock(&found).push((kill, failure));
                    break;
                }
            }
        }
    };
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        (0..threads).for_each(|_| drop(scope.spawn(look)));
    });
    mutant::set(None);
    let mut found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    found.retain(|(kill, _): &(Kill, String)| kill.failure().is_none());
    found
}

fn lock<T>(all: &Mutex<T>) -> MutexGuard<'_, T> {
    all.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the runs of a seed: the usual one, or power losses at so many calls.
fn runs(seed: u64, dark: Option<u64>) -> Vec<Kill> {
    let Some(calls) = dark else {
        return vec![Kill::Seed(seed)];
    };
    let count = run_dark(seed, 0, false).1;
    let stride = usize::try_from(count.div_ceil(calls).max(1)).unwrap_or(1);
    let calls = (1..=count).step_by(stride);
    calls.map(|call| Kill::Dark(seed, call)).collect()
}
