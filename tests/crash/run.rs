//! One run: a server and two agents, edits on both sides, and one of the three that ends itself at
//! a point and is started again.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use fsync_runtime::fault::Program;
use fsync_tests::folder::noise;
use fsync_tests::process::{self, Process};
use fsync_tests::system::{FAULTY_AGENT, FAULTY_SERVER};
use fsync_tests::wait::{PATIENCE, until};
use fsync_tests::{Agent, Server, System};

use super::story::{Mark, Story};

const KILLED: i32 = 9;
/// Files that make more than one batch of an apply, and an upload that is too large for a commit.
const MANY: usize = 280;
/// More than one pack.
const LARGE_BYTES: usize = 9 * 1024 * 1024;
/// How much of each log a failure shows, in bytes.
const SHOWN_BYTES: usize = 3000;

/// What a run does.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    /// Who ends.
    pub(super) victim: Program,
    /// Where: its first life at the first of them, the next at the second.
    pub(super) faults: Vec<String>,
    /// Whether the agents end with the server; what was acknowledged is then looked for before they
    /// are back.
    pub(super) is_all: bool,
    /// Address of the server, on this machine; no other run has it.
    pub(super) address: String,
    /// Directory in which each program logs the points that it comes to.
    pub(super) log: Option<PathBuf>,
}

struct Run<'p> {
    plan: &'p Plan,
    faults: VecDeque<String>,
    system: System,
    story: Story,
    acknowledged: Mark,
    listen: String,
    server: Option<Server>,
    sender: Option<Agent>,
    receiver: Option<Agent>,
    deaths: usize,
}

/// Runs a plan; returns how many of its faults were reached.
///
/// # Errors
/// What was lost, wrong or not in step, with the ends of all logs.
pub(super) fn run(plan: &Plan) -> Result<usize> {
    let mut run = Run {
        plan,
        faults: plan.faults.clone().into(),
        system: System::faulty()?,
        story: Story::default(),
        acknowledged: Mark::new(),
        listen: format!("{}:0", plan.address),
        server: None,
        sender: None,
        receiver: None,
        deaths: 0,
    };
    run.all().with_context(|| run.logs())?;
    Ok(run.deaths)
}

/// Returns the name of a program's directory.
pub(super) fn name_of(who: Program) -> &'static str {
    match who {
        Program::Receiver => "b",
        Program::Sender => "a",
        Program::Server => "data",
    }
}

impl Run<'_> {
    fn all(&mut self) -> Result<()> {
        self.first()?;
        self.start_server()?;
        self.start_agent(Program::Sender)?;
        self.start_agent(Program::Receiver)?;
        self.in_step().context("at first contact")?;
        self.edit()?;
        self.in_step().context("after edits of every kind")?;
        self.edit_again()?;
        self.in_step().context("after more edits")?;
        self.rename()?;
        self.in_step().context("after renames alone")?;
        self.end()
    }

    fn root(&self, who: Program) -> PathBuf {
        self.system.path(name_of(who))
    }

    fn first(&mut self) -> Result<()> {
        let a = self.system.folder("a")?;
        for n in 0..MANY {
            let bytes = format!("content {n}").into_bytes();
            self.story.write(&a, &format!("many/f{n}"), bytes)?;
        }
        self.story.write(&a, "large", noise(1, LARGE_BYTES))?;
        for path in [
            "notes",
            "old name",
            "moved/inner",
            "gone",
            "gone too/file",
            "script",
            "theirs/changed",
            "theirs/gone",
        ] {
            self.story.write(&a, path, format!("first {path}").into())?;
        }
        Ok(())
    }

    fn edit(&mut self) -> Result<()> {
        let (a, b) = (self.root(Program::Sender), self.root(Program::Receiver));
        let story = &mut self.story;
        story.write(&a, "new", b"created".into())?;
        story.write(&a, "new dir/deep/file", b"created".into())?;
        story.write(&a, "notes", b"second notes".into())?;
        for n in 0..20 {
            story.write(&a, &format!("many/f{n}"), format!("second {n}").into())?;
        }
        story.rename(&a, "old name", "new name")?;
        story.rename(&a, "moved", "elsewhere")?;
        story.remove(&a, "gone")?;
        story.remove(&a, "gone too")?;
        story.make_exec(&a, "script")?;
        let mut large = noise(1, LARGE_BYTES);
        large[LARGE_BYTES / 2..][..1_000_000].copy_from_slice(&noise(2, 1_000_000));
        story.write(&a, "large", large)?;
        story.write(&b, "theirs/changed", b"second of theirs".into())?;
        story.write(&b, "theirs/new", b"created there".into())?;
        story.remove(&b, "theirs/gone")
    }

    fn edit_again(&mut self) -> Result<()> {
        let (a, b) = (self.root(Program::Sender), self.root(Program::Receiver));
        let story = &mut self.story;
        story.write(&a, "notes", b"third notes".into())?;
        story.write(&a, "new", b"changed".into())?;
        story.rename(&a, "elsewhere", "moved on")?;
        story.rename(&a, "new name", "newest name")?;
        story.make_exec(&a, "notes")?;
        story.remove(&a, "new dir")?;
        story.write(&a, "last dir/file", b"created".into())?;
        for n in 0..8 {
            story.remove(&a, &format!("many/f{n}"))?;
        }
        story.write(&b, "theirs/changed", b"third of theirs".into())
    }

    fn rename(&mut self) -> Result<()> {
        let a = self.root(Program::Sender);
        self.story.rename(&a, "moved on", "moved for good")?;
        self.story.rename(&a, "newest name", "last name")
    }

    /// Waits until both agents say that they are in step and the folders are what users made of
    /// them; meanwhile whoever ends is started again.
    fn in_step(&mut self) -> Result<()> {
        self.wait_for("both are in step", |run| {
            run.flush(Program::Sender)?;
            run.flush(Program::Receiver)
        })?;
        self.acknowledged = self.story.mark();
        self.wait_for("the folders are the same", |run| {
            run.flush(Program::Receiver)?;
            run.flush(Program::Sender)?;
            run.story.check_end(&run.root(Program::Sender))?;
            run.story.check_end(&run.root(Program::Receiver))
        })
    }

    /// Asks until the answer is `Ok`; what a look finds wrong ends it at once.
    fn wait_for(&mut self, what: &str, mut ask: impl FnMut(&mut Self) -> Result<()>) -> Result<()> {
        until(what, PATIENCE, || match self.look() {
            Ok(()) => ask(self).map(Ok),
            Err(broken) => Ok(Err(broken)),
        })?
    }

    /// Asks an agent to say when it is in step; an error if it does not, or somebody ends.
    fn flush(&mut self, who: Program) -> Result<()> {
        let mut args: Vec<OsString> = vec!["flush".into(), self.root(who).into_os_string()];
        args.extend(["--timeout", "20s"].map(Into::into));
        let mut verb = Process::start(FAULTY_AGENT, args, &self.system.path("logs"))?;
        until("the flush ends", PATIENCE, || {
            let is_over = !verb.is_running()? || self.dead()?.is_some();
            is_over.then_some(()).context("it waits")
        })?;
        ensure!(!verb.is_running()?, "somebody ended");
        let is_done = verb.wait(PATIENCE)?.success();
        ensure!(is_done, "{who:?} says: {}", verb.stderr());
        Ok(())
    }

    fn process(&mut self, who: Program) -> Option<&mut Process> {
        match who {
            Program::Server => self.server.as_mut().map(|server| &mut server.process),
            Program::Sender => self.sender.as_mut().map(|agent| &mut agent.process),
            Program::Receiver => self.receiver.as_mut().map(|agent| &mut agent.process),
        }
    }

    /// Returns who does not run any more.
    fn dead(&mut self) -> Result<Option<Program>> {
        for who in [Program::Server, Program::Sender, Program::Receiver] {
            if let Some(process) = self.process(who)
                && !process.is_running()?
            {
                return Ok(Some(who));
            }
        }
        Ok(None)
    }

    /// Looks whether all three run; who ended at a point is started again.
    fn look(&mut self) -> Result<()> {
        while let Some(who) = self.dead()? {
            let victim = self.plan.victim;
            let process = self.process(who).context("it was started")?;
            let signal = process.wait(PATIENCE)?.signal();
            ensure!(
                who == victim && signal == Some(KILLED),
                "{who:?} ended by itself: {}",
                process.stderr()
            );
            self.deaths += 1;
            match who {
                Program::Server => {
                    self.server = None;
                    self.edit_meanwhile(Program::Sender)?;
                    self.edit_meanwhile(Program::Receiver)?;
                    match self.plan.is_all {
                        true => self.start_all()?,
                        false => self.start_server()?,
                    }
                }
                Program::Sender => {
                    self.sender = None;
                    self.away(who, Program::Receiver)?;
                }
                Program::Receiver => {
                    self.receiver = None;
                    self.away(who, Program::Sender)?;
                }
            }
        }
        Ok(())
    }

    /// While one agent is away the other goes on: what the first one had put in place, but not
    /// recorded, must not be taken for an edit of its user.
    fn away(&mut self, who: Program, other: Program) -> Result<()> {
        self.story.check_whole(&self.root(who))?;
        if self.process(other).is_some() {
            self.edit_meanwhile(other)?;
            until("what is edited meanwhile is sent", PATIENCE, || {
                self.flush(other)
            })?;
        }
        self.start_agent(who)
    }

    fn edit_meanwhile(&mut self, who: Program) -> Result<()> {
        let root = self.root(who);
        let bytes = |path: &str, deaths| format!("{path} meanwhile {deaths}").into_bytes();
        if who == Program::Receiver {
            let path = "theirs/meanwhile";
            return self.story.write(&root, path, bytes(path, self.deaths));
        }
        for path in ["notes", "many/f9", "many/f100", "many/f270", "script"] {
            self.story.write(&root, path, bytes(path, self.deaths))?;
        }
        Ok(())
    }

    fn environment(&mut self, who: Program) -> Vec<(&'static str, String)> {
        let mut environment = Vec::new();
        if let Some(log) = &self.plan.log {
            let log = log.join(name_of(who));
            environment.push(("FSYNC_FAULT_LOG", log.display().to_string()));
        }
        if who == self.plan.victim {
            let next = self.faults.pop_front();
            environment.extend(next.map(|fault| ("FSYNC_FAULT", fault)));
        }
        environment
    }

    fn start_agent(&mut self, who: Program) -> Result<()> {
        let environment = self.environment(who);
        let environment: Vec<_> = environment.iter().map(|(k, v)| (*k, v.as_str())).collect();
        let url = format!("http://{}", self.listen);
        let agent = self
            .system
            .launch_agent(name_of(who), &url, &[], &environment)?;
        match who {
            Program::Sender => self.sender = Some(agent),
            _ => self.receiver = Some(agent),
        }
        Ok(())
    }

    /// Starts the server where agents look for it; it may end at a point before it listens.
    fn start_server(&mut self) -> Result<()> {
        loop {
            let environment = self.environment(Program::Server);
            let environment: Vec<_> = environment.iter().map(|(k, v)| (*k, v.as_str())).collect();
            let mut process = self.system.launch_server(&self.listen, &[], &environment)?;
            match process.line_after("listening on http://", PATIENCE) {
                Ok(address) => {
                    let url = format!("http://{address}");
                    self.listen = address;
                    self.server = Some(Server { process, url });
                    return Ok(());
                }
                Err(error) if self.plan.victim != Program::Server => return Err(error),
                Err(error) => {
                    let signal = process.wait(PATIENCE)?.signal();
                    ensure!(signal == Some(KILLED), error);
                    self.deaths += 1;
                }
            }
        }
    }

    /// Ends the agents too; before they are back, a newcomer finds all that was acknowledged.
    fn start_all(&mut self) -> Result<()> {
        for who in [Program::Sender, Program::Receiver] {
            if let Some(process) = self.process(who) {
                process.kill()?;
                self.story.check_whole(&self.root(who))?;
            }
        }
        let were_there = self.sender.take().is_some() | self.receiver.take().is_some();
        self.start_server()?;
        let late = format!("late-{}", self.deaths);
        let url = format!("http://{}", self.listen);
        self.system.once(&late, &url, &[])?.success()?;
        self.story
            .check_since(&self.system.path(&late), &self.acknowledged)?;
        if were_there {
            self.start_agent(Program::Sender)?;
            self.start_agent(Program::Receiver)?;
        }
        Ok(())
    }

    /// Nothing is wrong on either side, as the product itself sees it.
    fn end(&mut self) -> Result<()> {
        for who in [Program::Sender, Program::Receiver] {
            let args: [OsString; 2] = ["verify".into(), self.root(who).into_os_string()];
            process::run(FAULTY_AGENT, args)?
                .success()
                .context("verify")?;
            let process = self.process(who).context("it was started")?;
            ensure!(process.stop()?.success(), "{who:?} did not end well");
        }
        let process = self.process(Program::Server).context("it was started")?;
        ensure!(process.stop()?.success(), "the server did not end well");
        let data = self.root(Program::Server);
        let args = [
            OsStr::new("fsck"),
            OsStr::new("--data-dir"),
            data.as_os_str(),
        ];
        process::run(FAULTY_SERVER, args)?
            .success()
            .context("fsck")?;
        Ok(())
    }

    fn logs(&self) -> String {
        let mut text = format!("{:?}", self.plan);
        let logs = fs::read_dir(self.system.path("logs")).into_iter().flatten();
        for log in logs.flatten() {
            let bytes = fs::read(log.path()).unwrap_or_default();
            let end = &bytes[bytes.len().saturating_sub(SHOWN_BYTES)..];
            let end = String::from_utf8_lossy(end);
            text += &format!("\n== {}\n{end}", log.file_name().display());
        }
        text
    }
}
