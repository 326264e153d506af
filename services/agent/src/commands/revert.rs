//! `revert`: gives up what was changed here and may not be sent, in favour of the tree's version.

use super::{Exit, FolderArgs, Found, output::Output, restore::parse_path, unexpected};
use crate::control::{PathText, Request, Response};

/// Flags of `revert`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub(crate) folder: FolderArgs,
    /// Only this path and what is below it, relative to the synced folder [default: everything]
    #[arg(long, value_name = "PATH", value_parser = parse_path)]
    path: Option<PathText>,
}

/// Runs the verb. What was changed goes to the trash.
///
/// # Errors
/// If no agent runs.
pub async fn run(args: Args, output: &Output) -> anyhow::Result<Exit> {
    let found = Found::find(&args.folder)?;
    let response = found.ask(&Request::Revert { path: args.path }).await?;
    let Response::Reverted { paths } = response else {
        return Err(unexpected(&response));
    };
    output.show(&response, || match paths {
        0 => "nothing here waits for a token that may write".to_owned(),
        paths => format!("{paths} paths get the tree's version; yours are in the trash"),
    });
    Ok(Exit::Done)
}
