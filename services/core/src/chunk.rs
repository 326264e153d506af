//! How a file's bytes become chunks and holes.
//!
//! Guarantees: the runs depend on the bytes alone, not on how they were read, on sparseness or on
//! the platform. A file of up to 64 KiB is one chunk. In larger ones every run of zeros of at least
//! 1 MiB, measured in blocks of 64 KiB aligned to the file's start, is a hole; what lies between
//! holes is cut by FastCDC (Xia et al., USENIX ATC 2016; 2020 variant, normalisation level 1).
//! Does not: read files; the caller pushes their bytes in order.

use fastcdc::v2020::FastCDC;

use crate::id::{ObjectId, ObjectKind};
use crate::limits::{
    CHUNK_MAX_BYTES, CHUNK_MIN_BYTES, CHUNK_TARGET_BYTES, HOLE_BLOCK_BYTES, HOLE_MIN_BYTES,
    WHOLE_FILE_BYTES,
};
use crate::node::Run;

#[expect(
    clippy::cast_possible_truncation,
    reason = "a block is far smaller than any address space"
)]
const BLOCK: usize = HOLE_BLOCK_BYTES as usize;

/// Receives the runs of a file in order, with the bytes of each chunk.
pub trait RunSink {
    /// Takes one run; `bytes` is empty for a hole.
    fn run(&mut self, run: Run, bytes: &[u8]);
}

impl<F: FnMut(Run, &[u8])> RunSink for F {
    fn run(&mut self, run: Run, bytes: &[u8]) {
        self(run, bytes);
    }
}

/// Cuts one file; holds at most two largest chunks.
#[derive(Debug)]
pub struct Chunker {
    is_whole: bool,
    block: Vec<u8>,
    data: Vec<u8>,
    start: usize,
    zeros: u64,
}

impl Chunker {
    /// Starts a file that will have `size` bytes.
    pub fn new(size: u64) -> Self {
        let is_whole = size <= WHOLE_FILE_BYTES;
        Self {
            is_whole,
            block: Vec::new(),
            data: Vec::new(),
            start: 0,
            zeros: 0,
        }
    }

    /// Takes the next bytes of the file, any number.
    pub fn push(&mut self, mut bytes: &[u8], sink: &mut impl RunSink) {
        if self.is_whole {
            self.data.extend_from_slice(bytes);
            return;
        }
        while !bytes.is_empty() {
            if self.block.is_empty() && bytes.len() >= BLOCK {
                let (block, rest) = bytes.split_at(BLOCK);
                self.take_block(block, sink);
                bytes = rest;
                continue;
            }
            let (part, rest) = bytes.split_at(bytes.len().min(BLOCK - self.block.len()));
            self.block.extend_from_slice(part);
            bytes = rest;
            self.flush_block(false, sink);
        }
    }

    /// Takes `bytes` zeros that need not be read, as a sparse file's hole.
    pub fn push_zeros(&mut self, mut bytes: u64, sink: &mut impl RunSink) {
        static ZEROS: [u8; BLOCK] = [0; BLOCK];
        while bytes > 0 {
            if !self.is_whole && self.block.is_empty() && bytes >= HOLE_BLOCK_BYTES {
                let blocks = bytes - bytes % HOLE_BLOCK_BYTES;
                self.zeros += blocks;
                bytes -= blocks;
                continue;
            }
            let part = bytes.min((BLOCK - self.block.len()) as u64);
            self.push(&ZEROS[..usize::try_from(part).unwrap_or(BLOCK)], sink);
            bytes -= part;
        }
    }

    /// Ends the file.
    pub fn finish(mut self, sink: &mut impl RunSink) {
        if self.is_whole {
            emit_chunk(&self.data, sink);
            return;
        }
        self.flush_block(true, sink);
        self.flush_zeros(sink);
        self.cut(true, sink);
    }

    fn flush_block(&mut self, is_last: bool, sink: &mut impl RunSink) {
        if self.block.len() == BLOCK || (is_last && !self.block.is_empty()) {
            let block = std::mem::take(&mut self.block);
            self.take_block(&block, sink);
            self.block = block;
            self.block.clear();
        }
    }

    fn take_block(&mut self, block: &[u8], sink: &mut impl RunSink) {
        if is_zero(block) {
            self.zeros += block.len() as u64;
            return;
        }
        self.flush_zeros(sink);
        self.data.extend_from_slice(block);
        self.cut(false, sink);
    }

    fn flush_zeros(&mut self, sink: &mut impl RunSink) {
        let zeros = std::mem::take(&mut self.zeros);
        if zeros >= HOLE_MIN_BYTES {
            self.cut(true, sink);
            sink.run(Run::Hole { bytes: zeros }, &[]);
        } else if zeros > 0 {
            let length = self.data.len() + usize::try_from(zeros).unwrap_or(0);
            self.data.resize(length, 0);
        }
    }

    fn cut(&mut self, is_last: bool, sink: &mut impl RunSink) {
        loop {
            let rest = &self.data[self.start..];
            if rest.is_empty() || (!is_last && rest.len() < CHUNK_MAX_BYTES) {
                break;
            }
            let cutter = FastCDC::new(rest, CHUNK_MIN_BYTES, CHUNK_TARGET_BYTES, CHUNK_MAX_BYTES);
            let (_, end) = cutter.cut(0, rest.len());
            emit_chunk(&rest[..end], sink);
            self.start += end;
        }
        if self.start == self.data.len() || self.start >= CHUNK_MAX_BYTES {
            self.data.drain(..self.start);
            self.start = 0;
        }
    }
}

fn emit_chunk(bytes: &[u8], sink: &mut impl RunSink) {
    let id = ObjectId::of(ObjectKind::Chunk, bytes);
    sink.run(
        Run::Chunk {
            id,
            bytes: bytes.len() as u64,
        },
        bytes,
    );
}

fn is_zero(bytes: &[u8]) -> bool {
    let (words, tail) = bytes.as_chunks::<64>();
    words
        .iter()
        .all(|word| word.iter().fold(0, |sum, byte| sum | byte) == 0)
        && tail.iter().all(|byte| *byte == 0)
}
