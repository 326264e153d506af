//! Socket.IO on a WebSocket by hand, as far as an agent speaks it, so that a frame can be anything.

use std::io;
use std::net::TcpStream;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use fsync_core::wire::{self, NAMESPACE, event};
use serde::Serialize;
use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::Role;
use tungstenite::{Error, Message, WebSocket};

/// Time between two looks for frames of either side.
const LOOK: Duration = Duration::from_millis(10);
/// Time between two signs of life.
const PING: Duration = Duration::from_secs(5);
/// Engine.IO: open, ping; Socket.IO: connect, event.
const OPEN: &str =
    r#"0{"sid":"s","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}"#;
const ENGINE_PING: &str = "2";
const CONNECT: &str = "40";
const EVENT: &str = "42";

/// What is sent to agents that are connected.
#[derive(Debug, Clone)]
pub(crate) enum Frame {
    Text(String),
    Binary(Vec<u8>),
    /// Bytes below the WebSocket's own framing.
    Raw(Vec<u8>),
}

impl Frame {
    /// Makes an event as a server sends it.
    pub(crate) fn event(name: &str, payload: &impl Serialize) -> Self {
        let json = serde_json::to_string(&(name, payload)).unwrap_or_default();
        Self::Text(format!("{EVENT}{NAMESPACE},{json}"))
    }
}

/// Returns the answer to a WebSocket's handshake.
pub(crate) fn accept(key: &str) -> Vec<u8> {
    let accept = derive_accept_key(key.as_bytes());
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
         sec-websocket-accept: {accept}\r\n\r\n"
    )
    .into_bytes()
}

/// Serves one connection until either side ends it; `subscribed` answers what agents ask for.
pub(crate) fn serve(
    stream: TcpStream,
    frames: &Receiver<Frame>,
    subscribed: &dyn Fn(wire::Subscribe) -> Frame,
) -> Result<()> {
    stream.set_read_timeout(Some(LOOK))?;
    let mut socket = WebSocket::from_raw_socket(stream, Role::Server, None);
    socket.send(Message::text(OPEN))?;
    let mut pinged = Instant::now();
    loop {
        match socket.read() {
            Ok(Message::Text(text)) => {
                if let Some(answer) = answer(text.as_str(), subscribed)? {
                    send(&mut socket, answer)?;
                }
            }
            Ok(_) => {}
            Err(Error::Io(error))
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                ) => {}
            Err(ended) => return Err(ended.into()),
        }
        loop {
            match frames.try_recv() {
                Ok(frame) => send(&mut socket, frame)?,
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return Ok(()),
            }
        }
        if pinged.elapsed() > PING {
            pinged = Instant::now();
            socket.send(Message::text(ENGINE_PING))?;
        }
    }
}

fn answer(text: &str, subscribed: &dyn Fn(wire::Subscribe) -> Frame) -> Result<Option<Frame>> {
    if text.starts_with(CONNECT) {
        let joined = format!(r#"{CONNECT}{NAMESPACE},{{"sid":"n"}}"#);
        return Ok(Some(Frame::Text(joined)));
    }
    if !text.starts_with(EVENT) {
        return Ok(None);
    }
    let json = &text[text.find('[').context("an event has a payload")?..];
    let (name, payload): (String, serde_json::Value) = serde_json::from_str(json)?;
    if name == event::SUBSCRIBE {
        return Ok(Some(subscribed(serde_json::from_value(payload)?)));
    }
    Ok(None)
}

fn send(socket: &mut WebSocket<TcpStream>, frame: Frame) -> Result<()> {
    match frame {
        Frame::Text(text) => socket.send(Message::text(text))?,
        Frame::Binary(bytes) => socket.send(Message::binary(bytes))?,
        Frame::Raw(bytes) => io::Write::write_all(socket.get_mut(), &bytes)?,
    }
    Ok(())
}
