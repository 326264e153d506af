//! `status`: how a folder stands.

use indicatif::{HumanBytes, HumanCount};

use super::{Exit, FolderArgs, Found, output::Output, sync_command, unexpected};
use crate::control::status::{Counts, ExceptionItem, Hold, OtherAgent};
use crate::control::{self, ControlError, Request, Response, State, Status};
use crate::progress::amount;
use fsync_core::exception::Exception;
use fsync_core::wire::Head;

/// Exceptions that the text lists; `--json` has more.
const SHOWN_EXCEPTIONS: usize = 20;

/// Flags of `status`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub(crate) folder: FolderArgs,
}

/// Runs the verb.
///
/// # Errors
/// If the folder is not synced or its agent does not answer properly.
pub async fn run(args: Args, output: &Output) -> anyhow::Result<Exit> {
    let found = Found::find(&args.folder)?;
    let status = match control::ask(&found.config.control_path(), &Request::Status).await {
        Ok(Response::Status(status)) => *status,
        Ok(Response::Failed(failure)) => return Err(failure.into()),
        Ok(response) => return Err(unexpected(&response)),
        Err(ControlError::NotRunning) => stopped(&found),
        Err(error) => return Err(error.into()),
    };
    output.show(&status, || text(&status));
    Ok(exit_of(&status))
}

/// A delete hold needs the user even while all else is in step.
fn exit_of(status: &Status) -> Exit {
    if status.state == State::Held || !status.holds.is_empty() {
        return Exit::Held;
    }
    Exit::Done
}

/// Returns what can be said of a folder without an agent.
fn stopped(found: &Found) -> Status {
    let config = found.config.clone();
    Status {
        reason: Some(format!(
            "no agent runs; start it with `{}`",
            sync_command(&found.dir, &config)
        )),
        dir: found.dir.clone(),
        tree: config.tree,
        server: config.server,
        agent: config.agent,
        state: State::Stopped,
        is_connected: false,
        agents: Vec::new(),
        head: None,
        base: None,
        counts: None,
        watching: None,
        exceptions: Vec::new(),
        exception_count: 0,
        holds: Vec::new(),
        conflicts: None,
        transfer: None,
        trash: None,
    }
}

fn text(status: &Status) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        text.push_str(&format!("{name:<10} {value}\n"));
    };
    line("folder", &status.dir.display().to_string());
    line("tree", &status.tree.to_string());
    line("agent", status.agent.as_str());
    let connected = if status.is_connected {
        "connected"
    } else {
        "not connected"
    };
    line("server", &format!("{} ({connected})", status.server));
    let reason = status
        .reason
        .as_ref()
        .map_or_else(String::new, |r| format!(": {r}"));
    line("state", &format!("{}{reason}", status.state.as_str()));
    if status.state != State::Stopped {
        for (name, value) in details(status) {
            line(name, &value);
        }
    }
    for item in status.exceptions.iter().take(SHOWN_EXCEPTIONS) {
        line("exception", &exception(item));
    }
    let hidden = status
        .exception_count
        .saturating_sub(SHOWN_EXCEPTIONS as u64);
    if hidden > 0 {
        line(
            "",
            &format!("and {} more (--json lists them)", HumanCount(hidden)),
        );
    }
    for held in &status.holds {
        line("hold", &hold(held));
    }
    text.truncate(text.trim_end().len());
    text
}

fn details(status: &Status) -> Vec<(&'static str, String)> {
    let counts = status.counts.unwrap_or_default();
    let mut lines = Vec::new();
    if !status.agents.is_empty() {
        lines.push(("agents", agents(&status.agents)));
    }
    lines.extend([
        ("head", position(status.head)),
        ("base", position(status.base)),
        ("content", content(counts)),
    ]);
    if counts.unsent > 0 {
        lines.push(("unsent", format!("{} changes", HumanCount(counts.unsent))));
    }
    if counts.behind > 0 {
        lines.push(("behind", format!("{} revisions", HumanCount(counts.behind))));
    }
    if let Some(transfer) = &status.transfer {
        let of = transfer.total.map(|t| format!(" of {}", amount(t)));
        let value = format!("{}{}", amount(transfer.done), of.unwrap_or_default());
        lines.push((transfer.stage.as_str(), value));
    }
    if let Some(count @ 1..) = status.conflicts {
        let value = format!("{} (see `fsync-agent conflicts`)", HumanCount(count));
        lines.push(("conflicts", value));
    }
    if let Some(watching) = &status.watching {
        lines.extend(watching.polled.clone().map(|why| ("watching", why)));
        if watching.overflows > 0 {
            let times = HumanCount(watching.overflows);
            lines.push((
                "overflows",
                format!("{times} times events were lost, and everything was looked at"),
            ));
        }
    }
    if let Some(trash) = status.trash.filter(|trash| trash.items > 0) {
        let value = format!(
            "{} entries, {}",
            HumanCount(trash.items),
            HumanBytes(trash.bytes)
        );
        lines.push(("trash", value));
    }
    lines
}

fn agents(agents: &[OtherAgent]) -> String {
    let word = |other: &OtherAgent| format!("{} {}", other.agent, other.state.as_str());
    agents.iter().map(word).collect::<Vec<_>>().join(", ")
}

fn content(counts: Counts) -> String {
    let files = HumanCount(counts.files);
    format!("{files} files, {}", HumanBytes(counts.bytes))
}

fn position(head: Option<Head>) -> String {
    head.map_or_else(
        || "none yet".to_owned(),
        |head| format!("{} ({})", head.seq.0, head.revision.short()),
    )
}

fn exception(item: &ExceptionItem) -> String {
    let why = match &item.exception {
        Exception::Blocked { reason } => format!("blocked: {reason}"),
        Exception::Ignored => "ignored".to_owned(),
        Exception::Unreadable { reason } => format!("cannot be read: {reason}"),
        Exception::Unfetched => "not fetched yet".to_owned(),
        Exception::Skipped { what } => format!("skipped: {what}"),
        Exception::Held => "held".to_owned(),
        Exception::LocalOnly => "on this disk only".to_owned(),
        Exception::ReadOnly => {
            "changed on this disk only: the token allows to read; `fsync-agent revert` puts the tree's version back"
                .to_owned()
        }
    };
    format!("{}: {why}", item.path)
}

fn hold(hold: &Hold) -> String {
    format!(
        "{} ({} paths)\n{:<10} to let it happen: {}\n{:<10} to take it back: {}",
        hold.reason,
        HumanCount(hold.paths),
        "",
        hold.approve,
        "",
        hold.way_back()
    )
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use fsync_core::wire::PresenceState;

    use super::*;
    use crate::control::status::HoldKind;

    fn other(name: &str, state: PresenceState) -> OtherAgent {
        let agent = name.parse().unwrap();
        OtherAgent { agent, state }
    }

    fn status() -> Status {
        let head: Head = serde_json::from_value(serde_json::json!({
            "epoch": 1, "seq": 7, "ref": "ab".repeat(32)
        }))
        .unwrap();
        Status {
            dir: PathBuf::from("/d"),
            tree: "t".parse().unwrap(),
            server: "http://h:1".parse().unwrap(),
            agent: "me".parse().unwrap(),
            state: State::Held,
            reason: Some("deletes wait".into()),
            is_connected: true,
            agents: vec![
                other("desk", PresenceState::InStep),
                other("laptop", PresenceState::Syncing),
            ],
            head: Some(head),
            base: None,
            counts: Some(Counts {
                files: 1200,
                bytes: 2048,
                unsent: 0,
                behind: 3,
            }),
            watching: None,
            exceptions: vec![],
            exception_count: 0,
            holds: vec![Hold::new(
                1,
                HoldKind::DeletesOut,
                "60 files vanished".into(),
                Path::new("/d"),
            )],
            conflicts: Some(0),
            transfer: None,
            trash: None,
        }
    }

    #[test]
    fn a_status_reads_as_lines() {
        let expected = "\
folder     /d
tree       default/t
agent      me
server     http://h:1 (connected)
state      held: deletes wait
agents     desk in-step, laptop syncing
head       7 (abababab)
base       none yet
content    1,200 files, 2.00 KiB
behind     3 revisions
hold       60 files vanished (0 paths)
           to let it happen: fsync-agent approve /d --hold 1
           to take it back: fsync-agent reject /d --hold 1";
        assert_eq!(text(&status()), expected);
    }

    #[test]
    fn a_hold_shows_in_the_exit_code_whatever_the_state_is() {
        let mut status = status();
        status.state = State::InStep;
        assert_eq!(exit_of(&status), Exit::Held);
        status.holds.clear();
        assert_eq!(exit_of(&status), Exit::Done);
    }

    #[test]
    fn many_exceptions_are_summed_up() {
        let mut status = status();
        status.exceptions = (0..30)
            .map(|_| ExceptionItem {
                path: crate::control::PathText::default(),
                exception: Exception::Ignored,
            })
            .collect();
        status.exception_count = 2000;
        let text = text(&status);
        assert_eq!(text.matches("exception ").count(), SHOWN_EXCEPTIONS);
        assert!(text.contains("and 1,980 more"));
    }

    #[test]
    fn a_status_survives_the_socket() {
        let json = serde_json::to_string(&status()).unwrap();
        assert_eq!(serde_json::from_str::<Status>(&json).unwrap(), status());
    }
}
