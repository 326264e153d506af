//! What a process has used, as the kernel says in `/proc`.

use std::collections::BTreeMap;
use std::ffi::OsString;
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

/// What each thread of a process has run, by thread.
#[derive(Debug, Clone)]
pub(crate) struct Activity(BTreeMap<OsString, Run>);

/// What threads ran, to the nanosecond.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Run {
    /// Time on a CPU.
    pub(crate) cpu: Duration,
    /// How often a thread went to sleep.
    pub(crate) sleeps: f64,
}

impl Activity {
    /// Reads it.
    ///
    /// # Errors
    /// If there is no such process.
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let mut runs = BTreeMap::new();
        let threads = format!("/proc/{pid}/task");
        for thread in fs::read_dir(&threads).with_context(|| threads.clone())? {
            let thread = thread?;
            let dir = thread.path();
            // A thread may end meanwhile.
            let (Ok(run), Ok(status)) = (
                fs::read_to_string(dir.join("schedstat")),
                fs::read_to_string(dir.join("status")),
            ) else {
                continue;
            };
            let nanos = run.split_whitespace().next().and_then(|n| n.parse().ok());
            let run = Run {
                cpu: Duration::from_nanos(nanos.unwrap_or(0)),
                sleeps: field(&status, "voluntary_ctxt_switches:"),
            };
            runs.insert(thread.file_name(), run);
        }
        Ok(Self(runs))
    }

    /// Returns what ran since an earlier look; threads that ended meanwhile are not in it.
    pub(crate) fn since(&self, before: &Self) -> Run {
        self.0.iter().fold(Run::default(), |sum, (thread, run)| {
            let before = before.0.get(thread).copied().unwrap_or_default();
            Run {
                cpu: sum.cpu + run.cpu.saturating_sub(before.cpu),
                sleeps: sum.sleeps + (run.sleeps - before.sleeps),
            }
        })
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
    }

    #[test]
    fn threads_that_end_take_nothing_from_the_others() {
        let me = std::process::id();
        let (begin, end) = (std::sync::Barrier::new(2), std::sync::Barrier::new(2));
        let before = std::thread::scope(|scope| {
            scope.spawn(|| {
                std::hint::black_box((0..10_000_000_u64).fold(0, |sum, n| sum ^ n));
                begin.wait();
                end.wait();
            });
            begin.wait();
            let before = Activity::of(me).unwrap();
            end.wait();
            before
        });
        std::hint::black_box((0..10_000_000_u64).fold(1, |sum, n| sum ^ n));
        let run = Activity::of(me).unwrap().since(&before);
        assert!(run.cpu > Duration::ZERO && run.sleeps >= 0.0, "{run:?}");
    }
}
