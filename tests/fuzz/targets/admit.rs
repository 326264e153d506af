//! Admission of hostile pushes: it ends, answers every push, and what it lets in can be read by
//! everyone who is told of it.
#![no_main]

use fsync_core::filelist;
use fsync_core::id::ObjectId;
use fsync_core::label::AgentName;
use fsync_core::nodes::MemoryNodes;
use fsync_core::path::RelPath;
use fsync_core::revision::{Revision, Timestamp};
use fsync_core::service::Now;
use fsync_core::service::admit::Pushed;
use fsync_core::service::commit::{Commits, Effect, Input, Push};
use fsync_core::service::record::Ticket;
use fsync_core::tree;
use fsync_fuzz::bytes::Bytes;
use fsync_fuzz::forge::Forge;
use fsync_fuzz::journal;
use libfuzzer_sys::fuzz_target;

/// Looks at the journal that one push can need: far fewer are made.
const ROUNDS: usize = 1_000;

fuzz_target!(|data: &[u8]| {
    let mut input = Bytes(data);
    let mut forge = Forge::default();
    forge.make(&mut input);
    let root = forge.pick(&mut input);
    let mut objects = Pushed::default();
    for object in &forge.objects {
        assert!(objects.add(object).is_ok(), "a node decodes once only");
    }
    let revision = Revision {
        root,
        parents: Vec::new(),
        author: AgentName::merge(),
        time: Timestamp(0),
        is_approved: false,
        moves: Vec::new(),
    };
    let push = Push {
        ticket: Ticket(1),
        id: revision.encode().0,
        revision,
        objects,
        upload: None,
        entropy: 0,
    };
    if is_admitted(push) {
        check_readable(&forge.nodes, &root);
    }
});

fn is_admitted(push: Push) -> bool {
    let mut commits = Commits::default();
    let mut effects = commits.handle(Input::Push(Box::new(push)), Now(0));
    for _ in 0..ROUNDS {
        match effects.pop() {
            Some(Effect::Load(asked)) => {
                effects = commits.handle(Input::Loaded(Box::new(journal::answer(&asked))), Now(0));
            }
            Some(Effect::Commit(_)) => return true,
            Some(Effect::Reply(_, result)) => return result.is_ok(),
            other => panic!("a push got no answer, but {other:?}"),
        }
    }
    panic!("a push was never answered");
}

fn check_readable(nodes: &MemoryNodes, root: &ObjectId) {
    let mut files = Vec::new();
    let mut paths: Vec<RelPath> = Vec::new();
    let walked = tree::walk(nodes, root, &mut |path, entry| {
        files.extend(entry.as_file().copied());
        paths.push(path.clone());
    });
    assert_eq!(walked, Ok(()), "an admitted tree cannot be walked");
    for file in files {
        let read = filelist::read_file(nodes, &file.content, file.size);
        assert!(read.is_ok(), "an admitted file cannot be read: {read:?}");
    }
    for path in paths.iter().take(64) {
        let found = tree::lookup(nodes, root, path);
        assert!(
            matches!(found, Ok(Some(_))),
            "{path} is admitted and not found: {found:?}"
        );
    }
}
