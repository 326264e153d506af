//! The end of a replica, as agents and load balancers see it.

use std::time::Duration;

use fsync_core::wire::{Bye, ByeCode, PROTOCOL_VERSION};
use fsync_server::config::Drain;
use fsync_server::{Config, Server};
use serde_json::json;

use crate::socket::{Socket, cursor};

/// A replica with an admin port that is drained within a moment.
fn config(over: Duration) -> Config {
    Config {
        admin: Some(([127, 0, 0, 1], 0).into()),
        drain: Drain {
            lead: Duration::from_millis(100),
            over,
        },
        ..Config::memory()
    }
}

/// Asks the admin port; returns status and text.
async fn ask(admin: std::net::SocketAddr, path: &str) -> (u16, String) {
    fsync_runtime::crypto::install();
    let answer = reqwest::get(format!("http://{admin}/{path}"))
        .await
        .unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_serves_is_alive_started_and_ready() {
    let server = Server::start(config(Duration::ZERO)).await.unwrap();
    let admin = server.admin().unwrap();
    for path in ["livez", "startupz", "readyz"] {
        assert_eq!(ask(admin, path).await.0, 200, "{path}");
    }
    assert_eq!(
        ask(admin, "v1/version").await.0,
        404,
        "nothing else is there"
    );
    server.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_are_sent_away_one_by_one_and_nobody_new_comes() {
    let server = Server::start(config(Duration::from_secs(6))).await.unwrap();
    let (url, admin) = (server.url(), server.admin().unwrap());
    let mut sockets = Vec::new();
    for _ in 0..4 {
        sockets.push(Socket::joined(&url).await);
    }
    let end = tokio::spawn(server.shutdown());
    // The first one is told while the others still get answers.
    let byes = sockets
        .iter_mut()
        .map(|socket| Box::pin(socket.next::<Bye>("bye")));
    let (bye, first, rest) = futures_util::future::select_all(byes).await;
    drop(rest);
    assert_eq!(bye.code, ByeCode::Shutdown);
    assert!(bye.retry_after_ms.is_some());
    let (status, reasons) = ask(admin, "readyz").await;
    assert_eq!((status, reasons.as_str()), (503, "draining\n"));
    assert_eq!(ask(admin, "livez").await.0, 200);
    drop(sockets.remove(first));
    let heads = sockets[2].subscribe(1, vec![cursor("docs")]).await;
    assert_eq!(heads.id, Some(1));
    let auth = json!({"protocol": PROTOCOL_VERSION, "agent": "late"});
    let mut late = Socket::connect(&url, auth).await;
    let refused = late.next_raw("error").await.to_string();
    assert!(refused.contains("shutting down"), "{refused}");
    for socket in &mut sockets {
        let bye: Bye = socket.next("bye").await;
        assert_eq!(bye.code, ByeCode::Shutdown);
    }
    end.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_ends_as_soon_as_nobody_is_left() {
    // An hour: the test would not end.
    let server = Server::start(config(Duration::from_secs(3600)))
        .await
        .unwrap();
    let socket = Socket::joined(&server.url()).await;
    let end = tokio::spawn(server.shutdown());
    socket.leave().await;
    end.await.unwrap().unwrap();
}
