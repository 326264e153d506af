//! A TCP forwarder that counts: bytes on the wire between an agent and the server.
//!
//! Guarantees: what is counted are the bytes inside TCP, both ways; delays are not added (no
//! Nagle). It ends when it is dropped: its connections are closed and its threads waited for. Used
//! only where bytes are reported.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

const BUFFER_BYTES: usize = 64 * 1024;
/// The wire is quiet when nothing was sent for so long.
const QUIET: Duration = Duration::from_millis(700);
const LOOK: Duration = Duration::from_millis(50);

/// Bytes counted so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Bytes {
    /// From the agent to the server.
    pub(crate) up: u64,
    /// From the server to the agent.
    pub(crate) down: u64,
}

impl Bytes {
    /// Returns what was counted since `before`.
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            up: self.up - before.up,
            down: self.down - before.down,
        }
    }

    /// Returns both directions together.
    pub(crate) fn both(self) -> u64 {
        self.up + self.down
    }
}

#[derive(Debug, Default)]
struct Shared {
    up: AtomicU64,
    down: AtomicU64,
    is_ending: AtomicBool,
    open: Mutex<Vec<TcpStream>>,
}

/// A running forwarder.
#[derive(Debug)]
pub(crate) struct Forwarder {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

impl Forwarder {
    /// Starts one on a free port of this machine.
    ///
    /// # Errors
    /// If there is no port.
    pub(crate) fn start(target: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let accepting = std::thread::spawn(move || accept(&listener, target, &theirs));
        Ok(Self {
            address,
            shared,
            accepting: Some(accepting),
        })
    }

    /// Returns the address that agents are given.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns what was counted so far.
    pub(crate) fn bytes(&self) -> Bytes {
        Bytes {
            up: self.shared.up.load(Ordering::Relaxed),
            down: self.shared.down.load(Ordering::Relaxed),
        }
    }
}

/// Returns the counts once nothing has moved for a while, on any of them.
pub(crate) fn when_quiet<const N: usize>(forwarders: [&Forwarder; N]) -> [Bytes; N] {
    let mut last = forwarders.map(Forwarder::bytes);
    let mut since = Instant::now();
    while since.elapsed() < QUIET {
        std::thread::sleep(LOOK);
        let now = forwarders.map(Forwarder::bytes);
        if now != last {
            (last, since) = (now, Instant::now());
        }
    }
    last
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.shared.is_ending.store(true, Ordering::SeqCst);
        // Wakes `accept`; if that fails, the listener is gone and so is its thread.
        drop(TcpStream::connect(self.address));
        if let Some(accepting) = self.accepting.take() {
            drop(accepting.join());
        }
    }
}

fn accept(listener: &TcpListener, target: SocketAddr, shared: &Arc<Shared>) {
    let mut copying = Vec::new();
    for stream in listener.incoming() {
        if shared.is_ending.load(Ordering::SeqCst) {
            break;
        }
        // A connection that cannot be made is one that the agent sees closed, and makes again.
        let Ok(pair) = stream.and_then(|agent| connect(agent, target)) else {
            continue;
        };
        if let Ok(threads) = join(pair, shared) {
            copying.extend(threads);
        }
    }
    for stream in shared
        .open
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .drain(..)
    {
        // It may be closed already.
        drop(stream.shutdown(Shutdown::Both));
    }
    for thread in copying {
        drop(thread.join());
    }
}

fn connect(agent: TcpStream, target: SocketAddr) -> std::io::Result<(TcpStream, TcpStream)> {
    let server = TcpStream::connect(target)?;
    agent.set_nodelay(true)?;
    server.set_nodelay(true)?;
    Ok((agent, server))
}

fn join(
    (agent, server): (TcpStream, TcpStream),
    shared: &Arc<Shared>,
) -> std::io::Result<[JoinHandle<()>; 2]> {
    let mut open = shared.open.lock().unwrap_or_else(PoisonError::into_inner);
    open.push(agent.try_clone()?);
    open.push(server.try_clone()?);
    drop(open);
    let up = (agent.try_clone()?, server.try_clone()?, Arc::clone(shared));
    let down = (server, agent, Arc::clone(shared));
    Ok([
        std::thread::spawn(move || copy(up.0, up.1, &up.2.up)),
        std::thread::spawn(move || copy(down.0, down.1, &down.2.down)),
    ])
}

fn copy(mut from: TcpStream, mut to: TcpStream, count: &AtomicU64) {
    let mut buffer = vec![0; BUFFER_BYTES];
    while let Ok(len @ 1..) = from.read(&mut buffer) {
        count.fetch_add(len as u64, Ordering::Relaxed);
        if to.write_all(&buffer[..len]).is_err() {
            break;
        }
    }
    // Tells the other side that no more comes; it may be gone.
    drop(to.shutdown(Shutdown::Write));
    drop(from.shutdown(Shutdown::Read));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_counted_by_direction() {
        let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let forwarder = Forwarder::start(server.local_addr().unwrap()).unwrap();
        let mut agent = TcpStream::connect(forwarder.address).unwrap();
        agent.write_all(b"ask").unwrap();
        let (mut peer, _) = server.accept().unwrap();
        let mut asked = [0; 3];
        peer.read_exact(&mut asked).unwrap();
        peer.write_all(b"answer").unwrap();
        let mut answer = [0; 6];
        agent.read_exact(&mut answer).unwrap();
        assert_eq!((&asked, &answer), (b"ask", b"answer"));
        assert_eq!(forwarder.bytes(), Bytes { up: 3, down: 6 });
    }
}
