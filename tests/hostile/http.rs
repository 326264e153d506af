//! HTTP/1.1 by hand, so that an answer can be anything: requests as they come, replies byte by byte.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use anyhow::{Context, Result, ensure};

/// Longest body that an agent sends, in bytes; a larger one is a fault of the agent.
const MOST_BODY_BYTES: usize = 32 << 20;
/// Piece of a body without end.
const ENDLESS_PIECE: [u8; 16 * 1024] = [b'x'; 16 * 1024];

/// What an agent asks.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// With its query.
    pub(crate) path: String,
    /// The key of a WebSocket's handshake.
    pub(crate) socket_key: Option<String>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    /// Reads the next request; `None` if the agent hangs up.
    pub(crate) fn read(stream: &mut BufReader<TcpStream>) -> Result<Option<Self>> {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let mut words = line.split_whitespace().map(str::to_owned);
        let method = words.next().context("a method")?;
        let path = words.next().context("a path")?;
        let mut length = 0;
        let mut socket_key = None;
        loop {
            let mut line = String::new();
            stream.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(':') else {
                break;
            };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse()?,
                "sec-websocket-key" => socket_key = Some(value.trim().to_owned()),
                _ => {}
            }
        }
        ensure!(length <= MOST_BODY_BYTES, "a body of {length} bytes");
        let mut body = vec![0; length];
        stream.read_exact(&mut body)?;
        Ok(Some(Self {
            method,
            path,
            socket_key,
            body,
        }))
    }

    /// Returns what is asked for: `version`, `delta`, `objects`, `socket.io`.
    pub(crate) fn what(&self) -> &str {
        let path = self.path.split('?').next().unwrap_or_default();
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        match parts[..] {
            ["v1", "trees", _, _, what, ..] | ["v1", what] => what,
            [first, ..] => first,
            [] => "",
        }
    }
}

/// What an agent gets.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// An answer as it should be.
    Answer {
        status: u16,
        headers: Vec<(&'static str, String)>,
        body: Vec<u8>,
    },
    /// Bytes, whatever they are; then the connection is closed.
    Raw(Vec<u8>),
    /// The head of an answer that promises this many bytes, these first bytes, and then nothing.
    Stops(usize, Vec<u8>),
    /// An answer whose body begins so and has no end.
    Endless(Vec<u8>),
    /// No answer; the connection stays.
    Silence,
    /// No answer; the connection is closed.
    HangUp,
}

impl Reply {
    pub(crate) fn json(value: &impl serde::Serialize) -> Self {
        Self::Answer {
            status: 200,
            headers: Vec::new(),
            body: serde_json::to_vec(value).unwrap_or_default(),
        }
    }

    pub(crate) fn bytes(body: Vec<u8>) -> Self {
        Self::Answer {
            status: 200,
            headers: Vec::new(),
            body,
        }
    }

    pub(crate) fn error(status: u16, code: &str) -> Self {
        let body = format!(r#"{{"code":"{code}","message":"from a hostile server"}}"#);
        Self::Answer {
            status,
            headers: Vec::new(),
            body: body.into_bytes(),
        }
    }

    pub(crate) fn with_header(self, name: &'static str, value: impl Into<String>) -> Self {
        match self {
            Self::Answer {
                status,
                mut headers,
                body,
            } => {
                headers.push((name, value.into()));
                Self::Answer {
                    status,
                    headers,
                    body,
                }
            }
            other => other,
        }
    }

    /// Writes it; says whether the connection goes on.
    pub(crate) fn write(&self, stream: &mut TcpStream) -> Result<bool> {
        match self {
            Self::Answer {
                status,
                headers,
                body,
            } => {
                let mut head = format!("HTTP/1.1 {status} Some\r\n");
                for (name, value) in headers {
                    head += &format!("{name}: {value}\r\n");
                }
                head += &format!("content-length: {}\r\n\r\n", body.len());
                stream.write_all(head.as_bytes())?;
                stream.write_all(body)?;
                Ok(true)
            }
            Self::Raw(bytes) => {
                stream.write_all(bytes)?;
                Ok(false)
            }
            Self::Stops(promised, body) => {
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {promised}\r\n\r\n");
                stream.write_all(head.as_bytes())?;
                stream.write_all(body)?;
                hold(stream)
            }
            Self::Endless(begin) => {
                let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
                stream.write_all(head.as_bytes())?;
                write_piece(stream, begin)?;
                // Ends with an error once the agent has enough.
                loop {
                    write_piece(stream, &ENDLESS_PIECE)?;
                }
            }
            Self::Silence => hold(stream),
            Self::HangUp => Ok(false),
        }
    }
}

fn write_piece(stream: &mut TcpStream, piece: &[u8]) -> Result<()> {
    if !piece.is_empty() {
        write!(stream, "{:x}\r\n", piece.len())?;
        stream.write_all(piece)?;
        stream.write_all(b"\r\n")?;
    }
    Ok(())
}

/// Waits until the other side hangs up.
fn hold(stream: &mut TcpStream) -> Result<bool> {
    let mut rest = [0; 1024];
    while stream.read(&mut rest)? > 0 {}
    Ok(false)
}
