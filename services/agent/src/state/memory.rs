//! A state's rows in memory: what a simulator needs that opens thousands of states a second.
//!
//! Guarantees: as [`super::State`] over a file. [`Memory::crash`] gives what is found after the
//! process ended at once: all of it, or after a power loss only what a durable update had reached.
//! Does not: bound its memory. An update copies a table that a snapshot still shows.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::engine::Part;
use super::{Durability, Result};

type Map = BTreeMap<Vec<u8>, Arc<[u8]>>;
/// Rows of one table that nobody changes any more.
pub(super) type Kept = Arc<Map>;
/// What stood under a key of a table.
type Undo = (Part, Vec<u8>, Option<Arc<[u8]>>);
type Changes = BTreeMap<Vec<u8>, Option<Arc<[u8]>>>;

/// All tables at one moment.
#[derive(Debug, Clone, Default)]
pub struct Picture([Kept; Part::ALL.len()]);

/// See the module's head. Clones are the same memory.
#[derive(Debug, Clone, Default)]
pub struct Memory(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Held by the update that goes on.
    writer: Mutex<()>,
    stored: Mutex<Stored>,
}

#[derive(Debug, Default)]
struct Stored {
    tables: Picture,
    /// What takes the updates since the last durable one back, the newest last.
    undo: Vec<Undo>,
}

/// An update that goes on: what it changed, over what was there.
#[derive(Debug)]
pub struct Draft<'m> {
    memory: &'m Memory,
    _writer: MutexGuard<'m, ()>,
    base: Picture,
    changes: [Mutex<Changes>; Part::ALL.len()],
}

/// One table inside an update.
#[derive(Debug)]
pub struct DraftRows<'d> {
    base: &'d Kept,
    changes: &'d Mutex<Changes>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Picture {
    pub(super) fn rows(&self, part: Part) -> Kept {
        Arc::clone(&self.0[part as usize])
    }

    /// Sets or removes a row; returns what was there.
    fn put(&mut self, part: Part, key: Vec<u8>, value: Option<Arc<[u8]>>) -> Option<Arc<[u8]>> {
        let map = Arc::make_mut(&mut self.0[part as usize]);
        match value {
            Some(value) => map.insert(key, value),
            None => map.remove(&key),
        }
    }
}

impl Memory {
    /// Returns what is found after the owner ended at once. The owner may go on: nobody sees it.
    #[must_use]
    pub fn crash(&self, is_power_loss: bool) -> Self {
        let mut stored = {
            let stored = locked(&self.0.stored);
            Stored {
                tables: stored.tables.clone(),
                undo: stored.undo.clone(),
            }
        };
        if is_power_loss {
            for (part, key, old) in std::mem::take(&mut stored.undo).into_iter().rev() {
                stored.tables.put(part, key, old);
            }
        }
        Self(Arc::new(Inner {
            writer: Mutex::default(),
            stored: Mutex::new(stored),
        }))
    }

    pub(super) fn read(&self) -> Picture {
        locked(&self.0.stored).tables.clone()
    }

    pub(super) fn write(&self) -> Draft<'_> {
        let writer = locked(&self.0.writer);
        Draft {
            memory: self,
            _writer: writer,
            base: self.read(),
            changes: Default::default(),
        }
    }
}

impl Draft<'_> {
    pub(super) fn rows(&self, part: Part) -> DraftRows<'_> {
        DraftRows {
            base: &self.base.0[part as usize],
            changes: &self.changes[part as usize],
        }
    }

    pub(super) fn commit(self, durability: Durability) {
        // Without another owner of the tables nothing is copied.
        drop(self.base);
        let mut stored = locked(&self.memory.0.stored);
        for (part, changes) in Part::ALL.into_iter().zip(self.changes) {
            let changes = changes.into_inner().unwrap_or_else(PoisonError::into_inner);
            for (key, value) in changes {
                let old = stored.tables.put(part, key.clone(), value);
                stored.undo.push((part, key, old));
            }
        }
        if durability == Durability::Durable {
            stored.undo.clear();
        }
    }
}

impl DraftRows<'_> {
    pub(super) fn read<R>(&self, key: &[u8], read: impl FnOnce(&[u8]) -> R) -> Option<R> {
        let changes = locked(self.changes);
        let found = match changes.get(key) {
            Some(changed) => changed.as_ref(),
            None => self.base.get(key),
        };
        found.map(|value| read(value))
    }

    /// Shows rows from a key on, as the update has them, until told to stop.
    pub(super) fn scan(
        &self,
        from: &[u8],
        mut show: impl FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let changes = locked(self.changes);
        let mut old = self.base.range(from.to_vec()..).peekable();
        let mut new = changes.range(from.to_vec()..).peekable();
        loop {
            let is_new = match (old.peek(), new.peek()) {
                (None, None) => return Ok(()),
                (Some(_), None) => false,
                (None, Some(_)) => true,
                (Some((old, _)), Some((new, _))) => new <= old,
            };
            let row = if is_new {
                let changed = new.next();
                old.next_if(|(key, _)| changed.is_some_and(|(new, _)| new == *key));
                changed.and_then(|(key, value)| Some((key, value.as_ref()?)))
            } else {
                old.next()
            };
            if let Some((key, value)) = row
                && show(key, value)?.is_break()
            {
                return Ok(());
            }
        }
    }

    pub(super) fn put(&mut self, key: &[u8], value: Option<&[u8]>) {
        locked(self.changes).insert(key.to_vec(), value.map(Arc::from));
    }
}
