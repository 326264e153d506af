//! A network between agents and a server that can go silent, so that it takes all bytes and passes
//! none on, without closing anything; or cut all connections.
//!
//! Guarantees: only connections that stood when it went silent are silent; new ones work. Threads
//! end with the connections that they serve.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;

const BUFFER_BYTES: usize = 16 * 1024;

/// A running proxy.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    silences: Arc<AtomicU64>,
    open: Arc<Mutex<Vec<TcpStream>>>,
    is_over: Arc<AtomicBool>,
}

impl Proxy {
    /// Starts one on a free port, before a server's `HOST:PORT`.
    ///
    /// # Errors
    /// If there is no port, or the server's is none.
    pub fn start(server: &str) -> Result<Self> {
        let target: SocketAddr = server.parse()?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let silences = Arc::new(AtomicU64::new(0));
        let is_over = Arc::new(AtomicBool::new(false));
        let open = Arc::<Mutex<Vec<TcpStream>>>::default();
        let (heard, over) = (Arc::clone(&silences), Arc::clone(&is_over));
        let standing = Arc::clone(&open);
        std::thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                if over.load(Ordering::Acquire) {
                    return;
                }
                // A server that is away closes what it does not take.
                if let Ok(far) = TcpStream::connect(target) {
                    drop(join(&near, &far, &heard));
                    lock(&standing).push(near);
                }
            }
        });
        Ok(Self {
            address,
            silences,
            open,
            is_over,
        })
    }

    /// Returns the URL that agents are given.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Goes silent on all connections that stand.
    pub fn go_silent(&self) {
        self.silences.fetch_add(1, Ordering::AcqRel);
    }

    /// Closes all connections that stand.
    pub fn cut(&self) {
        for connection in lock(&self.open).drain(..) {
            // It may have ended by itself.
            drop(connection.shutdown(Shutdown::Both));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
        // Wakes the thread that accepts; nothing is said to it.
        drop(TcpStream::connect(self.address));
    }
}

/// Passes bytes both ways until one side closes.
fn join(near: &TcpStream, far: &TcpStream, silences: &Arc<AtomicU64>) -> std::io::Result<()> {
    let born = silences.load(Ordering::Acquire);
    for (from, to) in [(near, far), (far, near)] {
        to.set_nodelay(true)?;
        let (mut from, mut to) = (from.try_clone()?, to.try_clone()?);
        let silences = Arc::clone(silences);
        std::thread::spawn(move || {
            let mut buffer = [0; BUFFER_BYTES];
            while let Ok(read @ 1..) = from.read(&mut buffer) {
                let is_silent = silences.load(Ordering::Acquire) != born;
                if !is_silent && to.write_all(&buffer[..read]).is_err() {
                    break;
                }
            }
            // Not even an end passes through silence.
            if silences.load(Ordering::Acquire) == born {
                drop(to.shutdown(Shutdown::Both));
            }
        });
    }
    Ok(())
}
