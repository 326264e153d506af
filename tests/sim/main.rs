//! Runs seeds of the simulator: `sim --seeds N [--from M] [--log] [--repeat]`.
//!
//! Two threads share the seeds. A seed that fails prints what does not hold and the one command
//! that repeats it; with `--log` the whole log of a seed is printed, with what the agents decide;
//! with `--repeat` every seed runs twice and must give the same log. With `--dark` the first machine
//! of each seed loses its power once, at each of up to that many of its agent's calls in turn;
//! `--call N` is one of them alone.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use fsync_tests::sim::run::{Outcome, run, run_dark};

/// A seed is mostly small allocations: a third faster than with the system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const THREADS: u64 = 2;
const PROGRESS_SEEDS: u64 = 500;
/// More failures say nothing new: the run ends early.
const FAILURES_MAX: u64 = 20;

#[derive(Debug, Default)]
struct Options {
    from: u64,
    seeds: u64,
    log: bool,
    repeat: bool,
    dark: u64,
    call: Option<u64>,
}

fn options() -> Option<Options> {
    let mut options = Options {
        seeds: 1_000,
        ..Options::default()
    };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--seeds" => options.seeds = args.next()?.parse().ok()?,
            "--from" => options.from = args.next()?.parse().ok()?,
            "--log" => options.log = true,
            "--dark" => options.dark = args.next()?.parse().ok()?,
            "--call" => options.call = Some(args.next()?.parse().ok()?),
            "--repeat" => options.repeat = true,
            _ => return None,
        }
    }
    Some(options)
}

#[expect(
    clippy::print_stdout,
    reason = "the summary and the log are this program's output"
)]
#[expect(clippy::print_stderr, reason = "progress goes beside it")]
fn main() -> ExitCode {
    let Some(options) = options() else {
        eprintln!("usage: sim [--seeds N] [--from M] [--log] [--repeat] [--dark CALLS | --call N]");
        let is_asked = std::env::args().any(|arg| arg == "--help" || arg == "-h");
        return ExitCode::from(u8::from(!is_asked));
    };
    if options.log {
        let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG);
        subscriber
            .without_time()
            .with_target(false)
            .with_ansi(false)
            .init();
    }
    std::panic::set_hook(Box::new(|_| {}));
    let started = Instant::now();
    let (next, failed) = (AtomicU64::new(options.from), AtomicU64::new(0));
    let (events, revisions) = (AtomicU64::new(0), AtomicU64::new(0));
    let end = options.from + options.seeds;
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end || failed.load(Ordering::Relaxed) >= FAILURES_MAX {
                return;
            }
            let outcome = one(seed, &options);
            events.fetch_add(outcome.events, Ordering::Relaxed);
            revisions.fetch_add(outcome.revisions, Ordering::Relaxed);
            if let Some(failure) = outcome.failure {
                failed.fetch_add(1, Ordering::Relaxed);
                println!("seed {seed}: {failure}");
                println!(
                    "  repeat: cargo run --release -p fsync-tests --bin sim -- --seeds 1 --from {seed} --log"
                );
            }
            let done = seed + 1 - options.from;
            if done % PROGRESS_SEEDS == 0 {
                let rate = done as f64 / started.elapsed().as_secs_f64();
                eprintln!("{done} of {} seeds, {rate:.0} a second", options.seeds);
            }
        }
    };
    std::thread::scope(|scope| (0..THREADS).for_each(|_| drop(scope.spawn(work))));
    let failed = failed.into_inner();
    println!(
        "{} seeds, {failed} failed, {} revisions, {} events, {:.1} s",
        options.seeds,
        revisions.into_inner(),
        events.into_inner(),
        started.elapsed().as_secs_f64()
    );
    ExitCode::from(u8::from(failed > 0))
}

/// Runs a seed once for each call at which its power is lost; returns the first that fails.
fn dark(seed: u64, calls: u64) -> Outcome {
    let (mut outcome, count) = run_dark(seed, 0, false);
    let stride = count.div_ceil(calls).max(1);
    for call in (1..=count).step_by(usize::try_from(stride).unwrap_or(1)) {
        let (next, _) = run_dark(seed, call, false);
        outcome.events += next.events;
        if let Some(failure) = next.failure {
            outcome.failure = Some(format!(
                "power lost at call {call}: {failure}\n  with: --call {call}"
            ));
            return outcome;
        }
    }
    outcome
}

fn one(seed: u64, options: &Options) -> Outcome {
    if let Some(call) = options.call {
        return run_dark(seed, call, options.log).0;
    }
    if options.dark > 0 {
        return dark(seed, options.dark);
    }
    let mut outcome = run(seed, options.log);
    if options.repeat && outcome.hash != run(seed, false).hash {
        outcome.failure = Some("I10 determinism: a second run gave another log".to_owned());
    }
    outcome
}
