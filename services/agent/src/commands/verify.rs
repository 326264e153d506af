//! `verify`: reads every file and says whether the folder is what its agent recorded.

use indicatif::{HumanBytes, HumanCount};

use super::{Exit, FolderArgs, Found, output::Output, unexpected};
use crate::control::protocol::Verified;
use crate::control::{Request, Response};

/// Flags of `verify`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub(crate) folder: FolderArgs,
}

/// Runs the verb; ends with 1 if anything was found.
///
/// # Errors
/// If no agent runs, or its state cannot be read.
pub async fn run(args: Args, output: &Output) -> anyhow::Result<Exit> {
    let found = Found::find(&args.folder)?;
    let response = found.ask(&Request::Verify).await?;
    let Response::Verified(verified) = &response else {
        return Err(unexpected(&response));
    };
    output.show(verified, || text(verified));
    Ok(match verified.found {
        0 => Exit::Done,
        _ => Exit::Fatal,
    })
}

fn text(verified: &Verified) -> String {
    let mut lines: Vec<String> = verified
        .findings
        .iter()
        .map(|finding| format!("{}: {}", finding.path, finding.message))
        .collect();
    let more = verified.found - verified.findings.len() as u64;
    if more > 0 {
        lines.push(format!("and {} more", HumanCount(more)));
    }
    let mut summary = format!(
        "{} files, {} are as recorded",
        HumanCount(verified.files),
        HumanBytes(verified.bytes)
    );
    let parts = [
        (verified.found, "not"),
        (verified.waiting, "changed and not looked at yet"),
        (
            verified.excepted,
            "not kept in step (`fsync-agent status` lists them)",
        ),
    ];
    for (count, what) in parts.into_iter().filter(|(count, _)| *count > 0) {
        summary += &format!(", {} {what}", HumanCount(count));
    }
    lines.push(summary);
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_counts_what_is_not_as_it_was() {
        let mut verified = Verified {
            files: 1200,
            bytes: 2048,
            ..Verified::default()
        };
        assert_eq!(text(&verified), "1,200 files, 2.00 KiB are as recorded");
        (verified.found, verified.waiting) = (3, 1);
        assert_eq!(
            text(&verified),
            "and 3 more\n1,200 files, 2.00 KiB are as recorded, 3 not, 1 changed and not looked at yet"
        );
    }
}
