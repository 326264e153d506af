//! Wrong input: a clear error, an exit code, and nothing harmed.

use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;

use anyhow::Result;
use fsync_tests::folder::write;
use fsync_tests::process::{Finished, run};
use fsync_tests::{System, system};

const FATAL: Option<i32> = Some(1);
const UNREACHABLE: Option<i32> = Some(3);

/// Runs `sync --once` on any path.
fn sync(dir: &Path, state: &Path, url: &str, tree: &str) -> Result<Finished> {
    let mut args: Vec<OsString> = vec!["sync".into(), dir.into(), "--once".into()];
    args.extend(["--server", url, "--tree", tree, "--state-dir"].map(OsString::from));
    args.push(state.into());
    run("fsync-agent", args)
}

fn assert_says(finished: &Finished, code: Option<i32>, words: &[&str]) {
    assert_eq!(finished.code, code, "{finished:?}");
    for word in words {
        assert!(
            finished.stderr.contains(word),
            "{word:?} is not in {finished:?}"
        );
    }
    assert!(!finished.stderr.contains("panicked"), "{finished:?}");
}

#[test]
fn folders_that_cannot_be_synced_are_named() -> Result<()> {
    let system = System::new()?;
    let server = system.server()?;
    let state = system.path("state");
    let missing = sync(&system.path("missing"), &state, &server.url, "t")?;
    assert_says(&missing, FATAL, &["missing", "does not exist", "create it"]);
    fs::write(system.path("file"), "x")?;
    let file = sync(&system.path("file"), &state, &server.url, "t")?;
    assert_says(&file, FATAL, &["file", "is not a folder"]);
    Ok(())
}

#[test]
fn a_folder_is_synced_once_and_not_inside_another() -> Result<()> {
    let system = System::new()?;
    let server = system.server()?;
    let a = system.agent("a", &server)?;
    a.flush()?;
    let twice = system.once("a", &server.url, &[])?;
    assert_says(&twice, FATAL, &["already synced by a running agent"]);
    let inner = system.folder("a/inner")?;
    let nested = sync(&inner, &system.path("state-inner"), &server.url, "t")?;
    assert_says(&nested, FATAL, &["lies inside"]);
    Ok(())
}

#[test]
fn servers_that_are_none_are_told_apart() -> Result<()> {
    let system = System::new()?;
    let dir = system.folder("a")?;
    write(&dir, "kept", "1")?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    drop(listener);
    let nobody = sync(
        &dir,
        &system.path("s1"),
        &format!("http://127.0.0.1:{port}"),
        "t",
    )?;
    assert_says(&nobody, UNREACHABLE, &[&format!("127.0.0.1:{port}")]);
    let other = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}", other.local_addr()?);
    let web = std::thread::spawn(move || answer_as_a_web_server(&other));
    let wrong = sync(&dir, &system.path("s2"), &url, "t")?;
    assert_says(&wrong, FATAL, &["fsync"]);
    assert_eq!(fs::read_to_string(dir.join("kept"))?, "1");
    // It waits for a last connection.
    drop(std::net::TcpStream::connect(
        url.trim_start_matches("http://"),
    )?);
    assert!(web.join().is_ok());
    Ok(())
}

/// Answers like a web server that is not ours, until somebody connects and says nothing.
fn answer_as_a_web_server(listener: &TcpListener) {
    for stream in listener.incoming() {
        let Ok(mut stream) = stream else { return };
        let mut request = [0; 4096];
        if !stream.read(&mut request).is_ok_and(|count| count > 0) {
            return;
        }
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\nconnection: close\r\n\r\n<html>";
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

#[test]
fn names_that_are_none_are_refused() -> Result<()> {
    let system = System::new()?;
    let dir = system.folder("a")?;
    for tree in ["../x", "a/b/c", "", ".x", "a b"] {
        let finished = sync(&dir, &system.path("s"), "http://127.0.0.1:1", tree)?;
        assert_says(&finished, FATAL, &["use 1 to 64"]);
    }
    let finished = sync(&dir, &system.path("s"), "nonsense", "t")?;
    assert_says(&finished, FATAL, &["nonsense"]);
    Ok(())
}

#[test]
fn verbs_outside_a_synced_folder_say_what_to_do() -> Result<()> {
    let system = System::new()?;
    let dir = system.folder("a")?;
    for verb in ["flush", "status", "log", "conflicts", "approve", "reject"] {
        let finished = system::verb_on(&dir, verb, &[])?;
        assert_says(
            &finished,
            FATAL,
            &["not in a synced folder", "fsync-agent sync"],
        );
    }
    Ok(())
}

#[test]
fn a_server_open_to_the_network_must_be_asked_for() -> Result<()> {
    let system = System::new()?;
    let data = system.path("data").into_os_string();
    let args = ["--listen", "0.0.0.0:0", "--data-dir"].map(OsString::from);
    let refused = run("fsync-server", args.into_iter().chain([data]))?;
    assert_says(&refused, FATAL, &["--insecure-no-auth"]);
    let mut server = system.server_on("0.0.0.0:0", &["--insecure-no-auth"])?;
    assert!(server.process.stop()?.success());
    assert!(
        server.process.stderr().to_lowercase().contains("warn"),
        "{}",
        server.process.stderr()
    );
    Ok(())
}

#[test]
fn two_servers_do_not_share_a_data_directory() -> Result<()> {
    let system = System::new()?;
    let _server = system.server()?;
    let data = system.path("data").into_os_string();
    let args = ["--listen", "127.0.0.1:0", "--data-dir"].map(OsString::from);
    let second = run("fsync-server", args.into_iter().chain([data]))?;
    assert_says(&second, FATAL, &["data"]);
    Ok(())
}

#[test]
fn names_that_are_not_text_and_unreadable_things_stop_nothing() -> Result<()> {
    use std::os::unix::ffi::OsStrExt;
    let system = System::new()?;
    let server = system.server()?;
    let root = system.folder("a")?;
    fs::write(
        root.join(std::ffi::OsStr::from_bytes(b"\xff\xfe name")),
        "1",
    )?;
    write(&root, "plain", "2")?;
    drop(std::os::unix::net::UnixListener::bind(root.join("socket"))?);
    let said = system.once("a", &server.url, &[])?.success()?;
    let skipped = "socket: it is a socket, device or FIFO, which cannot be synced";
    assert!(said.contains(skipped), "{said}");
    assert!(
        said.contains("starting") && !said.contains("offline"),
        "{said}"
    );
    system.once("b", &server.url, &[])?.success()?;
    fs::remove_file(root.join("socket"))?;
    fsync_tests::folder::same(&root, &system.path("b"))
}

#[test]
fn the_server_ends_with_1_on_wrong_usage_and_says_what_a_dry_run_would_do() -> Result<()> {
    let system = System::new()?;
    assert_says(
        &run("fsync-server", ["--nonsense"])?,
        FATAL,
        &["--nonsense"],
    );
    assert_eq!(run("fsync-server", ["--help"])?.code, Some(0));
    let data = system.path("data").into_os_string();
    let args = ["gc", "--dry-run", "--data-dir"].map(OsString::from);
    let nothing = run(
        "fsync-server",
        args.clone().into_iter().chain([data.clone()]),
    )?;
    assert_says(&nothing, FATAL, &["--data-dir", "no data"]);
    system.server()?.process.stop()?;
    let dry = run("fsync-server", args.into_iter().chain([data]))?;
    assert!(!dry.stderr.contains("garbage collected"), "{dry:?}");
    assert!(dry.success()?.starts_with("would collect: "));
    Ok(())
}
