//! Spans that follow one change through all processes, and their contexts in W3C form.
//!
//! Guarantees: without an exporter nothing of it costs more than a look at a flag; what comes from
//! outside and is no context makes a trace of its own; an attribute never holds contents, names of
//! files or tokens, because only numbers, ids and hashes are given.
//! Does not: decide what is traced; `OTEL_TRACES_SAMPLER` does.
//! Place: [`span!`](crate::span) makes spans, the exporter is set up by [`crate::telemetry`].

use std::time::SystemTime;

use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::{Span as _, TraceContextExt, Tracer};
use opentelemetry::{Context, KeyValue, global};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// Target of all spans that are exported.
pub const TARGET: &str = "fsync_trace";
/// The only field that is sent along.
const FIELD: &str = "traceparent";

/// Makes a span of a trace: its name, then its attributes as `tracing` takes them.
#[macro_export]
macro_rules! span {
    (parent: $parent:expr, $name:literal $(, $($field:tt)*)?) => {
        $crate::tracing::span!(target: "fsync_trace", parent: $parent, $crate::tracing::Level::TRACE, $name $(, $($field)*)?)
    };
    ($name:literal $(, $($field:tt)*)?) => {
        $crate::tracing::span!(target: "fsync_trace", $crate::tracing::Level::TRACE, $name $(, $($field)*)?)
    };
}

struct Field(Option<String>);

impl Extractor for Field {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.as_deref().filter(|_| key == FIELD)
    }

    fn keys(&self) -> Vec<&str> {
        vec![FIELD]
    }
}

impl Injector for Field {
    fn set(&mut self, key: &str, value: String) {
        if key == FIELD {
            self.0 = Some(value);
        }
    }
}

/// A fact about a span: a number or an id, never a text of a user's.
#[derive(Debug, Clone)]
pub struct Attribute(KeyValue);

impl Attribute {
    /// A number of things.
    pub fn count(name: &'static str, count: usize) -> Self {
        Self(KeyValue::new(
            name,
            i64::try_from(count).unwrap_or(i64::MAX),
        ))
    }
}

/// Exports a span of what is over; returns its context, `None` if nothing is exported.
pub fn record(
    name: &'static str,
    parent: Option<&str>,
    (from, to): (SystemTime, SystemTime),
    attributes: &[Attribute],
) -> Option<String> {
    let tracer = global::tracer(TARGET);
    let mut span = tracer
        .span_builder(name)
        .with_start_time(from)
        .with_attributes(attributes.iter().map(|a| a.0.clone()).collect::<Vec<_>>())
        .start_with_context(&tracer, &parent.map(extract).unwrap_or_default());
    let is_made = span.span_context().is_valid();
    span.end_with_timestamp(to);
    is_made.then(|| text_of(&Context::new().with_span(span)))?
}

fn extract(context: &str) -> Context {
    let field = Field(Some(context.to_owned()));
    TraceContextPropagator::new().extract_with_context(&Context::new(), &field)
}

fn text_of(context: &Context) -> Option<String> {
    let mut field = Field(None);
    TraceContextPropagator::new().inject_context(context, &mut field);
    field.0
}

/// Returns the context of a span as messages carry it; `None` if nothing is exported.
pub fn context_of(span: &Span) -> Option<String> {
    if span.is_disabled() {
        return None;
    }
    text_of(&span.context())
}

/// Returns the context of the span that is entered now.
pub fn current() -> Option<String> {
    context_of(&Span::current())
}

/// Makes a span go on where a message came from; to be done before it is entered.
pub fn follow(span: &Span, context: Option<&str>) {
    if span.is_disabled() {
        return;
    }
    if let Some(context) = context {
        // A span that was entered already keeps its place.
        drop(span.set_parent(extract(context)));
    }
}

/// Makes a span point to another trace that led to it as well.
pub fn link(span: &Span, context: &str) {
    if span.is_disabled() {
        return;
    }
    span.add_link(extract(context).span().span_context().clone());
}
