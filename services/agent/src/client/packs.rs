//! Packs as they come in over HTTP: a stream of verified records with a bound on bytes and a watch
//! on stalls.

use std::collections::BTreeMap;
use std::time::Duration;

use fsync_core::id::{ObjectId, ObjectKind};
use fsync_core::limits;
use fsync_core::node::Node;
use fsync_core::pack::{Object, PackReader, RECORD_HEADER_BYTES, Record};
use fsync_core::revision::Revision;

use super::error::ClientError;
use super::server_url::ServerUrl;

/// Longest time without a byte before a body counts as dead.
pub(super) const STALL: Duration = Duration::from_secs(20);

/// An object to fetch, with what is known of its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Wanted {
    /// What it is.
    pub kind: ObjectKind,
    /// Its address.
    pub id: ObjectId,
    /// Its exact size in bytes for a chunk; the most it can be for a node.
    pub bytes: u32,
}

impl Wanted {
    /// Wants a node.
    pub fn node(kind: ObjectKind, id: ObjectId) -> Self {
        Self {
            kind,
            id,
            bytes: u32::try_from(limits::NODE_BYTES).unwrap_or(u32::MAX),
        }
    }

    /// Wants a chunk of known size.
    pub fn chunk(id: ObjectId, bytes: u32) -> Self {
        Self {
            kind: ObjectKind::Chunk,
            id,
            bytes,
        }
    }

    /// Returns the most that it can take in a pack, in bytes.
    pub fn packed_bytes(&self) -> usize {
        RECORD_HEADER_BYTES + self.bytes as usize
    }
}

/// Checks an answer's objects against what was asked for.
#[derive(Debug)]
pub(super) struct Checklist(BTreeMap<ObjectId, Wanted>);

impl Checklist {
    pub(super) fn new(wanted: &[Wanted]) -> Self {
        Self(wanted.iter().map(|w| (w.id, *w)).collect())
    }

    /// Takes one object off the list; the text names the rule that it breaks.
    pub(super) fn take(&mut self, object: &Object) -> Result<(), String> {
        let Some(wanted) = self.0.remove(&object.id) else {
            return Err(format!("object {} was not asked for", object.id));
        };
        let is_right = match wanted.kind {
            ObjectKind::Chunk => object.bytes.len() == wanted.bytes as usize,
            _ => object.bytes.len() <= wanted.bytes as usize,
        };
        if object.kind == wanted.kind && is_right {
            return Ok(());
        }
        Err(format!(
            "object {} is a {:?} of {} bytes, wanted was a {:?} of {}",
            object.id,
            object.kind,
            object.bytes.len(),
            wanted.kind,
            wanted.bytes
        ))
    }

    /// Returns whether all came.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns what is still to come, one request's worth at most.
    pub(super) fn ids(&self) -> Vec<ObjectId> {
        self.0
            .keys()
            .take(limits::REQUEST_OBJECTS)
            .copied()
            .collect()
    }

    /// Returns the most that what is still to come can take in a pack, in bytes.
    pub(super) fn packed_bytes(&self) -> usize {
        self.0.values().map(Wanted::packed_bytes).sum()
    }

    /// Returns all that did not come.
    pub(super) fn rest(self) -> Vec<ObjectId> {
        self.0.into_keys().collect()
    }
}

/// A hash proves only whose bytes these are: nodes and revisions must be what they are taken for
/// before anything keeps them.
fn check_rules(record: &Record) -> Result<(), String> {
    match record {
        Record::Object(object) if object.kind.is_node() => {
            let node = Node::decode(object.kind, &object.bytes);
            node.map(drop)
                .map_err(|e| format!("node {}: {e}", object.id))
        }
        Record::Object(_) => Ok(()),
        Record::Revision(id, bytes) => {
            let revision = Revision::decode(bytes);
            revision
                .map(drop)
                .map_err(|e| format!("revision {id}: {e}"))
        }
    }
}

/// Verified records out of an answer's body; holds one record and one piece of the body at a time.
#[derive(Debug)]
pub struct PackStream {
    server: ServerUrl,
    what: &'static str,
    response: reqwest::Response,
    reader: Option<PackReader>,
    left_bytes: usize,
}

impl PackStream {
    pub(super) fn new(
        server: &ServerUrl,
        what: &'static str,
        response: reqwest::Response,
        most_bytes: usize,
    ) -> Self {
        Self {
            server: server.clone(),
            what,
            response,
            reader: Some(PackReader::default()),
            left_bytes: most_bytes,
        }
    }

    /// Returns the next record, or `None` at the pack's proper end. Not cancel safe: after a
    /// dropped call the stream must be dropped too.
    ///
    /// # Errors
    /// [`ClientError::BadAnswer`] for a pack that breaks a rule, [`ClientError::Unreachable`] if
    /// the body stops.
    pub async fn next(&mut self) -> Result<Option<Record>, ClientError> {
        loop {
            let Some(reader) = &mut self.reader else {
                return Ok(None);
            };
            match reader.next_record() {
                Ok(Some(record)) => {
                    check_rules(&record).map_err(|reason| self.bad(reason))?;
                    return Ok(Some(record));
                }
                Ok(None) => {}
                Err(error) => return Err(self.bad(error.to_string())),
            }
            if !self.feed().await? {
                return Ok(None);
            }
        }
    }

    /// Returns a bad-answer error about this pack.
    pub(super) fn bad(&self, reason: String) -> ClientError {
        ClientError::BadAnswer {
            server: self.server.clone(),
            what: self.what,
            reason,
        }
    }

    async fn feed(&mut self) -> Result<bool, ClientError> {
        let piece = read_piece(&self.server, &mut self.response).await?;
        let Some(piece) = piece else {
            let reader = self.reader.take().unwrap_or_default();
            reader.finish().map_err(|e| self.bad(e.to_string()))?;
            return Ok(false);
        };
        let Some(left) = self.left_bytes.checked_sub(piece.len()) else {
            return Err(self.bad("the pack is longer than what was asked for".to_owned()));
        };
        self.left_bytes = left;
        if let Some(reader) = &mut self.reader {
            reader.feed(&piece);
        }
        Ok(true)
    }
}

/// Reads the next piece of a body, giving up when none comes for [`STALL`].
pub(super) async fn read_piece(
    server: &ServerUrl,
    response: &mut reqwest::Response,
) -> Result<Option<bytes::Bytes>, ClientError> {
    let unreachable = |reason| ClientError::Unreachable {
        server: server.clone(),
        reason,
    };
    match tokio::time::timeout(STALL, response.chunk()).await {
        Ok(Ok(piece)) => Ok(piece),
        Ok(Err(error)) => Err(unreachable(super::http::root_cause(&error))),
        Err(_elapsed) => Err(unreachable(format!(
            "the answer stopped for {} s",
            STALL.as_secs()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fsync_core::id::RevisionId;

    #[test]
    fn what_breaks_a_rule_is_refused_though_its_hash_is_true() {
        let junk = |kind| Record::Object(Object::new(kind, b"junk".to_vec()));
        assert_eq!(check_rules(&junk(ObjectKind::Chunk)), Ok(()));
        for kind in [ObjectKind::Directory, ObjectKind::File, ObjectKind::Symlink] {
            let refused = check_rules(&junk(kind));
            assert!(refused.is_err_and(|e| e.starts_with("node ")), "{kind:?}");
        }
        let revision = Record::Revision(RevisionId::of(b"junk"), b"junk".to_vec());
        let refused = check_rules(&revision);
        assert!(refused.is_err_and(|e| e.starts_with("revision ")));
    }

    #[test]
    fn an_answer_holds_exactly_what_was_asked_for() {
        let asked = Object::new(ObjectKind::Chunk, b"abc".to_vec());
        let other = Object::new(ObjectKind::Chunk, b"abcd".to_vec());
        let mut list = Checklist::new(&[Wanted::chunk(asked.id, 3), Wanted::chunk(other.id, 9)]);
        assert_eq!(list.take(&asked), Ok(()));
        assert!(
            list.take(&asked)
                .is_err_and(|e| e.contains("not asked for"))
        );
        assert!(list.take(&other).is_err_and(|e| e.contains("of 4 bytes")));
        let list = Checklist::new(&[Wanted::chunk(asked.id, 3)]);
        assert_eq!(list.rest(), vec![asked.id]);
    }
}
