//! A head whose tree breaks a rule: the folder stays as it is, says so once, and goes on with the
//! next head.

use std::sync::Arc;

use fsync_agent::files::{Files, Place};
use fsync_agent::folder::{
    FetchAnswer, FetchRequest, Folder, FolderEffect, FolderInput, Notice, Now, Parts,
};
use fsync_agent::state::State;
use fsync_core::clock::Moment;
use fsync_core::id::{ObjectId, ObjectKind, RevisionId};
use fsync_core::label::AgentName;
use fsync_core::node::{Content, Entry, FileEntry, Mtime, Node};
use fsync_core::nodes::NewNodes;
use fsync_core::pack::Object;
use fsync_core::path::{Name, RelPath};
use fsync_core::revision::{Revision, Timestamp};
use fsync_core::tree::{self, Entries};
use fsync_core::wire::{Epoch, Head, Seq};
use fsync_tests::sim::backend::Platter;
use fsync_tests::sim::files::SimFiles;
use fsync_tests::sim::hand::{Hand, Story, content_id};
use fsync_tests::sim::rng::Rng;
use fsync_tests::sim::volume::{Clock, Volume};

const MINUTE_MS: u64 = 60_000;

struct Agent {
    files: SimFiles,
    folder: Folder,
    now_ms: u64,
    notices: Vec<Notice>,
}

/// A revision with all its objects.
struct Sent {
    id: RevisionId,
    bytes: Vec<u8>,
    objects: Vec<Object>,
}

fn name(text: &str) -> Name {
    Name::new(text.as_bytes()).unwrap()
}

fn file(text: &str) -> Entry {
    Entry::File(FileEntry {
        content: Content::Chunk(content_id(text.as_bytes())),
        size: text.len() as u64,
        exec: false,
        mtime: Mtime(1),
    })
}

fn sent(root: ObjectId, new: &NewNodes, chunks: &[&str]) -> Sent {
    let revision = Revision {
        root,
        parents: Vec::new(),
        author: AgentName::from_lossy("other"),
        time: Timestamp(1),
        is_approved: false,
        moves: Vec::new(),
    };
    let (id, bytes) = revision.encode();
    let chunk = |text: &&str| Object::new(ObjectKind::Chunk, text.as_bytes().to_vec());
    let nodes = new.iter();
    let nodes = nodes.map(|(kind, _, bytes)| Object::new(kind, bytes.to_vec()));
    let objects = nodes.chain(chunks.iter().map(chunk)).collect();
    Sent { id, bytes, objects }
}

/// A directory of two parts of which one does not end with the name that it stands for.
fn broken() -> Sent {
    let mut new = NewNodes::default();
    let leaf = |n: &str| Node::DirLeaf(vec![(name(n), file(n))]);
    let parts = [("b", "a"), ("z", "z")].map(|(end, n)| (name(end), new.insert(leaf(n))));
    let root = new.insert(Node::DirInner(1, parts.to_vec()));
    sent(root, &new, &["a", "z"])
}

fn sound() -> Sent {
    let mut new = NewNodes::default();
    let root = tree::write_dir(&Entries::from([(name("f"), file("f"))]), &mut new);
    sent(root, &new, &["f"])
}

impl Agent {
    fn new() -> Self {
        let hand = Hand::new("nobody", Rng::new(0), Story::default());
        let files = SimFiles::new(Volume::new(Clock::default(), 0, hand));
        let parts = Parts {
            files: Arc::new(files.clone()),
            state: Arc::new(State::open_with(Platter::default().open()).unwrap()),
            agent: AgentName::from_lossy("m"),
        };
        let now = Now {
            moment: Moment(0),
            time: Timestamp(0),
        };
        let (folder, _effects) = Folder::open(parts, now).unwrap();
        let mut agent = Self {
            files,
            folder,
            now_ms: 0,
            notices: Vec::new(),
        };
        agent.feed(FolderInput::Connected, &[]);
        agent
    }

    /// Gives an input, answers what is asked for from what was sent, and goes on until it rests.
    fn feed(&mut self, input: FolderInput, all: &[&Sent]) {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            let now = Now {
                moment: Moment(self.now_ms),
                time: Timestamp(self.now_ms),
            };
            for effect in self.folder.handle(input, now).unwrap() {
                match effect {
                    FolderEffect::Fetch(FetchRequest::Delta { to, .. }) => {
                        let sent = all.iter().find(|sent| sent.id == to).unwrap();
                        inputs.push(FolderInput::Fetched(Ok(FetchAnswer::Delta {
                            revision: sent.bytes.clone(),
                            moves: Vec::new(),
                            objects: sent.objects.clone(),
                        })));
                    }
                    FolderEffect::GoOn => inputs.push(FolderInput::GoOn),
                    FolderEffect::Notice(notice) => self.notices.push(notice),
                    FolderEffect::Fetch(other) => panic!("{other:?} was sent already"),
                    _ => {}
                }
            }
        }
    }

    fn tell(&mut self, seq: u64, head: &Sent, is_answer: bool) {
        let input = FolderInput::Head {
            head: Some(Head {
                epoch: Epoch(1),
                seq: Seq(seq),
                revision: head.id,
            }),
            base_known: None,
            is_answer,
        };
        self.feed(input, &[head]);
    }

    fn refusals(&self) -> Vec<RevisionId> {
        let revision = |notice: &Notice| match notice {
            Notice::HeadUnusable { revision, .. } => Some(*revision),
            _ => None,
        };
        self.notices.iter().filter_map(revision).collect()
    }

    fn has(&self, path: &str) -> bool {
        let path = RelPath::parse(path.as_bytes()).unwrap();
        self.files.stat(Place::Tree(&path)).unwrap().is_some()
    }
}

#[test]
fn a_head_that_breaks_a_rule_is_told_of_once_and_left_alone() {
    let mut agent = Agent::new();
    let (bad, good) = (broken(), sound());
    agent.tell(1, &bad, true);
    for _ in 0..3 {
        agent.now_ms += 2 * MINUTE_MS;
        agent.feed(FolderInput::Tick, &[&bad]);
    }
    assert_eq!(agent.refusals(), [bad.id]);
    assert!(
        agent
            .folder
            .stuck()
            .is_some_and(|why| why.contains("stands for"))
    );
    assert!(!agent.has("a") && !agent.has("z"));
    agent.tell(2, &good, false);
    assert!(agent.has("f"), "{:?}", agent.notices);
    assert_eq!(agent.folder.stuck(), None);
    assert_eq!(agent.refusals(), [bad.id]);
}
