//! The outcome as one HTML file: no script, no network, plots as inline SVG; for people who were not
//! there.

mod plot;

use super::outcome::{Outcome, Process, Second};
use super::times::Quantiles;
use plot::{Axis, Line, Mark, Plot};

const STYLE: &str = "
:root{--ink:#1c2330;--soft:#667085;--line:#dde2ea;--page:#fff;--card:#f6f8fb;--a:#1f6feb;--b:#d9480f;--c:#2b8a3e}
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ef;--soft:#9aa4b5;--line:#343c4a;--page:#14181f;--card:#1d232d;--a:#6ea8fe;--b:#ff922b;--c:#69db7c}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--page);max-width:980px;margin:2em auto;padding:0 1em}
h1{font-size:1.5em;margin:0}h2{font-size:1.1em;margin:2em 0 .4em}p{color:var(--soft);margin:.2em 0 1em}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:10px;margin:1em 0}
.tile{background:var(--card);border-radius:8px;padding:.7em 1em}.tile b{display:block;font-size:1.5em}.tile span{color:var(--soft);font-size:.85em}
.passed{color:var(--c)}.failed{color:var(--b)}table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
td,th{padding:.3em .6em;border-bottom:1px solid var(--line);text-align:right}td:first-child,th:first-child{text-align:left}
svg{width:100%;height:auto;background:var(--card);border-radius:8px}svg text{fill:var(--soft);font:11px system-ui,sans-serif}
pre{background:var(--card);padding:1em;border-radius:8px;overflow-x:auto;font-size:.85em}";

/// Returns the file.
pub(super) fn html(outcome: &Outcome) -> String {
    let load = &outcome.load;
    let title = format!(
        "fsync load test: {}, {} agents, {} trees, {} edits/s",
        load.scenario.as_str(),
        load.agents,
        load.trees,
        load.rate
    );
    let body = [
        head(outcome, &title),
        tiles(outcome),
        plots(outcome),
        tables(outcome),
        environment(outcome),
    ];
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>{title}</title><style>{STYLE}</style></head><body>\n{}\n</body></html>\n",
        body.join("\n")
    )
}

/// Returns a text that stands in HTML as what it is.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

fn head(outcome: &Outcome, title: &str) -> String {
    let verdict = &outcome.verdict;
    let (class, words) = match verdict.is_passed {
        true => (
            "passed",
            "Passed: every agent ended on the head of its tree, and nothing was lost.".to_owned(),
        ),
        false => ("failed", format!("Failed: {}", verdict.reasons.join("; "))),
    };
    format!(
        "<h1>{}</h1><p class=\"{class}\"><b>{}</b></p>",
        escape(title),
        escape(&words)
    )
}

fn tiles(outcome: &Outcome) -> String {
    let (latency, counts) = (&outcome.latency, &outcome.oracle);
    let faults: u64 = counts.faults().iter().map(|(_, count)| count).sum();
    let tiles = [
        (
            format!("{:.1} ms", latency.delivered.p50),
            "half of all edits reached another agent within",
        ),
        (
            format!("{:.1} ms", latency.delivered.p99),
            "99 % reached another agent within",
        ),
        (
            format!("{:.1} ms", latency.acknowledged.p99),
            "99 % were safe on the service within",
        ),
        (
            format!("{}", counts.due - counts.undelivered),
            "deliveries made",
        ),
        (
            format!("{faults}"),
            "faults (lost, twice, backwards, not in step)",
        ),
        (
            format!("{}", outcome.work.connections_lost),
            "connections lost",
        ),
    ];
    let tiles = tiles.map(|(value, what)| {
        format!("<div class=\"tile\"><b>{value}</b><span>{what}</span></div>")
    });
    format!("<div class=\"tiles\">{}</div>", tiles.concat())
}

fn plots(outcome: &Outcome) -> String {
    let events = outcome.events.iter();
    let marks: Vec<Mark> = events
        .map(|event| Mark {
            at: event.second,
            text: event.what.clone(),
        })
        .collect();
    let plots = [
        delays(outcome, &marks),
        curve(outcome),
        connections(outcome, &marks),
        throughput(outcome, &marks),
        memory(outcome, &marks),
    ];
    let plots = plots.map(|plot| format!("<h2>{}</h2>{}\n", escape(plot.title), plot.svg()));
    plots.concat()
}

/// Returns the axis of all plots over time.
fn seconds(outcome: &Outcome) -> Axis {
    let end = outcome.series.last().map_or(1.0, |last| last.second);
    Axis::Seconds(end.max(1.0))
}

/// Returns a line over the seconds of the run.
fn over<'a>(outcome: &Outcome, name: &'a str, value: impl Fn(&Second) -> Option<f64>) -> Line<'a> {
    let points = outcome.series.iter();
    Line {
        name,
        points: points
            .filter_map(|second| Some((second.second, value(second)?)))
            .collect(),
    }
}

fn delays<'a>(outcome: &'a Outcome, marks: &'a [Mark]) -> Plot<'a> {
    Plot {
        title: "Time until an edit is at another agent",
        x: seconds(outcome),
        unit: "ms",
        lines: vec![
            over(outcome, "p50", |second| second.p50),
            over(outcome, "p99", |second| second.p99),
        ],
        marks,
    }
}

fn connections<'a>(outcome: &'a Outcome, marks: &'a [Mark]) -> Plot<'a> {
    Plot {
        title: "Agents connected",
        x: seconds(outcome),
        unit: "",
        lines: vec![over(outcome, "connected", |second| {
            Some(second.connected as f64)
        })],
        marks,
    }
}

fn throughput<'a>(outcome: &'a Outcome, marks: &'a [Mark]) -> Plot<'a> {
    Plot {
        title: "Throughput, per second",
        x: seconds(outcome),
        unit: "",
        lines: vec![
            over(outcome, "edits acknowledged", |second| {
                Some(second.acknowledged as f64)
            }),
            over(outcome, "heads pulled", |second| Some(second.pulled as f64)),
        ],
        marks,
    }
}

fn curve(outcome: &Outcome) -> Plot<'_> {
    let latency = &outcome.latency;
    let points = |times: &Quantiles| times.curve.clone();
    Plot {
        title: "How long the slowest took: time by percentile",
        x: Axis::Percentile,
        unit: "ms",
        lines: vec![
            Line {
                name: "acknowledged",
                points: points(&latency.acknowledged),
            },
            Line {
                name: "at another agent",
                points: points(&latency.delivered),
            },
        ],
        marks: &[],
    }
}

fn memory<'a>(outcome: &'a Outcome, marks: &'a [Mark]) -> Plot<'a> {
    let times = outcome.series.iter().map(|second| second.second);
    let of = |process: &Process| {
        times
            .clone()
            .zip(process.memory_mib.iter().copied())
            .collect()
    };
    let lines = outcome.processes.iter();
    Plot {
        title: "Resident memory",
        x: seconds(outcome),
        unit: "MiB",
        lines: lines
            .map(|p| Line {
                name: &p.name,
                points: of(p),
            })
            .collect(),
        marks,
    }
}

fn tables(outcome: &Outcome) -> String {
    let faults = outcome.oracle.faults();
    let faults = faults.map(|(what, count)| format!("<tr><td>{what}</td><td>{count}</td></tr>"));
    format!(
        "{}{}<h2>What must not happen</h2><table>{}</table>",
        times(outcome),
        events(outcome),
        faults.concat()
    )
}

fn times(outcome: &Outcome) -> String {
    let latency = &outcome.latency;
    let rows = [
        ("edit &rarr; acknowledged", &latency.acknowledged),
        ("edit &rarr; every other agent", &latency.delivered),
        ("commit sent &rarr; answer", &latency.service),
        ("socket &rarr; joined", &latency.handshake),
    ]
    .map(|(name, q)| {
        format!(
            "<tr><td>{name}</td><td>{:.1}</td><td>{:.1}</td><td>{:.1}</td><td>{:.1}</td>\
             <td>{:.1}</td><td>{}</td></tr>",
            q.p50, q.p90, q.p99, q.p999, q.max, q.count
        )
    });
    format!(
        "<h2>Times in milliseconds</h2><p>Counted from the moment an edit was meant to happen, so \
         that a stall of the service is in every edit that was due in it.</p><table><tr><th></th>\
         <th>p50</th><th>p90</th><th>p99</th><th>p99.9</th><th>max</th><th>n</th></tr>{}</table>",
        rows.concat()
    )
}

fn events(outcome: &Outcome) -> String {
    if outcome.events.is_empty() {
        return String::new();
    }
    let rows = outcome.events.iter().map(|e| {
        format!(
            "<tr><td>{:.1} s: {}</td><td>{}</td><td>{:.1}</td><td>{:.1}</td><td>{:.1}</td>\
             <td>{}</td></tr>",
            e.second,
            escape(&e.what),
            e.lost,
            e.back_50_seconds,
            e.back_95_seconds,
            e.back_all_seconds,
            e.gone
        )
    });
    format!(
        "<h2>What happened</h2><table><tr><th>event</th><th>connections lost</th>\
         <th>50 % back (s)</th><th>95 % (s)</th><th>all (s)</th><th>never</th></tr>{}</table>",
        rows.collect::<String>()
    )
}

fn environment(outcome: &Outcome) -> String {
    let environment = &outcome.environment;
    let work = &outcome.work;
    let mut text = format!(
        "{}\nload of the machine at the start {:.2}; {} open files allowed; loadtest {}, protocol {}\n{}\n\
         late ticks of the generator: {} of {}, the latest by {:.0} ms\n",
        environment.machine.line(),
        environment.load_average,
        environment.open_files,
        environment.loadtest,
        environment.protocol,
        environment.command.join(" "),
        work.late_ticks,
        work.edits,
        work.latest_tick_ms,
    );
    for process in &outcome.processes {
        text.push_str(&format!(
            "{}: {:.2} cores, {:.0} MiB before the first edit, {:.0} MiB at the end\n",
            process.name, process.cores, process.memory_mib_first, process.memory_mib_last
        ));
    }
    for (reason, count) in &outcome.reasons {
        text.push_str(&format!("met {count} x {reason}\n"));
    }
    format!("<h2>Where and how</h2><pre>{}</pre>", escape(&text))
}

#[cfg(test)]
mod tests;
