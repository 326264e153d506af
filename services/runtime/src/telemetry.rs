//! Sends what the process logs to stderr, as text or JSON, and its spans to a collector.
//!
//! Guarantees: never a byte to stdout; a filter or an exporter's setting that cannot be used is an
//! error at start, not silence later; without an endpoint nothing is exported and nothing is tried.

mod export;

use std::io::IsTerminal;
use std::time::Duration;

use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{EnvFilter, Layer, Registry, layer::SubscriberExt};

use crate::args::{LogArgs, LogFormat};

/// Libraries whose chatter below `warn` helps nobody unless asked for by name.
const QUIET: &str = "hyper=warn,hyper_util=warn,reqwest=warn,rustls=warn,h2=warn,tower=warn,\
    engineioxide=warn,socketioxide=warn,socketioxide_core=warn,rust_socketio=warn,rust_engineio=warn,\
    tungstenite=warn,tokio_tungstenite=warn,object_store=warn,notify=warn,ignore=warn,globset=warn,\
    opentelemetry=error,opentelemetry_sdk=error,opentelemetry_otlp=error,tonic=warn";
/// How long the end waits for the last spans.
const LAST_WORDS: Duration = Duration::from_secs(3);

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
    /// An `OTEL_*` variable cannot be used.
    #[error("{name}={value:?} cannot be used: {reason}")]
    Export {
        /// Which.
        name: &'static str,
        /// What it says.
        value: String,
        /// Why not, and what would do.
        reason: String,
    },
    /// Logging was started before in this process.
    #[error("logging was started twice in this process")]
    Started(#[from] TryInitError),
}

/// Who exports.
#[derive(Debug, Clone, Copy)]
pub struct Service {
    /// What it is called unless `OTEL_SERVICE_NAME` says otherwise.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
}

/// What is exported; to be kept until the end.
#[derive(Debug, Default)]
pub struct Telemetry {
    traces: Option<SdkTracerProvider>,
    metrics: Option<SdkMeterProvider>,
}

impl Telemetry {
    /// Sends what waits, within [`LAST_WORDS`].
    pub fn flush(self) {
        if let Some(traces) = self.traces
            && let Err(error) = traces.shutdown_with_timeout(LAST_WORDS)
        {
            tracing::debug!(%error, "the last spans were not exported");
        }
        if let Some(metrics) = self.metrics
            && let Err(error) = metrics.shutdown_with_timeout(LAST_WORDS)
        {
            tracing::debug!(%error, "the last metrics were not exported");
        }
    }
}

/// Starts logging to stderr, and exporting if `OTEL_*` variables ask for it; `default_filter`
/// counts when the user gave none. Needs a Tokio runtime.
///
/// # Errors
/// [`TelemetryError`]: tell the user and end.
pub fn init(
    args: &LogArgs,
    default_filter: &str,
    service: Service,
) -> Result<Telemetry, TelemetryError> {
    let with_colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    init_with(
        args,
        default_filter,
        service,
        (std::io::stderr, with_colour),
    )
}

/// As [`init`], to a writer of the caller's, for instance one that makes room for progress bars;
/// the flag says whether it takes colours.
///
/// # Errors
/// As [`init`].
pub fn init_with<W>(
    args: &LogArgs,
    default_filter: &str,
    service: Service,
    (writer, with_colour): (W, bool),
) -> Result<Telemetry, TelemetryError>
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
    let traces = export::traces(service)?;
    let spans = traces.as_ref().map(|traces| {
        tracing_opentelemetry::layer()
            .with_tracer(traces.tracer(service.name))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_filter(Targets::new().with_target(crate::trace::TARGET, LevelFilter::TRACE))
    });
    tracing_subscriber::registry()
        .with(lines.with_filter(filter))
        .with(spans)
        .try_init()?;
    if let Some(traces) = &traces {
        opentelemetry::global::set_tracer_provider(traces.clone());
    }
    let metrics = export::metrics(service)?;
    opentelemetry::global::set_meter_provider(metrics.clone());
    Ok(Telemetry {
        traces,
        metrics: Some(metrics),
    })
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
