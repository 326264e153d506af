//! What is odd about the disk.
//!
//! Habits are fixed at the start. Faults come and go while it is mounted: they are set as extended
//! attributes, [`FAULT`] on the file that has it, [`BUDGET`] and [`READ_ONLY`] on the root.

use std::ffi::{OsStr, OsString};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::io::Errno;

/// Attribute of a file that cannot be read or written: the error's name. Removing it mends the file.
pub(crate) const FAULT: &str = "user.fault";
/// Attribute of the root: an error's name and the bytes that can still be written before it, as in
/// `ENOSPC 4096`. Removing it gives room again.
pub(crate) const BUDGET: &str = "user.budget";
/// Attribute of the root of a lossy disk: setting it to a number takes back what was not synced, as
/// the number decides.
pub(crate) const POWER: &str = "user.power";
/// Attribute of the root: while it is there, whatever it is, nothing can be changed (`EROFS`).
pub(crate) const READ_ONLY: &str = "user.readonly";
/// Resolution of times on a coarse disk, as FAT has it.
const COARSE_SECONDS: u64 = 2;
const EXEC_BITS: u32 = 0o111;

/// The habits that flags switch on.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of its own on the command line"
)]
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Habits {
    /// `Foo` and `foo` are one name; the first spelling is kept
    #[arg(long)]
    fold_case: bool,
    /// Names are kept composed (NFC), however they are given
    #[arg(long)]
    compose: bool,
    /// Times are whole two seconds
    #[arg(long)]
    coarse_times: bool,
    /// Files have no exec bit; setting it is passed over
    #[arg(long)]
    no_exec: bool,
    /// A number is given to the next file as soon as its inode is gone
    #[arg(long)]
    pub(crate) reuse_inodes: bool,
    /// Power may be lost: what was not synced is noted, so that it can be taken back
    #[arg(long)]
    pub(crate) lossy: bool,
    /// Renames cannot exchange, nor refuse to replace
    #[arg(long)]
    pub(crate) plain_renames: bool,
}

impl Habits {
    /// Returns whether two spellings can be one name.
    pub(crate) fn has_twins(&self) -> bool {
        self.fold_case || self.compose
    }

    /// Returns how a new name is kept.
    ///
    /// # Errors
    /// `EILSEQ` for what is no text, where spelling matters.
    pub(crate) fn kept(&self, name: &OsStr) -> rustix::io::Result<OsString> {
        match (self.has_twins(), name.to_str()) {
            (true, None) => Err(Errno::ILSEQ),
            (true, Some(text)) if self.compose => Ok(composed(text).into()),
            _ => Ok(name.to_owned()),
        }
    }

    /// Returns whether both are one name here.
    pub(crate) fn is_same(&self, a: &OsStr, b: &OsStr) -> bool {
        match (a.to_str(), b.to_str()) {
            (Some(a), Some(b)) => self.folded(a) == self.folded(b),
            _ => a == b,
        }
    }

    fn folded(&self, name: &str) -> String {
        let name = match self.compose {
            true => composed(name),
            false => name.to_owned(),
        };
        match self.fold_case {
            true => name.to_lowercase(),
            false => name,
        }
    }

    /// Returns the permission bits that a file shows.
    pub(crate) fn mode(&self, mode: u32, is_file: bool) -> u32 {
        match self.no_exec && is_file {
            true => mode & !EXEC_BITS,
            false => mode,
        }
    }

    /// Returns a time as it is shown.
    pub(crate) fn time(&self, seconds: i64, nanos: u32) -> SystemTime {
        let seconds = u64::try_from(seconds).unwrap_or(0);
        match self.coarse_times {
            true => UNIX_EPOCH + Duration::from_secs(seconds - seconds % COARSE_SECONDS),
            false => UNIX_EPOCH + Duration::new(seconds, nanos),
        }
    }
}

fn composed(text: &str) -> String {
    let nfc = icu_normalizer::ComposingNormalizerBorrowed::new_nfc();
    nfc.normalize(text).into_owned()
}

/// Returns the error of a name.
///
/// # Errors
/// `EINVAL` for an unknown name.
pub(crate) fn error_of(name: &str) -> rustix::io::Result<Errno> {
    match name {
        "EIO" => Ok(Errno::IO),
        "ENOSPC" => Ok(Errno::NOSPC),
        "EDQUOT" => Ok(Errno::DQUOT),
        "EACCES" => Ok(Errno::ACCESS),
        _ => Err(Errno::INVAL),
    }
}

/// Room that is left, and the error when it is used up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Budget {
    error: Errno,
    bytes: u64,
}

impl Budget {
    /// Reads a value of [`BUDGET`].
    ///
    /// # Errors
    /// `EINVAL` for what is none.
    pub(crate) fn parse(value: &[u8]) -> rustix::io::Result<Self> {
        let text = std::str::from_utf8(value).map_err(|_not_text| Errno::INVAL)?;
        let (error, bytes) = text.split_once(' ').ok_or(Errno::INVAL)?;
        Ok(Self {
            error: error_of(error)?,
            bytes: bytes.parse().map_err(|_not_a_number| Errno::INVAL)?,
        })
    }

    /// Takes room for a write.
    ///
    /// # Errors
    /// The budget's own error if there is not so much.
    pub(crate) fn take(&mut self, bytes: usize) -> rustix::io::Result<()> {
        match self.bytes.checked_sub(bytes as u64) {
            Some(left) => {
                self.bytes = left;
                Ok(())
            }
            None => Err(self.error),
        }
    }
}
