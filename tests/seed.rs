//! The scenarios that fsync's forerunner was tested with, as one suite over two kinds of sites: the
//! simulated one, whose messages are in memory, and real agents on real folders, over Socket.IO.
//!
//! Guarantees: a scenario asks a [`Site`] for nothing that only one of the two can do, and waits for
//! what it expects, never for time.
//! Place: the test `seed` runs all scenarios on both.
//!
//! Three of the forerunner's rules do not hold here, on purpose: a newcomer with an empty folder gets
//! what is there (it overwrote it), a rename is a rename (it was a delete and a create), and of two
//! edits at once both are kept (the last one won).

pub mod live;
pub mod more;
pub mod once;
pub mod real;
pub mod simulated;

use std::collections::BTreeMap;

use anyhow::{Result, ensure};

/// What a folder holds: a file's bytes, or `None` for a directory.
pub type Listing = BTreeMap<String, Option<Vec<u8>>>;

/// Some folders whose agents share one tree.
pub trait Site {
    /// Returns what it is, for people.
    fn name(&self) -> &'static str;

    /// Starts the agent of a folder, which is made if it is new; it has connected, or will.
    ///
    /// # Errors
    /// If it cannot be started.
    fn start(&mut self, at: usize) -> Result<()>;

    /// Ends the agent of a folder in good order.
    ///
    /// # Errors
    /// If it does not end.
    fn stop(&mut self, at: usize) -> Result<()>;

    /// Breaks the connection of a folder's agent; it makes a new one by itself.
    ///
    /// # Errors
    /// If there is none to break.
    fn cut(&mut self, at: usize) -> Result<()>;

    /// Writes a file, making the directories on the way.
    ///
    /// # Errors
    /// The system's.
    fn write(&mut self, at: usize, path: &str, bytes: &[u8]) -> Result<()>;

    /// Makes a directory and those on the way.
    ///
    /// # Errors
    /// The system's.
    fn make_dir(&mut self, at: usize, path: &str) -> Result<()>;

    /// Renames a file or directory.
    ///
    /// # Errors
    /// The system's.
    fn rename(&mut self, at: usize, from: &str, to: &str) -> Result<()>;

    /// Removes a file, or a directory with all in it.
    ///
    /// # Errors
    /// The system's.
    fn remove(&mut self, at: usize, path: &str) -> Result<()>;

    /// Returns what a folder holds.
    ///
    /// # Errors
    /// The system's.
    fn list(&self, at: usize) -> Result<Listing>;

    /// Returns how many revisions the tree has.
    ///
    /// # Errors
    /// If nobody can be asked.
    fn revisions(&mut self) -> Result<u64>;

    /// Waits until every agent that runs is done with all that was written.
    ///
    /// # Errors
    /// If they are not in time.
    fn settle(&mut self) -> Result<()>;

    /// Lets some time pass, in which nothing is expected to happen.
    ///
    /// # Errors
    /// If an agent ended in it.
    fn idle(&mut self) -> Result<()>;

    /// Returns an earlier version of a file: what it was in a revision, by its number.
    ///
    /// # Errors
    /// If it cannot be loaded.
    fn load(&mut self, revision: u64, path: &str) -> Result<Vec<u8>>;

    /// Takes the server away with all that it had, and puts a new, empty one in its place.
    ///
    /// # Errors
    /// If it does not come up.
    fn replace_server(&mut self) -> Result<()>;
}

/// A scenario and its name.
pub type Scenario = (&'static str, fn(&mut dyn Site) -> Result<()>);

/// Checks that folders hold exactly this.
pub(crate) fn expect(site: &dyn Site, folders: &[usize], wanted: &[(&str, &[u8])]) -> Result<()> {
    let mut listing = Listing::new();
    for (path, bytes) in wanted {
        let mut above = *path;
        while let Some((dir, _)) = above.rsplit_once('/') {
            listing.insert(dir.to_owned(), None);
            above = dir;
        }
        let content = (!path.ends_with('/')).then(|| bytes.to_vec());
        listing.insert(path.trim_end_matches('/').to_owned(), content);
    }
    for at in folders {
        let found = site.list(*at)?;
        ensure!(
            found == listing,
            "folder {at} holds {}, not {}",
            shown(&found),
            shown(&listing)
        );
    }
    Ok(())
}

/// Returns paths and lengths, for people.
fn shown(listing: &Listing) -> String {
    let item = |(path, bytes): (&String, &Option<Vec<u8>>)| match bytes {
        Some(bytes) => format!("{path} ({} bytes)", bytes.len()),
        None => format!("{path}/"),
    };
    listing.iter().map(item).collect::<Vec<_>>().join(", ")
}
