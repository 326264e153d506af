//! The socket's end inside the verbs.

use std::io;
use std::path::Path;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use super::LINE_BYTES;
use super::protocol::{Request, Response};
use super::server::with_short_path;

/// Why a running agent did not answer.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Nobody listens.
    #[error("no agent runs for this folder")]
    NotRunning,
    /// The connection broke.
    #[error("the agent ended while it was asked: {0}")]
    Broken(#[source] io::Error),
    /// The answer is none of ours.
    #[error("the running agent's answer cannot be understood ({0}); is it of another release?")]
    Malformed(#[source] serde_json::Error),
}

/// Sends one request and waits for its answer, however long that takes (a flush may take long).
///
/// # Errors
/// [`ControlError`].
pub async fn ask(path: &Path, request: &Request) -> Result<Response, ControlError> {
    let stream = with_short_path(path, |p| std::os::unix::net::UnixStream::connect(p))
        .and_then(|stream| {
            stream.set_nonblocking(true)?;
            UnixStream::from_std(stream)
        })
        .map_err(|e| match e.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => ControlError::NotRunning,
            _ => ControlError::Broken(e),
        })?;
    let line = exchange(stream, request)
        .await
        .map_err(ControlError::Broken)?;
    serde_json::from_slice(&line).map_err(ControlError::Malformed)
}

async fn exchange(mut stream: UnixStream, request: &Request) -> io::Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec(request)?;
    bytes.push(b'\n');
    stream.write_all(&bytes).await?;
    let mut line = Vec::new();
    let mut input = BufReader::new(stream).take(LINE_BYTES);
    if input.read_until(b'\n', &mut line).await? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line)
}
