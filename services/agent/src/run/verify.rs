//! The verb `verify`: reads the whole folder on a thread of its own.

use fsync_core::engine::Activity;
use fsync_core::path::RelPath;
use tokio::sync::oneshot;

use super::RunError;
use super::driver::Driver;
use crate::control::protocol::{Finding, FindingKind, Verified};
use crate::control::status::shell_quoted;
use crate::control::{Failure, FailureKind, PathText, Response};
use crate::folder::{FolderError, verify};

impl Driver {
    /// Starts to verify; whoever asked gets the answer when all is read.
    pub(super) fn verify(&self, reply: oneshot::Sender<Response>) -> Result<(), RunError> {
        // In one moment: both may go on while the files are read.
        let is_at_head = self.activity != Activity::InStep || self.folder.is_at_head()?;
        let parts = self.net.parts.clone();
        let stop = self.net.shutdown.token();
        let work = move || {
            let mut found = verify::verify(&parts, &|| stop.is_cancelled())?;
            if !is_at_head {
                found.found += 1;
                found
                    .findings
                    .insert(0, (RelPath::root(), verify::Finding::Head));
            }
            Ok::<_, FolderError>(found)
        };
        let task = self.net.shutdown.spawn_blocking("verify", work);
        let base = self.folder.status()?.base;
        let way_back = WayBack {
            dir: shell_quoted(&self.options.claim.dir.to_string_lossy()),
            at: base.map(|base| base.seq.0),
        };
        let answer = async move {
            match task.await {
                Ok(Ok(found)) => Response::Verified(shown(&found, &way_back)),
                Ok(Err(error)) => internal(&error.to_string()),
                Err(_) => internal("it died"),
            }
        };
        self.answer_later("verify", answer, reply);
        Ok(())
    }
}

/// How a content comes back from the service.
struct WayBack {
    dir: String,
    /// The revision that the folder agreed with last.
    at: Option<u64>,
}

impl WayBack {
    fn of(&self, path: &RelPath) -> String {
        let Some(at) = self.at else {
            return "no other copy is known".to_owned();
        };
        let path = shell_quoted(&path.to_string());
        format!(
            "what the service has comes back with `fsync-agent restore {} --path {path} --at {at}`",
            self.dir
        )
    }
}

fn shown(found: &verify::Verified, way_back: &WayBack) -> Verified {
    let finding = |(path, finding): &(RelPath, verify::Finding)| {
        let (kind, message) = match finding {
            verify::Finding::Rotten => (
                FindingKind::Rotten,
                format!(
                    "its content is not what was recorded, though nothing says that it was written; {}",
                    way_back.of(path)
                ),
            ),
            verify::Finding::Unreadable(reason) => (
                FindingKind::Unreadable,
                format!("cannot be read any more: {reason}; {}", way_back.of(path)),
            ),
            verify::Finding::Index => (
                FindingKind::Index,
                "the agent's own records contradict each other; stop the agent and remove its state file, which is \
                 then made anew from disk and head"
                    .to_owned(),
            ),
            verify::Finding::Head => (
                FindingKind::Head,
                "the folder is not what the tree's head says, though it counts as in step; restart the agent, and \
                 report it if it comes again"
                    .to_owned(),
            ),
        };
        Finding {
            path: PathText(path.clone()),
            kind,
            message,
        }
    };
    Verified {
        files: found.files,
        bytes: found.bytes,
        waiting: found.waiting,
        excepted: found.excepted,
        findings: found.findings.iter().map(finding).collect(),
        found: found.found,
    }
}

fn internal(why: &str) -> Response {
    let message = format!("the folder could not be verified: {why}");
    Response::Failed(Failure::new(FailureKind::Internal, message))
}
