//! Hostile clients against a real server: with a token for their own tree, and without. Whatever they
//! send is answered with a typed error or a closed connection; nothing panics, and another agent
//! goes on beside them.
//!
//! The inputs are tables and generated variations of good ones; each test counts them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fsync_server::{Config, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::agent::{Agent, Files};
use crate::auth::{Key, key};
use crate::socket::{Socket, cursor};

mod frames;
mod packs;
mod requests;

/// Longest wait for anything; far beyond what is normal.
const DEADLINE: Duration = Duration::from_secs(20);

static PANICS: AtomicUsize = AtomicUsize::new(0);

/// What follows the bytes of a request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// Nothing: the server is to close.
    Open,
    /// The end of all that is sent.
    HalfClosed,
}

/// A server with somebody who must not notice anything.
struct Scene {
    server: Server,
    key: Key,
    victim: Agent,
    socket: Socket,
    commits: u64,
}

impl Scene {
    async fn new() -> Self {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            PANICS.fetch_add(1, Ordering::Relaxed);
            before(info);
        }));
        let key = key();
        let server = Server::start(key.guards(Config::memory())).await.unwrap();
        let token = key.token("default", &["docs:rw"]);
        let victim = Agent::with_token(&server.url(), "default/docs", &token);
        let auth = serde_json::json!({"protocol": 1, "agent": "victim", "token": token});
        let mut socket = Socket::connect(&server.url(), auth).await;
        socket.next_raw("open").await;
        socket.subscribe(1, vec![cursor("docs")]).await;
        let mut scene = Self {
            server,
            key,
            victim,
            socket,
            commits: 0,
        };
        scene.is_unharmed().await;
        scene
    }

    /// A token for a tree of the attacker's own.
    fn token(&self) -> String {
        self.key.token("evil", &["own:rw"])
    }

    /// The victim commits and hears of it.
    async fn is_unharmed(&mut self) {
        self.commits += 1;
        let files = Files::from([("a".to_owned(), self.commits.to_string().into_bytes())]);
        let parents: Vec<_> = self
            .victim
            .head()
            .await
            .map(|head| head.revision)
            .into_iter()
            .collect();
        let head = self.victim.commit(&files, &parents).await.unwrap().head;
        assert_eq!(head.seq.0, self.commits);
        let heard = self.socket.next_raw("ref").await;
        assert_eq!(heard["seq"], self.commits);
        assert_eq!(PANICS.load(Ordering::Relaxed), 0, "something panicked");
    }

    async fn end(mut self) {
        self.is_unharmed().await;
        self.server.shutdown().await.unwrap();
        assert_eq!(PANICS.load(Ordering::Relaxed), 0, "something panicked");
    }

    /// Sends bytes on a connection of their own; returns the status of the answer, 0 for none.
    async fn status(&self, bytes: &[u8], end: End) -> u16 {
        let mut stream = TcpStream::connect(self.server.address()).await.unwrap();
        // The server may have answered and closed before all was sent.
        drop(stream.write_all(bytes).await);
        if end == End::HalfClosed {
            drop(stream.shutdown().await);
        }
        let mut answer = Vec::new();
        let read = timeout(DEADLINE, stream.read_to_end(&mut answer)).await;
        drop(read.expect("an answer or a closed connection"));
        let text = String::from_utf8_lossy(&answer);
        text.split(' ')
            .nth(1)
            .and_then(|code| code.parse().ok())
            .unwrap_or(0)
    }
}
