//! One trace of one change: from the save on a machine to the write on another, over two agents and
//! two replicas, as a collector is sent it.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use fsync_tests::folder::write;
use fsync_tests::otlp::{Sink, Span, picture};
use fsync_tests::redis::RedisServer;
use fsync_tests::{Agent, Server, System, wait};

/// All spans of a change that goes from one replica to another, with what each is part of.
const TREE: &[(&str, &str, &str)] = &[
    ("agent.detect", "", "fsync-agent"),
    ("agent.hash", "agent.detect", "fsync-agent"),
    ("agent.push", "agent.detect", "fsync-agent"),
    ("server.commit", "agent.push", "fsync-server"),
    ("blobs.put", "server.commit", "fsync-server"),
    ("journal.cas", "server.commit", "fsync-server"),
    ("bus.publish", "journal.cas", "fsync-server"),
    ("server.multicast", "bus.publish", "fsync-server"),
    ("agent.pull", "server.multicast", "fsync-agent"),
    ("server.delta", "agent.pull", "fsync-server"),
    ("agent.apply", "server.multicast", "fsync-agent"),
];

/// Two agents on two replicas, which export in two ways.
struct Traced {
    system: System,
    sink: Sink,
    _servers: Vec<Server>,
    a: Agent,
    b: Agent,
    _redis: RedisServer,
}

fn traced() -> Result<Traced> {
    let redis = RedisServer::start()?;
    let (system, sink) = (System::new()?, Sink::start()?);
    let start = |variables: &[(&'static str, String)], agent: &str| -> Result<(Server, Agent)> {
        let variables: Vec<(&str, &str)> = variables
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let server = system.server_in("127.0.0.1:0", &["--redis", &redis.url()], &variables)?;
        let mut agent = system.launch_agent(agent, &server.url, &[], &variables)?;
        agent.process.line_after("connected to ", wait::PATIENCE)?;
        Ok((server, agent))
    };
    let (one, a) = start(&sink.by_http(), "a")?;
    let (two, b) = start(&sink.by_grpc(), "b")?;
    Ok(Traced {
        system,
        sink,
        _servers: vec![one, two],
        a,
        b,
        _redis: redis,
    })
}

/// Returns the spans of a trace once all that `TREE` names are there.
fn whole_trace(sink: &Sink, trace: &str) -> Result<Vec<Span>> {
    wait::until("the trace is whole", wait::PATIENCE, || {
        let mut spans = sink.spans();
        spans.retain(|span| span.trace == trace);
        for (name, parent, service) in TREE {
            let is_it = |span: &&Span| span.name == *name && span.service == *service;
            let span = spans
                .iter()
                .find(is_it)
                .with_context(|| format!("no {name}"))?;
            let of = spans.iter().find(|other| other.id == span.parent);
            let of = of.map_or("", |of| of.name.as_str());
            ensure!(of == *parent, "{name} is part of {of:?}, not of {parent:?}");
        }
        Ok(spans)
    })
}

/// Returns the trace of the newest revision, as `log` prints it.
fn newest(agent: &Agent) -> Result<String> {
    let text = agent.verb("log", &["-n", "1"])?.success()?;
    let (_, trace) = text.rsplit_once("trace ").with_context(|| text.clone())?;
    Ok(trace.trim().to_owned())
}

#[test]
fn one_save_is_one_trace_over_two_agents_and_two_replicas() -> Result<()> {
    let all = traced()?;
    write(&all.a.root, "warm up", "0")?;
    all.system.in_step("a", "b")?;
    write(&all.a.root, "secret name", "secret text")?;
    all.system.in_step("a", "b")?;
    let trace = newest(&all.a)?;
    let spans = whole_trace(&all.sink, &trace)?;
    let roots: Vec<&Span> = spans.iter().filter(|span| span.parent.is_empty()).collect();
    ensure!(roots.len() == 1, "{roots:#?}");
    for span in &spans {
        ensure!(span.start <= span.end, "{span:?}");
        ensure!(!format!("{span:?}").contains("secret"), "{span:?}");
    }
    println!("{}", picture(&spans)?);

    // The other way, and by the other protocol: another trace.
    write(&all.b.root, "back", "1")?;
    all.system.in_step("a", "b")?;
    let back = newest(&all.b)?;
    ensure!(back != trace);
    whole_trace(&all.sink, &back)?;
    Ok(())
}

#[test]
fn what_an_agent_writes_itself_makes_no_trace() -> Result<()> {
    let all = traced()?;
    for n in 0..5 {
        write(&all.a.root, &format!("f{n}"), "1")?;
        all.system.in_step("a", "b")?;
    }
    whole_trace(&all.sink, &newest(&all.a)?)?;
    all.a.flush()?;
    all.b.flush()?;
    let detected: BTreeSet<String> = all
        .sink
        .spans()
        .into_iter()
        .filter(|span| span.name == "agent.detect")
        .map(|span| span.trace)
        .collect();
    let revisions = all.a.verb("log", &["--json"])?.success()?;
    let revisions: Vec<serde_json::Value> = serde_json::from_str(&revisions)?;
    ensure!(detected.len() <= revisions.len(), "{detected:?}");
    for span in all.sink.spans() {
        // A first look at a tree is in nobody's trace, and the server's own then.
        let is_root = span.parent.is_empty() && span.service == "fsync-agent";
        ensure!(!is_root || span.name == "agent.detect", "{span:?}");
    }
    Ok(())
}

#[test]
fn a_setting_that_cannot_be_used_is_told_at_the_start() -> Result<()> {
    let system = System::new()?;
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "carrier-pigeon"),
    ];
    let mut server = system.launch_server("127.0.0.1:0", &[], &variables)?;
    ensure!(server.wait(wait::PATIENCE)?.code() == Some(1));
    let told = server.stderr();
    ensure!(
        told.contains("OTEL_EXPORTER_OTLP_PROTOCOL") && told.contains("grpc"),
        "{told}"
    );
    Ok(())
}
