//! What ends servers in the middle of a run: SIGKILL to given processes, or a line for the shell.
//!
//! Guarantees: no other process than a given one is touched, and each is looked for before the run.
//! Does not: start anything again; who does is outside.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

/// Tells the shell's line for which time it runs, from 1.
const ROUND: &str = "FSYNC_CHAOS_ROUND";

/// One harm.
#[derive(Debug, Clone)]
pub(super) enum Kill {
    /// Ends a process as `kill -9` does.
    Process(Pid),
    /// Runs a line by `sh -c`.
    Command {
        /// The line.
        line: String,
        /// For which time.
        round: u16,
    },
}

impl Kill {
    /// Takes a process of this machine.
    ///
    /// # Errors
    /// If there is none of that id, or it is init or this one.
    pub(super) fn process(id: i32) -> Result<Self> {
        let pid = Pid::from_raw(id).filter(|_| id > 1);
        let pid = pid.with_context(|| format!("--chaos-pids: {id} is no process to kill"))?;
        ensure!(
            pid != rustix::process::getpid(),
            "--chaos-pids: {id} is this process"
        );
        test_kill_process(pid).with_context(|| format!("--chaos-pids: process {id}"))?;
        Ok(Self::Process(pid))
    }

    /// Returns what it does, for people.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Process(pid) => format!("kill -9 {}", pid.as_raw_nonzero()),
            Self::Command { line, round } => format!("{line} ({round})"),
        }
    }

    /// Does it; waits for the end of a line.
    ///
    /// # Errors
    /// If the process is gone, or the line cannot be run or fails.
    pub(super) fn strike(&self) -> Result<()> {
        match self {
            Self::Process(pid) => kill_process(*pid, Signal::KILL).with_context(|| self.describe()),
            Self::Command { line, round } => {
                let status = Command::new("sh")
                    .args(["-c", line])
                    .env(ROUND, round.to_string())
                    .stdin(Stdio::null())
                    .stdout(Stdio::null())
                    .status()?;
                ensure!(status.success(), "{}: {status}", self.describe());
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_killed_process_is_gone_and_no_other_is_taken() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let id = i32::try_from(child.id()).unwrap();
        Kill::process(id).unwrap().strike().unwrap();
        assert!(!child.wait().unwrap().success());
        let me = i32::try_from(std::process::id()).unwrap();
        for id in [-1, 0, 1, me, i32::MAX] {
            assert!(Kill::process(id).is_err(), "{id}");
        }
    }

    #[test]
    fn a_line_knows_its_round_and_says_that_it_failed() {
        let command = |line: &str| Kill::Command {
            line: line.to_owned(),
            round: 2,
        };
        command("test \"$FSYNC_CHAOS_ROUND\" = 2").strike().unwrap();
        let error = command("exit 3").strike().unwrap_err().to_string();
        assert!(error.contains("exit 3 (2)"), "{error}");
    }
}
