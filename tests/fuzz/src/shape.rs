//! Names and directories of [`Forge`].

use std::collections::BTreeMap;

use fsync_core::node::{Entry, Node};
use fsync_core::path::{Name, RelPath};

use crate::bytes::Bytes;
use crate::forge::Forge;

/// Few names, so that sides meet at them; one is that of a conflict copy, one as long as can be.
const NAMES: [&[u8]; 7] = [
    b"a",
    b"b",
    b"b.txt",
    b"c",
    b"c (conflicted copy x 1970-01-01 000000Z)",
    b"\xff\xfe",
    &[b'n'; 255],
];

/// Chooses a name; none if the list ever held what is no name.
pub fn name(input: &mut Bytes<'_>) -> Option<Name> {
    Name::new(NAMES[input.below(NAMES.len())]).ok()
}

/// Chooses a path of one to three names.
pub fn path(input: &mut Bytes<'_>) -> RelPath {
    let names: Vec<_> = (0..1 + input.below(3))
        .filter_map(|_| name(input))
        .collect();
    names
        .iter()
        .fold(RelPath::root(), |dir, name| dir.join(name))
}

impl Forge {
    pub(crate) fn dir_leaf(&self, input: &mut Bytes<'_>, places: &mut usize) -> Node {
        let mut entries = BTreeMap::new();
        for _ in 0..input.below(5) {
            let entry = match input.below(6) {
                0..3 => Entry::Dir(self.choose(input, places).id),
                3 => Entry::Symlink(self.pick(input)),
                chunk_or_list => Entry::File(self.file(input, chunk_or_list == 4)),
            };
            entries.extend(name(input).map(|name| (name, entry)));
        }
        Node::DirLeaf(entries.into_iter().collect())
    }

    pub(crate) fn dir_inner(&self, input: &mut Bytes<'_>, places: &mut usize) -> Node {
        let level = input.byte() % 8;
        let mut children = BTreeMap::new();
        for _ in 0..2 + input.below(3) {
            let child = self.choose(input, places).id;
            children.extend(name(input).map(|name| (name, child)));
        }
        Node::DirInner(level, children.into_iter().collect())
    }

    /// Puts the last node below so many directories.
    pub(crate) fn nest(&mut self, levels: usize) {
        let (Some(made), Ok(name)) = (self.made.last(), Name::new(*b"a")) else {
            return;
        };
        let (mut id, mut places) = (made.id, made.places);
        for _ in 0..levels {
            let node = Node::DirLeaf(vec![(name.clone(), Entry::Dir(id))]);
            id = node.encode().0;
            places += 1;
            self.add(&node, places);
        }
    }
}
