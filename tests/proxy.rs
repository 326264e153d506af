//! A network in the middle that can fall silent: what goes through is not cut, it just never
//! arrives.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;

/// Passes connections on to a server.
#[derive(Debug)]
pub struct Proxy {
    /// Its address, `http://HOST:PORT`.
    pub url: String,
    /// Connections of an earlier age are silent.
    age: Arc<AtomicU64>,
}

impl Proxy {
    /// Starts one to `HOST:PORT` on a free port; it ends with the test's process.
    ///
    /// # Errors
    /// The system's.
    pub fn start(server: &str) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let url = format!("http://{}", listener.local_addr()?);
        let age = Arc::new(AtomicU64::new(0));
        let (server, shared) = (server.to_owned(), Arc::clone(&age));
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if let Ok(server) = TcpStream::connect(&server) {
                    pass(&client, &server, &shared);
                }
            }
        });
        Ok(Self { url, age })
    }

    /// From now on nothing goes through the connections that there are, and neither end is told.
    /// New ones work.
    pub fn silence(&self) {
        self.age.fetch_add(1, Ordering::SeqCst);
    }
}

/// Passes bytes on in both directions, as long as the connection's age lasts.
fn pass(client: &TcpStream, server: &TcpStream, age: &Arc<AtomicU64>) {
    let born = age.load(Ordering::SeqCst);
    let ends = [(client, server), (server, client)];
    for (from, to) in ends {
        let (Ok(mut from), Ok(mut to)) = (from.try_clone(), to.try_clone()) else {
            return;
        };
        let age = Arc::clone(age);
        std::thread::spawn(move || {
            let mut buffer = [0; 16 * 1024];
            while let Ok(count @ 1..) = from.read(&mut buffer) {
                let is_silent = age.load(Ordering::SeqCst) != born;
                if !is_silent && to.write_all(&buffer[..count]).is_err() {
                    break;
                }
            }
            // An end that closes is told to the other, unless the line is silent.
            if age.load(Ordering::SeqCst) == born {
                drop(to.shutdown(Shutdown::Both));
            }
        });
    }
}
