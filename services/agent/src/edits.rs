//! Edits of the synced and the working tree inside one state transaction.
//!
//! Guarantees: edits hold in the order in which they were made; both trees are written together
//! with the rows that they belong to. A tree that both roots share is edited once.
//! Place: `scan`, `apply` and `recover` gather edits here and end with [`Edits::write`].

use fsync_core::id::ObjectId;
use fsync_core::node::Entry;
use fsync_core::nodes::{NewNodes, NodesError, Overlay};
use fsync_core::path::RelPath;
use fsync_core::tree;

use crate::state::{Roots, State, StateError, Tx};

/// Gathered edits over both trees.
#[derive(Debug)]
pub struct Edits<'a> {
    overlay: Overlay<'a>,
    roots: Roots,
    synced: tree::Edits,
    working: tree::Edits,
}

impl<'a> Edits<'a> {
    /// Starts at `roots`, whose nodes are in `state`.
    pub fn new(state: &'a State, roots: Roots) -> Self {
        Self {
            overlay: Overlay::new(state),
            roots,
            synced: tree::Edits::new(),
            working: tree::Edits::new(),
        }
    }

    /// Adds nodes that entries point to.
    pub fn absorb(&mut self, nodes: NewNodes) {
        self.overlay.absorb(nodes);
    }

    /// Sets what the synced tree has at a path.
    pub fn set_synced(&mut self, path: &RelPath, entry: Option<Entry>) {
        set(&mut self.synced, path, entry);
    }

    /// Sets what the working tree has at a path.
    pub fn set_working(&mut self, path: &RelPath, entry: Option<Entry>) {
        set(&mut self.working, path, entry);
    }

    /// Sets what both trees have at a path.
    pub fn set_both(&mut self, path: &RelPath, entry: Option<Entry>) {
        self.set_synced(path, entry);
        self.set_working(path, entry);
    }

    /// Returns what the working tree has at a path, edits included.
    ///
    /// # Errors
    /// [`NodesError`] of the walk.
    pub fn lookup_working(&mut self, path: &RelPath) -> Result<Option<Entry>, NodesError> {
        if has_below(&self.working, path) {
            self.flush()?;
        }
        lookup(&self.overlay, &self.roots.working, &self.working, path)
    }

    /// Returns what the synced tree has at a path, edits included.
    ///
    /// # Errors
    /// [`NodesError`] of the walk.
    pub fn lookup_synced(&mut self, path: &RelPath) -> Result<Option<Entry>, NodesError> {
        if has_below(&self.synced, path) {
            self.flush()?;
        }
        lookup(&self.overlay, &self.roots.synced, &self.synced, path)
    }

    /// Makes the working tree have at a path what the synced tree has there.
    ///
    /// # Errors
    /// [`NodesError`] of the walk.
    pub fn restore(&mut self, path: &RelPath) -> Result<(), NodesError> {
        let synced = self.lookup_synced(path)?;
        if self.lookup_working(path)? != synced {
            self.set_working(path, synced);
        }
        Ok(())
    }

    /// Makes the working tree have a directory at a path, an empty one if there was none.
    ///
    /// # Errors
    /// [`NodesError`] of the walk.
    pub fn make_dir(&mut self, path: &RelPath) -> Result<(), NodesError> {
        if !matches!(self.lookup_working(path)?, Some(Entry::Dir(_))) {
            let empty = self.empty_dir();
            self.set_working(path, Some(Entry::Dir(empty)));
        }
        Ok(())
    }

    /// Makes the synced tree have a directory at a path, an empty one if there was none.
    ///
    /// # Errors
    /// [`NodesError`] of the walk.
    pub fn make_synced_dir(&mut self, path: &RelPath) -> Result<(), NodesError> {
        if !matches!(self.lookup_synced(path)?, Some(Entry::Dir(_))) {
            let empty = self.empty_dir();
            self.set_synced(path, Some(Entry::Dir(empty)));
        }
        Ok(())
    }

    /// Returns the id of the empty directory, whose node is written too.
    pub fn empty_dir(&mut self) -> ObjectId {
        let mut new = NewNodes::default();
        let id = tree::write_empty(&mut new);
        self.overlay.absorb(new);
        id
    }

    /// Takes what stands at `path` below the directory `dir` out of it; returns what is left and
    /// what was taken.
    ///
    /// # Errors
    /// [`NodesError`] of the walk.
    pub fn take_out(
        &mut self,
        dir: &ObjectId,
        path: &RelPath,
    ) -> Result<(ObjectId, Option<Entry>), NodesError> {
        let taken = tree::lookup(&self.overlay, dir, path)?;
        let edit = tree::Edits::from([(path.clone(), None)]);
        Ok((tree::edit(&mut self.overlay, dir, &edit)?, taken))
    }

    /// Moves what both trees have at `from` to `to`.
    ///
    /// # Errors
    /// [`NodesError`] of the walk.
    pub fn move_both(&mut self, from: &RelPath, to: &RelPath) -> Result<(), NodesError> {
        let (synced, working) = (self.lookup_synced(from)?, self.lookup_working(from)?);
        self.set_both(from, None);
        if synced.is_some() {
            self.set_synced(to, synced);
        }
        self.set_working(to, working);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), NodesError> {
        let before = self.roots;
        if !self.synced.is_empty() {
            self.roots.synced = tree::edit(&mut self.overlay, &before.synced, &self.synced)?;
        }
        if before.synced == before.working && self.synced == self.working {
            self.roots.working = self.roots.synced;
        } else if !self.working.is_empty() {
            self.roots.working = tree::edit(&mut self.overlay, &before.working, &self.working)?;
        }
        self.synced.clear();
        self.working.clear();
        Ok(())
    }

    /// Writes roots and new nodes into the transaction.
    ///
    /// # Errors
    /// An error of the trees or of the state.
    pub fn write<E: From<NodesError> + From<StateError>>(
        mut self,
        tx: &mut Tx<'_>,
    ) -> Result<(), E> {
        self.flush()?;
        tx.put_nodes(&self.overlay.into_new())?;
        tx.set_roots(&self.roots)?;
        Ok(())
    }
}

/// A later edit of a path takes back earlier ones below it.
fn set(edits: &mut tree::Edits, path: &RelPath, entry: Option<Entry>) {
    let below: Vec<RelPath> = below(edits, path).cloned().collect();
    for edited in below {
        edits.remove(&edited);
    }
    edits.insert(path.clone(), entry);
}

/// Returns the edited paths below a path. Between `a` and `a/b` other names sort, such as `a-b`.
fn below<'e>(edits: &'e tree::Edits, path: &'e RelPath) -> impl Iterator<Item = &'e RelPath> {
    edits
        .range(path.clone()..)
        .map(|(edited, _)| edited)
        .take_while(|edited| edited.as_bytes().starts_with(path.as_bytes()))
        .filter(move |edited| *edited != path && edited.is_within(path))
}

fn has_below(edits: &tree::Edits, path: &RelPath) -> bool {
    below(edits, path).next().is_some()
}

/// Looks up a path in the tree as edited, given that no edit lies below it: the nearest edit above
/// decides.
fn lookup(
    nodes: &Overlay<'_>,
    root: &ObjectId,
    edits: &tree::Edits,
    path: &RelPath,
) -> Result<Option<Entry>, NodesError> {
    let mut above = Some(path.clone());
    while let Some(at) = above {
        let Some(entry) = edits.get(&at) else {
            above = at.parent();
            continue;
        };
        return match (entry, path.strip_prefix(&at)) {
            (Some(Entry::Dir(dir)), Some(rest)) => tree::lookup(nodes, dir, &rest),
            (entry, Some(rest)) if rest.is_root() => Ok(*entry),
            _ => Ok(None),
        };
    }
    tree::lookup(nodes, root, path)
}
