//! Real Redis servers of a test's own, in temporary directories on free ports.
//!
//! Guarantees: a server ends with its value, by its own id; one that is started again is on the
//! same port and finds what it persisted.
//! Needs `redis-server` 7 or newer in the path: `apt-get install redis-server` (a Debian package;
//! `.ci/run` installs it).
//! Place: also included by the tests of `services/server`, so it uses nothing else of this package.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Error, ErrorKind, Result, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long a server may take to start.
const PATIENCE: Duration = Duration::from_secs(30);
/// Time between two looks at one that starts.
const PAUSE: Duration = Duration::from_millis(10);
/// Ports tried, in case that others take them first.
const TRIES: usize = 10;

/// A running server.
#[derive(Debug)]
pub struct RedisServer {
    dir: TempDir,
    flags: Vec<String>,
    port: u16,
    child: Child,
}

impl RedisServer {
    /// Starts a server without persistence on a free port.
    ///
    /// # Errors
    /// If it is not installed or does not start.
    pub fn start() -> Result<Self> {
        Self::start_with(&["--save", "", "--appendonly", "no"])
    }

    /// Starts a server with these flags on a free port.
    ///
    /// # Errors
    /// As [`RedisServer::start`].
    pub fn start_with<S: AsRef<str>>(flags: &[S]) -> Result<Self> {
        let flags: Vec<String> = flags.iter().map(|flag| flag.as_ref().to_owned()).collect();
        let dir = tempfile::Builder::new().prefix("fsync-redis-").tempdir()?;
        let mut last = Error::other("no port was tried");
        for _ in 0..TRIES {
            let port = free_port()?;
            match launch(&dir, port, &flags) {
                Ok(child) => {
                    return Ok(Self {
                        dir,
                        flags,
                        port,
                        child,
                    });
                }
                Err(error) if error.kind() == ErrorKind::AddrInUse => last = error,
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }

    /// Returns the URL that fsync takes.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Returns its port.
    pub fn port(&self) -> u16 {
        self.port
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

    /// Starts it again after [`RedisServer::kill`], on the same port and directory.
    ///
    /// # Errors
    /// As [`RedisServer::start`].
    pub fn start_again(&mut self) -> Result<()> {
        self.child = launch(&self.dir, self.port, &self.flags)?;
        Ok(())
    }

    /// Runs a command and returns what it answers as text; elements of a list are joined by lines.
    ///
    /// # Errors
    /// If it cannot be reached, or its error.
    pub fn command<S: AsRef<str>>(&self, words: &[S]) -> Result<String> {
        command(self.port, words)
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        // An error means that it has ended already.
        drop(self.kill());
    }
}

/// Three masters that are one Cluster, on the slots of which all keys are spread.
#[derive(Debug)]
pub struct RedisCluster {
    nodes: Vec<RedisServer>,
}

/// Slots of a Cluster, and masters in ours.
const SLOTS: u16 = 16_384;
const MASTERS: u16 = 3;

impl RedisCluster {
    /// Starts a Cluster without persistence.
    ///
    /// # Errors
    /// As [`RedisServer::start`], or if the nodes do not find together.
    pub fn start() -> Result<Self> {
        let mut nodes = Vec::new();
        let mut wires = Vec::new();
        for number in 0..MASTERS {
            let wire = free_port()?.to_string();
            let flags = [
                "--save",
                "",
                "--cluster-enabled",
                "yes",
                "--cluster-port",
                &wire,
            ];
            let node = RedisServer::start_with(&flags)?;
            let range =
                |at: u16| (u32::from(SLOTS) * u32::from(at) / u32::from(MASTERS)).to_string();
            let last = (range(number + 1).parse::<u32>().map_err(Error::other)? - 1).to_string();
            node.command(&["CLUSTER", "ADDSLOTSRANGE", &range(number), &last])?;
            node.command(&["CLUSTER", "SET-CONFIG-EPOCH", &(number + 1).to_string()])?;
            nodes.push(node);
            wires.push(wire);
        }
        for (node, wire) in nodes.iter().zip(&wires).skip(1) {
            let port = node.port().to_string();
            nodes[0].command(&["CLUSTER", "MEET", "127.0.0.1", &port, wire])?;
        }
        let cluster = Self { nodes };
        wait_until(|| {
            let is_ready = |node: &RedisServer| {
                let info = node.command(&["CLUSTER", "INFO"]).unwrap_or_default();
                info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3")
            };
            cluster.nodes.iter().all(is_ready)
        })?;
        Ok(cluster)
    }

    /// Returns the URL that fsync takes.
    pub fn url(&self) -> String {
        format!("redis-cluster://127.0.0.1:{}", self.nodes[0].port())
    }

    /// Returns the nodes.
    pub fn nodes(&self) -> &[RedisServer] {
        &self.nodes
    }
}

/// A master, a replica of it, and a Sentinel that makes the replica the master when that is gone.
#[derive(Debug)]
pub struct RedisSentinel {
    /// The master at the start.
    pub master: RedisServer,
    /// Its replica.
    pub replica: RedisServer,
    sentinel: RedisServer,
    _settings: TempDir,
}

impl RedisSentinel {
    /// Starts the three, without persistence.
    ///
    /// # Errors
    /// As [`RedisServer::start`], or if they do not find together.
    pub fn start() -> Result<Self> {
        let master = RedisServer::start()?;
        let port = master.port().to_string();
        let flags = ["--save", "", "--replicaof", "127.0.0.1", &port];
        let replica = RedisServer::start_with(&flags)?;
        let settings = tempfile::Builder::new()
            .prefix("fsync-sentinel-")
            .tempdir()?;
        let path = settings.path().join("sentinel.conf");
        let text = format!(
            "sentinel monitor fsync 127.0.0.1 {port} 1\n\
             sentinel down-after-milliseconds fsync 1000\n\
             sentinel failover-timeout fsync 5000\n"
        );
        std::fs::write(&path, text)?;
        let path = path.display().to_string();
        let sentinel = RedisServer::start_with(&[path.as_str(), "--sentinel"])?;
        let all = Self {
            master,
            replica,
            sentinel,
            _settings: settings,
        };
        wait_until(|| {
            let info = all
                .sentinel
                .command(&["INFO", "sentinel"])
                .unwrap_or_default();
            let replica = all
                .replica
                .command(&["INFO", "replication"])
                .unwrap_or_default();
            info.contains("slaves=1") && replica.contains("master_link_status:up")
        })?;
        Ok(all)
    }

    /// Returns the URL that fsync takes.
    pub fn url(&self) -> String {
        let port = self.sentinel.port();
        format!("redis-sentinel://127.0.0.1:{port}?sentinelServiceName=fsync")
    }

    /// Kills the master and waits until the replica has its place.
    ///
    /// # Errors
    /// If it does not take it.
    pub fn fail_over(&mut self) -> Result<()> {
        self.master.kill()?;
        wait_until(|| {
            let info = self
                .replica
                .command(&["INFO", "replication"])
                .unwrap_or_default();
            info.contains("role:master")
        })
    }
}

fn wait_until(is_so: impl Fn() -> bool) -> Result<()> {
    let started = Instant::now();
    while !is_so() {
        if started.elapsed() > PATIENCE {
            return Err(Error::new(
                ErrorKind::TimedOut,
                "the servers did not find together",
            ));
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

/// Runs a command at a port of this machine.
///
/// # Errors
/// As [`RedisServer::command`].
pub fn command<S: AsRef<str>>(port: u16, words: &[S]) -> Result<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut request = format!("*{}\r\n", words.len());
    for word in words {
        let word = word.as_ref();
        request += &format!("${}\r\n{word}\r\n", word.len());
    }
    stream.write_all(request.as_bytes())?;
    answer(&mut BufReader::new(stream))
}

fn answer(reader: &mut impl BufRead) -> Result<String> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let Some((kind, rest)) = line.trim_end().split_at_checked(1) else {
        return Err(ErrorKind::UnexpectedEof.into());
    };
    let length = || rest.parse::<i64>().map_err(Error::other);
    match kind {
        "-" => Err(Error::other(rest.to_owned())),
        "$" => {
            let Ok(length) = usize::try_from(length()?) else {
                return Ok(String::new());
            };
            let mut body = vec![0; length + 2];
            reader.read_exact(&mut body)?;
            body.truncate(length);
            Ok(String::from_utf8_lossy(&body).into_owned())
        }
        "*" => {
            let items: Result<Vec<String>> = (0..length()?).map(|_| answer(reader)).collect();
            Ok(items?.join("\n"))
        }
        _ => Ok(rest.to_owned()),
    }
}

/// Returns a port that nobody listens on, below those that systems hand out.
///
/// # Errors
/// The system's.
pub fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}

fn launch<S: AsRef<OsStr>>(dir: &TempDir, port: u16, flags: &[S]) -> Result<Child> {
    // A file of settings, which Sentinel needs, comes first.
    let is_file = |flag: &&S| !flag.as_ref().as_encoded_bytes().starts_with(b"-");
    let files = flags.iter().take(1).filter(is_file);
    let mut child = Command::new("redis-server")
        .args(files.clone())
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--dir"])
        .arg(dir.path())
        .args(&flags[files.count()..])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|e| match e.kind() {
            ErrorKind::NotFound => Error::new(
                e.kind(),
                "redis-server is not in the path: apt-get install redis-server",
            ),
            _ => e,
        })?;
    let started = Instant::now();
    loop {
        // Another server may have got the port: ask for the process behind it.
        let info = command(port, &["INFO", "server"]);
        if info.is_ok_and(|info| info.contains(&format!("process_id:{}\r\n", child.id()))) {
            return Ok(child);
        }
        if child.try_wait()?.is_some() {
            return Err(Error::new(
                ErrorKind::AddrInUse,
                "redis-server ended at once",
            ));
        }
        if started.elapsed() > PATIENCE {
            drop(child.kill());
            return Err(Error::new(
                ErrorKind::TimedOut,
                "redis-server did not start",
            ));
        }
        std::thread::sleep(PAUSE);
    }
}
