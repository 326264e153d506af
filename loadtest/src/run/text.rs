//! The outcome as lines for a terminal.

use super::outcome::Outcome;
use super::times::Quantiles;

/// Reasons that are shown; all are in the JSON.
const REASONS: usize = 8;

/// Returns the lines.
pub(super) fn text(outcome: &Outcome) -> String {
    let parts = [
        load(outcome),
        times(outcome),
        counts(outcome),
        events(outcome),
        surroundings(outcome),
        vec![verdict(outcome)],
    ];
    parts
        .concat()
        .iter()
        .map(|line| format!("{line}\n"))
        .collect()
}

fn load(outcome: &Outcome) -> Vec<String> {
    let (load, work) = (&outcome.load, &outcome.work);
    vec![
        format!(
            "{}; load {:.1}",
            outcome.environment.machine.line(),
            outcome.environment.load_average
        ),
        format!(
            "{}: {} agents, {} trees, {} servers, {} edits/s of {} bytes, {:.0} s; seed {}",
            load.scenario.as_str(),
            load.agents,
            load.trees,
            load.servers.len(),
            load.rate,
            load.payload_bytes,
            load.seconds,
            load.seed
        ),
        format!(
            "connected   {} in {:.1} s; connections lost {}, requests made again {}",
            load.agents, work.connect_seconds, work.connections_lost, work.retries
        ),
    ]
}

fn times(outcome: &Outcome) -> Vec<String> {
    let latency = &outcome.latency;
    [
        ("edit -> acknowledged", &latency.acknowledged),
        ("edit -> every other agent", &latency.delivered),
        ("commit sent -> answer", &latency.service),
        ("socket -> joined", &latency.handshake),
    ]
    .map(|(name, times)| format!("{name:<26}{}", quantiles(times)))
    .into()
}

fn quantiles(times: &Quantiles) -> String {
    format!(
        "p50 {:>7.1}  p90 {:>7.1}  p99 {:>7.1}  p99.9 {:>7.1}  max {:>7.1} ms  n {}",
        times.p50, times.p90, times.p99, times.p999, times.max, times.count
    )
}

fn counts(outcome: &Outcome) -> Vec<String> {
    let (work, counts) = (&outcome.work, &outcome.oracle);
    vec![
        format!(
            "edits       {} due, {} acknowledged; {} heads pulled; in step {:.1} s after the last edit",
            work.edits, counts.acknowledged, work.heads_pulled, work.settle_seconds
        ),
        format!(
            "deliveries  {} due; lost {}, undelivered {}, twice {}, backwards {}, two refs {}, \
             wrong contents {}, agents behind {}",
            counts.due,
            counts.lost,
            counts.undelivered,
            counts.twice,
            counts.backwards,
            counts.forked,
            counts.wrong_contents,
            counts.behind
        ),
    ]
}

fn events(outcome: &Outcome) -> Vec<String> {
    let events = outcome.events.iter().map(|event| {
        format!(
            "event       {:.1} s: {}: {} connections lost; back 50 % in {:.2} s, 95 % in {:.2} s, \
             all in {:.2} s, never {}",
            event.second,
            event.what,
            event.lost,
            event.back_50_seconds,
            event.back_95_seconds,
            event.back_all_seconds,
            event.gone
        )
    });
    events.collect()
}

fn surroundings(outcome: &Outcome) -> Vec<String> {
    let work = &outcome.work;
    let processes = outcome.processes.iter().map(|process| {
        format!(
            "{:<16}{:.2} cores, {:.0} MiB before the first edit, {:.0} MiB at the end",
            process.name, process.cores, process.memory_mib_first, process.memory_mib_last
        )
    });
    let mut lines: Vec<String> = processes.collect();
    if work.late_ticks > 0 {
        lines.push(format!(
            "late ticks  {} of {} edits were given out more than 5 ms late, the latest by {:.0} ms: \
             this machine was busy, and that is in the figures",
            work.late_ticks, work.edits, work.latest_tick_ms
        ));
    }
    let reasons = outcome.reasons.iter().take(REASONS);
    lines.extend(reasons.map(|(reason, count)| format!("met         {count} x {reason}")));
    lines
}

fn verdict(outcome: &Outcome) -> String {
    match outcome.verdict.is_passed {
        true => "passed: every agent is on the head of its tree, nothing lost".to_owned(),
        false => format!("FAILED: {}", outcome.verdict.reasons.join("; ")),
    }
}
