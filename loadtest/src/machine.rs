//! What the figures were measured on.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use rustix::fs::statfs;
use serde::{Deserialize, Serialize};

/// Magic number of a file system in memory (`linux/magic.h`).
const TMPFS: i64 = 0x0102_1994;

/// Describes a machine.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Machine {
    cores: usize,
    memory_mib: u64,
    kernel: String,
    processor: String,
    file_system: String,
}

impl Machine {
    /// Describes this one, with the file system of `dir`.
    ///
    /// # Errors
    /// If the system does not say.
    pub(crate) fn here(dir: &Path) -> Result<Self> {
        let memory = word_after("/proc/meminfo", "MemTotal:")?;
        let memory = memory
            .split_whitespace()
            .next()
            .and_then(|kib| kib.parse::<u64>().ok());
        Ok(Self {
            cores: std::thread::available_parallelism()?.get(),
            memory_mib: memory.unwrap_or(0) / 1024,
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?
                .trim()
                .to_owned(),
            processor: word_after("/proc/cpuinfo", "model name").unwrap_or_default(),
            file_system: file_system(dir)?,
        })
    }

    /// Describes this one, where no folder is part of what is measured.
    ///
    /// # Errors
    /// If the system does not say.
    pub(crate) fn without_disk() -> Result<Self> {
        Ok(Self {
            file_system: String::new(),
            ..Self::here(Path::new("/"))?
        })
    }

    /// Returns it in one line.
    pub(crate) fn line(&self) -> String {
        let line = format!(
            "{} cores ({}), {} MiB, Linux {}",
            self.cores, self.processor, self.memory_mib, self.kernel
        );
        match self.file_system.as_str() {
            "" => line,
            disk => format!("{line}, {disk}"),
        }
    }
}

/// Returns whether a folder is kept in memory, where durability costs nothing and figures mean
/// nothing.
///
/// # Errors
/// If the system does not say.
pub(crate) fn is_in_memory(dir: &Path) -> Result<bool> {
    Ok(statfs(dir)?.f_type == TMPFS)
}

fn word_after(path: &str, name: &str) -> Result<String> {
    let text = fs::read_to_string(path).with_context(|| path.to_owned())?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let line = line.with_context(|| format!("{path} has no {name}"))?;
    Ok(line.trim_start_matches([' ', '\t', ':']).to_owned())
}

/// Returns type and options of the mount that holds `dir`: the longest mount point that it lies in.
fn file_system(dir: &Path) -> Result<String> {
    let dir = fs::canonicalize(dir)?;
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let fields = mounts
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    let holding = fields.filter(|f| f.len() >= 4 && dir.starts_with(f[1]));
    let longest = holding.max_by_key(|f| f[1].len());
    Ok(longest.map_or_else(String::new, |f| format!("{} on {} ({})", f[2], f[0], f[3])))
}
