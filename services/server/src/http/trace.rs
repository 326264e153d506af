//! What is seen of each request: its metric, and a span in the trace that it comes from if it moves
//! contents or heads.

use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;
use fsync_core::trace::TraceContext;
use fsync_core::wire::TRACE_HEADER;
use fsync_runtime::{span, trace};
use tracing::{Instrument, Span, field};

use crate::metrics::metrics;

/// Lets a request through, inside its span.
pub(super) async fn enter(request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or("other", MatchedPath::as_str);
    let (start, method) = (Instant::now(), request.method().clone());
    let span = span_of(route);
    let context = request.headers().get(TRACE_HEADER);
    let context = context.and_then(|value| value.to_str().ok()?.parse::<TraceContext>().ok());
    trace::follow(&span, context.as_ref().map(TraceContext::as_str));
    let response = next.run(request).instrument(span.clone()).await;
    let status = response.status().as_u16();
    span.record("http.response.status_code", status);
    metrics().request(method_of(&method), route, status, start.elapsed());
    response
}

/// Returns a method's name; others than ours are one, whatever a client invents.
fn method_of(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        _ => "other",
    }
}

/// Makes the span of a route; a request that waits for news or asks who is there has none.
fn span_of(route: &str) -> Span {
    let name = match route.rsplit('/').next() {
        Some("commits") => "server.commit",
        Some("delta") => "server.delta",
        Some("objects") => "server.objects",
        Some("have") => "server.have",
        Some("uploads" | "{upload}") => "server.upload",
        Some("known") => "server.known",
        _ => return Span::none(),
    };
    span!(
        "server.request",
        otel.name = name,
        otel.kind = "server",
        http.route = route,
        http.response.status_code = field::Empty,
    )
}
