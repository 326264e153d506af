//! The listener: takes connections, speaks TLS if it is asked to, and hands requests to the routes.
//!
//! Guarantees: connections are bounded in number, and so is the time that each part of a request may
//! take ([`crate::limits`]); small answers are sent at once; a request can say who sent it
//! ([`Peer`]).
//! Tasks: `listener`, which ends at shutdown; one `connection` each, which ends with its request
//! then. A WebSocket is handed on and ends with its socket.

use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use fsync_runtime::Shutdown;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tower::ServiceExt;
use tracing::{debug, warn};

use crate::limits;

pub mod tls;

use tls::Tls;

/// Pause after the system could not give a connection: it has no files left, most likely.
const AGAIN: Duration = Duration::from_millis(100);

/// Who sent a request: the other end of its connection.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

/// Takes connections until the shutdown.
pub async fn run(listener: TcpListener, tls: Option<Tls>, routes: Router, tasks: Shutdown) {
    let room = Arc::new(Semaphore::new(limits::CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = tasks.triggered() => return,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(%error, "a connection could not be taken");
                sleep(AGAIN).await;
                continue;
            }
        };
        // One that finds no room is closed at once: its agent comes back, maybe to another replica.
        let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
            warn!(
                limit = limits::CONNECTIONS,
                "too many connections; one is closed"
            );
            continue;
        };
        let routes = routes.clone();
        let connection = connection((stream, peer, permit), tls.clone(), routes, tasks.clone());
        drop(tasks.spawn("connection", connection));
    }
}

async fn connection(
    (stream, peer, permit): (TcpStream, SocketAddr, OwnedSemaphorePermit),
    tls: Option<Tls>,
    routes: Router,
    tasks: Shutdown,
) {
    if let Err(error) = stream.set_nodelay(true) {
        warn!(%error, "small answers may be late on a connection");
    }
    let Some(tls) = tls else {
        return serve(Counted(stream, permit), peer, routes, tasks).await;
    };
    match timeout(limits::TLS_HANDSHAKE, tls.acceptor().accept(stream)).await {
        Ok(Ok(stream)) => serve(Counted(stream, permit), peer, routes, tasks).await,
        Ok(Err(error)) => debug!(%peer, %error, "no TLS"),
        Err(_elapsed) => debug!(%peer, "no TLS in time"),
    }
}

async fn serve<S>(stream: Counted<S>, peer: SocketAddr, routes: Router, tasks: Shutdown)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let has_spoken = Arc::new(AtomicBool::new(false));
    let spoken = Arc::clone(&has_spoken);
    let routes = routes.map_request(move |mut request: Request<Incoming>| {
        spoken.store(true, Ordering::Relaxed);
        request.extensions_mut().insert(Peer(peer));
        request.map(axum::body::Body::new)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits::HEADERS)
        .max_buf_size(limits::HEADER_BYTES)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes))
        .with_upgrades();
    let mut connection = pin!(connection);
    let mut first = pin!(sleep(limits::FIRST_HEADERS));
    let (mut is_watched, mut is_ending) = (true, false);
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    debug!(%peer, %error, "a connection ended badly");
                }
                return;
            }
            () = first.as_mut(), if is_watched => {
                is_watched = false;
                if !has_spoken.load(Ordering::Relaxed) {
                    debug!(%peer, "no request in time");
                    return;
                }
            }
            () = tasks.triggered(), if !is_ending => {
                is_ending = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

/// A connection that counts as long as anybody has it, WebSockets included.
struct Counted<S>(
    S,
    #[expect(dead_code, reason = "it counts by being there")] OwnedSemaphorePermit,
);

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
