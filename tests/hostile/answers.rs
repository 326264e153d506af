//! Answers that are no answers: redirects, bodies without end, bodies that stop, garbage.

use std::net::{Ipv4Addr, TcpListener};

use anyhow::Result;

use crate::forge::{Item, Raw};
use crate::http::Reply;
use crate::server::Hostile;
use crate::trial::Trial;

/// Answers that every kind of request may get.
fn replies(elsewhere: &str) -> Vec<Reply> {
    let redirect = |status| Reply::error(status, "x").with_header("location", elsewhere);
    let raw = |bytes: &[u8]| Reply::Raw(bytes.to_vec());
    vec![
        redirect(301),
        redirect(302),
        redirect(307),
        redirect(308),
        Reply::HangUp,
        raw(b"\0\0\0\0garbage\xff\xff"),
        raw(b"HTTP/1.1 200 OK\r\ncontent-length: -5\r\n\r\nx"),
        raw(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\nx"),
        raw(&[b"HTTP/1.1 200 OK\r\nx: ".to_vec(), vec![b'h'; 4 << 20]].concat()),
        Reply::bytes(b"null".to_vec()),
        Reply::bytes(b"[[[[[[".repeat(100_000)),
        Reply::Endless(b"{\"head\":\"".to_vec()),
        Reply::bytes(vec![b' '; 3 << 20]),
        Reply::error(500, "internal"),
        Reply::error(418, "teapot"),
        Reply::error(404, "not_found"),
        Reply::error(413, "too_large"),
        Reply::error(409, "base_unknown"),
        Reply::error(409, "missing"),
        Reply::Answer {
            status: 503,
            headers: Vec::new(),
            body: br#"{"code":"unavailable","message":"m","retry_after_ms":0}"#.to_vec(),
        },
    ]
}

#[test]
fn answers_that_are_none_stop_nothing_and_redirects_are_not_followed() -> Result<()> {
    let elsewhere = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    elsewhere.set_nonblocking(true)?;
    let url = format!("http://{}/v1/version", elsewhere.local_addr()?);
    let mut trial = Trial::start()?;
    for what in ["delta", "objects"] {
        for (number, reply) in replies(&url).into_iter().enumerate() {
            // A content of its own, so that it must be asked for.
            let content = Raw::chunk(format!("{what} {number}"));
            let root = Trial::tree(&[Item::file(b"asked", &content)]);
            let first = crate::forge::pack([&root, &Raw::revision(&root, Vec::new())]);
            trial.server.lie(move |asked| match asked.what() {
                now if now == what => Some(reply.clone()),
                "delta" => Some(Reply::bytes(first.clone())),
                _ => None,
            });
            let before = trial.server.asked(what);
            trial.publish(&root, [content]);
            trial.until_asked_again(what, before)?;
            trial.unharmed()?;
            trial.survives(&format!("after {what} {number}"))?;
        }
    }
    assert!(elsewhere.accept().is_err(), "a redirect was followed");
    Ok(())
}

#[test]
fn a_push_that_is_answered_with_lies_is_made_again_and_nothing_is_lost() -> Result<()> {
    let mut trial = Trial::start()?;
    trial.survives("first")?;
    let forever = format!("http://{}", trial.outside().display());
    // A small file goes with the commit, a large one through a session.
    let large = fsync_tests::folder::noise(9, 6 << 20);
    for (what, bytes) in [("commits", b"small".to_vec()), ("uploads", large)] {
        for (number, reply) in replies(&forever).into_iter().enumerate() {
            let name = format!("{what} {number}");
            trial
                .server
                .lie(move |asked| (asked.what() == what).then(|| reply.clone()));
            let before = trial.server.asked(what);
            let bytes = [name.as_bytes(), &bytes].concat();
            fsync_tests::folder::write(&trial.agent.root, &name, &bytes)?;
            trial.until_asked_again(what, before)?;
            trial.server.be_honest();
            trial.until_stored(&bytes)?;
            assert_eq!(std::fs::read(trial.agent.root.join(&name))?, bytes);
            trial.unharmed()?;
        }
    }
    Ok(())
}

#[test]
fn an_answer_that_stops_is_given_up() -> Result<()> {
    let mut trial = Trial::start()?;
    let content = Raw::chunk("new");
    for (number, reply) in [Reply::Stops(1000, b"FSPK".to_vec()), Reply::Silence]
        .into_iter()
        .enumerate()
    {
        let mark = format!("stops {number}");
        let root = Trial::tree(&[Item::file(mark.as_bytes(), &content)]);
        trial
            .server
            .lie(move |asked| (asked.what() == "delta").then(|| reply.clone()));
        let before = trial.server.asked("delta");
        trial.publish(&root, [content.clone()]);
        trial.until_asked_again("delta", before)?;
        trial.survives(&mark)?;
    }
    Ok(())
}

#[test]
fn a_server_that_lies_from_the_first_word_is_left_or_waited_for() -> Result<()> {
    let url = "http://127.0.0.1:9/v1/version";
    for reply in [
        Reply::error(301, "x").with_header("location", url),
        Reply::HangUp,
        Reply::Raw(b"garbage\r\n\r\n".to_vec()),
        Reply::Endless(b"{".to_vec()),
        Reply::error(500, "internal"),
        Reply::bytes(b"{}".to_vec()),
        Reply::bytes(br#"{"service":"fsync","protocol":4294967295}"#.to_vec()),
    ] {
        let server = Hostile::start()?;
        let lie = reply.clone();
        server.lie(move |asked| (asked.what() == "version").then(|| lie.clone()));
        let system = fsync_tests::System::new()?;
        let root = system.folder("a")?;
        fsync_tests::folder::write(&root, "own", "unharmed")?;
        let finished = system.once("a", &server.url(), &[])?;
        // Told apart: what is no fsync server, and what cannot be reached.
        assert!(
            matches!(finished.code, Some(1 | 3)) && finished.stderr.contains("server"),
            "{reply:?}: {finished:?}"
        );
        assert_eq!(std::fs::read_to_string(root.join("own"))?, "unharmed");
    }
    Ok(())
}
