//! The command line of `fsync-agent`: parsing, the runtime, and exit codes.
//!
//! Exit codes: 0 in step or done, 1 usage or fatal, 2 a hold that needs the user, 3 unreachable
//! (with `--once`). One file per verb in `commands`; a new verb adds its file there and a line in
//! [`Verb`].

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use fsync_runtime::LogArgs;
use fsync_runtime::telemetry::{self, Service};

use crate::commands::{self, Exit, output::Output};

/// Keeps folders in step across machines, in real time.
#[derive(Debug, Parser)]
#[command(name = "fsync-agent", version, about, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    log: LogArgs,
    #[command(subcommand)]
    verb: Verb,
}

/// What is to be done.
#[derive(Debug, Subcommand)]
enum Verb {
    /// Keep a folder in step with a tree, until stopped
    Sync(Box<commands::sync::Args>),
    /// Show how a folder stands
    Status(commands::status::Args),
    /// Wait until all that was saved before is durable on the server and the head is here
    Flush(commands::flush::Args),
    /// Show the tree's newest revisions
    Log(commands::log::Args),
    /// Bring an earlier version back
    Restore(commands::restore::Args),
    /// List the conflict copies in a folder
    Conflicts(commands::conflicts::Args),
    /// Read every file and say whether the folder is what was recorded
    Verify(commands::verify::Args),
    /// Keep the token for a server, given on standard input
    Login(commands::login::Args),
    /// Give up what was changed here and may not be sent, because the token only reads
    Revert(commands::revert::Args),
    /// Let held changes happen
    Approve(commands::approve::Args),
    /// Take held changes back
    Reject(commands::reject::Args),
}

/// How its spans are told from others'.
const SERVICE: Service = Service {
    name: "fsync-agent",
    version: env!("CARGO_PKG_VERSION"),
};

/// Runs the program with the process's arguments; `main` returns what this returns.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Nothing can be done about a terminal that is gone.
            drop(error.print());
            return if error.use_stderr() {
                Exit::Fatal.into()
            } else {
                Exit::Done.into()
            };
        }
    };
    fsync_runtime::crypto::install();
    let output = Output::new(cli.verb.wants_json());
    match run(cli, &output) {
        Ok(exit) => exit.into(),
        Err(error) => {
            output.error(&error);
            Exit::of(&error).into()
        }
    }
}

fn run(cli: Cli, output: &Output) -> anyhow::Result<Exit> {
    let runtime = cli.verb.runtime()?;
    let telemetry = {
        let _inside = runtime.enter();
        telemetry::init(&cli.log, "warn", SERVICE)?
    };
    let ended = runtime.block_on(cli.verb.run(output));
    telemetry.flush();
    ended
}

impl Verb {
    fn wants_json(&self) -> bool {
        match self {
            Self::Sync(args) => args.json,
            Self::Status(args) => args.folder.json,
            Self::Flush(args) => args.folder.json,
            Self::Log(args) => args.folder.json,
            Self::Restore(args) => args.folder.json,
            Self::Conflicts(args) => args.folder.json,
            Self::Verify(args) => args.folder.json,
            Self::Login(args) => args.json,
            Self::Revert(args) => args.folder.json,
            Self::Approve(args) => args.folder.json,
            Self::Reject(args) => args.folder.json,
        }
    }

    /// Makes the runtime that the verb needs: a question to a running agent needs no second thread.
    fn runtime(&self) -> anyhow::Result<tokio::runtime::Runtime> {
        let mut builder = match self {
            Self::Sync(_) => {
                let mut builder = tokio::runtime::Builder::new_multi_thread();
                builder.worker_threads(2);
                builder
            }
            _ => tokio::runtime::Builder::new_current_thread(),
        };
        Ok(builder.enable_all().build()?)
    }

    async fn run(self, output: &Output) -> anyhow::Result<Exit> {
        match self {
            Self::Sync(args) => commands::sync::run(*args, output).await,
            Self::Status(args) => commands::status::run(args, output).await,
            Self::Flush(args) => commands::flush::run(args, output).await,
            Self::Log(args) => commands::log::run(args, output).await,
            Self::Restore(args) => commands::restore::run(args, output).await,
            Self::Conflicts(args) => commands::conflicts::run(args, output).await,
            Self::Verify(args) => commands::verify::run(args, output).await,
            Self::Login(args) => commands::login::run(&args, output),
            Self::Revert(args) => commands::revert::run(args, output).await,
            Self::Approve(args) => commands::approve::run(args, output).await,
            Self::Reject(args) => commands::reject::run(args, output).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_contract_of_sync_parses() {
        let line = "fsync-agent sync DIR --server http://h:1 --tree t/n --token-file F --ca-file C \
             --agent-name N --state-dir D --once --json";
        let cli = Cli::try_parse_from(line.split_whitespace()).unwrap();
        assert!(cli.verb.wants_json());
    }

    #[test]
    fn every_verb_takes_a_folder_and_json() {
        for verb in [
            "status",
            "flush",
            "log",
            "restore",
            "conflicts",
            "verify",
            "approve",
            "reject",
            "revert",
        ] {
            for line in [vec![verb], vec![verb, "DIR"], vec![verb, "DIR", "--json"]] {
                let all = std::iter::once("fsync-agent").chain(line);
                assert!(Cli::try_parse_from(all).is_ok(), "{verb}");
            }
        }
    }

    #[test]
    fn a_bad_tree_or_server_is_a_usage_error_with_a_hint() {
        for (server, tree) in [
            ("http://h:1", "../x"),
            ("http://h:1", "a/b/c"),
            ("h:1", "t"),
        ] {
            let line = [
                "fsync-agent",
                "sync",
                "D",
                "--server",
                server,
                "--tree",
                tree,
            ];
            let error = Cli::try_parse_from(line).unwrap_err().to_string();
            assert!(
                error.contains("use 1 to 64") || error.contains("not a server address"),
                "{error}"
            );
        }
    }
}
