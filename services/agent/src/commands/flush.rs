//! `flush`: returns when all that was saved before is durable on the service, and the head of that moment is here.

use super::{Exit, FolderArgs, Found, output::Output, unexpected};
use crate::control::{Failure, FailureKind, Request, Response};

/// Flags of `flush`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub(crate) folder: FolderArgs,
}

/// Runs the verb.
///
/// # Errors
/// If no agent runs, or a hold or the network stands in the way.
pub async fn run(args: Args, output: &Output) -> anyhow::Result<Exit> {
    let found = Found::find(&args.folder)?;
    let response = match found.ask(&Request::Flush).await {
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

fn is_hold(error: &anyhow::Error) -> bool {
    let failure = error.downcast_ref::<Failure>();
    failure.is_some_and(|failure| failure.kind == FailureKind::Held)
}
