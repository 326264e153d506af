//! How a simulated disk differs from ext4: names that it cannot tell apart, coarse stamps, no exec
//! bits.
//!
//! Guarantees: plain worlds are as they would be without this; an odd one is chosen by a seed of
//! its own.

use fsync_agent::files::{Place, Problem, Result};
use fsync_core::path::{Name, RelPath};

use super::inodes::Ino;
use super::rng::Rng;
use super::volume::{Volume, fail};

/// One in so many worlds has odd disks.
const ODD_ONE_IN: u64 = 6;
/// Stamps of ext4 move in steps of this, as a kernel's clock does.
const FINE_NS: i64 = 4_000_000;
/// Stamps of other disks: HFS+ and FAT.
const COARSE_NS: [i64; 2] = [1_000_000_000, 2_000_000_000];
/// Names of plain worlds: few, so that clashes are common.
const PLAIN: [&str; 6] = ["a", "b", "c", "d", "f.txt", "g"];
/// Names of worlds with odd disks; some are one name there.
const CLASHING: [&str; 8] = ["a", "A", "b", "c", "f.txt", "F.txt", "e\u{301}", "\u{e9}"];

/// See the module's head.
#[derive(Debug, Clone, Copy)]
pub struct Ways {
    /// Upper and lower case are one name, and so are a letter with its accent and both in one.
    pub folds: bool,
    /// Stamps move in steps of this.
    pub stamp_ns: i64,
    /// Files have exec bits.
    pub keeps_exec: bool,
    /// What users call things in this world.
    pub names: &'static [&'static str],
}

impl Default for Ways {
    fn default() -> Self {
        Self {
            folds: false,
            stamp_ns: FINE_NS,
            keeps_exec: true,
            names: &PLAIN,
        }
    }
}

impl Ways {
    /// Returns what the disk of a machine is like in the world of a seed.
    pub fn of_seed(seed: u64, machine: usize) -> Self {
        let mut rng = Rng::new(seed ^ 0x0dd0_d15c);
        if rng.below(ODD_ONE_IN) > 0 {
            return Self::default();
        }
        (0..machine).for_each(|_| rng = rng.split());
        let stamp_ns = match rng.chance(300) {
            true => *rng.pick(&COARSE_NS).unwrap_or(&FINE_NS),
            false => FINE_NS,
        };
        Self {
            folds: rng.chance(400),
            stamp_ns,
            keeps_exec: !rng.chance(300),
            names: &CLASHING,
        }
    }
}

impl Ways {
    /// Returns whether times are kept in seconds at best.
    pub fn is_coarse(&self) -> bool {
        self.stamp_ns > FINE_NS
    }
}

fn folded(name: &[u8]) -> String {
    let lower = String::from_utf8_lossy(name).to_lowercase();
    lower.replace("e\u{301}", "\u{e9}")
}

impl Volume {
    /// Returns the spelling under which a directory has a name already; none if it is as asked for.
    pub(super) fn other_spelling(&self, dir: Ino, name: &[u8]) -> Option<&[u8]> {
        let entries = self.inodes.entries(dir).filter(|_| self.ways.folds)?;
        let wanted = folded(name);
        let same = |there: &&Vec<u8>| there.as_slice() != name && folded(there) == wanted;
        entries.keys().find(same).map(Vec::as_slice)
    }

    /// Returns a path in the spelling in which the disk finds it.
    pub fn spelled(&self, path: &RelPath) -> RelPath {
        let mut found = RelPath::root();
        for name in path.names() {
            let dir = self.at(&found);
            let other = dir.and_then(|dir| self.other_spelling(dir, name.as_bytes()));
            let other = other.and_then(|other| Name::new(other).ok());
            found = found.join(&other.unwrap_or(name));
        }
        found
    }

    /// Returns a path with its last name in another spelling that is the same to the disk.
    pub fn respelled(&self, path: &RelPath) -> Option<RelPath> {
        let (dir, name) = path.split_last().filter(|_| self.ways.folds)?;
        let same = |other: &&&str| {
            other.as_bytes() != name.as_bytes()
                && folded(other.as_bytes()) == folded(name.as_bytes())
        };
        let other = self.ways.names.iter().find(same)?;
        Some(dir.join(&Name::new(other.as_bytes()).ok()?))
    }

    /// Returns whether the disk has something else under a path, as it spells it.
    pub fn is_taken_otherwise(&self, path: &RelPath) -> bool {
        self.spelled(path) != *path
    }

    /// Refuses a name that the disk has in another spelling, unless it is that of `own`.
    pub(super) fn check_spelling(
        &self,
        op: &'static str,
        at: Place<'_>,
        (dir, name): (Ino, &[u8]),
        own: Option<Ino>,
    ) -> Result<()> {
        let Some(other) = self.other_spelling(dir, name) else {
            return Ok(());
        };
        match self.inodes.child(dir, other) {
            Some(there) if own == Some(there) => Ok(()),
            _ => Err(fail(op, at, Problem::NotStorable)),
        }
    }
}
