//! Waiting for something to become true, with a deadline.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

/// How long anything may take on a slow machine before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Time between two looks.
const PAUSE: Duration = Duration::from_millis(10);

/// Asks until the answer is `Ok`.
///
/// # Errors
/// After `deadline`: the last answer's error under `what`.
pub fn until<T>(what: &str, deadline: Duration, mut ask: impl FnMut() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    loop {
        match ask() {
            Ok(answer) => return Ok(answer),
            Err(error) if start.elapsed() >= deadline => {
                return Err(error.context(format!("not after {deadline:?}: {what}")));
            }
            Err(_not_yet) => std::thread::sleep(PAUSE),
        }
    }
}

/// Asks until the answer is yes.
///
/// # Errors
/// After `deadline`, naming `what`.
pub fn until_true(what: &str, deadline: Duration, mut ask: impl FnMut() -> bool) -> Result<()> {
    until(what, deadline, || match ask() {
        true => Ok(()),
        false => Err(anyhow!("still not so")),
    })
}
