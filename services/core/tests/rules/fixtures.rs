//! Tiny named things that the tests speak in.

use std::collections::BTreeMap;

use fsync_core::id::{ObjectId, ObjectKind};
use fsync_core::node::{Content, Entry, FileEntry, Mtime, Node};
use fsync_core::nodes::{MemoryNodes, NewNodes, Overlay};
use fsync_core::path::{Name, RelPath};
use fsync_core::tree::{self, Edits};

/// Returns the path that `text` writes.
pub(crate) fn path(text: &str) -> RelPath {
    RelPath::parse(text.as_bytes()).unwrap()
}

/// Returns the name that `text` writes.
pub(crate) fn name(text: &str) -> Name {
    Name::new(text.as_bytes()).unwrap()
}

/// Returns the id of a chunk with this text.
pub(crate) fn chunk(text: &str) -> ObjectId {
    ObjectId::of(ObjectKind::Chunk, text.as_bytes())
}

/// Returns a plain file with this text, modified at 1.
pub(crate) fn file(text: &str) -> Entry {
    Entry::File(FileEntry {
        content: Content::Chunk(chunk(text)),
        size: text.len() as u64,
        exec: false,
        mtime: Mtime(1),
    })
}

/// Returns `entry`, a file, with other metadata.
pub(crate) fn with_meta(entry: Entry, exec: bool, mtime: i64) -> Entry {
    let Entry::File(file) = entry else {
        panic!("only files have metadata");
    };
    Entry::File(FileEntry {
        exec,
        mtime: Mtime(mtime),
        ..file
    })
}

/// A store of nodes that trees are written into and read from.
#[derive(Debug, Default)]
pub(crate) struct Store(pub(crate) MemoryNodes);

impl Store {
    /// Keeps new nodes.
    pub(crate) fn keep(&mut self, new: &NewNodes) {
        self.0.absorb(new);
    }

    /// Writes a symlink and returns its entry.
    pub(crate) fn link(&mut self, target: &str) -> Entry {
        let mut new = NewNodes::default();
        let id = new.insert(Node::Symlink(target.as_bytes().to_vec()));
        self.keep(&new);
        Entry::Symlink(id)
    }

    /// Writes the empty directory and returns its entry.
    pub(crate) fn empty_dir(&mut self) -> Entry {
        let mut new = NewNodes::default();
        let id = tree::write_empty(&mut new);
        self.keep(&new);
        Entry::Dir(id)
    }

    /// Writes a tree of these paths, making the directories on the way, and returns its root.
    pub(crate) fn tree<'a>(
        &mut self,
        items: impl IntoIterator<Item = (&'a str, Entry)>,
    ) -> ObjectId {
        let edits = items
            .into_iter()
            .map(|(text, entry)| (path(text), Some(entry)))
            .collect();
        let root = self.empty_dir().id();
        self.edit(root, &edits)
    }

    /// Returns the root after edits.
    pub(crate) fn edit(&mut self, root: ObjectId, edits: &Edits) -> ObjectId {
        let mut overlay = Overlay::new(&self.0);
        let root = tree::edit(&mut overlay, &root, edits).unwrap();
        let new = overlay.into_new();
        self.keep(&new);
        root
    }

    /// Returns every path below a root with its entry.
    pub(crate) fn list(&self, root: ObjectId) -> BTreeMap<RelPath, Entry> {
        let mut all = BTreeMap::new();
        tree::walk(&self.0, &root, &mut |path, entry| {
            all.insert(path.clone(), *entry);
        })
        .unwrap();
        all
    }
}

/// Returns bytes that look random and are the same for the same seed (splitmix64, Steele et al.
/// 2014).
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bytes.extend_from_slice(&(z ^ (z >> 31)).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Returns lower-case hex digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
