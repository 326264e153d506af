//! A hostile peer: a client of the real server that pushes what no agent would, with real agents
//! behind the same server.

use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::ffi::OsStrExt;

use anyhow::{Context, Result, ensure};
use fsync_core::id::ObjectKind;
use fsync_core::wire::{ErrorBody, PACK_TYPE};
use fsync_tests::folder::{self, write};
use fsync_tests::system::TREE;
use fsync_tests::wait::{PATIENCE, until};
use fsync_tests::{Server, System};

use crate::forge::{Item, MAGIC, Raw, dir, list, pack, sorted, split_dir};

/// Sends a body to the tree and returns status and answer.
fn post(server: &Server, what: &str, body: &[u8]) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect(server.address())?;
    let head = format!(
        "POST /v1/trees/default/{TREE}/{what} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
         content-type: {PACK_TYPE}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    // A server that has seen enough may close before it has read all.
    drop(stream.write_all(body));
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split_whitespace().nth(1).context("a status")?;
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok((status.parse()?, body.to_owned()))
}

/// Pushes a root with its objects.
fn push(server: &Server, root: &Raw, objects: &[&Raw]) -> Result<(u16, String)> {
    let revision = Raw::revision(root, Vec::new());
    let all = objects.iter().copied().chain([root, &revision]);
    post(server, "commits", &pack(all))
}

/// Packs that the server must refuse, and words of the refusal.
#[expect(clippy::too_many_lines, reason = "a table")]
fn refused() -> Vec<(Vec<u8>, &'static str)> {
    let evil = Raw::chunk("evil");
    let link = Raw::link(b"../outside");
    let inside = dir(&[Item::file(b"passwd", &evil)]);
    let commit = |root: &Raw, objects: &[&Raw]| {
        let revision = Raw::revision(root, Vec::new());
        pack(objects.iter().copied().chain([root, &revision]))
    };
    let named = |name: &[u8]| commit(&dir(&[Item::file(name, &evil)]), &[&evil]);
    let lie = Raw {
        bytes: b"other".to_vec(),
        ..evil.clone()
    };
    let two = |name: &[u8], size| Item::large(name, &list(&[(&evil, 4)]), size);
    let part = dir(&[Item::file(b"a", &evil), Item::file(b"z", &evil)]);
    vec![
        (named(b".."), "a name is"),
        (named(b"a/b"), "separator or NUL"),
        (named(b"a\0"), "separator or NUL"),
        (named(b".Fsync"), "reserved"),
        (named(b""), "empty"),
        (named(&[b'n'; 256]), "name length"),
        (
            commit(
                &dir(&[Item::link(b"x", &link), Item::dir(b"x", &inside)]),
                &[&link, &inside, &evil],
            ),
            "do not ascend",
        ),
        (commit(&dir(&[Item::dir(b"d", &link)]), &[&link]), ""),
        (
            commit(&dir(&[Item::file(b"f", &lie)]), &[&lie]),
            "the sender lied",
        ),
        (commit(&dir(&[Item::file(b"f", &evil)]), &[]), ""),
        (
            commit(
                &dir(&[Item::file(b"f", &evil).with_size(1 << 50)]),
                &[&evil],
            ),
            "",
        ),
        (
            commit(&dir(&[two(b"f", 1 << 50)]), &[&list(&[(&evil, 4)]), &evil]),
            "",
        ),
        (
            commit(
                &split_dir(1, &[(b"m", &part), (b"q", &part)]),
                &[&part, &evil],
            ),
            "",
        ),
        (
            commit(&Raw::object(ObjectKind::Directory, vec![0x9f; 100]), &[]),
            "malformed",
        ),
        (pack([&Raw::revision_of(b"junk".to_vec())]), "malformed"),
        (pack([&evil]), ""),
        (b"GET / HTTP/1.1".to_vec(), "not a pack"),
        (
            [MAGIC.to_vec(), evil.record_of(u32::MAX)].concat(),
            "chunk size",
        ),
        (Vec::new(), ""),
    ]
}

#[test]
fn what_breaks_a_rule_is_refused_by_the_server_and_no_agent_hears_of_it() -> Result<()> {
    let system = System::new()?;
    let server = system.server()?;
    let a = system.agent("a", &server)?;
    write(&a.root, "own", "1")?;
    a.flush()?;
    let before = a.verb("log", &["--json"])?.success()?;
    for (number, (body, says)) in refused().into_iter().enumerate() {
        let (status, answer) = post(&server, "commits", &body)?;
        ensure!(
            (400..500).contains(&status),
            "case {number}: {status} {answer}"
        );
        let error: ErrorBody =
            serde_json::from_str(&answer).with_context(|| format!("case {number}: {answer}"))?;
        ensure!(error.message.contains(says), "case {number}: {answer}");
    }
    assert_eq!(a.verb("log", &["--json"])?.success()?, before);
    // Each was told of, with who sent what.
    let said = server.process.stderr();
    ensure!(said.contains("refused"), "{said}");
    write(&a.root, "after", "2")?;
    a.flush()?;
    Ok(())
}

/// Names that are odd and allowed, in order.
const ODD_NAMES: [&[u8]; 12] = [
    b"\x1b[2J\x1b]0;x\x07",
    b"-rf",
    b"...",
    b"CON",
    b"a:",
    b"a\\b",
    b"aux.txt",
    b"blank ",
    b"dot.",
    "e\u{301}\u{202e}txt".as_bytes(),
    b"new\nline",
    b"\xff\xfe",
];

/// Directories that the server admits, each under a name in the root, and all that they need.
fn admitted(outside: &str) -> (Vec<(&'static [u8], Raw)>, Vec<Raw>) {
    let evil = Raw::chunk("evil");
    let ignores = Raw::chunk("*\n!own\n[[[[\n\\\n**/**/**/**\n");
    let odd = dir(&ODD_NAMES.map(|name| Item::file(name, &evil)));
    let names: [&[u8]; 3] = [b"l0", b"l1", b"l2"];
    let links = ["/", "..", outside].map(|target| Raw::link(target.as_bytes()));
    let inside = dir(&[Item::file(b"passwd", &evil)]);
    let escaping: Vec<Item> = names
        .iter()
        .zip(&links)
        .map(|(name, link)| Item::link(name, link))
        .collect();
    let instead: Vec<Item> = names.iter().map(|name| Item::dir(name, &inside)).collect();
    let (escaping, instead) = (dir(&escaping), dir(&instead));
    let rules = dir(&[Item::file(b".fsyncignore", &ignores)]);
    let needed = [&evil, &ignores, &inside]
        .into_iter()
        .chain(&links)
        .cloned()
        .collect();
    let parts: Vec<(&[u8], Raw)> = vec![
        (b"odd", odd),
        (b"lnk", escaping),
        (b"lnk", instead),
        (b"rul", rules),
    ];
    (parts, needed)
}

#[test]
fn what_is_allowed_and_odd_harms_no_agent() -> Result<()> {
    let system = System::new()?;
    let server = system.server()?;
    write(&system.path("outside"), "passwd", "root")?;
    let outside = system.path("outside").to_string_lossy().into_owned();
    let mut a = system.agent("a", &server)?;
    write(&a.root, "own", "1")?;
    a.flush()?;
    let evil = Raw::chunk("evil");
    let (parts, needed) = admitted(&outside);
    for (name, part) in &parts {
        let mark = format!("mark {}", part.hex());
        let root = sorted(vec![
            Item::file(mark.as_bytes(), &evil),
            Item::dir(name, part),
        ]);
        let objects: Vec<&Raw> = needed.iter().chain([part]).collect();
        let (status, answer) = push(&server, &root, &objects)?;
        ensure!(status == 200, "{status} {answer}");
        until(&format!("{mark} is there"), PATIENCE, || {
            Ok(fs::read(a.root.join(&mark))?)
        })?;
        ensure!(a.process.is_running()?, "the agent has ended");
        assert_eq!(fs::read_to_string(a.root.join("own"))?, "1");
    }
    a.flush()?;
    for name in ODD_NAMES {
        let path = a.root.join("odd").join(OsStr::from_bytes(name));
        assert_eq!(fs::read(&path)?, b"evil", "{}", path.display());
    }
    // The outside is as it was; a status with such names is plain text.
    assert_eq!(folder::list(&system.path("outside"))?.len(), 1);
    assert_eq!(fs::read_to_string(system.path("outside/passwd"))?, "root");
    let shown = a.verb("status", &[])?.success()?;
    ensure!(!shown.contains('\u{1b}'), "{shown:?}");
    Ok(())
}
