//! Engine.IO and Socket.IO that break their rules, over WebSocket.

use std::net::TcpStream;

use serde_json::json;
use tungstenite::{Message, WebSocket};

use super::{DEADLINE, Scene};

type Wire = WebSocket<TcpStream>;

fn open(address: std::net::SocketAddr) -> Wire {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let url = format!("ws://{address}/socket.io/?EIO=4&transport=websocket");
    tungstenite::client(url, stream).unwrap().0
}

/// Sends frames and reads until the server closes, or has answered a ping that follows them.
fn play(address: std::net::SocketAddr, token: Option<&str>, frames: &[Message]) {
    let mut wire = open(address);
    if let Some(token) = token {
        let auth = json!({"protocol": 1, "agent": "evil", "token": token});
        wire.send(Message::text(format!("40/fsync,{auth}")))
            .unwrap();
    }
    for frame in frames {
        // The server may close at the first bad one.
        if wire.send(frame.clone()).is_err() {
            return;
        }
    }
    let mark = b"still there".to_vec();
    if wire.send(Message::Ping(mark.clone().into())).is_err() {
        return;
    }
    loop {
        match wire.read() {
            Ok(Message::Pong(back)) if back == mark => return,
            Ok(Message::Close(_))
            | Err(
                tungstenite::Error::ConnectionClosed
                | tungstenite::Error::AlreadyClosed
                | tungstenite::Error::Protocol(_),
            ) => return,
            Err(tungstenite::Error::Io(error)) => {
                let is_late = error.kind() == std::io::ErrorKind::WouldBlock;
                assert!(!is_late, "the server neither answers nor closes");
                return;
            }
            Ok(_) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

fn texts() -> Vec<String> {
    let deep = "[".repeat(10_000);
    let many: Vec<_> = (0..1000)
        .map(|n| json!({"tree": format!("evil/t{n}")}))
        .collect();
    let many = json!({"id": 1, "trees": many});
    let mut all: Vec<String> = [
        "", "x", "0", "1", "2", "2probe", "3", "3probe", "4", "5", "6", "7", "9", "\u{0}", "\u{1e}", "4\u{1e}4\u{1e}4",
        "40", "40{", "40/fsync", "40/fsync,", "40/fsync,{", "40/fsync,null", "40/fsync,[]", "40/fsync,7", "40/none,{}",
        "40/fsync/../x,{}", "40/fsync?token=x,{}", "41/fsync,", "41/none,", "42", "42/", "42/fsync", "42/fsync,", "42/fsync,[",
        "42/fsync,[]", "42/fsync,{}", "42/fsync,[1]", "42/fsync,[null]", "42/fsync,[\"subscribe\"]", "42/fsync,[\"subscribe\",null]",
        "42/fsync,[\"subscribe\",{\"id\":-1,\"trees\":[]}]", "42/fsync,[\"subscribe\",{\"id\":1,\"trees\":7}]",
        "42/fsync,[\"subscribe\",{\"id\":1,\"trees\":[{\"tree\":\"../x\"}]}]",
        "42/fsync,[\"subscribe\",{\"id\":1,\"trees\":[{\"tree\":\"default/docs\"}]}]",
        "42/fsync,[\"subscribe\",{\"id\":18446744073709551616,\"trees\":[]}]", "42/fsync,[\"presence\",{}]",
        "42/fsync,[\"presence\",{\"tree\":\"default/docs\",\"agent\":\"victim\",\"state\":\"offline\"}]",
        "42/fsync,[\"ref\",{\"tree\":\"default/docs\"}]", "42/fsync,[\"bye\",{\"code\":\"denied\",\"reason\":\"x\"}]",
        "42/fsync,[\"connect\",{}]", "42/fsync,[\"disconnect\"]", "42/fsync,[\"error\",{}]", "42/fsync,99999999999999999999[\"subscribe\",{}]",
        "42/fsync,7[\"subscribe\",{}]", "43/fsync,[]", "43/fsync,7[1]", "43/fsync,-7[1]", "44/fsync,{}", "45", "45/fsync,[]",
        "451-/fsync,[\"subscribe\",{\"_placeholder\":true,\"num\":0}]", "4599999999999999999999-/fsync,[\"subscribe\"]",
        "451000000-/fsync,[\"subscribe\",{\"_placeholder\":true,\"num\":999999}]", "45-1-/fsync,[\"subscribe\"]",
        "461-/fsync,7[{\"_placeholder\":true,\"num\":0}]", "46/fsync,", "47/fsync,", "4\u{202e}2", "42/fsync,[\"\\ud800\"]",
    ]
    .into_iter()
    .map(str::to_owned)
    .collect();
    all.push(format!("42/fsync,{deep}"));
    all.push(format!("40/fsync,{deep}"));
    all.push(format!("42/fsync,[\"subscribe\",{many}]"));
    all.push(format!("42/{},[]", "n".repeat(60_000)));
    all.push(format!("42/fsync,[\"{}\"]", "e".repeat(60_000)));
    all.push("a".repeat(70_000));
    all.push(format!("40/fsync,{{\"token\":\"{}\"}}", "a".repeat(60_000)));
    all
}

fn odd_frames() -> Vec<(&'static str, Vec<Message>)> {
    let binary = |bytes: Vec<u8>| Message::binary(bytes);
    let attach = Message::text("451-/fsync,[\"subscribe\",{\"_placeholder\":true,\"num\":0}]");
    vec![
        ("an attachment of nothing", vec![binary(Vec::new())]),
        ("an attachment alone", vec![binary(vec![0; 100])]),
        (
            "a large attachment",
            vec![attach.clone(), binary(vec![0; 60_000])],
        ),
        (
            "an attachment beyond the limit",
            vec![attach.clone(), binary(vec![0; 300_000])],
        ),
        (
            "text where an attachment is due",
            vec![attach.clone(), Message::text("42/fsync,[\"subscribe\",{}]")],
        ),
        (
            "attachments without end",
            std::iter::once(attach)
                .chain((0..200).map(|_| binary(vec![1; 1000])))
                .collect(),
        ),
        (
            "pongs that nobody asked for",
            vec![Message::Pong(vec![1; 100].into()); 50],
        ),
        ("pings", vec![Message::Ping(vec![1; 100].into()); 50]),
        ("many connects", vec![Message::text("40/fsync,{}"); 200]),
        ("many disconnects", vec![Message::text("41/fsync,"); 50]),
        (
            "many subscribes",
            vec![
                Message::text(
                    "42/fsync,[\"subscribe\",{\"id\":1,\"trees\":[{\"tree\":\"evil/own\"}]}]"
                );
                500
            ],
        ),
        (
            "many unknown events",
            vec![Message::text("42/fsync,[\"x\",{}]"); 500],
        ),
        (
            "a message beyond the limit",
            vec![Message::text(
                "42/fsync,".to_owned() + &"a".repeat(1_000_000),
            )],
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_break_the_rules_harm_nobody() {
    let mut scene = Scene::new().await;
    let (address, token) = (scene.server.address(), scene.token());
    let played = tokio::task::spawn_blocking(move || {
        let mut count = 0;
        for text in texts() {
            // Before anybody said who it is, and after.
            for token in [None, Some(token.as_str())] {
                play(address, token, &[Message::text(text.clone())]);
                count += 1;
            }
        }
        for (name, frames) in odd_frames() {
            for token in [None, Some(token.as_str())] {
                println!("{name}");
                play(address, token, &frames);
                count += 1;
            }
        }
        count
    });
    let count = played.await.unwrap();
    assert!(count > 150, "{count}");
    scene.is_unharmed().await;
    // All of them are gone again: only the victim's socket is left.
    let end = std::time::Instant::now() + DEADLINE;
    while scene.server.sockets() > 1 {
        assert!(
            std::time::Instant::now() < end,
            "{} sockets are left",
            scene.server.sockets()
        );
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    scene.end().await;
}
