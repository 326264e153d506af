//! Reading one file or link: its runs, its entry, and whether it held still meanwhile.

use fsync_core::chunk::Chunker;
use fsync_core::exception::Exception;
use fsync_core::filelist;
use fsync_core::limits;
use fsync_core::node::{Entry, FileEntry, Mtime, Node, Run};
use fsync_core::nodes::NewNodes;

use crate::files::{Files, FilesError, Kind, Opened, Place, Problem, Stat};

/// Bytes that one read asks for.
const READ_BYTES: usize = 256 * 1024;

/// What reading a file or link gave.
#[derive(Debug)]
pub enum Hashed {
    /// It held still.
    Entry {
        /// What it is in the tree.
        entry: Entry,
        /// As it was when it was read.
        stat: Stat,
        /// When reading began, by the clock that stamps files.
        recorded: i64,
        /// The node of the link or of the list of chunks.
        nodes: NewNodes,
    },
    /// It changed meanwhile, or the system is short of handles: look again.
    Busy,
    /// It is gone.
    Gone,
    /// It cannot be in the tree.
    Excepted(Exception),
}

/// Reads a regular file.
pub fn hash_file(files: &dyn Files, at: Place<'_>) -> Hashed {
    let recorded = files.now();
    read_file(files, at, recorded).unwrap_or_else(|error| to_outcome(&error))
}

/// Reads a symbolic link.
pub fn hash_link(files: &dyn Files, at: Place<'_>) -> Hashed {
    let recorded = files.now();
    read_link(files, at, recorded).unwrap_or_else(|error| to_outcome(&error))
}

/// Reads what is known as this file or link once more.
pub fn read_again(files: &dyn Files, at: Place<'_>, known: &Entry) -> Hashed {
    if matches!(known, Entry::Symlink(_)) {
        return hash_link(files, at);
    }
    let mut hashed = hash_file(files, at);
    if let Hashed::Entry { entry, .. } = &mut hashed {
        *entry = as_kept(files, *entry, Some(known));
    }
    hashed
}

/// Returns an entry with the exec bit that is known of it, on disks that keep none.
pub fn as_kept(files: &dyn Files, found: Entry, known: Option<&Entry>) -> Entry {
    match found {
        Entry::File(file) if !files.keeps_exec() => Entry::File(FileEntry {
            exec: known
                .and_then(Entry::as_file)
                .is_some_and(|known| known.exec),
            ..file
        }),
        found => found,
    }
}

fn to_outcome(error: &FilesError) -> Hashed {
    match error.problem {
        Problem::NotFound => Hashed::Gone,
        Problem::Busy => Hashed::Busy,
        _ => Hashed::Excepted(Exception::Unreadable {
            reason: error.source.to_string(),
        }),
    }
}

fn read_file(files: &dyn Files, at: Place<'_>, recorded: i64) -> Result<Hashed, FilesError> {
    let file = files.open(at)?;
    let before = file.stat()?;
    if before.size > limits::FILE_BYTES {
        return Ok(Hashed::Excepted(Exception::Skipped {
            what: format!("a file of {} bytes", before.size),
        }));
    }
    let Some(runs) = read_runs(&*file, before.size)? else {
        return Ok(Hashed::Busy);
    };
    if file.stat()? != before {
        return Ok(Hashed::Busy);
    }
    let mut nodes = NewNodes::default();
    let content = filelist::write_file(&runs, &mut nodes);
    Ok(Hashed::Entry {
        entry: Entry::File(FileEntry {
            content,
            size: before.size,
            exec: before.is_exec(),
            mtime: Mtime(before.mtime),
        }),
        stat: before,
        recorded,
        nodes,
    })
}

/// Reads all of a file; `None` if it has other than `size` bytes.
fn read_runs(file: &dyn Opened, size: u64) -> Result<Option<Vec<Run>>, FilesError> {
    let mut runs = Vec::new();
    let mut sink = |run: Run, _: &[u8]| runs.push(run);
    let mut chunker = Chunker::new(size);
    let wanted = usize::try_from(size.saturating_add(1)).unwrap_or(READ_BYTES);
    let mut buffer = vec![0; wanted.min(READ_BYTES)];
    let mut offset = 0;
    // Small files have no holes worth a system call.
    let is_sparse = size >= limits::HOLE_MIN_BYTES;
    loop {
        if is_sparse && offset < size && offset % limits::HOLE_BLOCK_BYTES == 0 {
            let data = file.next_data(offset)?.unwrap_or(size).min(size);
            chunker.push_zeros(data - offset, &mut sink);
            offset = data;
        }
        let read = file.read_at(offset, &mut buffer)?;
        if read == 0 {
            break;
        }
        offset += read as u64;
        if offset > size {
            return Ok(None);
        }
        chunker.push(&buffer[..read], &mut sink);
    }
    if offset != size {
        return Ok(None);
    }
    chunker.finish(&mut sink);
    Ok(Some(runs))
}

fn read_link(files: &dyn Files, at: Place<'_>, recorded: i64) -> Result<Hashed, FilesError> {
    let Some(stat) = files.stat(at)?.filter(|s| s.kind == Kind::Symlink) else {
        return Ok(Hashed::Gone);
    };
    let target = files.read_link(at)?;
    if target.is_empty() || target.len() > limits::SYMLINK_BYTES {
        return Ok(Hashed::Excepted(Exception::Skipped {
            what: format!("a link with a target of {} bytes", target.len()),
        }));
    }
    let mut nodes = NewNodes::default();
    let entry = Entry::Symlink(nodes.insert(Node::Symlink(target)));
    Ok(Hashed::Entry {
        entry,
        stat,
        recorded,
        nodes,
    })
}
