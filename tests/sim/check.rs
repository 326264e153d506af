//! What must hold once a world is quiet.

use std::collections::{BTreeMap, BTreeSet};

use fsync_agent::folder::Folder;
use fsync_core::exception::Exception;
use fsync_core::filelist;
use fsync_core::id::{ObjectId, ObjectKind};
use fsync_core::node::{Entry, Node, Run};
use fsync_core::nodes::{Nodes, NodesError};
use fsync_core::path::{Name, RelPath};
use fsync_core::tree;

use super::audit::audit;
use super::hand::content_id;
use super::inodes::{Body, Ino};
use super::server::Server;
use super::volume::Volume;
use super::world::World;

/// What stands at a path, as users see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Thing {
    /// A directory.
    Dir,
    /// A file: its content and whether it can be executed.
    File(ObjectId, bool),
    /// A link: its text.
    Link(Vec<u8>),
}

/// A tree as users see it.
pub type Picture = BTreeMap<RelPath, Thing>;

/// Checks a quiet world; returns its tree.
///
/// # Errors
/// What does not hold.
pub fn check(world: &World, ghosts: &BTreeSet<ObjectId>) -> Result<Picture, String> {
    if let Some(broken) = world.broken.first() {
        return Err(broken.clone());
    }
    let head = head_picture(&world.replicas[0].server)?;
    for machine in &world.machines {
        let Some(folder) = &machine.folder else {
            continue;
        };
        audit(folder).map_err(|e| format!("I17 index: {}: {e}", machine.name))?;
        let status = folder.status().map_err(|e| e.to_string())?;
        let (old, wrong): (Vec<_>, Vec<_>) =
            status
                .exceptions
                .into_iter()
                .partition(|(path, why)| match why {
                    Exception::LocalOnly => true,
                    // Two names that are one on this disk: it can have one of them.
                    Exception::Blocked { .. } => machine.files.volume().is_taken_otherwise(path),
                    _ => false,
                });
        if let Some((path, why)) = wrong.first() {
            return Err(format!(
                "I2 convergence: {} excepts {path}: {why:?}",
                machine.name
            ));
        }
        let seen = |mut picture: Picture| {
            // What stays here alone keeps its directories, too, whatever others have there.
            let is_kept = |path: &RelPath| {
                head.get(path) != Some(&Thing::Dir)
                    && old.iter().any(|(there, _)| there.is_within(path))
            };
            picture.retain(|path, _| {
                let is_old = old.iter().any(|(there, _)| path.is_within(there));
                !is_old && !is_kept(path)
            });
            seen_by(&machine.files.volume(), picture)
        };
        let picture = disk_picture(&machine.files.volume());
        same(&seen(head.clone()), &seen(picture)).map_err(|(path, e)| {
            let knows = knows(folder, &path).unwrap_or_else(|e| e.to_string());
            format!("I2 convergence: {} {e}; {knows}", machine.name)
        })?;
    }
    check_loss(world, &head)?;
    check_lone(world, &head)?;
    for (path, thing) in &head {
        if let Thing::File(id, _) = thing
            && ghosts.contains(id)
        {
            return Err(format!("I4 ghost: {path} has {} again", id.short()));
        }
    }
    Ok(head)
}

/// I1: what no user destroyed is in the tree; what was written late may be in a trash instead.
fn check_loss(world: &World, head: &Picture) -> Result<(), String> {
    let contents = contents_of(head);
    let told = world.story.told();
    for (id, what) in &told.written {
        if told.destroyed.contains(id) || contents.contains(id) {
            continue;
        }
        let is_in_trash = |n: &super::machine::Machine| {
            let volume = n.files.volume();
            holds(&volume, volume.trash, id) || holds(&volume, volume.stage, id)
        };
        let in_trash = world.machines.iter().find(|m| is_in_trash(m));
        match in_trash {
            Some(_) if told.late.contains(id) => {}
            Some(machine) => {
                let who = &machine.name;
                return Err(format!(
                    "I1 loss: {} ({what}) is only in {who}'s trash",
                    id.short()
                ));
            }
            None => return Err(format!("I1 loss: {} ({what}) is nowhere", id.short())),
        }
    }
    Ok(())
}

/// I5: a tree has no content that no user ever had, not even for a while.
///
/// # Errors
/// Names the first that it has.
pub fn check_made_up(world: &World) -> Result<(), String> {
    let head = head_picture(&world.replicas[0].server)?;
    let told = world.story.told();
    let nothing = content_id(b"");
    let is_made_up = |thing: &Thing| matches!(thing, Thing::File(id, _) if *id != nothing && !told.written.contains_key(id));
    match head.iter().find(|(_, thing)| is_made_up(thing)) {
        Some((path, _)) => Err(format!("I5 made up: nobody wrote what {path} has")),
        None => Ok(()),
    }
}

/// Whoever is alone with his edits is never in conflict.
fn check_lone(world: &World, head: &Picture) -> Result<(), String> {
    let is_copy = |path: &&RelPath| path.to_string().contains("(conflicted copy");
    match head.keys().find(is_copy) {
        Some(path) if world.is_lone => Err(format!("I12 conflict: {path}, with one user only")),
        _ => Ok(()),
    }
}

/// Returns all contents of a tree.
pub fn contents_of(picture: &Picture) -> BTreeSet<ObjectId> {
    let content = |thing: &Thing| match thing {
        Thing::File(id, _) => Some(*id),
        _ => None,
    };
    picture.values().filter_map(content).collect()
}

fn holds(volume: &Volume, dir: Ino, wanted: &ObjectId) -> bool {
    match &volume.inodes.get(dir).body {
        Body::Dir(entries) => entries.values().any(|ino| holds(volume, *ino, wanted)),
        Body::File(bytes) => content_id(&bytes.to_vec()) == *wanted,
        _ => false,
    }
}

/// Returns what an agent knows of a path.
fn knows(folder: &Folder, path: &RelPath) -> Result<String, NodesError> {
    let state = &*folder.parts().state;
    let roots = state.snapshot().and_then(|s| s.roots());
    let roots = roots.map_err(|e| NodesError::Store(e.to_string()))?;
    let working = tree::lookup(state, &roots.working, path)?;
    let synced = tree::lookup(state, &roots.synced, path)?;
    Ok(format!("its trees have {working:?} and {synced:?}"))
}

/// Leaves out what a disk does not keep.
fn seen_by(volume: &Volume, mut picture: Picture) -> Picture {
    for thing in picture.values_mut() {
        match thing {
            Thing::File(_, exec) if !volume.ways.keeps_exec => *exec = false,
            _ => {}
        }
    }
    picture
}

fn same(head: &Picture, disk: &Picture) -> Result<(), (RelPath, String)> {
    for (path, thing) in head {
        match disk.get(path) {
            Some(there) if there == thing => {}
            there => {
                let line = format!("has {there:?} at {path}, the head has {thing:?}");
                return Err((path.clone(), line));
            }
        }
    }
    match disk.iter().find(|(path, _)| !head.contains_key(*path)) {
        Some((path, thing)) => {
            let line = format!("has {thing:?} at {path}, the head has nothing");
            Err((path.clone(), line))
        }
        None => Ok(()),
    }
}

/// Returns a folder as its user sees it.
pub fn disk_picture(volume: &Volume) -> Picture {
    let mut picture = Picture::new();
    for path in volume.paths() {
        let Some(ino) = volume.at(&path) else {
            continue;
        };
        let inode = volume.inodes.get(ino);
        let thing = match &inode.body {
            Body::Dir(_) => Thing::Dir,
            Body::File(bytes) => Thing::File(content_id(&bytes.to_vec()), inode.mode & 0o100 != 0),
            Body::Link(target) => Thing::Link(target.clone()),
            Body::Pipe => continue,
        };
        picture.insert(path, thing);
    }
    picture
}

/// Returns the head's tree, read from the ledger.
fn head_picture(server: &Server) -> Result<Picture, String> {
    let mut picture = Picture::new();
    if let Some(head) = server.log().first() {
        let lost = |e: NodesError| format!("I1 loss: the head cannot be read: {e}");
        read_dir(server, &head.revision.root, &RelPath::root(), &mut picture).map_err(lost)?;
    }
    Ok(picture)
}

fn read_dir(
    server: &Server,
    dir: &ObjectId,
    path: &RelPath,
    out: &mut Picture,
) -> Result<(), NodesError> {
    let nodes = server.nodes();
    let entries: Vec<(Name, Entry)> = tree::read_dir(&nodes, dir)?.into_iter().collect();
    for (name, entry) in entries {
        let path = path.join(&name);
        let thing = match &entry {
            Entry::Dir(id) => {
                read_dir(server, id, &path, out)?;
                Thing::Dir
            }
            Entry::File(file) => {
                let mut bytes = Vec::new();
                for run in filelist::read_file(&nodes, &file.content, file.size)? {
                    match run {
                        Run::Chunk { id, .. } => {
                            let lost = || NodesError::Missing(vec![(ObjectKind::Chunk, id)]);
                            bytes.extend(server.object(&id).ok_or_else(lost)?.bytes);
                        }
                        Run::Hole { bytes: hole } => {
                            let end = bytes.len() + usize::try_from(hole).unwrap_or(0);
                            bytes.resize(end, 0);
                        }
                    }
                }
                Thing::File(content_id(&bytes), file.exec)
            }
            Entry::Symlink(id) => match &*nodes.node(ObjectKind::Symlink, id)? {
                Node::Symlink(target) => Thing::Link(target.to_vec()),
                _ => continue,
            },
        };
        out.insert(path, thing);
    }
    Ok(())
}

/// Returns what must not change any more in a quiet world.
pub fn still(world: &World) -> (usize, Vec<u64>) {
    let writes = |m: &super::machine::Machine| m.files.volume().agent_writes;
    (
        world.replicas[0].server.log().len(),
        world.machines.iter().map(writes).collect(),
    )
}
