//! `restore`: brings an earlier version of a path, or of everything, back as a new change.

use fsync_core::id::RevisionId;
use fsync_core::limits;
use fsync_core::path::RelPath;
use fsync_core::wire::LogItem;
use indicatif::HumanCount;

use super::{Exit, FolderArgs, Found, output::Output, unexpected};
use crate::control::{PathText, Request, Response};

/// Fewest digits of a shortened ref.
const SHORT_REF: usize = 4;

/// Flags of `restore`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub(crate) folder: FolderArgs,
    /// What to restore, relative to the folder [default: every file of the revision; needs --at;
    /// files added later stay]
    #[arg(long, value_name = "PATH", value_parser = parse_path)]
    path: Option<PathText>,
    /// The revision to take it from, as `fsync-agent log` shows it (its number, its ref or the
    /// ref's first digits) [default: the newest in which the path was different]
    #[arg(long, value_name = "REVISION")]
    at: Option<String>,
}

/// Runs the verb.
///
/// # Errors
/// If no agent runs, or there is no such version.
pub async fn run(args: Args, output: &Output) -> anyhow::Result<Exit> {
    let found = Found::find(&args.folder)?;
    anyhow::ensure!(
        args.path.is_some() || args.at.is_some(),
        "say what to restore: --path PATH for one file or directory, or --at REVISION for every file of that revision \
         (files that were added later stay); \
         `fsync-agent log` lists revisions"
    );
    let at = match &args.at {
        Some(text) => Some(resolve(&found, text).await?),
        None => None,
    };
    let path = args.path.unwrap_or_default();
    let response = found.ask(&Request::Restore { path, at }).await?;
    let Response::Restored { path, at, changed } = &response else {
        return Err(unexpected(&response));
    };
    output.show(&response, || {
        format!(
            "restored {path} as it was in {}: {} paths changed",
            at.short(),
            HumanCount(*changed)
        )
    });
    Ok(Exit::Done)
}

/// Parses a path argument: relative to the folder, a leading `./` and a slash at the end allowed.
pub(super) fn parse_path(text: &str) -> Result<PathText, String> {
    let text = text.strip_prefix("./").unwrap_or(text);
    let text = text.strip_suffix('/').unwrap_or(text);
    let text = if text == "." { "" } else { text };
    RelPath::parse(text.as_bytes())
        .map(PathText)
        .map_err(|e| format!("{e}; give a path relative to the synced folder"))
}

/// Finds the revision that a person means.
async fn resolve(found: &Found, text: &str) -> anyhow::Result<RevisionId> {
    if let Ok(revision) = text.parse() {
        return Ok(revision);
    }
    let http = found.http()?;
    let items = http.log(None, limits::LOG_REVISIONS).await?;
    pick(&items, text).map_err(|reason| {
        anyhow::anyhow!("{reason}; `fsync-agent log` lists revisions, give a number or a ref of it")
    })
}

fn pick(items: &[LogItem], text: &str) -> Result<RevisionId, String> {
    let by_seq = |item: &&LogItem| text.parse() == Ok(item.seq.0);
    if let Some(item) = items.iter().find(by_seq) {
        return Ok(item.revision);
    }
    let by_ref = |item: &&LogItem| item.revision.to_string().starts_with(text);
    let mut matches = items
        .iter()
        .filter(by_ref)
        .filter(|_| text.len() >= SHORT_REF);
    match (matches.next(), matches.next()) {
        (Some(item), None) => Ok(item.revision),
        (Some(_), Some(_)) => Err(format!("{text:?} fits several revisions")),
        (None, _) => Err(format!("no recent revision is {text:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(seq: u64, id: &str) -> LogItem {
        serde_json::from_value(serde_json::json!({
            "ref": id.repeat(32), "seq": seq, "root": "00".repeat(32),
            "parents": [], "author": "a", "time": 0
        }))
        .unwrap()
    }

    #[test]
    fn revisions_are_named_by_number_or_by_ref() {
        let items = [item(12, "ab"), item(11, "ac"), item(10, "12")];
        let picked = |text| pick(&items, text).map(|r| r.short());
        assert_eq!(picked("11"), Ok("acacacac".into()));
        assert_eq!(picked("abab"), Ok("abababab".into()));
        assert_eq!(picked("1212"), Ok("12121212".into()));
        assert!(picked("a").is_err_and(|e| e.contains("no recent")));
        assert!(picked("ffff").is_err());
    }

    #[test]
    fn paths_are_relative_to_the_folder() {
        let parsed = |text| parse_path(text).map(|p| p.0.to_string());
        assert_eq!(parsed("./a/b/"), Ok("a/b".into()));
        assert_eq!(parsed("."), Ok(".".into()));
        assert!(parsed("../a").is_err());
        assert!(parsed("/etc/passwd").is_err());
    }
}
