//! HTTP that is no HTTP, paths that lead elsewhere, bodies that are not what they say.

use super::{End, Scene};

/// Whole requests that nobody should send.
fn raw_requests() -> Vec<(String, Vec<u8>)> {
    let mut all: Vec<(String, Vec<u8>)> = [
        ("nothing", &b""[..]),
        ("a line end", b"\r\n\r\n"),
        ("zeros", &[0; 512]),
        ("high bytes", &[0xff; 512]),
        ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
        ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        ("HTTP/0.9", b"GET /\r\n"),
        ("HTTP/9", b"GET / HTTP/9.9\r\n\r\n"),
        ("SSH", b"SSH-2.0-x\r\n"),
        ("Redis", b"*1\r\n$8\r\nFLUSHALL\r\n"),
        ("no method", b" / HTTP/1.1\r\n\r\n"),
        ("a method with a space", b"GE T / HTTP/1.1\r\n\r\n"),
        ("header without a colon", b"GET / HTTP/1.1\r\nhost\r\n\r\n"),
        ("header name with a space", b"GET / HTTP/1.1\r\nho st: x\r\n\r\n"),
        ("folded header", b"GET / HTTP/1.1\r\nhost: x\r\n y: z\r\n\r\n"),
        ("two lengths", b"POST /v1/trees/evil/own/have HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n{}"),
        ("negative length", b"POST /v1/trees/evil/own/have HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n"),
        ("length and chunks", b"POST /v1/trees/evil/own/have HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
        ("unknown coding", b"POST /v1/trees/evil/own/have HTTP/1.1\r\nhost: x\r\ntransfer-encoding: gzip\r\n\r\n"),
        ("a chunk of nonsense", b"POST /v1/trees/evil/own/have HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n"),
        ("a chunk beyond numbers", b"POST /v1/trees/evil/own/have HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\n"),
        ("CONNECT", b"CONNECT evil.example:443 HTTP/1.1\r\nhost: x\r\n\r\n"),
        ("a proxy's request", b"GET http://evil.example/v1/trees/evil/own/head HTTP/1.1\r\nhost: x\r\n\r\n"),
        ("upgrade to nothing", b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n"),
        ("upgrade without a key", b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"),
    ]
    .into_iter()
    .map(|(name, bytes)| (name.to_owned(), bytes.to_vec()))
    .collect();
    for method in ["TRACE", "DELETE", "PATCH", "BREW", "OPTIONS", "HEAD"] {
        let request = format!("{method} /v1/trees/evil/own/commits HTTP/1.1\r\nhost: x\r\n\r\n");
        all.push((method.to_owned(), request.into_bytes()));
    }
    for query in [
        "EIO=3&transport=polling",
        "EIO=4",
        "transport=polling",
        "EIO=4&transport=pigeon",
        "EIO=4&transport=polling&sid=AAAAAAAAAAAAAAAA",
        "EIO=4&transport=polling&sid=../../x",
        "EIO=4&transport=polling&sid=",
        "EIO=99999999999999999999&transport=polling",
        "EIO=4&transport=websocket&sid=%00",
    ] {
        let request = format!("GET /socket.io/?{query} HTTP/1.1\r\nhost: x\r\n\r\n");
        all.push((query.to_owned(), request.into_bytes()));
    }
    all
}

/// Paths that must not lead to the victim's tree, with the attacker's token.
const PATHS: [&str; 40] = [
    "/v1/trees/default/docs/head",
    "/v1/trees/default/docs/log",
    "/v1/trees/evil/../default/docs/head",
    "/v1/trees/evil/%2e%2e/default/docs/head",
    "/v1/trees/evil/..%2fdefault%2fdocs/head",
    "/v1/trees/evil%2f..%2fdefault/docs/head",
    "/v1/trees/evil/own/../../default/docs/head",
    "/v1/trees/evil/own%2f..%2f..%2fdefault%2fdocs/head",
    "/v1/trees//docs/head",
    "/v1/trees/default//head",
    "/v1/trees///head",
    "//v1/trees/default/docs/head",
    "/v1//trees/default/docs/head",
    "/v1/trees/default/docs//head",
    "/v1/trees/default/docs/head/",
    "/v1/trees/Default/docs/head",
    "/v1/trees/default/DOCS/head",
    "/v1/trees/default/docs%00/head",
    "/v1/trees/default%00/docs/head",
    "/v1/trees/default/docs%20/head",
    "/v1/trees/%64efault/docs/head",
    "/v1/trees/default/%64ocs/head",
    "/v1/trees/*/docs/head",
    "/v1/trees/*/*/head",
    "/v1/trees/{tenant}/{tree}/head",
    "/v1/trees/evil;default/docs/head",
    "/v1/trees/evil,default/docs/head",
    "/v1/trees/evil@default/docs/head",
    "/v1/trees/default:evil/own/head",
    "/v1/trees/..%5cdefault/docs/head",
    "/v1/trees/evil/own%0d%0ax:y/head",
    "/v1/trees/%ff%fe/docs/head",
    "/v1/trees/default/docs/delta?from=0&to=0",
    "/v1/trees/evil/own/delta?to=../../default/docs",
    "/v1/trees/evil/own/delta?to=",
    "/v1/trees/evil/own/delta",
    "/v1/trees/evil/own/log?limit=-1",
    "/v1/trees/evil/own/log?before=99999999999999999999999",
    "/v1/trees/evil/own/log?limit=a&limit=b",
    "/v1/trees/evil/own/uploads/../head",
];

/// Bodies for the JSON routes.
fn bodies() -> Vec<(&'static str, Vec<u8>)> {
    let deep = "[".repeat(200_000);
    let many = format!("{{\"ids\":[{}]}}", vec!["\"00\""; 60_000].join(","));
    vec![
        ("empty", Vec::new()),
        ("zeros", vec![0; 100]),
        ("high bytes", vec![0xff; 100]),
        ("not JSON", b"{".to_vec()),
        ("null", b"null".to_vec()),
        ("a list", b"[]".to_vec()),
        ("deep", deep.into_bytes()),
        ("deep objects", "{\"a\":".repeat(100_000).into_bytes()),
        ("many ids", many.into_bytes()),
        ("ids of another kind", br#"{"ids":[1,2,3]}"#.to_vec()),
        ("short ids", br#"{"ids":["00"]}"#.to_vec()),
        ("ids twice", br#"{"ids":[],"ids":["x"]}"#.to_vec()),
        ("a huge number", br#"{"ids":[],"upload":1e999}"#.to_vec()),
        ("too large", vec![b' '; 3 * 1024 * 1024]),
        ("lone surrogate", br#"{"ids":["\ud800"]}"#.to_vec()),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_nobody_should_send_are_errors() {
    let mut scene = Scene::new().await;
    let mut count = 0;
    for (name, bytes) in raw_requests() {
        let status = scene.status(&bytes, End::HalfClosed).await;
        assert!(status < 500 || status == 505, "{name}: {status}");
        count += 1;
    }
    scene.is_unharmed().await;
    let token = scene.token();
    for path in PATHS {
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {token}\r\n\r\n"
        );
        let status = scene.status(request.as_bytes(), End::Open).await;
        assert!((400..500).contains(&status), "{path}: {status}");
        count += 1;
    }
    scene.is_unharmed().await;
    for route in ["have", "objects", "known", "uploads"] {
        for (name, body) in bodies() {
            let head = format!(
                "POST /v1/trees/evil/own/{route} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
                 authorization: Bearer {token}\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            let status = scene
                .status(&[head.as_bytes(), &body].concat(), End::Open)
                .await;
            let is_refused = (400..500).contains(&status) || status == 0;
            assert!(is_refused, "{route} {name}: {status}");
            count += 1;
        }
    }
    assert!(count > 130, "{count}");
    scene.end().await;
}
