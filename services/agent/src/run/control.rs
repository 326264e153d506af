//! What the verbs ask of a running agent.

use std::path::Path;

use fsync_core::conflict::CONFLICT_MARK;
use fsync_core::node::Entry;
use fsync_core::path::{Name, RelPath};
use fsync_core::revision::Timestamp;

use super::driver::Driver;
use super::{RunError, history, restore};
use crate::control::protocol::ConflictCopy;
use crate::control::status::{Counts, ExceptionItem, Hold, HoldKind, LISTED_EXCEPTIONS, Watching};
use crate::control::{Command, Failure, FailureKind, PathText, Request, Response, Status};
use crate::folder::{self, Copy, FolderInput, Parts};
use crate::trash;

/// Why a root hold cannot be rejected.
const ROOT_STAYS: &str = "a changed root cannot be taken back from here: put the folder back as it was, \
                          and the hold ends by itself";
/// Numbers of the holds that can exist: one of each kind at a time.
const HOLD_ROOT: u64 = 1;
const HOLD_OUT: u64 = 2;
const HOLD_IN: u64 = 3;

impl Driver {
    /// Carries out a request, or starts what will.
    pub(super) fn command(&mut self, command: Command) -> Result<(), RunError> {
        let Command { request, reply } = command;
        let response = match request {
            Request::Status => {
                let status = self.status()?;
                let parts = self.net.parts.clone();
                let work = move || surveyed(status, &parts);
                let task = self.net.shutdown.spawn_blocking("survey", work);
                let answer = async move { task.await.unwrap_or_else(|_| internal("it died")) };
                self.answer_later("status", answer, reply);
                return Ok(());
            }
            Request::Flush => {
                let id = self.next_flush;
                self.next_flush += 1;
                self.flushes.insert(id, reply);
                return self.feed(FolderInput::Flush(id));
            }
            Request::Log { path, limit } => {
                let net = self.net.clone();
                let path = path.map(|path| path.0);
                let answer = async move { history::log(&net.http, path, limit).await };
                self.answer_later("log", answer, reply);
                return Ok(());
            }
            Request::Restore { path, at } => {
                let net = self.net.clone();
                let answer = async move { restore::restore(&net, path.0, at).await };
                self.answer_later("restore", answer, reply);
                return Ok(());
            }
            Request::Conflicts => {
                let copies = self.folder.conflict_copies()?;
                Response::Conflicts {
                    items: copies.iter().map(item_of).collect(),
                }
            }
            Request::Verify => return self.verify(reply),
            Request::Approve { hold } => self.release(hold, FolderInput::Approve)?,
            Request::Revert { path } => {
                let path = path.map(|path| path.0).unwrap_or_default();
                let paths = self.folder.kept_here(&path)?.len() as u64;
                self.feed(FolderInput::Revert(path))?;
                Response::Reverted { paths }
            }
            Request::Reject { hold } => self.release(hold, FolderInput::Reject)?,
        };
        // The verb may be gone; then nobody reads the answer.
        drop(reply.send(response));
        Ok(())
    }

    pub(super) fn answer_later(
        &self,
        name: &'static str,
        answer: impl Future<Output = Response> + Send + 'static,
        reply: tokio::sync::oneshot::Sender<Response>,
    ) {
        let task = async move { drop(reply.send(answer.await)) };
        drop(self.net.shutdown.spawn(name, task));
    }

    /// Ends one hold, or all that can be ended so, one by one.
    fn release(
        &mut self,
        wanted: Option<u64>,
        end: fn(HoldKind) -> FolderInput,
    ) -> Result<Response, RunError> {
        let can_end = |hold: &Hold| !matches!(end(hold.kind), FolderInput::Reject(HoldKind::Root));
        let found = self.holds()?.into_iter();
        let found: Vec<Hold> = found
            .filter(|hold| wanted.is_none_or(|id| id == hold.id))
            .collect();
        let (ended, left): (Vec<Hold>, Vec<Hold>) = found.into_iter().partition(can_end);
        if ended.is_empty() {
            let message = match (left.is_empty(), wanted) {
                (false, _) => ROOT_STAYS.to_owned(),
                (true, Some(id)) => {
                    format!("there is no hold {id}; `fsync-agent status` lists the holds")
                }
                (true, None) => "nothing is held; `fsync-agent status` lists the holds".to_owned(),
            };
            let failure = Failure::new(FailureKind::Refused, message);
            return Ok(Response::Failed(failure));
        }
        for hold in &ended {
            self.feed(end(hold.kind))?;
        }
        let holds = ended.iter().map(|hold| hold.id).collect();
        Ok(Response::Released { holds })
    }

    /// Answers a flush whose work is done, but for what is held.
    pub(super) fn flushed(&self) -> Response {
        let head = self.folder.engine().head();
        match self.holds() {
            Ok(holds) if holds.is_empty() => Response::Flushed { head },
            Ok(_) => Response::Failed(Failure::new(
                FailureKind::Held,
                "all but what is held is in step; `fsync-agent status` lists the holds",
            )),
            Err(error) => Response::Failed(Failure::new(FailureKind::Internal, error.to_string())),
        }
    }

    /// Returns what waits for the user.
    pub(super) fn holds(&self) -> Result<Vec<Hold>, RunError> {
        let status = self.folder.status()?;
        let dir = &self.options.claim.dir;
        let mut holds = Vec::new();
        let mut add = |id, kind, reason: String, paths| {
            let mut hold = Hold::new(id, kind, reason, dir);
            hold.paths = paths;
            if kind == HoldKind::Root {
                hold.approve += &self.options.claim.state_flag();
            }
            holds.push(hold);
        };
        if let Some(reason) = status.root_problem {
            add(HOLD_ROOT, HoldKind::Root, reason, 0);
        }
        if status.held_out > 0 {
            let reason = format!(
                "{} files vanished here; their deletes are not sent",
                status.held_out
            );
            add(HOLD_OUT, HoldKind::DeletesOut, reason, status.held_out);
        }
        if status.held_in > 0 {
            let reason = format!(
                "{} files were deleted elsewhere; they are kept here",
                status.held_in
            );
            add(HOLD_IN, HoldKind::DeletesIn, reason, status.held_in);
        }
        Ok(holds)
    }

    fn status(&self) -> Result<Status, RunError> {
        let folder = self.folder.status()?;
        let holds = self.holds()?;
        // Without a connection none is believed; the base is the last one that was in step.
        let head = self.folder.engine().head().or(folder.base);
        let behind = match (head, folder.base) {
            (Some(head), Some(base)) if head.epoch == base.epoch => {
                head.seq.0.saturating_sub(base.seq.0)
            }
            (Some(head), None) => head.seq.0,
            _ => 0,
        };
        let config = &self.options.claim.config;
        let listed = folder.exceptions.iter().take(LISTED_EXCEPTIONS);
        Ok(Status {
            dir: self.options.claim.dir.clone(),
            tree: self.tree(),
            server: self.net.http.server().clone(),
            agent: config.agent.clone(),
            state: self.word()?,
            reason: folder.root_problem.clone().or(folder.stuck.clone()),
            is_connected: self.is_connected,
            agents: self.others.list(),
            head,
            base: folder.base,
            counts: Some(Counts {
                files: folder.files,
                // Found by the survey, as are conflicts and trash.
                bytes: 0,
                unsent: folder.unsent,
                behind,
            }),
            watching: self.watching.as_ref().map(|report| Watching {
                overflows: report.overflows(),
                polled: report.polled(),
            }),
            exceptions: listed
                .map(|(path, exception)| ExceptionItem {
                    path: PathText(path.clone()),
                    exception: exception.clone(),
                })
                .collect(),
            exception_count: folder.exceptions.len() as u64,
            holds,
            conflicts: None,
            transfer: self.net.progress.transfer(),
            trash: None,
        })
    }
}

/// Adds what costs a walk of tree and trash, on a thread where nobody waits for it but the verb.
fn surveyed(mut status: Status, parts: &Parts) -> Response {
    let survey = match folder::survey(&parts.state) {
        Ok(survey) => survey,
        Err(error) => return internal(&error.to_string()),
    };
    if let Some(counts) = &mut status.counts {
        counts.bytes = survey.bytes;
    }
    status.conflicts = Some(survey.conflicts);
    match trash::usage(&*parts.files) {
        Ok(usage) => status.trash = Some(usage),
        Err(error) => return internal(&error.to_string()),
    }
    Response::Status(Box::new(status))
}

fn internal(why: &str) -> Response {
    let message = format!("the folder could not be surveyed: {why}");
    Response::Failed(Failure::new(FailureKind::Internal, message))
}

fn item_of(copy: &Copy) -> ConflictCopy {
    let (bytes, modified) = match copy.entry {
        Entry::File(file) => (
            file.size,
            u64::try_from(file.mtime.0 / 1_000_000).unwrap_or(0),
        ),
        _ => (0, 0),
    };
    let (original, agent) =
        parse_name(&copy.path).unwrap_or_else(|| (copy.path.clone(), String::new()));
    ConflictCopy {
        path: PathText(original),
        copy: PathText(copy.path.clone()),
        agent,
        bytes,
        modified: Timestamp(modified),
    }
}

/// Reads the original path and the agent out of `stem (conflicted copy AGENT TIME).ext`.
fn parse_name(path: &RelPath) -> Option<(RelPath, String)> {
    let (dir, name) = path.split_last()?;
    let name = name.to_string_lossy().into_owned();
    let start = name.find(CONFLICT_MARK)?;
    let end = start + name[start..].find(')')?;
    let agent = name[start + CONFLICT_MARK.len()..end]
        .split(' ')
        .next()?
        .to_owned();
    let original = format!("{}{}", name[..start].trim_end(), &name[end + 1..]);
    let original = Name::new(Path::new(&original).as_os_str().as_encoded_bytes()).ok()?;
    Some((dir.join(&original), agent))
}
