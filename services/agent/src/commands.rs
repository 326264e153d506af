//! The verbs of the command line, one file each, and what they share.

pub mod approve;
pub mod conflicts;
pub mod flush;
pub mod log;
pub mod login;
pub mod output;
pub mod reject;
pub mod restore;
pub mod revert;
pub mod status;
pub mod sync;
pub mod verify;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::client::http::{self, Http};
use crate::client::{ClientError, ServerUrl, TokenSource, token};
use crate::control::{
    self, ControlError, Failure, FailureKind, Request, Response, status::shell_quoted,
};
use crate::marker::{self, Config};

/// How the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// In step, or done.
    Done = 0,
    /// Wrong usage or a fatal error.
    Fatal = 1,
    /// A hold needs the user.
    Held = 2,
    /// The server cannot be reached.
    Unreachable = 3,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl Exit {
    /// Returns how an error ends the process.
    pub fn of(error: &anyhow::Error) -> Self {
        if let Some(failure) = error.downcast_ref::<Failure>() {
            return match failure.kind {
                FailureKind::Held => Self::Held,
                FailureKind::Offline => Self::Unreachable,
                _ => Self::Fatal,
            };
        }
        match error.downcast_ref::<ClientError>() {
            Some(error) if error.is_offline() => Self::Unreachable,
            _ => Self::Fatal,
        }
    }
}

/// Flags of every verb but `sync`.
#[derive(Debug, Clone, clap::Args)]
pub struct FolderArgs {
    /// The synced folder, or anything inside it
    #[arg(value_name = "DIR", default_value = ".")]
    pub dir: PathBuf,
    /// The folder whose state is here, if its directory is missing or replaced
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// Print JSON instead of text
    #[arg(long)]
    pub json: bool,
}

/// A folder that a verb is about.
#[derive(Debug)]
struct Found {
    dir: PathBuf,
    config: Config,
}

impl Found {
    fn find(args: &FolderArgs) -> anyhow::Result<Self> {
        let (dir, config) = marker::find(&args.dir, args.state_dir.as_deref())?;
        Ok(Self { dir, config })
    }

    /// Returns what talks to the folder's server as its agent does.
    fn http(&self) -> anyhow::Result<Http> {
        let config = &self.config;
        let token = match &config.token_file {
            Some(path) => TokenSource::file(path)?,
            None => stored_token(&config.server)?,
        };
        let ca_pem = config.ca_file.as_deref().map(sync::read_ca).transpose()?;
        let options = http::Options { token, ca_pem };
        Ok(Http::new(
            config.server.clone(),
            config.tree.clone(),
            options,
        )?)
    }

    /// Asks the running agent; a refusal is an error.
    async fn ask(&self, request: &Request) -> anyhow::Result<Response> {
        match control::ask(&self.config.control_path(), request).await {
            Ok(Response::Failed(failure)) => Err(failure.into()),
            Ok(response) => Ok(response),
            Err(ControlError::NotRunning) => Err(anyhow::anyhow!(
                "no agent runs for {}; start it with `{}`",
                self.dir.display(),
                sync_command(&self.dir, &self.config)
            )),
            Err(error) => Err(error.into()),
        }
    }
}

/// Returns the token that `login` stored for a server, or will store.
fn stored_token(server: &ServerUrl) -> anyhow::Result<TokenSource> {
    match token::stored_path(server) {
        Ok(path) => Ok(TokenSource::stored(&path)?),
        // Without a home there is nothing stored; servers without tokens need none.
        Err(_no_home) => Ok(TokenSource::default()),
    }
}

/// Returns the command that starts a folder's agent.
fn sync_command(dir: &Path, config: &Config) -> String {
    format!(
        "fsync-agent sync {} --server {} --tree {}",
        shell_quoted(&dir.to_string_lossy()),
        config.server,
        config.tree
    )
}

/// Says that an answer does not fit the request; only an agent of another release does that.
fn unexpected(response: &Response) -> anyhow::Error {
    anyhow::anyhow!(
        "the running agent gave an unexpected answer ({response:?}); is it of another release?"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_end_the_process_by_their_kind() {
        let exit = |kind| Exit::of(&Failure::new(kind, "m").into());
        assert_eq!(exit(FailureKind::Held), Exit::Held);
        assert_eq!(exit(FailureKind::Offline), Exit::Unreachable);
        assert_eq!(exit(FailureKind::Refused), Exit::Fatal);
        let offline = ClientError::Unreachable {
            server: "http://h".parse().unwrap(),
            reason: "r".into(),
        };
        assert_eq!(Exit::of(&offline.into()), Exit::Unreachable);
        assert_eq!(Exit::of(&anyhow::anyhow!("x")), Exit::Fatal);
    }
}
