//! Runs the forerunner's scenarios on both kinds of sites.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on may end where it stands"
)]

use anyhow::{Context, Result};
use fsync_tests::seed::real::Real;
use fsync_tests::seed::simulated::Simulated;
use fsync_tests::seed::{Scenario, Site, live, more, once};

/// Runs scenarios, each on a site of its own.
fn run(scenarios: &[Scenario], site: impl Fn() -> Result<Box<dyn Site>>) -> Result<()> {
    for (name, scenario) in scenarios {
        let mut site = site()?;
        let on = site.name();
        scenario(&mut *site).with_context(|| format!("{name}, on {on}"))?;
    }
    Ok(())
}

fn simulated() -> Result<Box<dyn Site>> {
    Ok(Box::new(Simulated::new()))
}

fn real() -> Result<Box<dyn Site>> {
    Ok(Box::new(Real::new()?))
}

#[test]
fn two_live_folders_in_memory() -> Result<()> {
    run(live::SCENARIOS, simulated)
}

#[test]
fn two_live_folders_over_sockets() -> Result<()> {
    run(live::SCENARIOS, real)
}

#[test]
fn what_was_stored_is_loaded_later_in_memory() -> Result<()> {
    run(once::SCENARIOS, simulated)
}

#[test]
fn what_was_stored_is_loaded_later_over_sockets() -> Result<()> {
    run(once::SCENARIOS, real)
}

#[test]
fn more_folders_and_harder_days_in_memory() -> Result<()> {
    run(more::SCENARIOS, simulated)
}

#[test]
fn more_folders_and_harder_days_over_sockets() -> Result<()> {
    run(more::SCENARIOS, real)
}
