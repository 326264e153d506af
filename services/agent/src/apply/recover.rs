//! Recovery at start: what an apply that was cut off left behind.
//!
//! Guarantees: a path whose disk state equals its intent's target is the remote side's doing, never
//! the user's; one that a crash took back to what stood there before is taken back in both trees,
//! so that it is applied again; anything else is the user's and left to the scan. No user's inode
//! in the stage is removed.

mod respell;

use std::collections::{BTreeSet, HashSet};

use fsync_core::id::ObjectId;
use fsync_core::mutant::{self, Mutant};
use fsync_core::node::Entry;
use fsync_core::path::{Name, RelPath};
use fsync_runtime::fault::{self, Point};

use super::ApplyError;
use crate::edits::Edits;
use crate::files::{Files, Kind, Place, Rename, StageKey, Stat, TrashSlot};
use crate::scan::{Hashed, as_kept, hash_file, hash_link};
use crate::state::{Durability, Held, Intent, Row, Stamp, State, Trashed, Tx};

/// What recovery found.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// Paths that had been applied.
    pub applied: Vec<RelPath>,
    /// Paths that stand as they stood before the apply.
    pub undone: Vec<RelPath>,
    /// Paths that are neither: the user's doing.
    pub edited: Vec<RelPath>,
    /// Staged files that were removed.
    pub removed: u64,
    /// Paths whose files or directories stood in the stage, between two spellings, and are back.
    pub given_back: Vec<RelPath>,
    /// Users' files that were found in the stage and are in the trash now.
    pub rescued: Vec<(TrashSlot, RelPath)>,
}

/// What stands at a path now.
#[derive(Debug)]
enum Found {
    Nothing,
    Leaf(Entry, Stat, i64),
    Dir(Stat),
    Unknown,
}

/// Sorts out what an interrupted apply left; runs before the first scan.
///
/// # Errors
/// [`ApplyError`]; run it again then.
pub fn recover(files: &dyn Files, state: &State) -> Result<Recovered, ApplyError> {
    let intents = state.snapshot()?.intents()?;
    let mut recovered = Recovered::default();
    respell::give_back(files, state, &intents, &mut recovered)?;
    clean_stage(files, state, &intents, &mut recovered)?;
    // What the process that ended had put in place is seen, but it may not be durable: a power loss
    // after the intents are gone would make the old version look like a user's edit.
    let dirs: BTreeSet<RelPath> = intents.iter().filter_map(|(p, _)| p.parent()).collect();
    if !dirs.is_empty() {
        files.sync_dirs(&dirs.into_iter().collect::<Vec<_>>())?;
    }
    let settled = state.update::<_, ApplyError>(Durability::Durable, |tx| {
        let mut edits = Edits::new(state, tx.roots()?);
        for (path, intent) in &intents {
            let found = look(files, path, intent)?;
            tracing::debug!(?path, ?found, "an intent is sorted out");
            if !mutant::is_on(Mutant::NoRecovery) {
                settle(tx, &mut edits, (path, intent), &found, &mut recovered)?;
            }
            tx.set_intent(path, None)?;
        }
        let written = edits.write(tx);
        fault::before(Point::Recover);
        written
    });
    fault::after(Point::Recover);
    settled?;
    Ok(recovered)
}

fn look(files: &dyn Files, path: &RelPath, intent: &Intent) -> Result<Found, ApplyError> {
    let at = Place::Tree(path);
    let Some(stat) = files.stat(at)? else {
        return Ok(Found::Nothing);
    };
    let hashed = match stat.kind {
        Kind::Dir => return Ok(Found::Dir(stat)),
        Kind::Other => return Ok(Found::Unknown),
        Kind::File => hash_file(files, at),
        Kind::Symlink => hash_link(files, at),
    };
    Ok(match hashed {
        Hashed::Entry {
            entry,
            stat,
            recorded,
            ..
        } => {
            let sides = [intent.target.disk, intent.expected.disk];
            let known = sides
                .iter()
                .flatten()
                .find(|known| known.id() == entry.id());
            Found::Leaf(as_kept(files, entry, known), stat, recorded)
        }
        _ => Found::Unknown,
    })
}

fn fits(found: &Found, wanted: Option<&Entry>) -> bool {
    match (found, wanted) {
        (Found::Nothing, None) | (Found::Dir(_), Some(Entry::Dir(_))) => true,
        (Found::Leaf(entry, ..), Some(wanted)) => entry.is_same(wanted),
        _ => false,
    }
}

fn settle(
    tx: &mut Tx<'_>,
    edits: &mut Edits<'_>,
    (path, intent): (&RelPath, &Intent),
    found: &Found,
    recovered: &mut Recovered,
) -> Result<(), ApplyError> {
    let is_known = match path.parent() {
        Some(dir) => tx.dir_at(&dir)?.is_some(),
        None => true,
    };
    if !is_known && !matches!(found, Found::Nothing) {
        // Its directory is new to the index: the scan that finds it finds this too.
        recovered.edited.push(path.clone());
        return Ok(());
    }
    let row = tx.row_at(path)?;
    if let (Found::Dir(stat), Some(row)) = (found, &row)
        && !row.stamp.is_inode(stat)
    {
        // Another directory: what the trees have of the old one is not in it.
        recovered.edited.push(path.clone());
        return Ok(());
    }
    let (side, list) = if fits(found, intent.target.disk.as_ref()) {
        (intent.target, &mut recovered.applied)
    } else if fits(found, intent.expected.disk.as_ref()) {
        (intent.expected, &mut recovered.undone)
    } else {
        recovered.edited.push(path.clone());
        return Ok(());
    };
    list.push(path.clone());
    match side.disk {
        // The trees may know more of the directory than the intent does.
        Some(Entry::Dir(_)) => {
            // Without a row nothing in it is known: it is scanned as a new one.
            if row.is_none() || !matches!(edits.lookup_working(path)?, Some(Entry::Dir(_))) {
                let empty = edits.empty_dir();
                edits.set_working(path, Some(Entry::Dir(empty)));
            }
            if let Some(Entry::Dir(dir)) = side.synced
                && !matches!(edits.lookup_synced(path)?, Some(Entry::Dir(_)))
            {
                edits.set_synced(path, Some(Entry::Dir(dir)));
            }
        }
        leaf => {
            edits.set_working(path, leaf);
            edits.set_synced(path, side.synced);
        }
    }
    write_row(tx, path, side.disk, found)
}

fn write_row(
    tx: &mut Tx<'_>,
    path: &RelPath,
    side: Option<Entry>,
    found: &Found,
) -> Result<(), ApplyError> {
    let Some((parent, name)) = path.split_last() else {
        return Ok(());
    };
    let Some(dir) = tx.dir_at(&parent)? else {
        return Ok(());
    };
    let row = match (found, side) {
        (Found::Leaf(_, stat, recorded), Some(entry)) => Row {
            stamp: Stamp::from(stat),
            recorded: *recorded,
            held: Held::Leaf(entry),
        },
        (Found::Dir(stat), Some(_)) => {
            let known = tx.row(dir, &name)?;
            let known = known.filter(|row| row.stamp.is_inode(stat));
            let no = match known.and_then(|row| row.dir()) {
                Some(no) => no,
                None => tx.new_dir()?,
            };
            Row {
                stamp: Stamp::from(stat),
                recorded: stat.ctime,
                held: Held::Dir(no),
            }
        }
        _ => {
            tx.remove_row(dir, &name)?;
            return Ok(());
        }
    };
    Ok(tx.put_row(dir, &name, &row)?)
}

/// Removes what no resume record names. Under an exchange key a user's inode may stand: unless its
/// content is one that an intent put there, it goes to the trash.
fn clean_stage(
    files: &dyn Files,
    state: &State,
    intents: &[(RelPath, Intent)],
    recovered: &mut Recovered,
) -> Result<(), ApplyError> {
    let resumable: HashSet<String> = state.snapshot()?.resumable()?.into_iter().collect();
    let ours: HashSet<ObjectId> = intents
        .iter()
        .filter_map(|(_, intent)| intent.target.disk.map(|entry| entry.id()))
        .collect();
    let mut kept = HashSet::new();
    for key in files.staged()? {
        if respell::keeps(&key) {
            continue;
        }
        if resumable.contains(key.as_str()) {
            kept.insert(key.as_str().to_owned());
            continue;
        }
        let found = match key.is_exchange() {
            true => hash_staged(files, &key)?,
            false => None,
        };
        match found {
            Some((entry, stat)) if !ours.contains(&entry.id()) => {
                recovered
                    .rescued
                    .push(rescue(files, state, &key, &Trashed::new(entry, &stat))?);
            }
            _ => {
                files.remove_file(Place::Stage(&key))?;
                recovered.removed += 1;
            }
        }
    }
    state.update(Durability::Lazy, |tx| {
        for key in resumable.difference(&kept) {
            tx.set_resume(key, None)?;
        }
        Ok(())
    })
}

fn hash_staged(files: &dyn Files, key: &StageKey) -> Result<Option<(Entry, Stat)>, ApplyError> {
    let at = Place::Stage(key);
    let hashed = match files.stat(at)?.map(|stat| stat.kind) {
        Some(Kind::File) => hash_file(files, at),
        Some(Kind::Symlink) => hash_link(files, at),
        _ => return Ok(None),
    };
    Ok(match hashed {
        Hashed::Entry { entry, stat, .. } => Some((entry, stat)),
        _ => None,
    })
}

fn rescue(
    files: &dyn Files,
    state: &State,
    key: &StageKey,
    trashed: &Trashed,
) -> Result<(TrashSlot, RelPath), ApplyError> {
    let slot = TrashSlot {
        time_ms: files.now().max(0).cast_unsigned() / 1_000_000,
        number: 0,
    };
    let name = Name::new(format!("recovered-{}", key.as_str()).into_bytes());
    let path = name.map_or_else(|_| RelPath::root(), |name| RelPath::root().join(&name));
    let (from, to) = (Place::Stage(key), Place::Trash(slot, &path));
    fault::around(Point::Rescue, || files.rename(from, to, Rename::NoReplace))?;
    state.update(Durability::Lazy, |tx| {
        tx.set_trashed(slot, &path, Some(trashed))
    })?;
    Ok((slot, path))
}
