//! `conflicts`: the conflict copies in a folder.

use fsync_core::conflict::format_time;
use indicatif::HumanBytes;

use super::{Exit, FolderArgs, Found, output::Output, unexpected};
use crate::control::protocol::ConflictCopy;
use crate::control::{Request, Response};

/// Flags of `conflicts`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub(crate) folder: FolderArgs,
}

/// Runs the verb.
///
/// # Errors
/// If no agent runs.
pub async fn run(args: Args, output: &Output) -> anyhow::Result<Exit> {
    let found = Found::find(&args.folder)?;
    let response = found.ask(&Request::Conflicts).await?;
    let Response::Conflicts { items } = &response else {
        return Err(unexpected(&response));
    };
    output.show(items, || text(items));
    Ok(Exit::Done)
}

fn text(items: &[ConflictCopy]) -> String {
    if items.is_empty() {
        return "no conflict copies".to_owned();
    }
    let lines: Vec<String> = items
        .iter()
        .map(|item| {
            format!(
                "{}\n    other version by {}, {}, {}: {}",
                item.path,
                item.agent,
                HumanBytes(item.bytes),
                format_time(item.modified),
                item.copy
            )
        })
        .collect();
    format!(
        "{}\nKeep what you want under the first name, then remove the copy.",
        lines.join("\n")
    )
}
