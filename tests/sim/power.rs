//! Power is lost at a call of an agent: every part of what was not synced may be gone.

use fsync_tests::sim::run::run_dark;

/// Worlds that are cut.
const SEEDS: u64 = 12;
/// Cuts of each, spread over all calls.
const CUTS: u64 = 100;
/// Seeds and calls that once failed.
const ONCE_FAILED: &[(u64, u64, &str)] = &[];

fn cut(seed: u64, call: u64) -> Option<String> {
    let failure = run_dark(seed, call, false).0.failure?;
    Some(format!(
        "{failure}\n  repeat: cargo run --release -p fsync-tests --bin sim -- --seeds 1 --from {seed} --call {call} --log"
    ))
}

#[test]
fn a_power_loss_at_any_call_loses_nothing() {
    let (mut broken, mut cuts) = (Vec::new(), 0);
    for seed in 0..SEEDS {
        let (whole, calls) = run_dark(seed, 0, false);
        broken.extend(whole.failure);
        let stride = (calls / CUTS).max(1);
        // Other calls in each world.
        let calls = (1 + seed % stride..=calls).step_by(usize::try_from(stride).unwrap());
        cuts += calls.clone().count();
        broken.extend(calls.filter_map(|call| cut(seed, call)));
    }
    assert!(cuts > 500, "power was lost {cuts} times only");
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn power_losses_that_once_failed_hold() {
    let failures = ONCE_FAILED.iter();
    let broken =
        failures.filter_map(|(seed, call, what)| Some(format!("{what}: {}", cut(*seed, *call)?)));
    let broken: Vec<String> = broken.collect();
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn the_same_power_loss_gives_the_same_log() {
    for call in [0, 50, 200] {
        let hash = || run_dark(1, call, false).0.hash;
        assert_eq!(hash(), hash(), "call {call}");
    }
}
