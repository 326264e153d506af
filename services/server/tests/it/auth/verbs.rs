//! The flags and verbs about tokens, through the program itself.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use fsync_server::Server;

use super::{files, key};
use crate::agent::Agent;

fn run(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fsync-server"));
    command.env_clear().args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test]
async fn a_key_and_a_token_are_made_and_taken() {
    let key = key();
    let server = Server::start(key.guards(fsync_server::Config::memory()))
        .await
        .unwrap();
    let path = key.path.display().to_string();
    let made = run(&[
        "token",
        "--key-file",
        &path,
        "--subject",
        "anna",
        "--tree",
        "docs:rw",
        "--ttl",
        "1h",
    ]);
    assert!(made.status.success(), "{}", text(&made.stderr));
    let token = text(&made.stdout).trim().to_owned();
    let agent = Agent::with_token(&server.url(), "default/docs", &token);
    agent.commit(&files(), &[]).await.unwrap();
    // What is said beside it names the token without holding it.
    let said = text(&made.stderr);
    assert!(
        said.contains("revoke --id") && !said.contains(&token),
        "{said}"
    );
    server.shutdown().await.unwrap();
}

#[test]
fn a_new_key_is_for_its_owner_only_and_never_replaces_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key");
    let name = path.display().to_string();
    let made = run(&["token", "--new-key", "--key-file", &name]);
    assert!(
        made.status.success() && made.stdout.is_empty(),
        "{}",
        text(&made.stderr)
    );
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let before = std::fs::read(&path).unwrap();
    assert_eq!(before.len(), 65);
    let again = run(&["token", "--new-key", "--key-file", &name]);
    assert_eq!(again.status.code(), Some(1));
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

fn refused_key(path: &Path) -> String {
    let name = path.display().to_string();
    let data = path.with_extension("data").display().to_string();
    let told = run(&[
        "--data-dir",
        &data,
        "--listen",
        "0.0.0.0:0",
        "--auth-hs256-file",
        &name,
    ]);
    assert_eq!(told.status.code(), Some(1));
    text(&told.stderr)
}

#[test]
fn keys_that_are_short_missing_or_open_to_all_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key");
    assert!(refused_key(&path).contains("cannot be read"));
    std::fs::write(&path, "thirty-one bytes are not enough\n").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let short = refused_key(&path);
    assert!(
        short.contains("31 bytes") && short.contains("--new-key"),
        "{short}"
    );
    assert!(!short.contains("thirty"), "{short}");
    std::fs::write(&path, "long enough, but everybody can read it here\n").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o604)).unwrap();
    let open = refused_key(&path);
    assert!(
        open.contains("chmod 600") && !open.contains("long enough"),
        "{open}"
    );
}

#[test]
fn flags_that_leave_a_door_open_are_refused() {
    for (flags, words) in [
        (&["--listen", "0.0.0.0:0"][..], "--auth-hs256-file"),
        (
            &["--auth-jwks", "https://issuer.example/keys"],
            "--auth-audience",
        ),
        (
            &[
                "--auth-jwks",
                "https://i.example/keys",
                "--auth-issuer",
                "i",
            ],
            "--auth-audience",
        ),
        (
            &["--auth-jwks", "https://i.example/k", "--insecure-no-auth"],
            "exclude",
        ),
        (
            &[
                "--auth-jwks",
                "http://i.example/k",
                "--auth-issuer",
                "i",
                "--auth-audience",
                "a",
            ],
            "https://",
        ),
    ] {
        let told = run(&[&["--data-dir", "/nowhere"], flags].concat());
        assert_eq!(told.status.code(), Some(1), "{flags:?}");
        let said = text(&told.stderr);
        assert!(said.contains(words), "{flags:?}: {said}");
    }
}

#[test]
fn tokens_that_would_allow_nothing_or_too_much_are_not_made() {
    let key = key();
    let path = key.path.display().to_string();
    let base = ["token", "--key-file", &path, "--subject", "anna"];
    for (flags, words) in [
        (&[][..], "--tree"),
        (&["--tree", "docs"], "NAME:rw"),
        (&["--tree", "team/docs:rw"], "another tenant"),
        (&["--tree", "docs:rw", "--ttl", "0s"], "--ttl"),
    ] {
        let told = run(&[&base, flags].concat());
        assert_eq!(told.status.code(), Some(1), "{flags:?}");
        let said = text(&told.stderr);
        assert!(said.contains(words), "{flags:?}: {said}");
        assert!(told.stdout.is_empty(), "{flags:?}");
    }
}
