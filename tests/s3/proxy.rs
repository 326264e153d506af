//! A proxy before an S3 server that counts requests and does harm on demand.
//!
//! Guarantees: passes requests on byte by byte (their signature names the proxy's own address, so
//! servers accept them); harm comes in the order in which it was ordered, each as often as it was
//! ordered; ends with its value.
//! Does not: understand more of HTTP than what the clients and servers of these tests say.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Result, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What is done to a request instead of passing it on as it is.
#[derive(Debug, Clone)]
pub enum Harm {
    /// The proxy answers by itself: a status and a code as S3 has them.
    Answer(u16, &'static str),
    /// Of the answer's body only so many bytes arrive.
    Tear(usize),
    /// The request arrives, its answer does not.
    Mute,
}

#[derive(Debug)]
struct Order {
    method: &'static str,
    times: usize,
    harm: Harm,
}

#[derive(Debug, Default)]
struct State {
    orders: VecDeque<Order>,
    delay: Duration,
    /// Method and path of what came, in order.
    requests: Vec<String>,
    /// How many of them named the SHA-256 of their body.
    checked: usize,
    /// Bytes of bodies that the server sent.
    sent_bytes: usize,
    /// Connections that are open, to end them.
    open: Vec<TcpStream>,
    is_ended: bool,
}

/// A running proxy.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    state: Arc<Mutex<State>>,
}

impl Proxy {
    /// Starts a proxy before the server at a port of this machine.
    ///
    /// # Errors
    /// The system's.
    pub fn start(upstream: u16) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let mut now = lock(&shared);
                if now.is_ended {
                    return;
                }
                let Ok(client) = client else { continue };
                now.open.extend(client.try_clone());
                drop(now);
                let shared = Arc::clone(&shared);
                // An error is the end of that connection, as for any client and server.
                std::thread::spawn(move || drop(serve(client, upstream, &shared)));
            }
        });
        Ok(Self { port, state })
    }

    /// Returns its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Does harm to the next requests of a method; to all of them with `usize::MAX`.
    pub fn harm(&self, method: &'static str, times: usize, harm: Harm) {
        lock(&self.state).orders.push_back(Order {
            method,
            times,
            harm,
        });
    }

    /// Does no more harm.
    pub fn heal(&self) {
        lock(&self.state).orders.clear();
    }

    /// Makes every request take longer by this time.
    pub fn delay(&self, time: Duration) {
        lock(&self.state).delay = time;
    }

    /// Forgets what came until now.
    pub fn count_anew(&self) {
        let mut state = lock(&self.state);
        state.requests.clear();
        state.checked = 0;
        state.sent_bytes = 0;
    }

    /// Returns method and path of what came, in order.
    pub fn requests(&self) -> Vec<String> {
        lock(&self.state).requests.clone()
    }

    /// Returns how many requests named the SHA-256 of their body for the server to check.
    pub fn checked(&self) -> usize {
        lock(&self.state).checked
    }

    /// Returns how many bytes of bodies the server sent.
    pub fn sent_bytes(&self) -> usize {
        lock(&self.state).sent_bytes
    }

    /// Returns how many requests of a method came.
    pub fn count(&self, method: &str) -> usize {
        let is_of = |line: &&String| line.split(' ').next() == Some(method);
        lock(&self.state).requests.iter().filter(is_of).count()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let mut state = lock(&self.state);
        state.is_ended = true;
        for stream in state.open.drain(..) {
            // It may have ended already.
            drop(stream.shutdown(Shutdown::Both));
        }
        drop(state);
        // Wakes the listener, which sees that it is over.
        drop(TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)));
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A request or an answer: its head as it came, and its body.
struct Message {
    head: Vec<u8>,
    first: String,
    body: Vec<u8>,
}

fn serve(client: TcpStream, upstream: u16, state: &Mutex<State>) -> Result<()> {
    client.set_nodelay(true)?;
    let mut from_client = BufReader::new(client.try_clone()?);
    let mut to_client = client;
    let mut server: Option<BufReader<TcpStream>> = None;
    while let Some(request) = read(&mut from_client, None)? {
        let method = request
            .first
            .split(' ')
            .next()
            .unwrap_or_default()
            .to_owned();
        let (harm, delay) = take_order(state, &method, &request);
        // Not to let something happen: this is how far away the server is.
        std::thread::sleep(delay);
        if let Some(Harm::Answer(status, code)) = harm {
            answer(&mut to_client, &method, (status, code))?;
            continue;
        }
        let server = match &mut server {
            Some(server) => server,
            None => server.insert(BufReader::new(TcpStream::connect((
                Ipv4Addr::LOCALHOST,
                upstream,
            ))?)),
        };
        server
            .get_mut()
            .write_all(&[request.head, request.body].concat())?;
        let answer = read(server, Some(&method))?.ok_or(ErrorKind::UnexpectedEof)?;
        lock(state).sent_bytes += answer.body.len();
        match harm {
            Some(Harm::Mute) => return to_client.shutdown(Shutdown::Both),
            Some(Harm::Tear(bytes)) if bytes < answer.body.len() => {
                to_client.write_all(&answer.head)?;
                to_client.write_all(&answer.body[..bytes])?;
                return to_client.shutdown(Shutdown::Both);
            }
            _ => to_client.write_all(&[answer.head, answer.body].concat())?,
        }
    }
    Ok(())
}

fn take_order(state: &Mutex<State>, method: &str, request: &Message) -> (Option<Harm>, Duration) {
    let mut state = lock(state);
    let first = request.first.as_str();
    let line = first
        .rsplit_once(' ')
        .map_or(first, |(line, _version)| line);
    state.requests.push(line.to_owned());
    let head = String::from_utf8_lossy(&request.head).to_ascii_lowercase();
    state.checked += usize::from(head.contains("\nx-amz-checksum-sha256:"));
    let delay = state.delay;
    let at = state.orders.iter().position(|order| order.method == method);
    let Some(order) = at.and_then(|at| state.orders.get_mut(at)) else {
        return (None, delay);
    };
    order.times -= 1;
    let harm = order.harm.clone();
    state.orders.retain(|order| order.times > 0);
    (Some(harm), delay)
}

fn answer(to: &mut impl Write, method: &str, (status, code): (u16, &str)) -> Result<()> {
    let body = match method {
        "HEAD" => String::new(),
        _ => format!(
            "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>ordered by a test</Message></Error>"
        ),
    };
    let head = format!(
        "HTTP/1.1 {status} Ordered\r\ncontent-type: application/xml\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    to.write_all((head + &body).as_bytes())
}

/// Reads a request, or the answer to one of this method; `None` at the end of the connection.
fn read(from: &mut impl BufRead, answer_to: Option<&str>) -> Result<Option<Message>> {
    let mut head = Vec::new();
    let mut first = String::new();
    let (mut length, mut is_chunked) = (None, false);
    loop {
        let mut line = Vec::new();
        if from.read_until(b'\n', &mut line)? == 0 {
            return if head.is_empty() {
                Ok(None)
            } else {
                Err(ErrorKind::UnexpectedEof.into())
            };
        }
        head.extend_from_slice(&line);
        let line = String::from_utf8_lossy(&line)
            .trim_end()
            .to_ascii_lowercase();
        if first.is_empty() {
            first = String::from_utf8_lossy(&head).trim_end().to_owned();
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = Some(value.trim().parse::<usize>().map_err(Error::other)?);
        }
        is_chunked |= line.starts_with("transfer-encoding:") && line.contains("chunked");
        if line.is_empty() {
            break;
        }
    }
    let is_bare = answer_to == Some("HEAD") || first.contains(" 204 ") || first.contains(" 304 ");
    let body = match (is_bare, is_chunked, length) {
        (true, _, _) => Vec::new(),
        (false, true, _) => chunks(from)?,
        (false, false, Some(length)) => exactly(from, length)?,
        (false, false, None) if answer_to.is_some() => to_end(from)?,
        (false, false, None) => Vec::new(),
    };
    Ok(Some(Message { head, first, body }))
}

fn exactly(from: &mut impl Read, length: usize) -> Result<Vec<u8>> {
    let mut body = vec![0; length];
    from.read_exact(&mut body)?;
    Ok(body)
}

fn to_end(from: &mut impl Read) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    from.read_to_end(&mut body)?;
    Ok(body)
}

/// Reads a chunked body as it stands on the wire.
fn chunks(from: &mut impl BufRead) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        from.read_line(&mut line)?;
        body.extend_from_slice(line.as_bytes());
        let size = line.trim_end().split(';').next().unwrap_or_default();
        let size = usize::from_str_radix(size, 16).map_err(Error::other)?;
        body.extend(exactly(from, size + 2)?);
        if size == 0 {
            return Ok(body);
        }
    }
}
