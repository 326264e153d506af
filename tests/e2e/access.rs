//! Who may do what, as users have it: tokens in files, over TLS, changed, stolen, for reading only.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use fsync_tests::folder::write;
use fsync_tests::process::{binary, run};
use fsync_tests::wait::{PATIENCE, until};
use fsync_tests::{Server, System};

/// A server that asks for tokens, and the key that makes them.
struct Guarded {
    system: System,
    key: PathBuf,
}

impl Guarded {
    fn new() -> Result<Self> {
        let system = System::new()?;
        let key = system.path("key");
        let path = key.display().to_string();
        run("fsync-server", ["token", "--new-key", "--key-file", &path])?.success()?;
        Ok(Self { system, key })
    }

    fn server(&self, more: &[&str]) -> Result<Server> {
        let key = self.key.display().to_string();
        let flags = [&["--auth-hs256-file", &key], more].concat();
        self.system.server_on("127.0.0.1:0", &flags)
    }

    fn token(&self, right: &str, ttl: &str) -> Result<String> {
        let key = self.key.display().to_string();
        let tree = format!("{}:{right}", fsync_tests::system::TREE);
        let args = [
            "token",
            "--key-file",
            &key,
            "--subject",
            "anna",
            "--tree",
            &tree,
            "--ttl",
            ttl,
        ];
        Ok(run("fsync-server", args)?.success()?.trim().to_owned())
    }

    /// Puts a token where only its owner reads it, as a whole.
    fn put(&self, name: &str, token: &str) -> Result<String> {
        let (path, new) = (self.system.path(name), self.system.path("new"));
        fs::write(&new, token)?;
        fs::set_permissions(&new, fs::Permissions::from_mode(0o600))?;
        fs::rename(&new, &path)?;
        Ok(path.display().to_string())
    }
}

#[test]
fn an_agent_without_a_token_is_told_how_to_get_one() -> Result<()> {
    let guarded = Guarded::new()?;
    let server = guarded.server(&[])?;
    let refused = guarded.system.once("a", &server.url, &[])?;
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
    let said = refused.stderr;
    ensure!(
        said.contains("--token-file") && said.contains("fsync-agent login"),
        "{said}"
    );
    let file = guarded.put("token", &guarded.token("rw", "1h")?)?;
    write(&guarded.system.folder("a")?, "a", "1")?;
    guarded
        .system
        .once("a", &server.url, &["--token-file", &file])?
        .success()?;
    guarded
        .system
        .once("b", &server.url, &["--token-file", &file])?
        .success()?;
    guarded.system.in_step("a", "b")?;
    // A file that others may read is no place for it.
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640))?;
    let open = guarded
        .system
        .once("b", &server.url, &["--token-file", &file])?;
    ensure!(
        open.code == Some(1) && open.stderr.contains("chmod 600"),
        "{}",
        open.stderr
    );
    Ok(())
}

#[test]
fn a_new_token_in_the_file_needs_no_restart() -> Result<()> {
    let guarded = Guarded::new()?;
    let server = guarded.server(&[])?;
    let file = guarded.put("token", &guarded.token("rw", "6s")?)?;
    let mut a = guarded
        .system
        .agent_with("a", &server.url, &["--token-file", &file])?;
    a.process.line_after("connected to ", PATIENCE)?;
    guarded.put("token", &guarded.token("rw", "1h")?)?;
    // The server ends the connection when the first token does.
    a.process.line_after("connected to ", PATIENCE)?;
    write(&a.root, "after", "the first token")?;
    a.flush()?;
    guarded
        .system
        .once("b", &server.url, &["--token-file", &file])?
        .success()?;
    guarded.system.in_step("a", "b")
}

#[test]
fn a_revoked_agent_ends_and_says_why() -> Result<()> {
    let guarded = Guarded::new()?;
    let server = guarded.server(&[])?;
    let file = guarded.put("token", &guarded.token("rw", "1h")?)?;
    let mut a = guarded
        .system
        .agent_with("a", &server.url, &["--token-file", &file])?;
    a.process.line_after("connected to ", PATIENCE)?;
    let data = guarded.system.path("data").display().to_string();
    run(
        "fsync-server",
        ["revoke", "--subject", "anna", "--data-dir", &data],
    )?
    .success()?;
    let status = a.process.wait(PATIENCE)?;
    assert_eq!(status.code(), Some(1), "{}", a.process.stderr());
    let said = a.process.stderr();
    ensure!(
        said.contains("revoked") && said.contains("nothing that was saved is lost"),
        "{said}"
    );
    let log = server.process.stderr();
    ensure!(
        log.contains("fsync::audit") && log.contains("revoked"),
        "{log}"
    );
    let token = fs::read_to_string(&file)?;
    let key = fs::read_to_string(&guarded.key)?;
    ensure!(
        !log.contains(token.trim()) && !log.contains(key.trim()),
        "a secret is in the log"
    );
    let signature = token.trim().rsplit('.').next().unwrap_or_default();
    ensure!(
        !log.contains(signature) && !said.contains(signature),
        "a secret is in a log"
    );
    Ok(())
}

#[test]
fn what_a_reader_changes_stays_with_him_until_he_reverts_it() -> Result<()> {
    let guarded = Guarded::new()?;
    let system = &guarded.system;
    let server = guarded.server(&[])?;
    let writes = guarded.put("writes", &guarded.token("rw", "1h")?)?;
    let reads = guarded.put("reads", &guarded.token("r", "1h")?)?;
    let mut a = system.agent_with("a", &server.url, &["--token-file", &writes])?;
    a.process.line_after("connected to ", PATIENCE)?;
    for name in ["edited", "deleted", "kept"] {
        write(&a.root, name, format!("{name} by the writer"))?;
    }
    a.flush()?;
    let mut b = system.agent_with("b", &server.url, &["--token-file", &reads])?;
    b.process.line_after("connected to ", PATIENCE)?;
    system.in_step("a", "b")?;
    write(&b.root, "edited", "by the reader")?;
    write(&b.root, "created", "by the reader")?;
    fs::remove_file(b.root.join("deleted"))?;
    until("the reader's changes are listed", PATIENCE, || {
        let status = b.verb("status", &[])?.stdout;
        for name in ["edited", "created", "deleted"] {
            let line = format!("{name}: changed on this disk only");
            ensure!(status.contains(&line), "{status}");
        }
        Ok(())
    })?;
    // Changes of others still come, but not over the reader's.
    write(&a.root, "kept", "changed by the writer")?;
    write(&a.root, "edited", "changed by the writer too")?;
    a.flush()?;
    until("the writer's change is here", PATIENCE, || {
        let text = fs::read_to_string(b.root.join("kept"))?;
        ensure!(text == "changed by the writer", "{text}");
        Ok(())
    })?;
    assert_eq!(fs::read_to_string(b.root.join("edited"))?, "by the reader");
    assert_eq!(fs::read_to_string(b.root.join("created"))?, "by the reader");
    assert!(!b.root.join("deleted").exists());
    assert!(!a.root.join("created").exists());
    let said = b.verb("revert", &[])?.success()?;
    ensure!(said.contains("3 paths"), "{said}");
    system.in_step("a", "b")?;
    until("the reader's versions are in the trash", PATIENCE, || {
        let trash = trashed(&b.root)?;
        ensure!(trash == ["by the reader", "by the reader"], "{trash:?}");
        Ok(())
    })?;
    let log = server.process.stderr();
    ensure!(
        log.contains("read only") && log.contains("\"anna\""),
        "{log}"
    );
    Ok(())
}

/// Returns what is in a folder's trash, sorted.
fn trashed(root: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let mut open = vec![root.join(".fsync/trash")];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir)? {
            let path = entry?.path();
            match path.is_dir() {
                true => open.push(path),
                false => found.push(fs::read_to_string(path)?),
            }
        }
    }
    found.retain(|text| text == "by the reader");
    found.sort();
    Ok(found)
}

/// Makes a certificate for this machine that is its own authority; returns it and its key.
fn certificate(system: &System) -> Result<(String, String)> {
    let path = |name: &str| system.path(name).display().to_string();
    let (certificate, key) = (path("certificate.pem"), path("certificate-key.pem"));
    let mut command = Command::new("openssl");
    command.args([
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
    ]);
    command.args(["-nodes", "-subj", "/CN=fsync", "-days", "2"]);
    command.args(["-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]);
    command.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
    command.args(["-keyout", &key, "-out", &certificate]);
    let made = command.output().context("openssl")?;
    ensure!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    Ok((certificate, key))
}

#[test]
fn over_tls_with_a_stored_token_folders_are_in_step() -> Result<()> {
    let guarded = Guarded::new()?;
    let system = &guarded.system;
    let (certificate, key) = certificate(system)?;
    let server = guarded.server(&["--tls-cert-file", &certificate, "--tls-key-file", &key])?;
    ensure!(server.url.starts_with("https://"), "{}", server.url);
    let home = system.folder("home")?.display().to_string();
    let file = guarded.put("token", &guarded.token("rw", "1h")?)?;
    let mut login = Command::new(binary("fsync-agent")?);
    login
        .args(["login", "--server", &server.url])
        .env("XDG_CONFIG_HOME", &home);
    login.stdin(fs::File::open(&file)?);
    let said = login.output()?;
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    ensure!(said.status.success() && text.contains(&home), "{said:?}");
    let environment = [("XDG_CONFIG_HOME", home.as_str())];
    let flags = ["--ca-file", certificate.as_str()];
    let mut a = system.launch_agent("a", &server.url, &flags, &environment)?;
    a.process.line_after("connected to ", PATIENCE)?;
    let mut b = system.launch_agent("b", &server.url, &flags, &environment)?;
    b.process.line_after("connected to ", PATIENCE)?;
    write(&a.root, "from a", vec![1; 3_000_000])?;
    write(&b.root, "from b", "text")?;
    system.in_step("a", "b")?;
    // Without the authority nothing is said to whoever answers there.
    let refused = system.once("c", &server.url, &["--token-file", &file])?;
    ensure!(refused.code == Some(3), "{refused:?}");
    let stored: Vec<_> =
        fs::read_dir(Path::new(&home).join("fsync/tokens"))?.collect::<Result<_, _>>()?;
    assert_eq!(stored.len(), 1);
    assert_eq!(stored[0].metadata()?.permissions().mode() & 0o777, 0o600);
    Ok(())
}
