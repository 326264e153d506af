//! The network of a simulated world: requests, answers and connections, on their way for a while or
//! lost.

use fsync_agent::folder::{
    FetchRequest, FolderEffect, FolderInput, NetFailure, PushRequest, read_item,
};
use fsync_core::id::ObjectId;
use fsync_core::service::error::ServiceError;
use fsync_core::service::record::UploadId;
use fsync_core::service::subscribe::{self, Frame, SocketNo};
use fsync_core::wire::{CommitAnswer, Cursor, Heads, Subscribe};

use super::server::{Todo, Work};
use super::world::{Event, World};

/// Objects that a delta brings at most, one in so many times.
const SMALL_DELTA: usize = 2;

/// What an agent asks the service.
#[derive(Debug, Clone)]
pub enum Request {
    /// For heads from now on, through a connection.
    Subscribe(SocketNo, Subscribe),
    /// For nodes or facts.
    Fetch(FetchRequest),
    /// To commit.
    Push {
        /// The revision, encoded.
        revision: Vec<u8>,
        /// What it brings.
        objects: Vec<fsync_core::pack::Object>,
        /// What was uploaded before.
        upload: Vec<fsync_core::pack::Object>,
        /// Whether its answer goes to nobody: it came twice.
        is_double: bool,
    },
    /// For chunks.
    Chunks(u64, Vec<ObjectId>),
}

impl Request {
    /// Returns the input that tells of a failure.
    fn failed(&self, failure: NetFailure) -> Option<FolderInput> {
        match self {
            Self::Subscribe(..)
            | Self::Push {
                is_double: true, ..
            } => None,
            Self::Fetch(_) => Some(FolderInput::Fetched(Err(failure))),
            Self::Push { .. } => Some(FolderInput::Pushed(Err(failure))),
            Self::Chunks(batch, _) => {
                let (batch, objects) = (*batch, Err(failure));
                Some(FolderInput::Chunks { batch, objects })
            }
        }
    }
}

impl World {
    /// Sends what an agent asks for.
    pub(super) fn send(&mut self, at: usize, effect: FolderEffect) {
        let machine = &mut self.machines[at];
        let request = match effect {
            FolderEffect::Subscribe { base } => {
                let Some(socket) = machine.socket else { return };
                machine.next_subscribe += 1;
                let tree = self.tree.clone();
                let trees = vec![Cursor { tree, base }];
                let id = machine.next_subscribe;
                Request::Subscribe(socket, Subscribe { id, trees })
            }
            FolderEffect::Fetch(request) => Request::Fetch(request),
            FolderEffect::Push(request) => match self.pack(at, *request) {
                Some(request) => request,
                None => {
                    let life = self.machines[at].life;
                    self.say(&format!("m{at} finds a file gone while it uploads"));
                    let input = FolderInput::Pushed(Err(NetFailure::Gone));
                    return self.after_ns(1_000, Event::Input(at, life, Box::new(input)));
                }
            },
            FolderEffect::GetChunks { batch, wanted } => {
                Request::Chunks(batch, wanted.into_iter().map(|(id, _)| id).collect())
            }
            _ => return,
        };
        self.post(at, request);
    }

    /// Reads what a bulk upload sends.
    fn pack(&self, at: usize, request: PushRequest) -> Option<Request> {
        let folder = self.machines[at].folder.as_ref()?;
        let read = |item| read_item(folder.parts(), item);
        let upload = request.bulk.iter().map(read).collect::<Option<_>>()?;
        Some(Request::Push {
            revision: request.revision,
            objects: request.objects,
            upload,
            is_double: false,
        })
    }

    fn post(&mut self, at: usize, request: Request) {
        let life = self.machines[at].life;
        if self.rng.chance(self.weather.loss) {
            self.say(&format!("a request of m{at} is lost"));
            let failure = self.net_failure();
            if let Some(input) = request.failed(failure) {
                self.fail_request(at, life, input);
            }
            return;
        }
        if self.rng.chance(self.weather.doubles) {
            let mut double = request.clone();
            if let Request::Push { is_double, .. } = &mut double {
                *is_double = true;
                let event = Event::Request(at, life, Box::new(double));
                self.within_ms(0, 4 * self.weather.delay_ms, event);
            }
        }
        let event = Event::Request(at, life, Box::new(request));
        self.within_ms(0, self.weather.delay_ms, event);
    }

    /// A request reaches the service.
    pub(super) fn request(&mut self, at: usize, life: u64, request: Request) {
        if !self.is_server_up {
            if let Some(input) = request.failed(NetFailure::Unreachable) {
                self.fail_request(at, life, input);
            }
            return;
        }
        let now = self.server_now();
        match request {
            Request::Subscribe(socket, subscribe) => {
                let input = subscribe::Input::Subscribe(socket, subscribe);
                let todo = self.server.hub_input(input, now);
                self.todo(todo);
            }
            Request::Fetch(fetch) => {
                let budget = match self.rng.chance(200) {
                    true => SMALL_DELTA,
                    false => usize::MAX,
                };
                let answer = self.server.fetch(&fetch, budget);
                let request = Request::Fetch(fetch);
                self.answer((at, life), &request, FolderInput::Fetched(answer));
            }
            Request::Chunks(batch, ids) => {
                let objects = self.server.objects(&ids);
                let request = Request::Chunks(batch, ids);
                self.answer((at, life), &request, FolderInput::Chunks { batch, objects });
            }
            Request::Push {
                revision,
                objects,
                upload,
                is_double,
            } => {
                let session = (!upload.is_empty()).then(|| self.server.upload(upload, now));
                self.commit((at, life, is_double), (&revision, objects), session);
            }
        }
    }

    fn commit(
        &mut self,
        (at, life, is_double): (usize, u64, bool),
        pack: (&[u8], Vec<fsync_core::pack::Object>),
        upload: Option<UploadId>,
    ) {
        let (entropy, now) = (self.rng.draw(), self.server_now());
        match self.server.push(pack, upload, entropy, now) {
            Ok((ticket, todo)) => {
                if !is_double {
                    self.tickets.insert(ticket, (at, life));
                }
                self.todo(todo);
            }
            Err(error) => self
                .broken
                .push(format!("m{at} pushed what does not decode: {error}")),
        }
    }

    /// Sends an answer back, which may be lost.
    fn answer(&mut self, (at, life): (usize, u64), request: &Request, answer: FolderInput) {
        if self.rng.chance(self.weather.loss) {
            self.say(&format!("an answer to m{at} is lost"));
            let failure = self.net_failure();
            if let Some(input) = request.failed(failure) {
                self.fail_request(at, life, input);
            }
            return;
        }
        let event = Event::Input(at, life, Box::new(answer));
        self.within_ms(0, self.weather.delay_ms, event);
    }

    /// Does what the service asks for.
    pub(super) fn todo(&mut self, todo: Vec<Todo>) {
        for todo in todo {
            match todo {
                Todo::Work(work) => {
                    let life = self.server_life;
                    self.within_ms(0, 6, Event::Work(life, Box::new(work)));
                }
                Todo::Reply(ticket, answer) => {
                    let Some((at, life)) = self.tickets.remove(&ticket) else {
                        continue;
                    };
                    self.reply(at, life, answer);
                }
                Todo::Hub(effect) => self.hub(effect),
            }
        }
        self.plan_hub_tick();
    }

    fn reply(&mut self, at: usize, life: u64, answer: Result<CommitAnswer, ServiceError>) {
        let line = match &answer {
            Ok(answer) => format!(
                "server: m{at} {:?} head {}",
                answer.outcome, answer.head.seq.0
            ),
            Err(error) => format!("server: m{at} refused: {error}"),
        };
        self.say(&line);
        let result = answer.map_err(|error| failure_of(&error));
        if let Err(NetFailure::Refused(reason)) = &result {
            self.broken
                .push(format!("the service refused a push of m{at}: {reason}"));
        }
        let request = Request::Push {
            revision: Vec::new(),
            objects: Vec::new(),
            upload: Vec::new(),
            is_double: false,
        };
        self.answer((at, life), &request, FolderInput::Pushed(result));
    }

    /// The service's storage is done with something.
    pub(super) fn work(&mut self, life: u64, work: Work) {
        if life != self.server_life {
            return;
        }
        let now = self.server_now();
        let todo = self.server.work(work, now);
        self.check_head();
        self.todo(todo);
    }

    /// I8: the head only ever moves on.
    fn check_head(&mut self) {
        let Some(newest) = self.server.log().first().map(|s| (s.seq.0, s.id)) else {
            return;
        };
        if newest.0 < self.last_seq {
            let line = format!("the head went back from {} to {}", self.last_seq, newest.0);
            self.broken.push(line);
        }
        if newest.0 > self.last_seq {
            self.say(&format!("head {} is {}", newest.0, newest.1.short()));
        }
        self.last_seq = newest.0;
    }

    fn hub(&mut self, effect: subscribe::Effect) {
        let now = self.server_now();
        match effect {
            subscribe::Effect::LoadHeads(socket, subscribe) => {
                let heads = self.server.heads(&subscribe);
                let input = subscribe::Input::HeadsLoaded(socket, Ok(heads));
                let todo = self.server.hub_input(input, now);
                self.todo(todo);
            }
            subscribe::Effect::Send(socket, frame) => {
                let input = match self.rng.chance(self.weather.loss / 2) {
                    true => subscribe::Input::Refused(socket, frame),
                    false => {
                        self.deliver(socket, &frame);
                        subscribe::Input::Taken(socket)
                    }
                };
                let todo = self.server.hub_input(input, now);
                self.todo(todo);
            }
            // One server without replicas: it hears of every head by itself.
            subscribe::Effect::Join(_)
            | subscribe::Effect::Leave(_)
            | subscribe::Effect::LoadRef(_)
            | subscribe::Effect::Renew(..) => {}
            subscribe::Effect::Close(socket) => {
                if let Some(at) = self.sockets.get(&socket).copied() {
                    self.within_ms(0, 50, Event::Disconnect(at, socket));
                }
            }
        }
    }

    fn deliver(&mut self, socket: SocketNo, frame: &Frame) {
        let Some(at) = self.sockets.get(&socket).copied() else {
            return;
        };
        if self.rng.chance(self.weather.loss) {
            return self.say(&format!("a frame to m{at} is lost"));
        }
        let copies = 1 + u64::from(self.rng.chance(self.weather.doubles));
        for _ in 0..copies {
            for input in inputs_of(frame) {
                let event = Event::Head(at, socket, Box::new(input));
                self.within_ms(0, self.weather.delay_ms, event);
            }
        }
    }

    fn plan_hub_tick(&mut self) {
        let Some(wake) = self.server.hub.next_wake() else {
            return;
        };
        let pause_ms = wake.0.saturating_sub(self.server_now().0).max(1);
        let at = self.now_ns() + pause_ms * 1_000_000;
        if self.hub_tick_at.is_none_or(|due| due > at) {
            self.hub_tick_at = Some(at);
            let life = self.server_life;
            self.after_ns(pause_ms * 1_000_000, Event::HubTick(life));
        }
    }

    pub(super) fn hub_tick(&mut self, life: u64) {
        if life != self.server_life {
            return;
        }
        self.hub_tick_at = None;
        let now = self.server_now();
        let todo = self.server.hub_input(subscribe::Input::Tick, now);
        self.todo(todo);
    }

    pub(super) fn connect(&mut self, at: usize, life: u64) {
        let machine = &self.machines[at];
        if machine.life != life || machine.folder.is_none() || machine.socket.is_some() {
            return;
        }
        if !self.is_server_up {
            return self.within_ms(500, 2_000, Event::Connect(at, life));
        }
        self.next_socket += 1;
        let socket = SocketNo(self.next_socket);
        self.sockets.insert(socket, at);
        self.machines[at].socket = Some(socket);
        let now = self.server_now();
        let todo = self
            .server
            .hub_input(subscribe::Input::Connected(socket), now);
        self.todo(todo);
        self.feed(at, FolderInput::Connected);
    }

    pub(super) fn disconnect(&mut self, at: usize, socket: SocketNo) {
        if self.machines[at].socket != Some(socket) {
            return;
        }
        self.machines[at].socket = None;
        self.gone(socket);
        let life = self.machines[at].life;
        self.feed(at, FolderInput::Disconnected);
        self.within_ms(100, 5_000, Event::Connect(at, life));
    }

    /// The service learns that a connection is gone.
    pub(super) fn gone(&mut self, socket: SocketNo) {
        if self.sockets.remove(&socket).is_some() && self.is_server_up {
            let now = self.server_now();
            let todo = self.server.hub_input(subscribe::Input::Gone(socket), now);
            self.todo(todo);
        }
    }

    pub(super) fn server_crash(&mut self) {
        if !self.is_server_up {
            return;
        }
        self.say("server dies");
        self.is_server_up = false;
        self.server_life += 1;
        self.hub_tick_at = None;
        self.server.crash();
        for (at, life) in std::mem::take(&mut self.tickets).into_values() {
            let input = FolderInput::Pushed(Err(NetFailure::Unreachable));
            self.fail_request(at, life, input);
        }
        for (socket, at) in std::mem::take(&mut self.sockets) {
            self.within_ms(0, 1_000, Event::Disconnect(at, socket));
        }
        self.within_ms(100, 5_000, Event::ServerStart);
    }
}

fn inputs_of(frame: &Frame) -> Vec<FolderInput> {
    match frame {
        Frame::Heads(Heads { id, trees }) => {
            let input = |tree: &fsync_core::wire::TreeHead| FolderInput::Head {
                head: tree.head,
                base_known: tree.base_known,
                is_answer: id.is_some(),
            };
            trees.iter().map(input).collect()
        }
        Frame::Ref(event) => vec![FolderInput::Head {
            head: Some(event.head),
            base_known: None,
            is_answer: false,
        }],
        Frame::Presence(_) | Frame::Want(_) | Frame::Error(_) | Frame::Bye(_) => Vec::new(),
    }
}

fn failure_of(error: &ServiceError) -> NetFailure {
    match error {
        ServiceError::Missing(ids) => NetFailure::Missing(ids.clone()),
        ServiceError::BaseUnknown(_) => NetFailure::BaseUnknown,
        ServiceError::Unavailable { retry_after_ms, .. } => {
            NetFailure::Retry(std::time::Duration::from_millis(*retry_after_ms))
        }
        ServiceError::UploadUnknown(_) => NetFailure::Retry(std::time::Duration::ZERO),
        other => NetFailure::Refused(other.to_string()),
    }
}
