//! Directories whose names would leave the folder, or be two things at once.
//!
//! Every hash is true: only the rules of names and directories stand between these and the disk.

use anyhow::{Result, ensure};
use fsync_core::id::ObjectKind;
use fsync_tests::wait::{PATIENCE, until};

use crate::forge::{Item, Raw, dir, split_dir};
use crate::http::Reply;
use crate::trial::Trial;

/// A directory that breaks a rule, what it needs, and words of the error.
struct Case {
    node: Raw,
    /// What breaks the rule: the directory, or something in it.
    bad: Raw,
    objects: Vec<Raw>,
    says: &'static str,
}

fn case(node: Raw, objects: &[&Raw], says: &'static str) -> Case {
    let objects = objects.iter().map(|raw| (*raw).clone()).collect();
    Case {
        bad: node.clone(),
        node,
        objects,
        says,
    }
}

/// A directory with a link that breaks a rule.
fn bad_link(target: &[u8], says: &'static str) -> Case {
    let link = Raw::link(target);
    Case {
        bad: link.clone(),
        ..case(dir(&[Item::link(b"l", &link)]), &[&link], says)
    }
}

fn cases(outside: &str) -> Vec<Case> {
    let evil = Raw::chunk("evil");
    let named = |name: &[u8], says| case(dir(&[Item::file(name, &evil)]), &[&evil], says);
    let inside = dir(&[Item::file(b"passwd", &evil)]);
    let link = Raw::link(outside.as_bytes());
    let absolute = format!("{outside}/evil");
    vec![
        named(b"..", "a name is"),
        named(b".", "a name is"),
        named(b"", "a name is empty"),
        named(b"a/b", "separator or NUL"),
        named(b"../evil", "separator or NUL"),
        named(b"x/../../evil", "separator or NUL"),
        named(absolute.as_bytes(), "separator or NUL"),
        named(b"a\0b", "separator or NUL"),
        named(b".fsync", "reserved for the agent"),
        named(b".FSync", "reserved for the agent"),
        named(&[b'n'; 256], "name length in bytes is 256"),
        // A directory that is its own parent, by name.
        case(
            dir(&[Item::dir(b"..", &inside)]),
            &[&inside, &evil],
            "a name is",
        ),
        // One name as two things: a link out of the folder, and a directory to write into.
        case(
            dir(&[Item::link(b"x", &link), Item::dir(b"x", &inside)]),
            &[&link, &inside, &evil],
            "names do not ascend",
        ),
        case(
            dir(&[Item::file(b"b", &evil), Item::file(b"a", &evil)]),
            &[&evil],
            "names do not ascend",
        ),
        // A target that ends early for whoever reads it as text.
        bad_link(b"/etc\0x", "holds NUL"),
        bad_link(&[b't'; 5000], "symlink target in bytes is 5000"),
        case(
            Raw::object(
                ObjectKind::Directory,
                [inside.bytes.clone(), vec![0]].concat(),
            ),
            &[&evil],
            "",
        ),
        case(
            Raw::object(ObjectKind::Directory, vec![0x9b; 64]),
            &[],
            "the limit is 3",
        ),
        case(
            split_dir(0, &[(b"a", &inside), (b"b", &inside)]),
            &[&inside, &evil],
            "not well formed",
        ),
        case(
            split_dir(1, &[(b"b", &inside), (b"a", &inside)]),
            &[&inside, &evil],
            "not well formed",
        ),
    ]
}

#[test]
fn names_that_leave_the_folder_are_refused_wherever_they_come() -> Result<()> {
    let mut trial = Trial::start()?;
    let outside = trial.outside().to_string_lossy().into_owned();
    for (number, case) in cases(&outside).into_iter().enumerate() {
        // At once, with the delta.
        trial.server.be_honest();
        trial.publish(&case.node, case.objects.clone());
        trial.until_said(&["bad answer to delta", &case.bad.hex()[..8], case.says])?;
        // Later, by its id, below a root that is sound.
        let root = dir(&[Item::dir(format!("sub{number}").as_bytes(), &case.node)]);
        let revision = Raw::revision(&root, Vec::new());
        let first = crate::forge::pack([&root, &revision]);
        trial
            .server
            .lie(move |asked| (asked.what() == "delta").then(|| Reply::bytes(first.clone())));
        let objects = case
            .objects
            .into_iter()
            .chain([case.node.clone(), root.clone()]);
        trial.server.publish(revision, objects);
        trial.until_said(&["bad answer to objects", &case.bad.hex()[..8], case.says])?;
        trial.unharmed()?;
    }
    trial.survives("after all names")
}

#[test]
fn links_are_text_and_what_takes_their_place_is_inside() -> Result<()> {
    let mut trial = Trial::start()?;
    let evil = Raw::chunk("evil");
    let inside = dir(&[Item::file(b"passwd", &evil), Item::file(b"secret", &evil)]);
    let outside = trial.outside().to_string_lossy().into_owned();
    for target in [
        "../outside",
        &outside,
        "x",
        ".",
        "..",
        "/",
        "../a/../outside/dir",
    ] {
        let link = Raw::link(target.as_bytes());
        // First a link out of the folder, then a directory with files in its place, then a link
        // again: each is put, none is followed.
        for round in 0..2 {
            let mark = format!("mark {target:?} {round}").replace('/', "|");
            let first = Trial::tree(&[Item::file(mark.as_bytes(), &evil), Item::link(b"x", &link)]);
            trial.publish(&first, [link.clone(), evil.clone()]);
            until("the link is there", PATIENCE, || {
                let found = std::fs::read_link(trial.agent.root.join("x"))?;
                ensure!(found.to_string_lossy() == target, "it is {found:?}");
                Ok(())
            })?;
            trial.until_there(&mark)?;
            let mark = format!("{mark} again");
            let second =
                Trial::tree(&[Item::file(mark.as_bytes(), &evil), Item::dir(b"x", &inside)]);
            trial.publish(&second, [inside.clone(), evil.clone()]);
            trial.until_there(&mark)?;
            until("the file is there", PATIENCE, || {
                let at = trial.agent.root.join("x");
                ensure!(!at.is_symlink(), "it is a link");
                ensure!(
                    std::fs::read(at.join("passwd"))? == b"evil",
                    "it is another"
                );
                Ok(())
            })?;
            trial.unharmed()?;
        }
    }
    trial.survives("after all links")
}
