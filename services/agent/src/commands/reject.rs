//! `reject`: takes held changes back: what was deleted comes back.

use super::{Exit, FolderArgs, Found, output::Output, unexpected};
use crate::control::{Request, Response};

/// Flags of `reject`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub(crate) folder: FolderArgs,
    /// One hold by its number, as `fsync-agent status` shows it [default: all]
    #[arg(long, value_name = "N")]
    hold: Option<u64>,
}

/// Runs the verb.
///
/// # Errors
/// If no agent runs, or there is no such hold.
pub async fn run(args: Args, output: &Output) -> anyhow::Result<Exit> {
    let found = Found::find(&args.folder)?;
    let response = found.ask(&Request::Reject { hold: args.hold }).await?;
    let Response::Released { holds } = &response else {
        return Err(unexpected(&response));
    };
    output.show(&response, || match holds.len() {
        0 => "nothing is held".to_owned(),
        count => format!("rejected {count} hold(s); see `fsync-agent status`"),
    });
    Ok(Exit::Done)
}
