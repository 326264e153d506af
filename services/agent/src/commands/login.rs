//! `login`: keeps the token for a server where `sync` finds it.

use std::io::{IsTerminal, Read};

use super::{Exit, output::Output};
use crate::client::ServerUrl;
use crate::client::token::{self, Token};

/// Longest input, in bytes.
const INPUT_BYTES: u64 = 64 * 1024;

/// Flags of `login`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The server that the token is for, as http://HOST:PORT or https://HOST
    #[arg(long, env = "FSYNC_SERVER", value_name = "URL")]
    server: ServerUrl,
    /// Print JSON instead of text
    #[arg(long)]
    pub(crate) json: bool,
}

/// Where a token is kept.
#[derive(Debug, serde::Serialize)]
struct Stored {
    server: String,
    path: String,
}

/// Runs the verb: the token comes on standard input, never on the command line, where every user of
/// the machine could read it.
///
/// # Errors
/// What is wrong with the token, or why it cannot be kept.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let mut input = std::io::stdin().lock();
    if input.is_terminal() {
        output.note("paste the token, then press Enter and Ctrl+D");
    }
    let mut text = String::new();
    let mut limited = Read::take(&mut input, INPUT_BYTES);
    limited.read_to_string(&mut text)?;
    let token = Token::parse(&text).map_err(|reason| {
        anyhow::anyhow!("that is no token: {reason}; give it on standard input")
    })?;
    let path = token::stored_path(&args.server)?;
    token::store(&path, &token)?;
    let stored = Stored {
        server: args.server.to_string(),
        path: path.display().to_string(),
    };
    output.show(&stored, || {
        format!("the token for {} is in {}", stored.server, stored.path)
    });
    Ok(Exit::Done)
}
