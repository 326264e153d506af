//! The `fsync-controller` binary: reads flags, runs the controller or prints the kinds.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use fsync_controller::cli::{Cli, RunArgs, Verb};
use fsync_controller::{app, crd};
use fsync_runtime::telemetry::{self, Service};
use fsync_runtime::{Shutdown, crypto};

/// How its spans and metrics are told from others'.
const SERVICE: Service = Service {
    name: "fsync-controller",
    version: env!("CARGO_PKG_VERSION"),
};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Nothing can be done about a terminal that is gone.
            drop(error.print());
            // Not clap's 2: the contract of all programs has 1 for wrong usage.
            return ExitCode::from(u8::from(error.use_stderr()));
        }
    };
    crypto::install();
    let done = match &cli.verb {
        Verb::Crds => print_kinds(),
        Verb::Run(args) => run(&cli, args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let line = writeln!(std::io::stderr(), "fsync-controller: {error}");
            drop(line);
            ExitCode::FAILURE
        }
    }
}

fn print_kinds() -> Result<(), Box<dyn std::error::Error>> {
    Ok(std::io::stdout().write_all(crd::yaml()?.as_bytes())?)
}

fn run(cli: &Cli, args: &RunArgs) -> Result<(), Box<dyn std::error::Error>> {
    let config = args.to_config()?;
    let runtime = tokio::runtime::Runtime::new()?;
    let telemetry = {
        let _inside = runtime.enter();
        telemetry::init(&cli.log, "info", SERVICE)?
    };
    let ended = runtime.block_on(async {
        let shutdown = Shutdown::new();
        shutdown.watch_signals()?;
        app::run(config, &shutdown, |address| {
            let mut stdout = std::io::stdout();
            let line = writeln!(stdout, "fsync-controller answers on http://{address}");
            drop(line.and_then(|()| stdout.flush()));
        })
        .await?;
        Ok(())
    });
    telemetry.flush();
    ended
}
