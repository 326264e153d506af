//! The storage below an agent's state: a crash takes what was not made durable.
//!
//! Guarantees: what was written before the last `sync_data` is there after [`Platter::crash`]; what
//! came later is gone (power loss) or there (`kill -9`), as the caller asks; where power is lost at
//! a call ([`Meter`]) any part of it may be there. After a crash the old owner writes into a copy, so
//! that whatever it does in its last moments changes nothing.

use std::io::Error;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

use super::rng::Rng;

/// Counts what a machine does to its disks, and cuts its power at one of these calls.
#[derive(Debug, Clone, Default)]
pub struct Meter(Arc<Mutex<Metered>>);

#[derive(Debug, Default)]
struct Metered {
    calls: u64,
    cut_at: Option<u64>,
    is_cut: bool,
    end_at: Option<u64>,
    is_ended: bool,
    /// Decides what is left of what was not synced.
    rng: Option<Rng>,
}

impl Meter {
    /// Cuts power at the call of this number; `rng` decides what is left.
    pub fn cut_at(&self, call: u64, rng: Rng) {
        let mut metered = locked(&self.0);
        metered.cut_at = Some(call);
        metered.rng = Some(rng);
    }

    /// Ends the process, but not the power, at the call of this number.
    pub fn end_at(&self, call: u64) {
        locked(&self.0).end_at = Some(call);
    }

    /// Returns whether the process ended, once.
    pub fn take_end(&self) -> bool {
        std::mem::take(&mut locked(&self.0).is_ended)
    }

    /// Returns how many calls there were.
    pub fn calls(&self) -> u64 {
        locked(&self.0).calls
    }

    /// Counts a call; says whether power is lost at it.
    pub fn tick(&self) -> bool {
        let mut metered = locked(&self.0);
        metered.calls += 1;
        let is_now = metered.cut_at == Some(metered.calls);
        metered.is_cut |= is_now;
        metered.is_ended |= metered.end_at == Some(metered.calls);
        is_now
    }

    /// Returns whether power was lost, once.
    pub fn take_cut(&self) -> bool {
        std::mem::take(&mut locked(&self.0).is_cut)
    }

    /// Returns a source of chance for what is left.
    pub fn chance(&self) -> Rng {
        let mut metered = locked(&self.0);
        metered.rng.get_or_insert_with(|| Rng::new(0)).split()
    }
}

/// What survives the process.
#[derive(Debug, Clone, Default)]
pub struct Platter {
    stored: Arc<Mutex<Arc<Mutex<Stored>>>>,
    meter: Option<Meter>,
}

/// One process' view of the storage.
#[derive(Debug, Default)]
pub struct Stored {
    bytes: Vec<u8>,
    /// How to take back what was written since the last sync, in order.
    undo: Vec<Undo>,
    /// What is left, once power was lost.
    left: Option<Vec<u8>>,
}

#[derive(Debug)]
enum Undo {
    Write(usize, Vec<u8>),
    Length(usize, Vec<u8>),
}

/// One process' handle of the storage.
#[derive(Debug)]
pub struct PlatterHandle(Arc<Mutex<Stored>>, Option<Meter>);

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

    /// Power is lost: of what was not synced any part is there, in any order.
    fn lose_power(&mut self, rng: &mut Rng) {
        let mut left = self.survivor(true);
        let kept = *rng.pick(&[0, 500, 900, 1000]).unwrap_or(&0);
        for step in &self.undo {
            if !rng.chance(kept) {
                continue;
            }
            match step {
                Undo::Write(at, old) => {
                    let range = *at..*at + old.len();
                    left.resize(left.len().max(range.end), 0);
                    // A later write may be what stands there now: it was to be there too, then.
                    if let Some(new) = self.bytes.get(range.clone()) {
                        left[range].copy_from_slice(new);
                    }
                }
                Undo::Length(..) => left.resize(self.bytes.len(), 0),
            }
        }
        self.left.get_or_insert(left);
    }
}

impl Platter {
    /// Makes an empty storage whose calls are counted.
    pub fn metered(meter: Meter) -> Self {
        Self {
            meter: Some(meter),
            ..Self::default()
        }
    }

    /// Power is lost right now.
    pub fn lose_power(&self) {
        if let Some(meter) = &self.meter {
            locked(&locked(&self.stored)).lose_power(&mut meter.chance());
        }
    }

    /// Opens the storage.
    pub fn open(&self) -> PlatterHandle {
        PlatterHandle(Arc::clone(&locked(&self.stored)), self.meter.clone())
    }

    /// Ends the owner at once: its handle goes on, over a copy that nobody will see. With a power
    /// loss all that was not synced is gone.
    pub fn crash(&self, is_power_loss: bool) {
        let mut current = locked(&self.stored);
        let mut undo = Vec::new();
        let bytes = {
            let mut stored = locked(&current);
            let left = stored.left.take();
            // The end of a process syncs nothing.
            if left.is_none() && !is_power_loss {
                undo = std::mem::take(&mut stored.undo);
            }
            left.unwrap_or_else(|| stored.survivor(is_power_loss))
        };
        *current = Arc::new(Mutex::new(Stored {
            bytes,
            undo,
            left: None,
        }));
    }

    /// Forgets everything, as when the disk with the state is lost.
    pub fn lose(&self) {
        *locked(&self.stored) = Arc::default();
    }
}

fn range(offset: u64, length: usize) -> Option<std::ops::Range<usize>> {
    let start = usize::try_from(offset).ok()?;
    Some(start..start.checked_add(length)?)
}

fn past_end() -> Error {
    Error::from(std::io::ErrorKind::UnexpectedEof)
}

impl PlatterHandle {
    /// Begins a call that changes something.
    fn enter(&self) -> MutexGuard<'_, Stored> {
        let mut stored = locked(&self.0);
        if let Some(meter) = &self.1
            && meter.tick()
        {
            stored.lose_power(&mut meter.chance());
        }
        stored
    }
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
        let mut stored = self.enter();
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
        self.enter().undo.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), Error> {
        let mut stored = self.enter();
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
