//! Programs of this build as child processes.
//!
//! Guarantees: a process ends with its [`Process`] at the latest, by its own id; stdout is read
//! line by line, stderr goes to a file that failing tests can show.

use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::wait;

/// How much of stderr an error shows, in bytes from its end.
const SHOWN_BYTES: usize = 4000;

/// Returns the path of a binary of this build.
///
/// # Errors
/// If it was not built: with the command that builds it.
pub fn binary(name: &str) -> Result<PathBuf> {
    let this = std::env::current_exe().context("the test's own path")?;
    // target/<profile>/deps/<test> or target/<profile>/<program>
    let path = this
        .ancestors()
        .skip(1)
        .take(2)
        .map(|dir| dir.join(name))
        .find(|path| path.is_file());
    path.with_context(|| {
        format!(
            "{name} is not built beside {}: run `cargo build --release --bins`; tests/README.md says how programs with fault points are built",
            this.display()
        )
    })
}

/// What a finished program left.
#[derive(Debug, Clone)]
pub struct Finished {
    /// Its exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// All of its stdout.
    pub stdout: String,
    /// All of its stderr.
    pub stderr: String,
}

impl Finished {
    /// Returns stdout if the exit code was 0.
    ///
    /// # Errors
    /// Otherwise: everything the program said.
    pub fn success(self) -> Result<String> {
        match self.code {
            Some(0) => Ok(self.stdout),
            code => bail!(
                "exit code {code:?}\nstdout: {}\nstderr: {}",
                self.stdout,
                self.stderr
            ),
        }
    }
}

/// Runs a program of this build to its end.
///
/// # Errors
/// If it cannot be started or does not end within [`wait::PATIENCE`].
pub fn run<S: AsRef<OsStr>>(name: &str, args: impl IntoIterator<Item = S>) -> Result<Finished> {
    let mut command = Command::new(binary(name)?);
    command.args(args);
    run_command(name, command)
}

/// As [`run`], for any command as the program `name`.
///
/// # Errors
/// As [`run`].
pub fn run_command(name: &str, command: Command) -> Result<Finished> {
    let dir = tempfile::tempdir()?;
    let mut process = Process::spawn(name, command, dir.path())?;
    let status = process.wait(wait::PATIENCE)?;
    Ok(Finished {
        code: status.code(),
        stdout: process.rest_of_stdout()?,
        stderr: process.stderr(),
    })
}

/// A running program.
pub struct Process {
    name: String,
    child: Child,
    lines: Receiver<String>,
    reader: Option<JoinHandle<()>>,
    errors: PathBuf,
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.child.id())
    }
}

impl Process {
    /// Starts a program of this build; its stderr goes to a file in `logs`.
    ///
    /// # Errors
    /// If it is not built or cannot be started.
    pub fn start<S: AsRef<OsStr>>(
        name: &str,
        args: impl IntoIterator<Item = S>,
        logs: &Path,
    ) -> Result<Self> {
        Self::start_with(name, args, logs, &[])
    }

    /// As [`Process::start`], with environment variables.
    ///
    /// # Errors
    /// As [`Process::start`].
    pub fn start_with<S: AsRef<OsStr>>(
        name: &str,
        args: impl IntoIterator<Item = S>,
        logs: &Path,
        environment: &[(&str, &str)],
    ) -> Result<Self> {
        let mut command = Command::new(binary(name)?);
        command.args(args).envs(environment.iter().copied());
        Self::spawn(name, command, logs)
    }

    /// Starts any command as the program `name`; its stderr goes to a file in `logs`.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn spawn(name: &str, mut command: Command, logs: &Path) -> Result<Self> {
        let file = tempfile::Builder::new()
            .prefix(&format!("{name}-"))
            .suffix(".log")
            .tempfile_in(logs)?;
        let (file, errors) = file.keep()?;
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(file)
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        let (send, lines) = channel();
        let stdout = child.stdout.take().context("stdout is piped")?;
        let reader = std::thread::spawn(move || {
            let lines = BufReader::new(stdout).lines();
            // Ends when the program closes its stdout or when nobody listens any more.
            lines
                .map_while(Result::ok)
                .take_while(|line| send.send(line.clone()).is_ok())
                .for_each(drop);
        });
        Ok(Self {
            name: name.to_owned(),
            child,
            lines,
            reader: Some(reader),
            errors,
        })
    }

    /// Returns the process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns what follows `mark` in the first line of stdout that holds it; earlier lines are
    /// consumed.
    ///
    /// # Errors
    /// If the program ends first or the deadline passes, with its stderr.
    pub fn line_after(&mut self, mark: &str, deadline: Duration) -> Result<String> {
        let start = Instant::now();
        loop {
            let left = deadline.saturating_sub(start.elapsed());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    if let Some((_, rest)) = line.split_once(mark) {
                        return Ok(rest.trim().to_owned());
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    bail!(
                        "{self:?} did not print {mark:?} within {deadline:?}\n{}",
                        self.tail()
                    )
                }
                Err(RecvTimeoutError::Disconnected) => {
                    bail!("{self:?} ended before it printed {mark:?}\n{}", self.tail())
                }
            }
        }
    }

    /// Returns the next line of stdout, waiting for it.
    ///
    /// # Errors
    /// As [`Process::line_after`].
    pub fn line(&mut self, deadline: Duration) -> Result<String> {
        self.line_after("", deadline)
    }

    /// Sends a signal to this very process.
    ///
    /// # Errors
    /// If it is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let id = i32::try_from(self.id()).ok().and_then(Pid::from_raw);
        let id = id.context("a process id is a positive number")?;
        kill_process(id, signal).with_context(|| format!("sending {signal:?} to {self:?}"))
    }

    /// Ends it as SIGTERM does and returns how it ended.
    ///
    /// # Errors
    /// If it does not end within [`wait::PATIENCE`].
    pub fn stop(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        self.wait(wait::PATIENCE)
    }

    /// Ends it as `kill -9` does.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Returns whether it still runs.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// If it does not end in time, with its stderr.
    pub fn wait(&mut self, deadline: Duration) -> Result<ExitStatus> {
        let what = format!("{self:?} ends");
        let ended = wait::until(&what, deadline, || {
            self.child.try_wait()?.context("it still runs")
        });
        ended.with_context(|| self.tail())
    }

    /// Returns the lines of stdout that nobody read, after the program's end.
    ///
    /// # Errors
    /// If the reader of its stdout failed.
    pub fn rest_of_stdout(&mut self) -> Result<String> {
        if let Some(reader) = self.reader.take()
            && reader.join().is_err()
        {
            bail!("the reader of {self:?} failed");
        }
        Ok(self.lines.try_iter().map(|line| line + "\n").collect())
    }

    /// Returns all of its stderr so far.
    pub fn stderr(&self) -> String {
        fs::read(&self.errors).map_or_else(
            |error| format!("{}: {error}", self.errors.display()),
            |bytes| String::from_utf8_lossy(&bytes).into_owned(),
        )
    }

    /// Returns the program's resident memory at its highest, in bytes.
    ///
    /// # Errors
    /// If it is gone.
    pub fn peak_memory_bytes(&self) -> Result<u64> {
        let path = format!("/proc/{}/status", self.id());
        let status = fs::read_to_string(&path).with_context(|| path.clone())?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line
            .and_then(|l| l.split_whitespace().next())
            .with_context(|| path.clone())?;
        Ok(kib.parse::<u64>()? * 1024)
    }

    fn tail(&self) -> String {
        let text = self.stderr();
        let cut = text.len().saturating_sub(SHOWN_BYTES);
        let cut = (cut..=text.len()).find(|at| text.is_char_boundary(*at));
        format!("its stderr ends:\n{}", &text[cut.unwrap_or(0)..])
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Errors mean that it has ended already.
        drop(self.child.kill());
        drop(self.child.wait());
        if std::thread::panicking() {
            let text = self.tail();
            drop(std::io::Write::write_all(
                &mut std::io::stderr(),
                format!("{self:?}: {text}\n").as_bytes(),
            ));
        }
    }
}

/// Opens a file for reading with its path in the error.
///
/// # Errors
/// The system's.
pub fn open(path: &Path) -> Result<File> {
    File::open(path).with_context(|| path.display().to_string())
}
