//! A small agent for tests: builds trees of files in memory and speaks the HTTP surface.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "each test file uses a part of it"
)]

use std::collections::BTreeMap;

use fsync_core::id::{ObjectId, ObjectKind, RevisionId};
use fsync_core::limits;
use fsync_core::node::{Content, Entry, FileEntry, Mtime, Node, Run};
use fsync_core::nodes::{MemoryNodes, NewNodes, Overlay};
use fsync_core::pack::{Object, PackWriter, Record, read_all};
use fsync_core::path::RelPath;
use fsync_core::revision::{Revision, Timestamp};
use fsync_core::tree::{self, Edits};
use fsync_core::wire::{
    CommitAnswer, ErrorBody, HaveAnswer, Head, HeadAnswer, LogAnswer, LogItem, ObjectsRequest,
    UPLOAD_HEADER, UploadAnswer, UploadRequest,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Paths and contents.
pub type Files = BTreeMap<String, Vec<u8>>;

/// Bytes of the chunks that large test files are cut into.
const CHUNK: usize = 64 * 1024;

#[derive(Debug, Clone)]
pub struct Agent {
    http: reqwest::Client,
    root: String,
    base: String,
    name: String,
}

/// What a delta brought.
#[derive(Debug)]
pub struct Delta {
    pub objects: Vec<Object>,
    pub revision: Revision,
}

impl Agent {
    pub fn new(server: &str, tree: &str, name: &str) -> Self {
        fsync_runtime::crypto::install();
        Self {
            http: reqwest::Client::new(),
            root: server.to_owned(),
            base: format!("{server}/v1/trees/default/{tree}"),
            name: name.to_owned(),
        }
    }

    /// Makes an agent that presents a token; `tree` is TENANT/NAME.
    pub fn with_token(server: &str, tree: &str, token: &str) -> Self {
        fsync_runtime::crypto::install();
        let mut headers = reqwest::header::HeaderMap::new();
        let value = format!("Bearer {token}").parse().unwrap();
        headers.insert(reqwest::header::AUTHORIZATION, value);
        let http = reqwest::Client::builder().default_headers(headers);
        Self {
            http: http.build().unwrap(),
            base: format!("{server}/v1/trees/{tree}"),
            ..Self::new(server, "unused", "laptop")
        }
    }

    /// Builds the revision of a tree of files, with all its objects.
    pub fn revision(&self, files: &Files, parents: &[RevisionId]) -> (Revision, Vec<Object>) {
        let (root, objects) = build(files);
        let revision = Revision {
            root,
            parents: parents.to_vec(),
            author: self.name.parse().unwrap(),
            time: Timestamp(1_700_000_000_000),
            is_approved: false,
            moves: Vec::new(),
        };
        (revision, objects)
    }

    pub async fn commit(
        &self,
        files: &Files,
        parents: &[RevisionId],
    ) -> Result<CommitAnswer, ErrorBody> {
        let (revision, objects) = self.revision(files, parents);
        self.push(&revision, &objects, None).await
    }

    pub async fn push(
        &self,
        revision: &Revision,
        objects: &[Object],
        upload: Option<u64>,
    ) -> Result<CommitAnswer, ErrorBody> {
        let (id, bytes) = revision.encode();
        let mut writer = pack(objects);
        writer.push_revision(&id, &bytes);
        let mut request = self
            .http
            .post(format!("{}/commits", self.base))
            .body(writer.finish());
        if let Some(upload) = upload {
            request = request.header(UPLOAD_HEADER, upload.to_string());
        }
        json(request.send().await.unwrap()).await
    }

    /// Returns what the server says to a question for the head.
    pub async fn head_status(&self) -> reqwest::StatusCode {
        let answer = self.http.get(format!("{}/head", self.base)).send();
        answer.await.unwrap().status()
    }

    pub async fn head(&self) -> Option<Head> {
        let answer: HeadAnswer = self.tree_get("head").await.unwrap();
        answer.head
    }

    pub async fn log(&self) -> Vec<LogItem> {
        let answer: LogAnswer = self.tree_get("log").await.unwrap();
        answer.items
    }

    pub async fn delta(
        &self,
        from: Option<RevisionId>,
        to: RevisionId,
    ) -> Result<Delta, ErrorBody> {
        let from = from.map(|id| format!("from={id}&")).unwrap_or_default();
        let url = format!("{}/delta?{from}to={to}", self.base);
        let bytes = bytes(self.http.get(url).send().await.unwrap()).await?;
        let mut records = read_all(&bytes).unwrap();
        let Some(Record::Revision(id, revision)) = records.pop() else {
            panic!("a delta ends with its revision");
        };
        assert_eq!(id, to);
        Ok(Delta {
            objects: objects(records),
            revision: Revision::decode(&revision).unwrap(),
        })
    }

    /// Returns the files of a revision, asking for what the delta left out.
    pub async fn pull(&self, from: Option<RevisionId>, to: RevisionId) -> Result<Files, ErrorBody> {
        let delta = self.delta(from, to).await?;
        let mut have: BTreeMap<ObjectId, Object> =
            delta.objects.into_iter().map(|o| (o.id, o)).collect();
        let mut wanted = vec![(ObjectKind::Directory, delta.revision.root)];
        while !wanted.is_empty() {
            // One answer holds at most a pack: what it left out is asked for again.
            loop {
                let lacking = wanted.iter().filter(|(_, id)| !have.contains_key(id));
                let lacking: Vec<ObjectId> = lacking.map(|(_, id)| *id).collect();
                if lacking.is_empty() {
                    break;
                }
                let brought = self.objects(&lacking).await?;
                assert!(!brought.is_empty(), "an answer without objects");
                have.extend(brought.into_iter().map(|o| (o.id, o)));
            }
            let next = wanted
                .iter()
                .filter(|(kind, _)| kind.is_node())
                .flat_map(|(kind, id)| Node::decode(*kind, &have[id].bytes).unwrap().children());
            wanted = next.collect();
        }
        Ok(read(&have, delta.revision.root))
    }

    pub async fn objects(&self, ids: &[ObjectId]) -> Result<Vec<Object>, ErrorBody> {
        let request = ObjectsRequest {
            ids: ids.to_vec(),
            upload: None,
        };
        let request = self
            .http
            .post(format!("{}/objects", self.base))
            .json(&request);
        let bytes = bytes(request.send().await.unwrap()).await?;
        Ok(objects(read_all(&bytes).unwrap()))
    }

    pub async fn have(&self, ids: &[ObjectId], upload: Option<u64>) -> Vec<ObjectId> {
        let request = ObjectsRequest {
            ids: ids.to_vec(),
            upload,
        };
        let answer: HaveAnswer = self.post_json("have", &request).await.unwrap();
        answer.missing
    }

    pub async fn open_upload(&self) -> u64 {
        let request = UploadRequest {
            agent: self.name.parse().unwrap(),
        };
        let answer: UploadAnswer = self.post_json("uploads", &request).await.unwrap();
        answer.upload
    }

    pub async fn put(&self, upload: u64, objects: &[Object]) -> Result<UploadAnswer, ErrorBody> {
        let url = format!("{}/uploads/{upload}", self.base);
        let request = self.http.put(url).body(pack(objects).finish());
        json(request.send().await.unwrap()).await
    }

    pub async fn post_json<T: DeserializeOwned>(
        &self,
        verb: &str,
        body: &impl Serialize,
    ) -> Result<T, ErrorBody> {
        let request = self.http.post(format!("{}/{verb}", self.base)).json(body);
        json(request.send().await.unwrap()).await
    }

    pub async fn post_raw(&self, verb: &str, body: Vec<u8>) -> Result<(), ErrorBody> {
        let request = self.http.post(format!("{}/{verb}", self.base)).body(body);
        bytes(request.send().await.unwrap()).await.map(drop)
    }

    pub async fn get_json<T: DeserializeOwned>(&self, path: &str) -> Result<T, ErrorBody> {
        let request = self.http.get(format!("{}{path}", self.root));
        json(request.send().await.unwrap()).await
    }

    async fn tree_get<T: DeserializeOwned>(&self, verb: &str) -> Result<T, ErrorBody> {
        let request = self.http.get(format!("{}/{verb}", self.base));
        json(request.send().await.unwrap()).await
    }
}

async fn bytes(response: reqwest::Response) -> Result<Vec<u8>, ErrorBody> {
    let status = response.status();
    let bytes = response.bytes().await.unwrap().to_vec();
    if status.is_success() {
        return Ok(bytes);
    }
    let text = String::from_utf8_lossy(&bytes);
    let error: ErrorBody =
        serde_json::from_slice(&bytes).unwrap_or_else(|e| panic!("{status}: {e}: {text}"));
    assert_eq!(error.code.status(), status.as_u16());
    Err(error)
}

async fn json<T: DeserializeOwned>(response: reqwest::Response) -> Result<T, ErrorBody> {
    let bytes = bytes(response).await?;
    Ok(serde_json::from_slice(&bytes).unwrap())
}

fn pack(objects: &[Object]) -> PackWriter {
    let mut writer = PackWriter::new();
    for object in objects {
        writer.push(object.kind, &object.id, &object.bytes);
    }
    writer
}

fn objects(records: Vec<Record>) -> Vec<Object> {
    let object = |record| match record {
        Record::Object(object) => object,
        Record::Revision(..) => panic!("a revision among objects"),
    };
    records.into_iter().map(object).collect()
}

/// Builds the nodes and chunks of a tree of files.
pub fn build(files: &Files) -> (ObjectId, Vec<Object>) {
    let mut chunks = BTreeMap::new();
    let mut edits = Edits::new();
    let mut new = NewNodes::default();
    for (path, bytes) in files {
        let parts = if bytes.len() as u64 > limits::WHOLE_FILE_BYTES {
            bytes.chunks(CHUNK).collect()
        } else {
            vec![bytes.as_slice()]
        };
        let runs: Vec<Run> = parts
            .into_iter()
            .map(|part| {
                let object = Object::new(ObjectKind::Chunk, part.to_vec());
                let (id, bytes) = (object.id, part.len() as u64);
                chunks.insert(id, object);
                Run::Chunk { id, bytes }
            })
            .collect();
        let content: Content = fsync_core::filelist::write_file(&runs, &mut new);
        let entry = Entry::File(FileEntry {
            content,
            size: bytes.len() as u64,
            exec: false,
            mtime: Mtime(0),
        });
        edits.insert(RelPath::parse(path.as_bytes()).unwrap(), Some(entry));
    }
    let empty = tree::write_empty(&mut new);
    let mut memory = MemoryNodes::default();
    memory.absorb(&new);
    let mut overlay = Overlay::new(&memory);
    let root = tree::edit(&mut overlay, &empty, &edits).unwrap();
    new.extend(overlay.into_new());
    let used = new
        .iter()
        .filter(|(_, id, _)| *id != empty || root == empty);
    let nodes = used.map(|(kind, _, bytes)| Object::new(kind, bytes.to_vec()));
    let mut objects: Vec<Object> = nodes.collect();
    objects.extend(chunks.into_values());
    (root, objects)
}

fn read(have: &BTreeMap<ObjectId, Object>, root: ObjectId) -> Files {
    let mut nodes = MemoryNodes::default();
    for object in have.values().filter(|o| o.kind.is_node()) {
        nodes.insert(object.kind, object.id, &object.bytes).unwrap();
    }
    let mut found = Vec::new();
    tree::walk(&nodes, &root, &mut |path, entry| {
        found.push((path.clone(), *entry));
    })
    .unwrap();
    let mut files = Files::new();
    for (path, entry) in found {
        let Some(file) = entry.as_file() else {
            continue;
        };
        let runs = fsync_core::filelist::read_file(&nodes, &file.content, file.size).unwrap();
        let mut bytes = Vec::new();
        for run in runs {
            match run {
                Run::Chunk { id, .. } => bytes.extend_from_slice(&have[&id].bytes),
                Run::Hole { bytes: hole } => {
                    bytes.resize(bytes.len() + usize::try_from(hole).unwrap(), 0);
                }
            }
        }
        files.insert(path.to_string(), bytes);
    }
    files
}
