//! Where and as whom a program runs: on a disk that only it sees, without a superuser's rights, with
//! few watches.
//!
//! Guarantees: a mount lives in a mount namespace of its own and ends with its [`Mount`]; nothing of
//! the machine is changed. What the system does not allow is `None`, said on stderr by name, so that
//! a test leaves out what cannot be there and nothing passes for tested.
//! Place: [`crate::System`] starts agents by a [`Launch`].

use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::process::{Process, binary};
use crate::wait::PATIENCE;

const ODD_DISK: &str = "odd-disk";

/// The words that go before a program.
#[derive(Debug, Clone, Default)]
pub struct Launch(Vec<OsString>);

impl Launch {
    /// Returns how a program runs as a plain user, whom permissions bind.
    pub fn as_plain_user() -> Self {
        match rustix::process::geteuid().is_root() {
            true => Self::of(["setpriv", "--bounding-set=-dac_override,-dac_read_search"]),
            false => Self::default(),
        }
    }

    /// Returns how a program runs that may watch so many directories; `None` where the system has no
    /// user namespaces.
    ///
    /// # Errors
    /// The system's.
    pub fn with_watches(most: u32) -> Result<Option<Self>> {
        let limit = format!("echo {most} > /proc/sys/user/max_inotify_watches && exec \"$@\"");
        let launch = Self::of([
            "unshare",
            "--user",
            "--map-root-user",
            "sh",
            "-c",
            &limit,
            "sh",
        ]);
        launch.or_left_out("a limit of watches of its own")
    }

    /// Returns how a program runs whose system calls are written to a file; `calls` says which.
    /// `None` where there is no `strace`, or it may not trace.
    ///
    /// # Errors
    /// The system's.
    pub fn traced(calls: &str, log: &Path) -> Result<Option<Self>> {
        let log = log.to_string_lossy();
        // The tracer is a child of the program, so that it is the program that a test ends.
        let words = [
            "strace", "-D", "-f", "-qq", "-s", "4096", "-e", calls, "-o", &log,
        ];
        Self::of(words).or_left_out("tracing of system calls")
    }

    fn of<'a>(words: impl IntoIterator<Item = &'a str>) -> Self {
        Self(words.into_iter().map(OsString::from).collect())
    }

    /// Returns the command that runs a program.
    pub fn command(&self, program: impl Into<OsString>) -> Command {
        let mut words = self.0.iter().cloned().chain([program.into()]);
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words);
        command
    }

    /// Runs a command to its end.
    ///
    /// # Errors
    /// What it says if it fails.
    pub fn run(&self, words: &[&str]) -> Result<()> {
        let (program, args) = words.split_first().context("a command has a program")?;
        let output = self.command(program).args(args).output()?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{words:?}: {errors}");
        Ok(())
    }

    fn or_left_out(self, what: &str) -> Result<Option<Self>> {
        let works = self
            .command("true")
            .output()
            .is_ok_and(|o| o.status.success());
        if !works {
            left_out(what)?;
        }
        Ok(works.then_some(self))
    }
}

/// What is mounted.
#[derive(Debug, Clone, Copy)]
pub enum Kind<'a> {
    /// A disk in memory that holds so many bytes.
    Tmpfs(u64),
    /// A file system in a file of so many bytes.
    Ext4(u64),
    /// A disk with odd habits: the flags of `odd-disk`.
    Odd(&'a [&'a str]),
    /// A directory that is mounted elsewhere, so that it can go and come back as what it was.
    Bound,
}

/// A disk that only programs of its [`Launch`] see; tests reach it by [`Mount::root`].
#[derive(Debug)]
pub struct Mount {
    process: Process,
    at: PathBuf,
    backing: PathBuf,
}

impl Mount {
    /// Mounts a disk at a directory; `beside` is where it keeps what it needs. `None` where the
    /// system allows none.
    ///
    /// # Errors
    /// If what was allowed fails.
    pub fn start(kind: Kind<'_>, at: &Path, beside: &Path) -> Result<Option<Self>> {
        let mut words = vec!["unshare", "--mount"];
        if !rustix::process::geteuid().is_root() {
            words.push("--map-root-user");
        }
        let alone = Launch::of(words);
        let backing = beside.with_extension("backing");
        let (what, mut command) = match kind {
            Kind::Tmpfs(bytes) => {
                let script = "mount -t tmpfs -o size=\"$1\" small \"$2\"";
                let mut command = holding(&alone, script);
                command.arg(bytes.to_string());
                ("a disk in memory", command)
            }
            Kind::Ext4(bytes) => {
                let image = beside.with_extension("img");
                fs::File::create(&image)?.set_len(bytes)?;
                let script = "mkfs.ext4 -q -F \"$1\" && mount -o loop \"$1\" \"$2\"";
                let mut command = holding(&alone, script);
                command.arg(image);
                ("a file system in a file", command)
            }
            Kind::Odd(flags) => {
                fs::create_dir_all(&backing)?;
                let mut command = alone.command(binary(ODD_DISK)?);
                command.args(flags).arg(&backing);
                ("a FUSE file system", command)
            }
            Kind::Bound => {
                fs::create_dir_all(&backing)?;
                let mut command = holding(&alone, "mount --bind \"$1\" \"$2\"");
                command.arg(&backing);
                ("a mount of a directory", command)
            }
        };
        command.arg(at);
        let logs = beside.parent().context("a directory")?;
        let mut process = Process::spawn(ODD_DISK, command, logs)?;
        let mounted = process.line_after("mounted", PATIENCE);
        if let Err(error) = mounted {
            ensure!(!process.is_running()?, error);
            left_out(what)?;
            return Ok(None);
        }
        Ok(Some(Self {
            process,
            at: at.to_owned(),
            backing,
        }))
    }

    /// Returns where an odd disk or a bound one keeps everything, to change it behind the mount.
    pub fn backing(&self) -> PathBuf {
        self.backing.clone()
    }

    /// Takes a bound disk away from under whoever uses it.
    ///
    /// # Errors
    /// The system's.
    pub fn unmount(&self) -> Result<()> {
        self.launch()
            .run(&["umount", "--lazy", &self.at.to_string_lossy()])
    }

    /// Mounts a bound disk again.
    ///
    /// # Errors
    /// The system's.
    pub fn mount_again(&self) -> Result<()> {
        let (backing, at) = (self.backing.to_string_lossy(), self.at.to_string_lossy());
        self.launch().run(&["mount", "--bind", &backing, &at])
    }

    /// Returns the mounted directory as the test sees it.
    ///
    /// # Errors
    /// If the mount point is not absolute.
    pub fn root(&self) -> Result<PathBuf> {
        let seen = PathBuf::from(format!("/proc/{}/root", self.process.id()));
        Ok(seen.join(self.at.strip_prefix("/")?))
    }

    /// Returns how programs run that see the disk.
    pub fn launch(&self) -> Launch {
        let id = self.process.id().to_string();
        let mut words = vec!["nsenter", "--target", &id, "--mount"];
        if !rustix::process::geteuid().is_root() {
            words.extend(["--user", "--preserve-credentials"]);
        }
        Launch::of(words)
    }

    /// Sets an extended attribute of something on the disk, `""` being its root; `None` removes it.
    /// It is how an odd disk is told of faults: see `odd_disk/habits.rs`.
    ///
    /// # Errors
    /// The system's.
    pub fn set(&self, path: &str, name: &str, value: Option<&str>) -> Result<()> {
        let path = self.root()?.join(path);
        match value {
            Some(value) => {
                let flags = rustix::fs::XattrFlags::empty();
                rustix::fs::setxattr(&path, name, value.as_bytes(), flags)
            }
            None => rustix::fs::removexattr(&path, name),
        }
        .with_context(|| format!("{name} of {}", path.display()))
    }
}

/// Returns a command that mounts by a script, says so, and keeps the mount until it is ended.
fn holding(alone: &Launch, script: &str) -> Command {
    let script = format!("{script} && echo mounted && exec sleep infinity");
    let mut command = alone.command("sh");
    command.args(["-c", &script, "sh"]);
    command
}

/// Says by name what a test leaves out.
fn left_out(what: &str) -> Result<()> {
    let test = std::thread::current();
    let test = test.name().unwrap_or("a test");
    writeln!(
        std::io::stderr(),
        "left out in {test}: the system allows no {what}"
    )?;
    Ok(())
}
