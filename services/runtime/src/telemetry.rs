//! Sends what the process logs to stderr, as text or JSON.
//!
//! Guarantees: never a byte to stdout; a filter that does not parse is an error at start, not
//! silence later.
//! Does not: export traces or metrics yet.

use std::io::IsTerminal;

use tracing_subscriber::filter::ParseError;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{EnvFilter, Layer, Registry, layer::SubscriberExt};

use crate::args::{LogArgs, LogFormat};

/// Libraries whose chatter below `warn` helps nobody unless asked for by name.
const QUIET: &str = "hyper=warn,hyper_util=warn,reqwest=warn,rustls=warn,h2=warn,tower=warn,\
    engineioxide=warn,socketioxide=warn,socketioxide_core=warn,rust_socketio=warn,rust_engineio=warn,\
    tungstenite=warn,tokio_tungstenite=warn,object_store=warn,notify=warn,ignore=warn,globset=warn";

/// Why logging did not start.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter cannot be read.
    #[error(
        "the log filter {filter:?} is not valid (--log-level or FSYNC_LOG): give a level such as `info` or a list such as `info,fsync_server=debug`"
    )]
    Filter {
        /// The filter as given.
        filter: String,
        /// What is wrong with it.
        #[source]
        source: ParseError,
    },
    /// Logging was started before in this process.
    #[error("logging was started twice in this process")]
    Started(#[from] TryInitError),
}

/// Starts logging to stderr; `default_filter` counts when the user gave none.
///
/// # Errors
/// [`TelemetryError`]: tell the user and end.
pub fn init(args: &LogArgs, default_filter: &str) -> Result<(), TelemetryError> {
    let with_colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    init_with(args, default_filter, (std::io::stderr, with_colour))
}

/// As [`init`], to a writer of the caller's, for instance one that makes room for progress bars;
/// the flag says whether it takes colours.
///
/// # Errors
/// As [`init`].
pub fn init_with<W>(
    args: &LogArgs,
    default_filter: &str,
    (writer, with_colour): (W, bool),
) -> Result<(), TelemetryError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let filter = filter(args.log_level.as_deref().unwrap_or(default_filter))?;
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(writer)
        .with_ansi(with_colour);
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match args.log_format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry()
        .with(lines.with_filter(filter))
        .try_init()?;
    Ok(())
}

fn filter(text: &str) -> Result<EnvFilter, TelemetryError> {
    // The user's words come last: a later directive for the same target wins.
    let directives = match text.parse::<tracing::Level>() {
        Ok(level) if level <= tracing::Level::INFO => format!("{QUIET},{text}"),
        _ => text.to_owned(),
    };
    EnvFilter::try_new(directives).map_err(|source| TelemetryError::Filter {
        filter: text.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_lists_are_filters() {
        for text in ["info", "warn", "trace", "off", "info,fsync_server=debug"] {
            assert!(filter(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn a_bad_filter_is_named_with_what_to_do() {
        let error = filter("info,=,").unwrap_err().to_string();
        assert!(
            error.contains("\"info,=,\"") && error.contains("FSYNC_LOG"),
            "{error}"
        );
    }
}
