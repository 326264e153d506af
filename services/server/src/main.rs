//! The `fsync-server` binary: reads flags, runs the server or a verb, prints the one line that
//! scripts wait for.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use fsync_runtime::telemetry::{self, Service};
use fsync_runtime::{Shutdown, crypto};
use fsync_server::app;
use fsync_server::cli::{Cli, TokenArgs, Verb};
use fsync_server::fsck::Report;
use tokio::runtime::Runtime;

/// How its spans are told from others'.
const SERVICE: Service = Service {
    name: "fsync-server",
    version: env!("CARGO_PKG_VERSION"),
};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Nothing can be done about a terminal that is gone.
            drop(error.print());
            // Not clap's 2: the contract of both programs has 1 for wrong usage.
            return ExitCode::from(u8::from(error.use_stderr()));
        }
    };
    crypto::install();
    match start(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let line = writeln!(std::io::stderr(), "fsync-server: {error}");
            drop(line);
            ExitCode::FAILURE
        }
    }
}

fn start(cli: &Cli) -> Result<(), Box<dyn std::error::Error>> {
    // A token is made without any store, where the server may not even be.
    if let Some(Verb::Token(args)) = &cli.verb {
        return tell_token(args);
    }
    let runtime = tokio::runtime::Runtime::new()?;
    let telemetry = {
        let _inside = runtime.enter();
        telemetry::init(&cli.log, "info", SERVICE)?
    };
    let ended = run(cli, &runtime);
    telemetry.flush();
    ended
}

fn run(cli: &Cli, runtime: &Runtime) -> Result<(), Box<dyn std::error::Error>> {
    let config = cli.server.to_config()?;
    match &cli.verb {
        Some(Verb::Revoke(args)) => {
            let revocation = args.to_revocation().ok_or("give --id or --subject")?;
            runtime.block_on(app::revoke_once(&config, revocation.clone()))?;
            return Ok(writeln!(
                std::io::stdout(),
                "revoked {}: it counts within 5 seconds",
                revocation.who
            )?);
        }
        Some(Verb::Gc {
            dry_run,
            accept_heads,
        }) => {
            let (dry_run, accept_heads) = (*dry_run, *accept_heads);
            if accept_heads && !dry_run {
                let count = runtime.block_on(app::accept_once(&config))?;
                writeln!(std::io::stdout(), "accepted: heads of {count} trees")?;
            }
            let collected = runtime.block_on(app::collect_once(&config, dry_run))?;
            let mood = if dry_run { "would collect: " } else { "" };
            return Ok(writeln!(std::io::stdout(), "{mood}{collected}")?);
        }
        Some(Verb::Fsck { repair }) => {
            return tell(&runtime.block_on(app::check_once(&config, *repair))?);
        }
        Some(Verb::Adopt) => {
            let adopted = runtime.block_on(app::adopt_once(&config))?;
            return Ok(writeln!(
                std::io::stdout(),
                "adopted service {adopted}: start the server"
            )?);
        }
        None | Some(Verb::Token(_)) => {}
    }
    runtime.block_on(async {
        let shutdown = Shutdown::new();
        shutdown.watch_signals()?;
        fsync_server::run(config, &shutdown, |server| {
            let mut stdout = std::io::stdout();
            let line = writeln!(stdout, "fsync-server listening on {}", server.url());
            drop(line.and_then(|()| stdout.flush()));
        })
        .await?;
        Ok(())
    })
}

/// Prints a token, alone on stdout so that it can be redirected to a file; its id to stderr.
fn tell_token(args: &TokenArgs) -> Result<(), Box<dyn std::error::Error>> {
    if let Some(minted) = args.run()? {
        writeln!(std::io::stdout(), "{}", minted.text)?;
        let how = format!(
            "token id {0}; fsync-server revoke --id {0} ends it",
            minted.id
        );
        writeln!(std::io::stderr(), "{how}")?;
    }
    Ok(())
}

/// Prints what a check found; problems are an error.
fn tell(report: &Report) -> Result<(), Box<dyn std::error::Error>> {
    let mut stdout = std::io::stdout().lock();
    for problem in &report.problems {
        writeln!(stdout, "{problem}")?;
    }
    writeln!(stdout, "checked: {report}")?;
    let what_now = match (report.problems.len(), report.repaired) {
        (0, _) => return Ok(()),
        (_, 0) => "with --repair agents are asked for what is gone; else restore a backup",
        _ => {
            "agents are asked for what is forgotten as soon as somebody misses it; start the server, \
             and check again"
        }
    };
    Err(format!("not sound: {what_now}").into())
}
