//! The exporters of spans and metrics, as the standard `OTEL_*` variables describe it.
//!
//! Read here: `OTEL_SDK_DISABLED`, `OTEL_TRACES_EXPORTER`, `OTEL_METRICS_EXPORTER`, endpoints and
//! protocols; everything else (headers, timeout, compression, sampler, batches, intervals, service
//! and resource) the SDK reads itself.

use std::env;

use opentelemetry::KeyValue;
use opentelemetry_otlp::{MetricExporter, Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;

use super::{Service, TelemetryError};

/// Where the variables of one kind of signal stand, before those of all kinds.
struct Signal {
    exporter: &'static str,
    endpoints: [&'static str; 2],
    protocols: [&'static str; 2],
}

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const PROTOCOL: &str = "OTEL_EXPORTER_OTLP_PROTOCOL";
const TRACES: Signal = Signal {
    exporter: "OTEL_TRACES_EXPORTER",
    endpoints: ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", ENDPOINT],
    protocols: ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", PROTOCOL],
};
const METRICS: Signal = Signal {
    exporter: "OTEL_METRICS_EXPORTER",
    endpoints: ["OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", ENDPOINT],
    protocols: ["OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", PROTOCOL],
};
const DISABLED: &str = "OTEL_SDK_DISABLED";
const SERVICE_NAME: &str = "OTEL_SERVICE_NAME";

/// How to reach a collector.
enum Way {
    Grpc,
    Http,
}

/// A variable that names where to export to, and what it says.
type Endpoint = (&'static str, String);

/// Returns a variable that is set to something.
fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

fn first(names: [&'static str; 2]) -> Option<(&'static str, String)> {
    let found = |name| Some((name, variable(name)?));
    names.into_iter().find_map(found)
}

impl Signal {
    /// Returns where and how to export; `None` if no endpoint is given or it is switched off.
    fn wanted(&self) -> Result<Option<(Endpoint, Way)>, TelemetryError> {
        let is_true = |value: String| value.eq_ignore_ascii_case("true");
        if variable(DISABLED).is_some_and(is_true) {
            return Ok(None);
        }
        let Some(endpoint) = first(self.endpoints) else {
            return Ok(None);
        };
        match variable(self.exporter).as_deref() {
            Some("none") => return Ok(None),
            None | Some("otlp") => {}
            Some(other) => return Err(unusable(self.exporter, other, "give otlp or none")),
        }
        let protocol = first(self.protocols);
        let (at, protocol) = protocol.unwrap_or((PROTOCOL, "http/protobuf".to_owned()));
        match protocol.as_str() {
            "grpc" => Ok(Some((endpoint, Way::Grpc))),
            "http/protobuf" => Ok(Some((endpoint, Way::Http))),
            other => Err(unusable(at, other, "give grpc or http/protobuf")),
        }
    }
}

fn resource(service: Service) -> Resource {
    let version = KeyValue::new("service.version", service.version);
    let resource = Resource::builder().with_attribute(version);
    match variable(SERVICE_NAME) {
        Some(_) => resource.build(),
        None => resource.with_service_name(service.name).build(),
    }
}

/// Sets up the exporter of spans, if one is wanted.
pub(super) fn traces(service: Service) -> Result<Option<SdkTracerProvider>, TelemetryError> {
    let Some(((name, endpoint), way)) = TRACES.wanted()? else {
        return Ok(None);
    };
    let built = match way {
        Way::Grpc => SpanExporter::builder().with_tonic().build(),
        Way::Http => {
            let builder = SpanExporter::builder().with_http();
            builder.with_protocol(Protocol::HttpBinary).build()
        }
    };
    let exporter = built.map_err(|error| unusable(name, &endpoint, &error.to_string()))?;
    let traces = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(resource(service));
    Ok(Some(traces.build()))
}

/// Sets up metrics for Prometheus, and their exporter if one is wanted.
pub(super) fn metrics(service: Service) -> Result<SdkMeterProvider, TelemetryError> {
    let mut builder = SdkMeterProvider::builder().with_resource(resource(service));
    if let Some(((name, endpoint), way)) = METRICS.wanted()? {
        let built = match way {
            Way::Grpc => MetricExporter::builder().with_tonic().build(),
            Way::Http => {
                let builder = MetricExporter::builder().with_http();
                builder.with_protocol(Protocol::HttpBinary).build()
            }
        };
        let exporter = built.map_err(|error| unusable(name, &endpoint, &error.to_string()))?;
        builder = builder.with_periodic_exporter(exporter);
    }
    crate::metrics::provider(builder).map_err(|reason| unusable(METRICS.exporter, "", &reason))
}

fn unusable(name: &'static str, value: &str, reason: &str) -> TelemetryError {
    TelemetryError::Export {
        name,
        value: value.to_owned(),
        reason: reason.to_owned(),
    }
}
