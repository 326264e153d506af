//! What a process has used, as the kernel says in `/proc`.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

/// Ticks per second of the times in `/proc/PID/stat`: USER_HZ, the same on every Linux that Rust
/// runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// What a process has used up to now.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    /// CPU time of all its threads, in seconds, in steps of 10 ms.
    pub(crate) cpu_seconds: f64,
    /// Memory that is resident now, in bytes; 0 once it has ended.
    pub(crate) resident_bytes: f64,
    /// Most memory that was ever resident, in bytes; 0 once it has ended.
    pub(crate) peak_bytes: f64,
    /// Bytes that its reads returned, from files, sockets and pipes alike.
    pub(crate) read_bytes: f64,
}

impl Usage {
    /// Reads it; works until the process has been waited for.
    ///
    /// # Errors
    /// If there is no such process.
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let status = read(pid, "status")?;
        Ok(Self {
            cpu_seconds: cpu_seconds(pid)?,
            resident_bytes: field(&status, "VmRSS:") * 1024.0,
            peak_bytes: field(&status, "VmHWM:") * 1024.0,
            read_bytes: field(&read(pid, "io")?, "rchar:"),
        })
    }
}

/// What the threads of a process have run, to the nanosecond.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Activity {
    /// Time on a CPU.
    pub(crate) cpu: Duration,
    /// How often a thread went to sleep.
    pub(crate) sleeps: f64,
}

impl Activity {
    /// Reads it; threads that have ended are not in it.
    ///
    /// # Errors
    /// If there is no such process.
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let mut activity = Self {
            cpu: Duration::ZERO,
            sleeps: 0.0,
        };
        let threads = format!("/proc/{pid}/task");
        for thread in fs::read_dir(&threads).with_context(|| threads.clone())? {
            let dir = thread?.path();
            // A thread may end meanwhile.
            let (Ok(run), Ok(status)) = (
                fs::read_to_string(dir.join("schedstat")),
                fs::read_to_string(dir.join("status")),
            ) else {
                continue;
            };
            let nanos = run.split_whitespace().next().and_then(|n| n.parse().ok());
            activity.cpu += Duration::from_nanos(nanos.unwrap_or(0));
            activity.sleeps += field(&status, "voluntary_ctxt_switches:");
        }
        Ok(activity)
    }
}

/// Returns user plus system time of all threads, those that ended included.
fn cpu_seconds(pid: u32) -> Result<f64> {
    let stat = read(pid, "stat")?;
    // The second field is the program's name in parentheses and may hold anything.
    let (_, rest) = stat.rsplit_once(')').context("a stat line has a name")?;
    let ticks = rest.split_whitespace().skip(11).take(2);
    let ticks: f64 = ticks.filter_map(|n| n.parse::<f64>().ok()).sum();
    Ok(ticks / TICKS_PER_SECOND)
}

fn read(pid: u32, name: &str) -> Result<String> {
    let path = format!("/proc/{pid}/{name}");
    fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
}

/// Returns the number of a line that starts with `name`; 0 if there is none.
fn field(text: &str, name: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|rest| rest.split_whitespace().next());
    number.and_then(|n| n.parse().ok()).unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_memory() {
        let usage = Usage::of(std::process::id()).unwrap();
        assert!(usage.resident_bytes > 0.0);
        assert!(usage.peak_bytes >= usage.resident_bytes);
        assert!(Activity::of(std::process::id()).unwrap().cpu > Duration::ZERO);
    }
}
