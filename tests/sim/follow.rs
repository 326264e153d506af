//! The last scene of a world: one user renames what another edits at the same time, and nobody does
//! anything else. Then the edit is to be found under the new name, and nothing under the old one.

use fsync_core::id::ObjectId;
use fsync_core::path::{Name, RelPath};

use super::check::{Picture, Thing};
use super::rng::Rng;
use super::world::World;

/// What was renamed and edited.
#[derive(Debug)]
pub struct Scene {
    edited: RelPath,
    /// Where the edited file is to be.
    expected: RelPath,
    content: ObjectId,
}

/// Lets the first user rename a file of the tree, or a directory above it, and the second edit the
/// file; `None` if there is none that both have.
pub fn begin(world: &mut World, rng: &mut Rng, head: &Picture) -> Option<Scene> {
    let files: Vec<RelPath> = head
        .iter()
        .filter(|(_, thing)| matches!(thing, Thing::File(..)))
        .map(|(path, _)| path.clone())
        .collect();
    let edited = rng.pick(&files)?.clone();
    let has = |world: &World, at: usize| world.machines[at].files.volume().at(&edited).is_some();
    if !has(world, 0) || !has(world, 1) {
        return None;
    }
    // A directory with something that is not in step is not known again as a whole.
    let is_whole = |at: usize| {
        let folder = world.machines[at].folder.as_ref();
        folder.is_some_and(|f| f.status().is_ok_and(|status| status.exceptions.is_empty()))
    };
    if !is_whole(0) || !is_whole(1) {
        return None;
    }
    let depth = usize::try_from(rng.between(1, edited.names().count() as u64 + 1)).unwrap_or(1);
    let renamed = above(&edited, depth);
    let to = RelPath::root().join(&Name::new(&b"followed"[..]).ok()?);
    let rest = edited.names().skip(depth);
    let expected = rest.fold(to.clone(), |path, name| path.join(&name));
    world.with_hand(0, |hand, volume| hand.moves(volume, &renamed, &to));
    let content = world.with_hand(1, |hand, volume| hand.edits(volume, &edited))?;
    Some(Scene {
        edited,
        expected,
        content,
    })
}

fn above(path: &RelPath, depth: usize) -> RelPath {
    let names = path.names().take(depth);
    names.fold(RelPath::root(), |path, name| path.join(&name))
}

impl Scene {
    /// Checks the tree after it.
    ///
    /// # Errors
    /// What is not as it should be.
    pub fn check(&self, head: &Picture) -> Result<(), String> {
        let found = head.get(&self.expected);
        let follows = matches!(found, Some(Thing::File(content, _)) if *content == self.content);
        if follows && !head.contains_key(&self.edited) {
            return Ok(());
        }
        Err(format!(
            "an edit of {} did not follow the rename: {} has {found:?}, the old path {:?}",
            self.edited,
            self.expected,
            head.get(&self.edited)
        ))
    }
}
