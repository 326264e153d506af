//! Metrics: kept by the OpenTelemetry SDK, read as Prometheus text on the admin port, and exported
//! by OTLP if `OTEL_*` variables ask for it.
//!
//! Guarantees: until [`crate::telemetry`] has set them up, instruments do nothing and the text is
//! empty.
//! Does not: name metrics; each service has one file that does.

use std::sync::LazyLock;

use opentelemetry_sdk::metrics::{MeterProviderBuilder, SdkMeterProvider};
use prometheus::{Registry, TextEncoder};

/// The media type of [`text`].
pub const TEXT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What Prometheus reads: a process has one, as it has one set of metrics.
static REGISTRY: LazyLock<Registry> = LazyLock::new(Registry::default);

/// Makes the provider whose metrics are read.
pub(crate) fn provider(builder: MeterProviderBuilder) -> Result<SdkMeterProvider, String> {
    let reader = opentelemetry_prometheus::exporter()
        .with_registry(REGISTRY.clone())
        .without_target_info()
        .build();
    Ok(builder
        .with_reader(reader.map_err(|e| e.to_string())?)
        .build())
}

/// Returns all metrics as Prometheus reads them.
///
/// # Errors
/// If the encoder fails.
pub fn text() -> Result<String, prometheus::Error> {
    TextEncoder::new().encode_to_string(&REGISTRY.gather())
}
