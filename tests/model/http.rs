//! As much of an HTTP client as the control interface of a tool on this machine needs.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// Longest wait for a piece of an answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Sends a request and reads the JSON of its answer; an empty answer is null.
///
/// # Errors
/// If nobody answers, or with another status than 200.
pub fn ask(address: SocketAddr, method: &str, path: &str, header: &str) -> Result<Value> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    // Of this version of HTTP the answer ends with the connection.
    write!(
        stream,
        "{method} {path} HTTP/1.0\r\nHost: {address}\r\n{header}\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("a whole answer")?;
    let status = head.split(' ').nth(1).unwrap_or_default();
    ensure!(status == "200", "{method} {path}: {head}\n{body}");
    if body.trim().is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_str(body).with_context(|| format!("{method} {path}: {body}"))
}
