//! What every request passes: origins, names, headers, and how long a request may take.

use std::time::Duration;

use fsync_server::config::Access;
use fsync_server::{Config, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Longest wait for anything; far beyond what is normal.
const DEADLINE: Duration = Duration::from_secs(30);

async fn server(origins: &[&str]) -> Server {
    let config = Config {
        origins: origins.iter().map(|text| text.parse().unwrap()).collect(),
        ..Config::memory()
    };
    Server::start(config).await.unwrap()
}

/// Sends bytes and returns all that comes back until the server closes.
async fn raw(server: &Server, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    // A server that resets the connection has said what it had to say.
    drop(
        timeout(DEADLINE, stream.read_to_end(&mut answer))
            .await
            .expect("the server closes"),
    );
    String::from_utf8_lossy(&answer).into_owned()
}

fn get(path: &str, headers: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nconnection: close\r\n{headers}\r\n").into_bytes()
}

fn status(answer: &str) -> u16 {
    answer
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .unwrap_or_default()
}

#[tokio::test]
async fn a_page_reaches_the_server_only_if_its_origin_is_on_the_list() {
    let server = server(&["https://files.example"]).await;
    let upgrade = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                   sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let socket = "/socket.io/?EIO=4&transport=websocket";
    for (path, more) in [
        ("/v1/version", ""),
        ("/socket.io/?EIO=4&transport=polling", ""),
        (socket, upgrade),
    ] {
        for (origin, is_let_in) in [
            ("", true),
            ("origin: https://files.example\r\n", true),
            ("origin: http://files.example\r\n", false),
            ("origin: https://files.example:444\r\n", false),
            ("origin: https://files.example.evil.example\r\n", false),
            ("origin: https://evil.example\r\n", false),
            ("origin: null\r\n", false),
            ("origin:\r\n", false),
            (
                "origin: https://files.example\r\norigin: https://evil.example\r\n",
                false,
            ),
        ] {
            let headers = format!("host: 127.0.0.1\r\n{origin}{more}");
            let mut stream = TcpStream::connect(server.address()).await.unwrap();
            let request = format!("GET {path} HTTP/1.1\r\n{headers}\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut head = [0; 15];
            timeout(DEADLINE, stream.read_exact(&mut head))
                .await
                .unwrap()
                .unwrap();
            let code = status(&String::from_utf8_lossy(&head));
            assert_eq!(code < 400, is_let_in, "{path} {origin:?}: {code}");
        }
    }
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn browsers_are_told_which_pages_may_ask() {
    let server = server(&["https://files.example"]).await;
    let preflight = |origin: &str| {
        let text = format!(
            "OPTIONS /v1/trees/default/docs/commits HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\norigin: {origin}\r\n\
             access-control-request-method: POST\r\naccess-control-request-headers: authorization\r\n\r\n"
        );
        text.into_bytes()
    };
    let answer = raw(&server, &preflight("https://files.example")).await;
    assert!(
        answer.contains("access-control-allow-origin: https://files.example"),
        "{answer}"
    );
    assert!(!answer.contains("allow-credentials"), "{answer}");
    let answer = raw(&server, &preflight("https://evil.example")).await;
    assert!(!answer.contains("access-control-allow-origin"), "{answer}");
    for bad in [
        "*",
        "https://*",
        "https://a/b",
        "https://A",
        "a",
        "",
        "https://",
    ] {
        assert!(
            bad.parse::<fsync_server::config::Origin>().is_err(),
            "{bad}"
        );
    }
    server.shutdown().await.unwrap();
}

/// A page on a name that resolves to 127.0.0.1 is of the same origin as the server, for a browser.
#[tokio::test]
async fn a_server_without_tokens_answers_to_this_machine_only() {
    let local = server(&[]).await;
    let open = Config {
        access: Access::Anyone,
        ..Config::memory()
    };
    let open = Server::start(open).await.unwrap();
    for (host, is_local) in [
        ("127.0.0.1:8484", true),
        ("localhost:8484", true),
        ("LOCALHOST", true),
        ("[::1]:8484", true),
        ("evil.example:8484", false),
        ("127.0.0.1.evil.example", false),
        ("localhost.evil.example", false),
        ("replicas", true),
        ("", true),
    ] {
        let request = get("/v1/version", &format!("host: {host}\r\n"));
        assert_eq!(
            status(&raw(&local, &request).await) == 200,
            is_local,
            "{host}"
        );
        assert_eq!(status(&raw(&open, &request).await), 200, "{host}");
    }
    local.shutdown().await.unwrap();
    open.shutdown().await.unwrap();
}

#[tokio::test]
async fn answers_keep_browsers_from_keeping_running_and_framing_them() {
    let server = server(&[]).await;
    for path in ["/v1/version", "/nothing", "/v1/trees/default/docs/head"] {
        let answer = raw(&server, &get(path, "host: 127.0.0.1\r\n"))
            .await
            .to_lowercase();
        for header in [
            "x-content-type-options: nosniff",
            "cache-control: no-store",
            "content-security-policy:",
            "referrer-policy:",
        ] {
            assert!(answer.contains(header), "{path}: {header}: {answer}");
        }
        assert!(!answer.contains("\nserver:"), "{answer}");
    }
    server.shutdown().await.unwrap();
}

/// In real time: as long as a connection may say nothing.
#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_speak_or_speaks_too_much_is_closed() {
    let server = server(&[]).await;
    let large = get(
        "/v1/version",
        &format!("host: 127.0.0.1\r\nx: {}\r\n", "a".repeat(100_000)),
    );
    let many = get("/v1/version", &"a: b\r\n".repeat(500));
    let slow = b"GET /v1/version HTTP/1.1\r\nhost: 127".to_vec();
    for (name, bytes) in [("large", large), ("many", many)] {
        let code = status(&raw(&server, &bytes).await);
        assert!(code == 0 || code == 431, "{name}: {code}");
    }
    let (silent, slow) = tokio::join!(raw(&server, b""), raw(&server, &slow));
    assert!(silent.is_empty(), "{silent}");
    assert!(status(&slow) == 0 || status(&slow) == 408, "{slow}");
    let good = raw(&server, &get("/v1/version", "host: 127.0.0.1\r\n")).await;
    assert_eq!(status(&good), 200);
    server.shutdown().await.unwrap();
}
