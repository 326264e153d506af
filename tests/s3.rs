//! Real S3 servers of a test's own, in temporary directories on free ports.
//!
//! Guarantees: a server ends with its value, by its own id; one that is started again is on the
//! same port. `s3s-fs` keeps what it stored then, and checks who asks; moto keeps nothing, and lets
//! everybody in, but knows every conditional write. Needs `s3s-fs` in the path (`cargo install
//! --locked s3s-fs@0.13.0 --features binary`) and `moto_server` (`pip install 'moto[server]'`);
//! `.ci/run` and `tests/run` install both.
//! Place: also included by the tests of `services/server`, so it uses nothing else of this package
//! but [`proxy`].

use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

#[path = "s3/proxy.rs"]
pub mod proxy;

/// Who may use the servers.
pub const ACCESS_KEY: &str = "fsync-tests";
/// Their secret.
pub const SECRET_KEY: &str = "fsync-tests-secret";
/// The bucket that is there from the start.
pub const BUCKET: &str = "contents";
/// How long a server may take to start.
const PATIENCE: Duration = Duration::from_secs(60);
/// Time between two looks at one that starts.
const PAUSE: Duration = Duration::from_millis(20);
/// Ports tried, in case that others take them first.
const TRIES: usize = 10;

/// Whose server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Files in a directory.
    S3sFs,
    /// Objects in memory.
    Moto,
}

/// A running server.
#[derive(Debug)]
pub struct S3Server {
    kind: Kind,
    dir: TempDir,
    port: u16,
    child: Child,
}

impl S3Server {
    /// Starts a server with an empty bucket on a free port.
    ///
    /// # Errors
    /// If it is not installed or does not start.
    pub fn start(kind: Kind) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("fsync-s3-").tempdir()?;
        let mut last = Error::other("no port was tried");
        for _ in 0..TRIES {
            let port = free_port()?;
            match launch(kind, &dir, port) {
                Ok(child) => {
                    let server = Self {
                        kind,
                        dir,
                        port,
                        child,
                    };
                    server.make_bucket(BUCKET)?;
                    return Ok(server);
                }
                Err(error) if error.kind() == ErrorKind::AddrInUse => last = error,
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }

    /// Returns its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the URL that fsync takes for a prefix in the bucket.
    pub fn url(&self, prefix: &str) -> String {
        url_at(self.port, prefix)
    }

    /// Makes another bucket.
    ///
    /// # Errors
    /// The system's.
    pub fn make_bucket(&self, name: &str) -> Result<()> {
        match self.kind {
            Kind::S3sFs => std::fs::create_dir_all(self.dir.path().join(name)),
            Kind::Moto => {
                let answer = ask(
                    self.port,
                    &format!(
                        "PUT /{name} HTTP/1.0\r\nhost: 127.0.0.1\r\ncontent-length: 0\r\n\r\n"
                    ),
                )?;
                match answer.contains(" 200 ") {
                    true => Ok(()),
                    false => Err(Error::other(answer)),
                }
            }
        }
    }

    /// Returns where `s3s-fs` keeps the bucket's files.
    pub fn files(&self) -> PathBuf {
        self.dir.path().join(BUCKET)
    }

    /// Ends it as `kill -9` does.
    ///
    /// # Errors
    /// The system's.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Starts it again after [`S3Server::kill`], on the same port and directory.
    ///
    /// # Errors
    /// As [`S3Server::start`].
    pub fn start_again(&mut self) -> Result<()> {
        self.child = launch(self.kind, &self.dir, self.port)?;
        Ok(())
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        // An error means that it has ended already.
        drop(self.kill());
    }
}

/// Returns the URL that fsync takes for a prefix in the bucket of a server at a port of this
/// machine.
pub fn url_at(port: u16, prefix: &str) -> String {
    format!("s3://{BUCKET}/{prefix}?endpoint=http://127.0.0.1:{port}&region=us-east-1")
}

/// Returns the environment by which programs may use the servers.
pub fn environment() -> [(&'static str, &'static str); 2] {
    [
        ("AWS_ACCESS_KEY_ID", ACCESS_KEY),
        ("AWS_SECRET_ACCESS_KEY", SECRET_KEY),
    ]
}

fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}

fn ask(port: u16, request: &str) -> Result<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn command(kind: Kind, dir: &TempDir, port: u16) -> (Command, &'static str) {
    let port = port.to_string();
    match kind {
        Kind::S3sFs => {
            let mut command = Command::new("s3s-fs");
            command.args(["--access-key", ACCESS_KEY, "--secret-key", SECRET_KEY]);
            command
                .args(["--host", "127.0.0.1", "--port", &port])
                .arg(dir.path());
            (
                command,
                "s3s-fs is not in the path: cargo install --locked s3s-fs@0.13.0 --features binary",
            )
        }
        Kind::Moto => {
            let mut command = Command::new("moto_server");
            command.args(["-H", "127.0.0.1", "-p", &port]);
            (
                command,
                "moto_server is not in the path: pip install 'moto[server]'",
            )
        }
    }
}

fn launch(kind: Kind, dir: &TempDir, port: u16) -> Result<Child> {
    let (mut command, missing) = command(kind, dir, port);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|e| match e.kind() {
            ErrorKind::NotFound => Error::new(e.kind(), missing),
            _ => e,
        })?;
    let started = Instant::now();
    loop {
        let answers =
            ask(port, "GET / HTTP/1.0\r\n\r\n").is_ok_and(|answer| answer.starts_with("HTTP/1."));
        // If another server got the port, ours has ended.
        if child.try_wait()?.is_some() {
            let reason = format!("{:?} ended at once", command.get_program());
            return Err(Error::new(ErrorKind::AddrInUse, reason));
        }
        if answers {
            return Ok(child);
        }
        if started.elapsed() > PATIENCE {
            drop(child.kill());
            return Err(Error::new(
                ErrorKind::TimedOut,
                "the S3 server did not start",
            ));
        }
        std::thread::sleep(PAUSE);
    }
}
