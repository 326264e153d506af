//! A collector that keeps the spans that it is sent, over gRPC and over HTTP, as any OTLP backend
//! would be sent them.
//!
//! Task: a thread with a runtime of its own; it ends with the [`Sink`].

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use prost::Message;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

/// Width of the bars of a [`picture`], in characters.
const BAR: u64 = 40;

/// A span as it was exported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Name of the service that made it.
    pub service: String,
    /// Its name.
    pub name: String,
    /// The trace, in hex.
    pub trace: String,
    /// Its id, in hex.
    pub id: String,
    /// The span that it is part of; empty for a root.
    pub parent: String,
    /// When it began, ns since 1970.
    pub start: u64,
    /// When it ended.
    pub end: u64,
    /// Attributes, as text.
    pub attributes: BTreeMap<String, String>,
    /// Traces that it is linked to.
    pub links: Vec<String>,
}

/// A running collector.
#[derive(Debug)]
pub struct Sink {
    spans: Spans,
    grpc: SocketAddr,
    http: SocketAddr,
    _runtime: Runtime,
}

#[derive(Debug, Clone, Default)]
struct Spans(Arc<Mutex<Vec<Span>>>);

impl Sink {
    /// Starts one on free ports.
    ///
    /// # Errors
    /// The system's.
    pub fn start() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let spans = Spans::default();
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let (for_grpc, for_http) = runtime
            .block_on(async { tokio::join!(TcpListener::bind(any), TcpListener::bind(any)) });
        let (for_grpc, for_http) = (for_grpc?, for_http?);
        let (grpc, http) = (for_grpc.local_addr()?, for_http.local_addr()?);
        let service = TraceServiceServer::new(spans.clone());
        let serve_grpc = tonic::transport::Server::builder()
            .add_service(service)
            .serve_with_incoming(TcpIncoming::from(for_grpc));
        runtime.spawn(serve_grpc);
        let router = Router::new()
            .route("/v1/traces", post(take))
            .with_state(spans.clone());
        runtime.spawn(axum::serve(for_http, router).into_future());
        Ok(Self {
            spans,
            grpc,
            http,
            _runtime: runtime,
        })
    }

    /// Returns the variables that make a program export to it by gRPC, soon after each span's end.
    pub fn by_grpc(&self) -> Vec<(&'static str, String)> {
        variables("grpc", self.grpc)
    }

    /// Returns those for HTTP.
    pub fn by_http(&self) -> Vec<(&'static str, String)> {
        variables("http/protobuf", self.http)
    }

    /// Returns all spans so far.
    pub fn spans(&self) -> Vec<Span> {
        self.spans.lock().clone()
    }
}

fn variables(protocol: &str, at: SocketAddr) -> Vec<(&'static str, String)> {
    vec![
        ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol.to_owned()),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{at}")),
        ("OTEL_BSP_SCHEDULE_DELAY", "100".to_owned()),
    ]
}

impl Spans {
    fn lock(&self) -> MutexGuard<'_, Vec<Span>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, request: ExportTraceServiceRequest) {
        let mut all = self.lock();
        for resource in request.resource_spans {
            let about = resource
                .resource
                .map(|r| texts(r.attributes))
                .unwrap_or_default();
            let service = about.get("service.name").cloned().unwrap_or_default();
            for span in resource
                .scope_spans
                .into_iter()
                .flat_map(|scope| scope.spans)
            {
                all.push(Span {
                    service: service.clone(),
                    name: span.name,
                    trace: hex(&span.trace_id),
                    id: hex(&span.span_id),
                    parent: hex(&span.parent_span_id),
                    start: span.start_time_unix_nano,
                    end: span.end_time_unix_nano,
                    attributes: texts(span.attributes),
                    links: span.links.iter().map(|link| hex(&link.trace_id)).collect(),
                });
            }
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn texts(attributes: Vec<KeyValue>) -> BTreeMap<String, String> {
    let text = |value: Option<Value>| match value {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    };
    let pair = |kv: KeyValue| (kv.key, text(kv.value.and_then(|value| value.value)));
    attributes.into_iter().map(pair).collect()
}

#[tonic::async_trait]
impl TraceService for Spans {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.add(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

async fn take(State(spans): State<Spans>, body: Bytes) -> Result<Vec<u8>, StatusCode> {
    let request = ExportTraceServiceRequest::decode(body);
    spans.add(request.map_err(|_no_request| StatusCode::BAD_REQUEST)?);
    Ok(ExportTraceServiceResponse::default().encode_to_vec())
}

/// Draws the spans of one trace: a line for each, below the one that it is part of, with a bar for
/// its time.
///
/// # Errors
/// If there is no root.
pub fn picture(spans: &[Span]) -> Result<String> {
    let root = spans.iter().find(|span| span.parent.is_empty());
    let root = root.context("a trace without a root")?;
    let end = spans.iter().map(|span| span.end).max().unwrap_or(root.end);
    let mut text = String::new();
    draw(spans, root, (root.start, end), 0, &mut text)?;
    Ok(text)
}

fn draw(
    spans: &[Span],
    span: &Span,
    (from, to): (u64, u64),
    depth: usize,
    text: &mut String,
) -> Result<()> {
    let at = |time: u64| {
        let place = time.saturating_sub(from) * BAR / (to - from).max(1);
        usize::try_from(place.min(BAR)).unwrap_or_default()
    };
    let (start, end) = (at(span.start), at(span.end).max(at(span.start) + 1));
    let name = format!("{:indent$}{}", "", span.name, indent = depth * 2);
    let bar = format!("{:start$}{}", "", "=".repeat(end - start));
    let took = span.end.saturating_sub(span.start) / 1_000;
    let took = format!("{}.{:03} ms", took / 1_000, took % 1_000);
    writeln!(
        text,
        "{name:26} {:12} {bar:width$} {took:>11}",
        span.service,
        width = 41
    )?;
    let mut below: Vec<&Span> = spans.iter().filter(|s| s.parent == span.id).collect();
    below.sort_by_key(|span| span.start);
    below
        .into_iter()
        .try_for_each(|child| draw(spans, child, (from, to), depth + 1, text))
}
