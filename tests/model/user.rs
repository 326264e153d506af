//! A user with a folder: does things as programs do, and tells what was seen.
//!
//! Guarantees: what is told to have been replaced or deleted is what the system call took away, not
//! what an earlier look found; contents are of one length, so that no one sees half of one.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::history::{Event, NOTHING, PATHS, Value};

/// A content that no user wrote.
pub const FOREIGN: Value = Value::MAX;

/// Something to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// Look at a path.
    Read(usize),
    /// Save as editors do: a new file takes the place of the old one.
    Save(usize, Value),
    /// Write into the file that is there.
    Overwrite(usize, Value),
    /// Delete.
    Delete(usize),
    /// Rename onto a free name.
    Rename(usize, usize),
}

/// Returns the text of a value.
pub fn text(value: Value) -> String {
    format!("value {value:05}\n")
}

/// Returns the value of a text; [`FOREIGN`] if no user writes such a thing.
pub fn parse(bytes: &[u8]) -> Value {
    let digits = bytes
        .strip_prefix(b"value ")
        .and_then(|rest| rest.strip_suffix(b"\n"));
    let number = digits.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
    number
        .filter(|value| text(*value).as_bytes() == bytes)
        .unwrap_or(FOREIGN)
}

/// Reads the value of a file.
///
/// # Errors
/// The system's; a file that is not there is [`NOTHING`].
pub fn look(path: &Path) -> Result<Value> {
    match fs::read(path) {
        Ok(bytes) => Ok(parse(&bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(NOTHING),
        Err(error) => Err(error).with_context(|| path.display().to_string()),
    }
}

/// See the module's head.
#[derive(Debug)]
pub struct User {
    number: usize,
    folder: PathBuf,
    /// A directory of the same disk that the tool does not know.
    scratch: PathBuf,
}

impl User {
    /// Makes the user of a folder.
    pub fn new(number: usize, folder: PathBuf, scratch: PathBuf) -> Self {
        Self {
            number,
            folder,
            scratch,
        }
    }

    /// Does something; `None` if it could not be done.
    ///
    /// # Errors
    /// The system's, where nothing but a fault explains it.
    pub fn perform(&self, op: Op) -> Result<Option<Event>> {
        match op {
            Op::Read(path) => self.read(path).map(Some),
            Op::Save(path, value) => self.save(path, value).map(Some),
            Op::Overwrite(path, value) => self.overwrite(path, value).map(Some),
            Op::Delete(path) => self.delete(path).map(Some),
            Op::Rename(from, to) => self.rename(from, to),
        }
    }

    fn at(&self, path: usize) -> PathBuf {
        self.folder.join(PATHS[path])
    }

    fn read(&self, path: usize) -> Result<Event> {
        let saw = look(&self.at(path))?;
        let user = self.number;
        Ok(Event::Read { user, path, saw })
    }

    fn wrote(&self, path: usize, value: Value, over: Value) -> Event {
        Event::Write {
            user: self.number,
            path,
            value,
            over,
            is_sure: true,
        }
    }

    /// One call swaps both files, so what comes out is what was there.
    fn save(&self, path: usize, value: Value) -> Result<Event> {
        let new = self.scratch.join(format!("save-{}", self.number));
        fs::write(&new, text(value))?;
        loop {
            let take_out = |flags| renameat_with(CWD, &new, CWD, self.at(path), flags);
            match take_out(RenameFlags::NOREPLACE) {
                Ok(()) => return Ok(self.wrote(path, value, NOTHING)),
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error).context("save"),
            }
            match take_out(RenameFlags::EXCHANGE) {
                Ok(()) => {
                    let over = look(&new)?;
                    fs::remove_file(&new)?;
                    return Ok(self.wrote(path, value, over));
                }
                // Gone in between.
                Err(Errno::NOENT) => {}
                Err(error) => return Err(error).context("save"),
            }
        }
    }

    fn overwrite(&self, path: usize, value: Value) -> Result<Event> {
        let file = match File::options().read(true).write(true).open(self.at(path)) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return self.save(path, value),
            Err(error) => return Err(error).context("overwrite"),
        };
        let mut before = vec![0; text(value).len()];
        let read = file.read_at(&mut before, 0)?;
        before.truncate(read);
        file.write_all_at(text(value).as_bytes(), 0)?;
        let mine = file.metadata()?;
        let is_there = fs::metadata(self.at(path))
            .is_ok_and(|now| (now.dev(), now.ino()) == (mine.dev(), mine.ino()));
        Ok(Event::Write {
            user: self.number,
            path,
            value,
            over: parse(&before),
            is_sure: is_there,
        })
    }

    fn delete(&self, path: usize) -> Result<Event> {
        let away = self.scratch.join(format!("deleted-{}", self.number));
        match fs::rename(self.at(path), &away) {
            Ok(()) => {
                let over = look(&away)?;
                fs::remove_file(&away)?;
                Ok(self.wrote(path, NOTHING, over))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Event::Read {
                user: self.number,
                path,
                saw: NOTHING,
            }),
            Err(error) => Err(error).context("delete"),
        }
    }

    fn rename(&self, from: usize, to: usize) -> Result<Option<Event>> {
        let (old, new) = (self.at(from), self.at(to));
        let user = self.number;
        match renameat_with(CWD, old, CWD, new, RenameFlags::NOREPLACE) {
            Ok(()) => Ok(Some(Event::Rename { user, from, to })),
            Err(Errno::NOENT) => {
                let (path, saw) = (from, NOTHING);
                Ok(Some(Event::Read { user, path, saw }))
            }
            Err(Errno::EXIST) => Ok(None),
            Err(error) => Err(error).context("rename"),
        }
    }
}
