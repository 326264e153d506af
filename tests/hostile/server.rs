//! A server that a test scripts: it speaks what agents speak, and answers what it is told to.
//!
//! Guarantees: without a script it is honest: it has one head, serves its objects and takes commits
//! on it. Everything that agents ask and send is kept, so that a test can look for what must never
//! leave a machine. Threads end with the connections that they serve.

use std::collections::BTreeMap;
use std::io::{BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use fsync_core::id::RevisionId;
use fsync_core::label::TreeKey;
use fsync_core::pack::{Record, read_all};
use fsync_core::wire::{
    self, CommitAnswer, CommitOutcome, Epoch, HaveAnswer, Head, HeadAnswer, Heads, KnownAnswer,
    KnownRequest, ObjectsRequest, PROTOCOL_VERSION, SERVICE, Seq, TreeHead, UploadAnswer, Version,
    event,
};
use fsync_tests::system::TREE;

use crate::forge::{Raw, pack};
use crate::http::{Reply, Request};
use crate::socket::{self, Frame};

/// The one upload session.
const UPLOAD: UploadAnswer = UploadAnswer {
    upload: 1,
    expires_in_ms: 60_000,
};

/// What the server says instead of the truth; `None` is the truth.
pub(crate) type Script = Arc<dyn Fn(&Request) -> Option<Reply> + Send + Sync>;

/// What it has and what it saw.
struct Inner {
    objects: BTreeMap<String, Raw>,
    revision: Option<Raw>,
    head: Option<Head>,
    script: Option<Script>,
    requests: Vec<Request>,
    sockets: Vec<Sender<Frame>>,
}

/// A running hostile server.
pub(crate) struct Hostile {
    address: SocketAddr,
    inner: Arc<Mutex<Inner>>,
    is_over: Arc<AtomicBool>,
}

impl Hostile {
    /// Starts one on a free port, with an empty tree.
    pub(crate) fn start() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let inner = Arc::new(Mutex::new(Inner {
            objects: BTreeMap::new(),
            revision: None,
            head: None,
            script: None,
            requests: Vec::new(),
            sockets: Vec::new(),
        }));
        let is_over = Arc::new(AtomicBool::new(false));
        let (shared, over) = (Arc::clone(&inner), Arc::clone(&is_over));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if over.load(Ordering::Acquire) {
                    return;
                }
                let shared = Arc::clone(&shared);
                // An end of any kind is an end: what matters is what the agent makes of it.
                std::thread::spawn(move || stream.map(|stream| drop(serve(stream, &shared))));
            }
        });
        Ok(Self {
            address,
            inner,
            is_over,
        })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        lock(&self.inner)
    }

    /// Makes a revision with its objects the head and tells every agent.
    pub(crate) fn publish(&self, revision: Raw, objects: impl IntoIterator<Item = Raw>) {
        let mut inner = self.lock();
        let seq = inner.head.map_or(1, |head| head.seq.0 + 1);
        inner.objects = objects.into_iter().map(|raw| (raw.hex(), raw)).collect();
        let head = inner.lead_to(seq, revision);
        inner.tell(&heads(None, Some(head)));
    }

    /// Sends a frame to every agent.
    pub(crate) fn tell(&self, frame: &Frame) {
        self.lock().tell(frame);
    }

    /// Answers by a script from now on.
    pub(crate) fn lie(&self, script: impl Fn(&Request) -> Option<Reply> + Send + Sync + 'static) {
        self.lock().script = Some(Arc::new(script));
    }

    /// Tells the truth from now on.
    pub(crate) fn be_honest(&self) {
        self.lock().script = None;
    }

    /// Returns the head that it tells.
    pub(crate) fn head(&self) -> Option<Head> {
        self.lock().head
    }

    /// Returns how often something was asked: `delta`, `objects`, `commits`.
    pub(crate) fn asked(&self, what: &str) -> usize {
        let inner = self.lock();
        inner.requests.iter().filter(|r| r.what() == what).count()
    }

    /// Returns whether a stored object ends with these bytes.
    pub(crate) fn holds(&self, end: &[u8]) -> bool {
        let inner = self.lock();
        inner.objects.values().any(|raw| raw.bytes.ends_with(end))
    }

    /// Returns whether bytes were among what agents sent.
    pub(crate) fn has_seen(&self, bytes: &[u8]) -> bool {
        let has = |request: &Request| request.body.windows(bytes.len()).any(|w| w == bytes);
        self.lock().requests.iter().any(has)
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
        // Wakes the thread that accepts; it may have ended with the process's sockets.
        drop(TcpStream::connect(self.address));
    }
}

impl Inner {
    fn tell(&mut self, frame: &Frame) {
        self.sockets
            .retain(|socket| socket.send(frame.clone()).is_ok());
    }

    fn lead_to(&mut self, seq: u64, revision: Raw) -> Head {
        let head = Head {
            epoch: Epoch(7),
            seq: Seq(seq),
            revision: RevisionId::from_slice(&revision.id).unwrap_or_else(|| RevisionId::of(b"")),
        };
        self.revision = Some(revision);
        self.head = Some(head);
        head
    }

    /// Takes the objects of a pack, and its revision as the head.
    fn take(&mut self, body: &[u8]) -> Reply {
        let Ok(records) = read_all(body) else {
            return Reply::error(400, "malformed");
        };
        let mut committed = None;
        for record in records {
            match record {
                Record::Object(object) => {
                    let raw = Raw::object(object.kind, object.bytes);
                    self.objects.insert(raw.hex(), raw);
                }
                Record::Revision(_, bytes) => committed = Some(Raw::revision_of(bytes)),
            }
        }
        let seq = self.head.map_or(1, |head| head.seq.0 + 1);
        match committed {
            Some(revision) => Reply::json(&CommitAnswer {
                outcome: CommitOutcome::Head,
                head: self.lead_to(seq, revision),
                seq: Seq(seq),
            }),
            None => Reply::json(&UPLOAD),
        }
    }

    fn answer(&mut self, request: &Request) -> Reply {
        let body = &request.body;
        match request.what() {
            "version" => Reply::json(&Version {
                service: SERVICE.to_owned(),
                protocol: PROTOCOL_VERSION,
            }),
            "head" => Reply::json(&HeadAnswer { head: self.head }),
            "delta" => {
                let objects: Vec<&Raw> = self.objects.values().collect();
                Reply::bytes(pack(objects.into_iter().chain(&self.revision)))
            }
            "objects" => match serde_json::from_slice::<ObjectsRequest>(body) {
                Ok(wanted) => {
                    let found = wanted.ids.iter().map(ToString::to_string);
                    Reply::bytes(pack(found.filter_map(|id| self.objects.get(&id))))
                }
                Err(_malformed) => Reply::error(400, "malformed"),
            },
            "have" => Reply::json(&HaveAnswer {
                missing: serde_json::from_slice::<ObjectsRequest>(body)
                    .map_or_else(|_malformed| Vec::new(), |wanted| wanted.ids),
            }),
            "known" => Reply::json(&KnownAnswer {
                known: serde_json::from_slice::<KnownRequest>(body)
                    .map_or_else(|_malformed| Vec::new(), |k| vec![false; k.versions.len()]),
            }),
            "uploads" if request.method == "POST" => Reply::json(&UPLOAD),
            "uploads" | "commits" => self.take(body),
            _ => Reply::error(503, "unavailable"),
        }
    }
}

fn lock(inner: &Mutex<Inner>) -> MutexGuard<'_, Inner> {
    inner.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the tree that agents sync.
pub(crate) fn tree() -> TreeKey {
    TREE.parse().expect("a valid name")
}

/// Makes what tells of a head.
pub(crate) fn heads(id: Option<u64>, head: Option<Head>) -> Frame {
    let base_known = id.map(|_| true);
    let trees = vec![TreeHead {
        tree: tree(),
        head,
        base_known,
    }];
    Frame::event(event::HEADS, &Heads { id, trees })
}

fn serve(stream: TcpStream, shared: &Arc<Mutex<Inner>>) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    while let Some(request) = Request::read(&mut reader)? {
        let script = {
            let mut inner = lock(shared);
            inner.requests.push(request.clone());
            inner.script.clone()
        };
        let lie = script.and_then(|script| script(&request));
        if let (Some(key), None) = (&request.socket_key, &lie) {
            writer.write_all(&socket::accept(key))?;
            let (sender, frames) = channel();
            lock(shared).sockets.push(sender);
            let subscribed = |asked: wire::Subscribe| heads(Some(asked.id), lock(shared).head);
            return socket::serve(writer, &frames, &subscribed);
        }
        let reply = lie.unwrap_or_else(|| lock(shared).answer(&request));
        if !reply.write(&mut writer)? {
            return Ok(());
        }
    }
    Ok(())
}
