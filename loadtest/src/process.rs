//! Programs of this build as child processes.
//!
//! Guarantees: a child ends with its [`Process`] at the latest, or with [`Children::kill_all`], by
//! its own id; each line of its stdout has the time at which it came; its stderr goes to a file
//! that errors show the end of.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use crate::usage::Usage;

/// Lines that may wait for a reader; what comes beyond is lost, and nobody who waits for a line
/// lets so many gather.
const LINES: usize = 8192;
/// How much of stderr an error shows, in bytes from its end.
const SHOWN_BYTES: usize = 3000;

/// The children that run; clones are the same list.
#[derive(Debug, Clone, Default)]
pub(crate) struct Children(Arc<Mutex<BTreeSet<u32>>>);

impl Children {
    /// Ends all of them as `kill -9` does.
    pub(crate) fn kill_all(&self) {
        for id in self.lock().iter() {
            // It may have ended by itself.
            drop(signal(*id, Signal::KILL));
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A line of a child's stdout.
#[derive(Debug)]
struct Line {
    at: Instant,
    text: String,
}

/// How a child ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// When.
    pub(crate) at: Instant,
    /// What it used; memory is not known any more.
    pub(crate) usage: Usage,
}

/// A running child.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    started: Instant,
    child: Child,
    children: Children,
    lines: Receiver<Line>,
    reader: Option<JoinHandle<()>>,
    errors: PathBuf,
}

impl Process {
    /// Starts a program; its stderr goes to `errors`.
    ///
    /// # Errors
    /// If it cannot be started.
    pub(crate) fn start(
        children: &Children,
        program: &Path,
        arguments: &[OsString],
        errors: PathBuf,
    ) -> Result<Self> {
        let stderr = File::create(&errors).with_context(|| errors.display().to_string())?;
        let mut command = Command::new(program);
        command.args(arguments);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr);
        // Held over the start, so that a child cannot run without standing in the list.
        let mut running = children.lock();
        let started = Instant::now();
        let spawned = command.spawn();
        let mut child = spawned.with_context(|| format!("cannot start {}", program.display()))?;
        running.insert(child.id());
        drop(running);
        let stdout = child.stdout.take().context("stdout is piped")?;
        let (send, lines) = sync_channel(LINES);
        let reader = std::thread::spawn(move || read_lines(BufReader::new(stdout), &send));
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        Ok(Self {
            name: name.into_owned(),
            started,
            child,
            children: children.clone(),
            lines,
            reader: Some(reader),
            errors,
        })
    }

    /// Returns its id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns when it was started.
    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    /// Returns what it has used.
    ///
    /// # Errors
    /// If it has gone.
    pub(crate) fn usage(&self) -> Result<Usage> {
        Usage::of(self.id())
    }

    /// Waits for a line that `pick` makes something of; returns it and when the line came.
    ///
    /// # Errors
    /// If the child ends first, the time is up, or `pick` fails; with the end of its stderr.
    pub(crate) fn wait_line<T>(
        &mut self,
        what: &str,
        patience: Duration,
        pick: impl Fn(&str) -> Result<Option<T>>,
    ) -> Result<(Instant, T)> {
        let until = Instant::now() + patience;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let line = match self.lines.recv_timeout(left) {
                Ok(line) => line,
                Err(RecvTimeoutError::Timeout) => {
                    bail!(
                        "{} was not {what} within {patience:?}; {}",
                        self.name,
                        self.said()
                    )
                }
                Err(RecvTimeoutError::Disconnected) => {
                    bail!("{} ended before it was {what}; {}", self.name, self.said())
                }
            };
            if let Some(picked) = pick(&line.text).with_context(|| self.said())? {
                return Ok((line.at, picked));
            }
        }
    }

    /// Waits for its end by itself, with success.
    ///
    /// # Errors
    /// If the time is up or it ends in another way; with the end of its stderr.
    pub(crate) fn wait(mut self, patience: Duration) -> Result<Ended> {
        let until = Instant::now() + patience;
        // Its stdout ends with it.
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    bail!(
                        "{} did not end within {patience:?}; {}",
                        self.name,
                        self.said()
                    )
                }
            }
        }
        let id = raw_pid(self.id())?;
        // It is left as a zombie, whose usage can still be read.
        waitid(
            WaitId::Pid(id),
            WaitIdOptions::EXITED | WaitIdOptions::NOWAIT,
        )?;
        let at = Instant::now();
        let usage = self.usage()?;
        let status = self.reap()?;
        ensure!(
            status.success(),
            "{} ended with {status}; {}",
            self.name,
            self.said()
        );
        Ok(Ended { at, usage })
    }

    /// Ends it as SIGTERM does.
    ///
    /// # Errors
    /// If it does not end in time.
    pub(crate) fn stop(self, patience: Duration) -> Result<()> {
        signal(self.id(), Signal::TERM)?;
        self.wait(patience).map(drop)
    }

    fn reap(&mut self) -> Result<ExitStatus> {
        // Held, so that nobody signals an id that is free for others again.
        let mut running = self.children.lock();
        let status = self.child.wait()?;
        running.remove(&self.child.id());
        Ok(status)
    }

    fn said(&self) -> String {
        let text = fs::read_to_string(&self.errors).unwrap_or_default();
        let mut start = text.len().saturating_sub(SHOWN_BYTES);
        while !text.is_char_boundary(start) {
            start += 1;
        }
        format!("the end of its stderr:\n{}", &text[start..])
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.children.lock().contains(&self.child.id()) {
            // It may have ended by itself; either way it is waited for.
            drop(self.child.kill());
            drop(self.reap());
        }
        if let Some(reader) = self.reader.take() {
            drop(reader.join());
        }
    }
}

fn read_lines(lines: impl BufRead, send: &SyncSender<Line>) {
    for text in lines.lines().map_while(Result::ok) {
        // A full queue has no reader: see `LINES`.
        drop(send.try_send(Line {
            at: Instant::now(),
            text,
        }));
    }
}

fn signal(id: u32, signal: Signal) -> Result<()> {
    Ok(kill_process(raw_pid(id)?, signal)?)
}

fn raw_pid(id: u32) -> Result<Pid> {
    let id = i32::try_from(id).ok().and_then(Pid::from_raw);
    id.context("a process id is a positive number")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn shell(children: &Children, script: &str, dir: &Path) -> Process {
        let arguments = ["-c".into(), script.into()];
        Process::start(children, Path::new("/bin/sh"), &arguments, dir.join("log")).unwrap()
    }

    #[test]
    fn a_line_is_picked_and_the_end_is_seen() {
        let (children, dir) = (Children::default(), tempfile::tempdir().unwrap());
        let mut process = shell(&children, "echo one; echo two", dir.path());
        let (at, line) = process
            .wait_line("two", PATIENCE, |l| Ok((l == "two").then(|| l.to_owned())))
            .unwrap();
        assert_eq!(line, "two");
        assert!(process.wait(PATIENCE).unwrap().at >= at);
        assert!(children.lock().is_empty());
    }

    #[test]
    fn a_failure_shows_its_stderr() {
        let (children, dir) = (Children::default(), tempfile::tempdir().unwrap());
        let process = shell(&children, "echo why >&2; exit 3", dir.path());
        let error = process.wait(PATIENCE).unwrap_err().to_string();
        assert!(error.contains('3') && error.contains("why"), "{error}");
    }

    #[test]
    fn all_children_can_be_killed() {
        let (children, dir) = (Children::default(), tempfile::tempdir().unwrap());
        let process = shell(&children, "exec tail -f /dev/null", dir.path());
        children.kill_all();
        assert!(process.wait(PATIENCE).is_err());
    }
}
