//! A server's admin API of the tests: answers by rules, and notes what it was asked.

use std::sync::{Arc, Mutex};

use fsync_controller::server::{Credential, Server};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// The credential that it takes.
pub(crate) const CREDENTIAL: &str = "credential-of-the-tests";

/// What it was asked: method and path, and the body.
pub(crate) type Asked = Arc<Mutex<Vec<(String, Value)>>>;
type Rules = dyn Fn(&str) -> (u16, Value) + Send + Sync;

/// One that runs as long as the test does.
pub(crate) struct Admin {
    pub(crate) server: Server,
    asked: Asked,
    _credential: TempDir,
}

impl Admin {
    /// Starts one.
    pub(crate) async fn start(
        rules: impl Fn(&str) -> (u16, Value) + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Asked::default();
        let (noted, rules): (_, Arc<Rules>) = (Arc::clone(&asked), Arc::new(rules));
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, Arc::clone(&noted), Arc::clone(&rules)));
            }
        });
        Self::at(&url, asked)
    }

    /// Points to where nobody listens.
    pub(crate) fn nobody() -> Self {
        Self::at("http://127.0.0.1:1", Asked::default())
    }

    fn at(url: &str, asked: Asked) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        std::fs::write(&file, CREDENTIAL).unwrap();
        Self {
            server: Server::new(url.parse().unwrap(), Credential::file(&file)).unwrap(),
            asked,
            _credential: dir,
        }
    }

    /// Returns what it was asked, in order.
    pub(crate) fn asked(&self) -> Vec<(String, Value)> {
        self.asked.lock().unwrap().clone()
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.asked().into_iter().map(|(line, _)| line).collect()
    }
}

async fn serve(mut stream: TcpStream, asked: Asked, rules: Arc<Rules>) {
    let (read, mut write) = stream.split();
    let mut read = BufReader::new(read);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if read.read_line(&mut line).await.unwrap_or(0) == 0 {
            return;
        }
        if line.trim().is_empty() {
            break;
        }
        head.push(line.trim().to_owned());
    }
    let value = |name: &str| {
        head.iter().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then(|| value.to_owned())
        })
    };
    let length = value("content-length").map_or(0, |text| text.parse().unwrap());
    let mut body = vec![0; length];
    read.read_exact(&mut body).await.unwrap();
    let line = head[0]
        .trim_end_matches(" HTTP/1.1")
        .replace("/admin/v1/", "");
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let is_known = value("authorization") == Some(format!("Bearer {CREDENTIAL}"));
    let (status, said) = match is_known {
        true => rules(&line),
        false => (401, Value::Null),
    };
    asked.lock().unwrap().push((line, body));
    let said = match said {
        Value::Null => String::new(),
        other => other.to_string(),
    };
    let answer = format!(
        "HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{said}",
        said.len()
    );
    // A client that is gone hears nothing.
    drop(write.write_all(answer.as_bytes()).await);
}
