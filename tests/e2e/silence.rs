//! Connections that are dead without being closed: a network that swallows what is sent.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use fsync_tests::folder::write;
use fsync_tests::proxy::Proxy;
use fsync_tests::wait::{PATIENCE, until};
use fsync_tests::{Agent, Server, System};

/// Longest time that a change may take when every connection has gone silent.
const IN_STEP: Duration = Duration::from_secs(35);

fn agent_behind(proxy: &Proxy, system: &System, name: &str) -> Result<Agent> {
    let mut agent = system.agent_with(name, &proxy.url(), &[])?;
    agent.process.line_after("connected to ", PATIENCE)?;
    Ok(agent)
}

fn until_there(from: &Agent, to: &Agent, name: &str) -> Result<()> {
    let begun = Instant::now();
    write(&from.root, name, "text")?;
    until(&format!("{name} is there"), PATIENCE, || {
        Ok(fs::read(to.root.join(name))?)
    })?;
    let took = begun.elapsed();
    ensure!(took <= IN_STEP, "{name} took {took:?}");
    Ok(())
}

fn warm_up(system: &System, a: &Agent, b: &Agent) -> Result<()> {
    // Both ways, so that connections of all kinds stand.
    write(&a.root, "from a", "1")?;
    system.in_step("a", "b")?;
    write(&b.root, "from b", "2")?;
    system.in_step("a", "b")
}

#[test]
fn whoever_reads_comes_back_from_silence() -> Result<()> {
    let system = System::new()?;
    let server: Server = system.server()?;
    let proxy = Proxy::start(server.address())?;
    let a = system.agent("a", &server)?;
    let b = agent_behind(&proxy, &system, "b")?;
    warm_up(&system, &a, &b)?;
    proxy.go_silent();
    until_there(&a, &b, "after the silence")
}

#[test]
fn whoever_writes_comes_back_from_silence() -> Result<()> {
    let system = System::new()?;
    let server = system.server()?;
    let proxy = Proxy::start(server.address())?;
    let a = agent_behind(&proxy, &system, "a")?;
    let b = system.agent("b", &server)?;
    warm_up(&system, &a, &b)?;
    proxy.go_silent();
    until_there(&a, &b, "after the silence")?;
    // In the middle of many saves too.
    for round in 0..20 {
        write(&a.root, &format!("many/{round}"), "text")?;
    }
    proxy.go_silent();
    until_there(&a, &b, "after the second")?;
    system.in_step("a", "b")
}

#[test]
fn both_sides_come_back_from_silence() -> Result<()> {
    let system = System::new()?;
    let server = system.server()?;
    let proxy = Proxy::start(server.address())?;
    let a = agent_behind(&proxy, &system, "a")?;
    let b = agent_behind(&proxy, &system, "b")?;
    warm_up(&system, &a, &b)?;
    proxy.go_silent();
    until_there(&b, &a, "after the silence")
}
