//! The log of a run: one line per event, and a hash over all of them.

use std::hash::{DefaultHasher, Hasher};

/// See the module's head.
#[derive(Debug)]
pub struct Log {
    hasher: DefaultHasher,
    is_printed: bool,
    count: u64,
}

impl Log {
    /// Starts a log; it is printed only if asked for.
    pub fn new(is_printed: bool) -> Self {
        Self {
            // Unkeyed: the same in every process.
            hasher: DefaultHasher::new(),
            is_printed,
            count: 0,
        }
    }

    /// Adds a line.
    #[expect(
        clippy::print_stdout,
        reason = "a run that ends badly shall have shown what came before"
    )]
    pub fn add(&mut self, now_ns: u64, line: &str) {
        self.count += 1;
        self.hasher.write_u64(now_ns);
        self.hasher.write(line.as_bytes());
        if self.is_printed {
            let (ms, ns) = (now_ns / 1_000_000, now_ns % 1_000_000);
            println!("{ms:>8}.{ns:06} {line}");
        }
    }

    /// Returns whether somebody reads along.
    pub fn is_printed(&self) -> bool {
        self.is_printed
    }

    /// Returns the hash over all lines.
    pub fn hash(&self) -> u64 {
        self.hasher.finish()
    }

    /// Returns how many lines there were.
    pub fn count(&self) -> u64 {
        self.count
    }
}
