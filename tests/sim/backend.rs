//! The storage below an agent's state: a crash takes what was not made durable.
//!
//! Guarantees: what was written before the last `sync_data` is there after [`Platter::crash`]; what
//! came later is gone (power loss) or there (`kill -9`), as the caller asks. After a crash the old
//! owner writes into a copy, so that whatever it does in its last moments changes nothing.

use std::io::Error;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

/// What survives the process.
#[derive(Debug, Clone, Default)]
pub struct Platter(Arc<Mutex<Arc<Mutex<Stored>>>>);

/// One process' view of the storage.
#[derive(Debug, Default)]
pub struct Stored {
    bytes: Vec<u8>,
    /// How to take back what was written since the last sync, in order.
    undo: Vec<Undo>,
}

#[derive(Debug)]
enum Undo {
    Write(usize, Vec<u8>),
    Length(usize, Vec<u8>),
}

/// One process' handle of the storage.
#[derive(Debug)]
pub struct PlatterHandle(Arc<Mutex<Stored>>);

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Stored {
    /// Returns what is found after the process ended at once.
    fn survivor(&self, is_power_loss: bool) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        for step in self.undo.iter().rev().filter(|_| is_power_loss) {
            match step {
                Undo::Write(at, old) => bytes[*at..at + old.len()].copy_from_slice(old),
                Undo::Length(length, cut) => {
                    bytes.truncate(*length);
                    bytes.extend_from_slice(cut);
                }
            }
        }
        bytes
    }
}

impl Platter {
    /// Opens the storage.
    pub fn open(&self) -> PlatterHandle {
        PlatterHandle(Arc::clone(&locked(&self.0)))
    }

    /// Ends the owner at once: its handle goes on, over a copy that nobody will see. With a power
    /// loss all that was not synced is gone.
    pub fn crash(&self, is_power_loss: bool) {
        let mut current = locked(&self.0);
        let bytes = locked(&current).survivor(is_power_loss);
        let undo = Vec::new();
        *current = Arc::new(Mutex::new(Stored { bytes, undo }));
    }

    /// Forgets everything, as when the disk with the state is lost.
    pub fn lose(&self) {
        *locked(&self.0) = Arc::default();
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
        Ok(locked(&self.0).bytes.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), Error> {
        let stored = locked(&self.0);
        let found = range(offset, out.len()).and_then(|range| stored.bytes.get(range));
        out.copy_from_slice(found.ok_or_else(past_end)?);
        Ok(())
    }

    fn set_len(&self, length: u64) -> Result<(), Error> {
        let mut stored = locked(&self.0);
        let length = usize::try_from(length).or(Err(past_end()))?;
        let old = stored.bytes.len();
        let cut = stored
            .bytes
            .get(length..)
            .map_or(Vec::new(), <[u8]>::to_vec);
        stored.undo.push(Undo::Length(old.min(length), cut));
        stored.bytes.resize(length, 0);
        Ok(())
    }

    fn sync_data(&self) -> Result<(), Error> {
        locked(&self.0).undo.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), Error> {
        let mut stored = locked(&self.0);
        let range = range(offset, data.len()).ok_or_else(past_end)?;
        let old = stored
            .bytes
            .get(range.clone())
            .ok_or_else(past_end)?
            .to_vec();
        stored.bytes[range.clone()].copy_from_slice(data);
        stored.undo.push(Undo::Write(range.start, old));
        Ok(())
    }
}
