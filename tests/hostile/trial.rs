//! A real agent at a hostile server, with things around its folder that nobody may touch.
//!
//! Guarantees: the folder holds a file of the user's, which every tree that a test makes has too
//! ([`Trial::tree`]), and beside the folder lies a directory with a secret; [`Trial::unharmed`] says
//! whether any of it changed, appeared or was told.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use anyhow::{Result, ensure};
use fsync_tests::folder::{self, write};
use fsync_tests::wait::{PATIENCE, until};
use fsync_tests::{Agent, System};

use crate::forge::{Item, Raw, dir, sorted};
use crate::server::Hostile;

/// Most memory that an agent may take while it is lied to: two batches of 8 MiB, its database's
/// cache and the program itself.
const MOST_MEMORY_BYTES: u64 = 160 << 20;
const SECRET: &str = "a secret beside the folder";
const OWN: (&str, &str) = ("mine/notes.txt", "what the user wrote");
const OWN_PARTS: (&[u8], &[u8]) = (b"mine", b"notes.txt");

/// See the module's head.
pub(crate) struct Trial {
    pub(crate) agent: Agent,
    pub(crate) server: Hostile,
    system: System,
    around: Vec<(PathBuf, u64, i64)>,
}

impl Trial {
    /// Starts a server and an agent; they are connected when this returns.
    pub(crate) fn start() -> Result<Self> {
        let server = Hostile::start()?;
        let system = System::new()?;
        let root = system.folder("a")?;
        write(&root, OWN.0, OWN.1)?;
        write(&system.path("outside"), "secret", SECRET)?;
        write(&system.path("outside"), "dir/passwd", "root")?;
        publish(&server, &Self::tree(&[]), []);
        let mut agent = system.agent_with("a", &server.url(), &[])?;
        agent.process.line_after("connected to ", PATIENCE)?;
        let around = look_around(&system)?;
        Ok(Self {
            agent,
            server,
            system,
            around,
        })
    }

    /// Returns the directory that nobody may touch.
    pub(crate) fn outside(&self) -> PathBuf {
        self.system.path("outside")
    }

    /// Makes the root of a tree that has these items beside the user's own file.
    pub(crate) fn tree(items: &[Item]) -> Raw {
        let mut items = items.to_vec();
        items.push(Item::dir(OWN_PARTS.0, &own_dir()));
        sorted(items)
    }

    /// Publishes a tree of one root with its objects.
    pub(crate) fn publish(&self, root: &Raw, objects: impl IntoIterator<Item = Raw>) {
        publish(&self.server, root, objects);
    }

    /// Returns how many lines on stderr hold a word.
    pub(crate) fn said(&self, word: &str) -> usize {
        let said = self.agent.process.stderr();
        said.lines().filter(|line| line.contains(word)).count()
    }

    /// Waits until a line on stderr holds all these words.
    pub(crate) fn until_said(&self, words: &[&str]) -> Result<()> {
        self.until_said_more(words, 0)
    }

    /// Waits until more lines on stderr than before hold all these words.
    pub(crate) fn until_said_more(&self, words: &[&str], before: usize) -> Result<()> {
        until(&format!("it says {words:?}"), PATIENCE, || {
            let said = self.agent.process.stderr();
            let has_all = |line: &&str| words.iter().all(|word| line.contains(word));
            let count = said.lines().filter(has_all).count();
            ensure!(count > before, "it said: {said}");
            Ok(())
        })
    }

    /// Waits until something is in the folder.
    pub(crate) fn until_there(&self, name: &str) -> Result<()> {
        until(&format!("{name} is there"), PATIENCE, || {
            fs::symlink_metadata(self.agent.root.join(name))?;
            Ok(())
        })
    }

    /// Waits until something was asked once more than before, so the last answer was of no use.
    pub(crate) fn until_asked_again(&self, what: &str, before: usize) -> Result<()> {
        until(&format!("{what} is asked again"), PATIENCE, || {
            let asked = self.server.asked(what);
            ensure!(asked > before + 1, "it was asked {asked} times");
            Ok(())
        })
    }

    /// Waits until the agent has asked for a tree again, or told that it cannot be used.
    pub(crate) fn until_refused(&self, before: usize) -> Result<()> {
        until("it has refused the tree", PATIENCE, || {
            let asked = self.server.asked("delta") + self.server.asked("objects");
            if asked > before + 1 {
                return Ok(());
            }
            let status = self.agent.verb("status", &["--json"])?.stdout;
            ensure!(status.contains("cannot be used"), "{asked}, {status}");
            Ok(())
        })
    }

    /// Waits until the server has taken bytes that the agent sent, and the agent is in step.
    pub(crate) fn until_stored(&self, bytes: &[u8]) -> Result<()> {
        let end = &bytes[bytes.len().saturating_sub(100)..];
        until("it is stored", PATIENCE, || {
            ensure!(self.server.holds(end), "not yet");
            Ok(())
        })?;
        self.agent.flush()
    }

    /// Tells the truth with a good tree and waits until it is in the folder: the agent lives, and
    /// nothing is wrong with it or with what is around it.
    pub(crate) fn survives(&mut self, name: &str) -> Result<()> {
        self.server.be_honest();
        let content = Raw::chunk(format!("good: {name}"));
        let root = Self::tree(&[Item::file(name.as_bytes(), &content)]);
        self.publish(&root, [content.clone()]);
        let path = self.agent.root.join(name);
        until(&format!("{name} is there"), PATIENCE, || {
            let found = fs::read(&path)?;
            ensure!(found == content.bytes, "it is {found:?}");
            Ok(())
        })?;
        self.unharmed()
    }

    /// Checks that the agent lives, that its memory is bounded, that the user's file is as it was,
    /// and that nothing around the folder changed or was told.
    pub(crate) fn unharmed(&mut self) -> Result<()> {
        ensure!(self.agent.process.is_running()?, "the agent has ended");
        let said = self.agent.process.stderr();
        ensure!(!said.contains("panicked"), "{said}");
        let memory = self.agent.process.peak_memory_bytes()?;
        ensure!(memory < MOST_MEMORY_BYTES, "it took {memory} bytes");
        let own = fs::read_to_string(self.agent.root.join(OWN.0))?;
        ensure!(own == OWN.1, "the user's file is {own:?}");
        let around = look_around(&self.system)?;
        ensure!(around == self.around, "around it: {around:?}");
        ensure!(
            !self.server.has_seen(SECRET.as_bytes()),
            "the secret was told"
        );
        Ok(())
    }
}

fn own_dir() -> Raw {
    dir(&[Item::file(OWN_PARTS.1, &Raw::chunk(OWN.1))])
}

fn publish(server: &Hostile, root: &Raw, objects: impl IntoIterator<Item = Raw>) {
    let own = [root.clone(), own_dir(), Raw::chunk(OWN.1)];
    server.publish(
        Raw::revision(root, Vec::new()),
        objects.into_iter().chain(own),
    );
}

/// Returns all that lies beside the folder, the agent's own state and logs apart.
fn look_around(system: &System) -> Result<Vec<(PathBuf, u64, i64)>> {
    let top = system.path("");
    let mut found = Vec::new();
    for entry in fs::read_dir(&top)? {
        let entry = entry?;
        found.push((PathBuf::from(entry.file_name()), 0, 0));
    }
    let outside = system.path("outside");
    for path in folder::list(&outside)?.into_keys() {
        let meta = fs::symlink_metadata(outside.join(&path))?;
        found.push((path, meta.size(), meta.mtime_nsec()));
    }
    found.sort();
    Ok(found)
}
