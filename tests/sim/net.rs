//! The network of a simulated world: requests, answers and connections, on their way for a while or
//! lost.

use fsync_agent::folder::{
    FetchRequest, FolderEffect, FolderInput, NetFailure, PushRequest, read_item,
};
use fsync_core::id::ObjectId;
use fsync_core::service::record::UploadId;
use fsync_core::service::subscribe::{self, SocketNo};
use fsync_core::wire::{Cursor, Subscribe};

use super::event::Event;
use super::world::World;

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

    /// Whether what is on its way between a machine and the service gets lost.
    pub(super) fn is_lost(&mut self, at: usize) -> bool {
        self.machines[at].is_cut_off(self.now_ns()) || self.rng.chance(self.weather.loss)
    }

    fn post(&mut self, at: usize, request: Request) {
        let life = self.machines[at].life;
        if self.is_lost(at) {
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
        let replica = self.machines[at].replica;
        if !self.replicas[replica].is_up {
            if let Some(input) = request.failed(NetFailure::Unreachable) {
                self.fail_request(at, life, input);
            }
            return;
        }
        let now = self.server_now();
        match request {
            Request::Subscribe(socket, subscribe) => {
                let input = subscribe::Input::Subscribe(socket, subscribe);
                self.hub_input(replica, input);
            }
            Request::Fetch(fetch) => {
                let budget = match self.rng.chance(200) {
                    true => SMALL_DELTA,
                    false => usize::MAX,
                };
                let answer = self.replicas[replica].server.fetch(&fetch, budget);
                let request = Request::Fetch(fetch);
                self.answer((at, life), &request, FolderInput::Fetched(answer));
            }
            Request::Chunks(batch, ids) => {
                let objects = self.replicas[replica].server.objects(&ids);
                let request = Request::Chunks(batch, ids);
                self.answer((at, life), &request, FolderInput::Chunks { batch, objects });
            }
            Request::Push {
                revision,
                objects,
                upload,
                is_double,
            } => {
                let server = &mut self.replicas[replica].server;
                let session = (!upload.is_empty()).then(|| server.upload(upload, now));
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
        let number = self.machines[at].replica;
        let replica = &mut self.replicas[number];
        match replica.server.push(pack, upload, entropy, now) {
            Ok((ticket, todo)) => {
                if !is_double {
                    replica.tickets.insert(ticket, (at, life));
                }
                self.todo(number, todo);
            }
            Err(error) => self
                .broken
                .push(format!("m{at} pushed what does not decode: {error}")),
        }
    }

    /// Sends an answer back, which may be lost.
    pub(super) fn answer(
        &mut self,
        (at, life): (usize, u64),
        request: &Request,
        answer: FolderInput,
    ) {
        if self.is_lost(at) {
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

    pub(super) fn connect(&mut self, at: usize, life: u64) {
        let machine = &self.machines[at];
        if machine.life != life || machine.folder.is_none() || machine.socket.is_some() {
            return;
        }
        if machine.is_cut_off(self.now_ns()) {
            return self.within_ms(500, 2_000, Event::Connect(at, life));
        }
        // The ingress knows which replicas are up.
        let up: Vec<usize> = self.replicas_up().collect();
        let Some(replica) = self.rng.pick(&up).copied() else {
            return self.within_ms(500, 2_000, Event::Connect(at, life));
        };
        self.next_socket += 1;
        let socket = SocketNo(self.next_socket);
        self.sockets.insert(socket, (at, replica));
        let machine = &mut self.machines[at];
        (machine.socket, machine.replica) = (Some(socket), replica);
        self.hub_input(replica, subscribe::Input::Connected(socket));
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
}
