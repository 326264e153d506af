//! The socket's end inside a running agent.
//!
//! Task: `control`, started by [`serve`], ended by the shutdown token; a request under way then is
//! answered by the driver or ends with its connection. One task per connection, [`CONNECTIONS`] at
//! most.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fsync_runtime::Shutdown;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tracing::{debug, warn};

use super::LINE_BYTES;
use super::protocol::{Failure, FailureKind, Request, Response};

/// Connections at a time; a person uses one or two.
const CONNECTIONS: usize = 16;
/// Longest wait for the next request of a connection.
const IDLE: Duration = Duration::from_secs(60);
/// How long a connection lives on at the end, so that its last answer gets out.
const GRACE: Duration = Duration::from_millis(500);
/// Pause after a failed accept, so that a lack of file descriptors is no busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);
/// Longest path that a socket address holds (Linux; macOS has four less), in bytes.
const ADDRESS_BYTES: usize = 103;

/// A request on its way to the driver.
#[derive(Debug)]
pub struct Command {
    /// What is asked.
    pub request: Request,
    /// Where the answer goes; dropping it answers [`FailureKind::Stopping`].
    pub reply: oneshot::Sender<Response>,
}

/// The socket cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot make the control socket {}: {source}; give a shorter --state-dir on a local disk", .path.display())]
pub struct ServeError {
    path: PathBuf,
    source: io::Error,
}

/// Removes the socket file at the end.
#[derive(Debug)]
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Already gone is as good as removed.
        drop(std::fs::remove_file(&self.0));
    }
}

/// Starts to listen at `path`. The caller holds the lock of the state directory, so a socket that
/// is there is left over.
///
/// # Errors
/// [`ServeError`].
pub fn serve(
    path: &Path,
    commands: mpsc::Sender<Command>,
    shutdown: &Shutdown,
) -> Result<(), ServeError> {
    let error = |source| ServeError {
        path: path.to_owned(),
        source,
    };
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(error(e)),
        _ => {}
    }
    let listener = bind(path).map_err(error)?;
    let file = SocketFile(path.to_owned());
    let part = shutdown.clone();
    drop(shutdown.spawn("control", accept(listener, file, commands, part)));
    Ok(())
}

/// Binds with mode 0600; the directory is the owner's alone, so there is no moment in between.
fn bind(path: &Path) -> io::Result<UnixListener> {
    use std::os::unix::fs::PermissionsExt;
    let listener = with_short_path(path, |p| UnixListener::bind(p))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Calls `act` with a path that fits a socket address: if need be, through the directory's
/// descriptor.
pub(super) fn with_short_path<T>(
    path: &Path,
    act: impl FnOnce(&Path) -> io::Result<T>,
) -> io::Result<T> {
    use std::os::fd::AsRawFd;
    if path.as_os_str().len() <= ADDRESS_BYTES {
        return act(path);
    }
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
        return act(path);
    };
    let dir = std::fs::File::open(dir)?;
    let short = PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd())).join(name);
    act(&short)
}

async fn accept(
    listener: UnixListener,
    _file: SocketFile,
    commands: mpsc::Sender<Command>,
    shutdown: Shutdown,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            () = shutdown.triggered() => return,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                warn!(%error, "control connection not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(place) = places.clone().try_acquire_owned() else {
            debug!("too many control connections");
            continue;
        };
        let (commands, token) = (commands.clone(), shutdown.token());
        let task = async move {
            let _place = place;
            let until = async {
                token.cancelled().await;
                // What was asked last is still answered.
                tokio::time::sleep(GRACE).await;
            };
            tokio::select! {
                () = until => {}
                ended = connection(stream, commands) => if let Err(error) = ended {
                    debug!(%error, "control connection ended");
                },
            }
        };
        drop(shutdown.spawn("control connection", task));
    }
}

async fn connection(mut stream: UnixStream, commands: mpsc::Sender<Command>) -> io::Result<()> {
    let (input, mut output) = stream.split();
    let mut input = BufReader::new(input);
    loop {
        let mut line = Vec::new();
        let mut bounded = (&mut input).take(LINE_BYTES);
        let read = bounded.read_until(b'\n', &mut line);
        let Ok(read) = tokio::time::timeout(IDLE, read).await else {
            return Ok(());
        };
        if read? == 0 {
            return Ok(());
        }
        let response = answer(&line, &commands).await;
        let mut bytes = serde_json::to_vec(&response)?;
        bytes.push(b'\n');
        output.write_all(&bytes).await?;
        if line.last() != Some(&b'\n') {
            return Ok(());
        }
    }
}

async fn answer(line: &[u8], commands: &mpsc::Sender<Command>) -> Response {
    let stopping = || {
        Response::Failed(Failure::new(
            FailureKind::Stopping,
            "the agent is stopping; start it again with `fsync-agent sync`",
        ))
    };
    let request = match serde_json::from_slice(line) {
        Ok(request) => request,
        Err(error) => {
            return Response::Failed(Failure::new(
                FailureKind::Unknown,
                format!(
                    "the running agent does not know this request ({error}); is it of another release?"
                ),
            ));
        }
    };
    let (reply, response) = oneshot::channel();
    if commands.send(Command { request, reply }).await.is_err() {
        return stopping();
    }
    response.await.unwrap_or_else(|_dropped| stopping())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::client::{ControlError, ask};
    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    struct Running {
        shutdown: Shutdown,
        commands: mpsc::Receiver<Command>,
        path: PathBuf,
        _dir: tempfile::TempDir,
    }

    fn start(name: &str) -> Running {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join(name);
        std::fs::create_dir_all(&deep).unwrap();
        let path = deep.join("control.sock");
        let shutdown = Shutdown::new();
        let (sender, commands) = mpsc::channel(4);
        serve(&path, sender, &shutdown).unwrap();
        Running {
            shutdown,
            commands,
            path,
            _dir: dir,
        }
    }

    #[tokio::test]
    async fn a_request_reaches_the_driver_and_its_answer_comes_back() {
        let mut running = start("s");
        let mode = std::fs::metadata(&running.path)
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        let driver = async {
            let command = running.commands.recv().await.unwrap();
            assert_eq!(command.request, Request::Flush);
            command
                .reply
                .send(Response::Flushed { head: None })
                .unwrap();
        };
        let (response, ()) = tokio::join!(ask(&running.path, &Request::Flush), driver);
        assert_eq!(response.unwrap(), Response::Flushed { head: None });
        running.shutdown.end(SOON).await.unwrap();
        assert!(!running.path.exists());
    }

    #[tokio::test]
    async fn long_state_directories_work() {
        let mut running = start(&"long/".repeat(40));
        let driver = async { drop(running.commands.recv().await.unwrap()) };
        let (response, ()) = tokio::join!(ask(&running.path, &Request::Status), driver);
        let Response::Failed(failure) = response.unwrap() else {
            panic!("a dropped reply is a failure");
        };
        assert_eq!(failure.kind, FailureKind::Stopping);
    }

    #[tokio::test]
    async fn nonsense_is_answered_and_harms_nobody() {
        let running = start("s");
        let mut stream = UnixStream::connect(&running.path).await.unwrap();
        stream
            .write_all(b"{\"request\":\"fly\"}\n\xff\n")
            .await
            .unwrap();
        let mut lines = BufReader::new(stream).lines();
        for _ in 0..2 {
            let line = lines.next_line().await.unwrap().unwrap();
            assert!(line.contains("\"unknown\""), "{line}");
        }
    }

    #[tokio::test]
    async fn without_an_agent_the_answer_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control.sock");
        let error = ask(&path, &Request::Status).await.unwrap_err();
        assert!(matches!(error, ControlError::NotRunning));
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let error = ask(&path, &Request::Status).await.unwrap_err();
        assert!(matches!(error, ControlError::NotRunning));
    }
}
