//! A copied machine: two agents with one name at one server.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use fsync_tests::System;
use fsync_tests::folder::{self, write};
use fsync_tests::wait::{PATIENCE, until_true};

/// After this an agent takes its own name for another agent's.
const LATER: Duration = Duration::from_secs(6);

#[test]
fn two_agents_of_one_name_are_told_of_and_lose_nothing() -> Result<()> {
    let system = System::new()?;
    let server = system.server()?;
    let mut a = system.agent_named("twin", "a", &server)?;
    // What is heard right after a connection may be of this agent's own earlier one: the copy comes
    // later, as copies do.
    let connected = Instant::now();
    until_true("it has been connected for a while", PATIENCE, || {
        connected.elapsed() > LATER
    })?;
    let b = system.agent_named("twin", "b", &server)?;
    a.process
        .line_after("another agent with the name twin", PATIENCE)?;
    write(&a.root, "f", "first")?;
    system.in_step("a", "b")?;
    // Both write one file at once, again and again: whoever loses the path keeps the content.
    let mut written = Vec::new();
    for round in 0..5 {
        for agent in [&a, &b] {
            let text = format!("round {round} of {}", agent.root.display());
            write(&agent.root, "f", &text)?;
            written.push(text);
        }
        system.in_step("a", "b")?;
        a.flush()?;
        b.flush()?;
        system.in_step("a", "b")?;
        let texts: Vec<String> = folder::list(&a.root)?
            .keys()
            .map(|path| Ok(fs::read_to_string(a.root.join(path))?))
            .collect::<Result<_>>()?;
        for text in &written[2 * round..] {
            ensure!(texts.contains(text), "{text} is in none of {texts:?}");
        }
    }
    Ok(())
}
