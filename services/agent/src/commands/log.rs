//! `log`: the tree's newest revisions. Needs no running agent, unless a path is given.

use fsync_core::conflict::format_time;
use fsync_core::limits;
use fsync_core::wire::LogItem;

use super::{Exit, FolderArgs, Found, output::Output, unexpected};
use crate::control::{PathText, Request, Response};

/// Flags of `log`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub(crate) folder: FolderArgs,
    /// Show only revisions that changed this path (relative to the folder) or something below it
    #[arg(long, value_name = "PATH", value_parser = super::restore::parse_path)]
    path: Option<PathText>,
    /// Show at most so many revisions
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
    limit: usize,
}

/// Runs the verb.
///
/// # Errors
/// If the folder is not synced or the server cannot be reached.
pub async fn run(args: Args, output: &Output) -> anyhow::Result<Exit> {
    let found = Found::find(&args.folder)?;
    let limit = args.limit.clamp(1, limits::LOG_REVISIONS);
    let wanted = args.path.clone();
    let items = match args.path {
        Some(_) => through_agent(&found, args.path, limit).await?,
        None => from_server(&found, limit).await?,
    };
    output.show(&items, || match (items.is_empty(), wanted) {
        (true, Some(path)) => format!("no revision on record changed {}", path.0),
        _ => text(&items),
    });
    Ok(Exit::Done)
}

async fn through_agent(
    found: &Found,
    path: Option<PathText>,
    limit: usize,
) -> anyhow::Result<Vec<LogItem>> {
    match found.ask(&Request::Log { path, limit }).await? {
        Response::Log { items } => Ok(items),
        response => Err(unexpected(&response)),
    }
}

async fn from_server(found: &Found, limit: usize) -> anyhow::Result<Vec<LogItem>> {
    let http = found.http()?;
    http.check_version().await?;
    Ok(http.log(None, limit).await?)
}

fn text(items: &[LogItem]) -> String {
    if items.is_empty() {
        return "no revision yet".to_owned();
    }
    let lines: Vec<String> = items.iter().map(line).collect();
    lines.join("\n")
}

fn line(item: &LogItem) -> String {
    let trace = item.trace.map(|trace| format!("  trace {trace}"));
    let trace = trace.unwrap_or_default();
    format!(
        "{:>6}  {}  {}  {}",
        item.seq.0,
        item.revision.short(),
        format_time(item.time),
        item.author
    ) + &trace
}
