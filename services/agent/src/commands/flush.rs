//! `flush`: returns when all that was saved before is durable on the service, and the head of that
//! moment is here.

use std::convert::Infallible;
use std::time::Duration;

use fsync_runtime::duration;

use super::{Exit, FolderArgs, Found, output::Output, unexpected};
use crate::control::{Failure, FailureKind, Request, Response, State};

/// How long a flush may take before it is looked whether the server is there; most end before.
const LOOK: Duration = Duration::from_secs(1);

/// Flags of `flush`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub(crate) folder: FolderArgs,
    /// Give up after this time, as in 30s, and end with 3 [default: wait as long as it takes]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    timeout: Option<Duration>,
}

/// Runs the verb.
///
/// # Errors
/// If no agent runs, or a hold or the network stands in the way.
pub async fn run(args: Args, output: &Output) -> anyhow::Result<Exit> {
    let found = Found::find(&args.folder)?;
    let response = match wait(&found, args.timeout, output).await {
        Err(error) if is_hold(&error) => {
            output.error(&error);
            return Ok(Exit::Held);
        }
        response => response?,
    };
    let Response::Flushed { head } = &response else {
        return Err(unexpected(&response));
    };
    output.show(&response, || match head {
        Some(head) => format!("in step at {} ({})", head.seq.0, head.revision.short()),
        None => "in step: the tree has no revision yet".to_owned(),
    });
    Ok(Exit::Done)
}

/// Asks for the flush; tells a person who waits for a server that is not there.
async fn wait(
    found: &Found,
    timeout: Option<Duration>,
    output: &Output,
) -> anyhow::Result<Response> {
    let give_up = async {
        match timeout {
            Some(timeout) => tokio::time::sleep(timeout).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        response = found.ask(&Request::Flush) => response,
        never = tell_offline(found, output) => match never {},
        () = give_up => Err(Failure::new(
            FailureKind::Offline,
            "not in step within the --timeout; what was saved is kept and sent as soon as that is \
             possible, `fsync-agent status` shows how it stands",
        )
        .into()),
    }
}

/// Says once that the server cannot be reached.
async fn tell_offline(found: &Found, output: &Output) -> Infallible {
    loop {
        tokio::time::sleep(LOOK).await;
        let status = found.ask(&Request::Status).await;
        let Ok(Response::Status(status)) = status else {
            continue;
        };
        if status.state == State::Offline {
            let server = &found.config.server;
            output.warn(&format!(
                "{server} cannot be reached: waiting until it can; --timeout limits that"
            ));
            return std::future::pending().await;
        }
    }
}

fn is_hold(error: &anyhow::Error) -> bool {
    let failure = error.downcast_ref::<Failure>();
    failure.is_some_and(|failure| failure.kind == FailureKind::Held)
}
