//! The storage below an agent's state: a crash takes what was not made durable.
//!
//! Guarantees: what was written before the last `sync_data` is there after [`Platter::crash`]; what came later is gone
//! (power loss) or there (`kill -9`), as the caller asks. A storage that crashed ignores its old owner, so that an owner
//! that ends after its crash writes nothing.

use std::io::Error;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

/// What survives the process.
#[derive(Debug, Clone, Default)]
pub struct Platter(Arc<Mutex<Stored>>);

#[derive(Debug, Default)]
struct Stored {
    bytes: Vec<u8>,
    /// How to take back what was written since the last sync, in order.
    undo: Vec<Undo>,
    owner: u64,
}

#[derive(Debug)]
enum Undo {
    Write(usize, Vec<u8>),
    Length(usize, Vec<u8>),
}

/// One process' handle of the storage.
#[derive(Debug)]
pub struct PlatterHandle {
    platter: Platter,
    owner: u64,
}

impl Platter {
    fn stored(&self) -> MutexGuard<'_, Stored> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens the storage; earlier handles write nothing any more.
    pub fn open(&self) -> PlatterHandle {
        let mut stored = self.stored();
        stored.owner += 1;
        PlatterHandle {
            platter: self.clone(),
            owner: stored.owner,
        }
    }

    /// Ends the owner at once; with `power_loss` all that was not synced is gone.
    pub fn crash(&self, power_loss: bool) {
        let mut stored = self.stored();
        stored.owner += 1;
        let undo = std::mem::take(&mut stored.undo);
        if !power_loss {
            return;
        }
        for step in undo.into_iter().rev() {
            match step {
                Undo::Write(at, old) => stored.bytes[at..at + old.len()].copy_from_slice(&old),
                Undo::Length(length, cut) => {
                    stored.bytes.truncate(length);
                    stored.bytes.extend_from_slice(&cut);
                }
            }
        }
    }

    /// Forgets everything, as when the disk with the state is lost.
    pub fn lose(&self) {
        let mut stored = self.stored();
        stored.owner += 1;
        stored.undo.clear();
        stored.bytes.clear();
    }
}

fn range(offset: u64, length: usize) -> Option<std::ops::Range<usize>> {
    let start = usize::try_from(offset).ok()?;
    Some(start..start.checked_add(length)?)
}

fn past_end() -> Error {
    Error::from(std::io::ErrorKind::UnexpectedEof)
}

impl StorageBackend for PlatterHandle {
    fn len(&self) -> Result<u64, Error> {
        Ok(self.platter.stored().bytes.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), Error> {
        let stored = self.platter.stored();
        let found = range(offset, out.len()).and_then(|range| stored.bytes.get(range));
        out.copy_from_slice(found.ok_or_else(past_end)?);
        Ok(())
    }

    fn set_len(&self, length: u64) -> Result<(), Error> {
        let mut stored = self.platter.stored();
        if stored.owner != self.owner {
            return Ok(());
        }
        let length = usize::try_from(length).map_err(|_| past_end())?;
        let old = stored.bytes.len();
        let cut = stored.bytes.get(length..).map_or(Vec::new(), <[u8]>::to_vec);
        stored.undo.push(Undo::Length(old.min(length), cut));
        stored.bytes.resize(length, 0);
        Ok(())
    }

    fn sync_data(&self) -> Result<(), Error> {
        let mut stored = self.platter.stored();
        if stored.owner == self.owner {
            stored.undo.clear();
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), Error> {
        let mut stored = self.platter.stored();
        if stored.owner != self.owner {
            return Ok(());
        }
        let range = range(offset, data.len()).ok_or_else(past_end)?;
        let old = stored.bytes.get(range.clone()).ok_or_else(past_end)?.to_vec();
        stored.bytes[range.clone()].copy_from_slice(data);
        stored.undo.push(Undo::Write(range.start, old));
        Ok(())
    }
}
