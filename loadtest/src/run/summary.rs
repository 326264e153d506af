//! Makes the outcome of what was noted: distributions, series, events, the verdict.
//!
//! Guarantees: pure; measured are the edits that were meant to happen after the warm-up, while the
//! oracle judges all of them.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;

use super::actions::Act;
use super::diary::{Diary, Edit, Micros, Outage};
use super::oracle::{Counts, Judgement};
use super::outcome::{Event, Latency, Process, Second, Verdict};
use super::sample::Sample;
use super::times::Times;

const MIB: f64 = 1024.0 * 1024.0;

/// Returns how long things took.
///
/// # Errors
/// As [`Times::of`].
pub(super) fn latency(
    diaries: &[Diary],
    judgement: &Judgement,
    measured_from: Micros,
) -> Result<Latency> {
    let edits = || {
        let edits = diaries.iter().flat_map(|diary| &diary.edits);
        edits.filter(|edit| edit.intended >= measured_from)
    };
    let took = |from: fn(&Edit) -> Micros| {
        Times::of(edits().filter_map(|edit| Some(edit.ack?.at.since(from(edit)))))
    };
    let reached = judgement.reached.iter();
    let reached = reached.filter(|reach| reach.intended >= measured_from);
    let handshakes = diaries.iter().flat_map(|diary| &diary.handshakes);
    Ok(Latency {
        acknowledged: took(|edit| edit.intended)?.quantiles(),
        delivered: Times::of(reached.map(|reach| reach.took))?.quantiles(),
        service: took(|edit| edit.sent)?.quantiles(),
        handshake: Times::of(handshakes.copied())?.quantiles(),
    })
}

/// Returns the run second by second.
///
/// # Errors
/// As [`Times::of`].
pub(super) fn series(samples: &[Sample], judgement: &Judgement) -> Result<Vec<Second>> {
    let mut by_second: BTreeMap<u64, Vec<Micros>> = BTreeMap::new();
    for reach in &judgement.reached {
        let second = reach.intended.0 / 1_000_000;
        by_second.entry(second).or_default().push(reach.took);
    }
    let before = [Sample::default()];
    let pairs = before.iter().chain(samples).zip(samples);
    pairs
        .map(|(before, now)| {
            let second = now.at.0 / 1_000_000;
            let times = by_second.get(&second).into_iter().flatten().copied();
            let times = Times::of(times)?;
            let at = |quantile| (times.count() > 0).then(|| times.at(quantile));
            Ok(Second {
                second: now.at.seconds(),
                connected: now.connected,
                acknowledged: now.acknowledged - before.acknowledged,
                pulled: now.pulled - before.pulled,
                p50: at(0.5),
                p99: at(0.99),
                memory_mib: now.own.resident_bytes / MIB,
            })
        })
        .collect()
}

/// Returns the acts with how agents came back; connections that were lost without one stand under
/// `otherwise`, if there are any.
pub(super) fn events(acts: &[Act], diaries: &[Diary], otherwise: &str) -> Vec<Event> {
    let outages: Vec<&Outage> = diaries.iter().flat_map(|diary| &diary.outages).collect();
    let act_of = |outage: &Outage| acts.iter().rposition(|act| act.at <= outage.lost);
    let mut events: Vec<Event> = Vec::new();
    for (number, act) in acts.iter().enumerate() {
        let by_it = outages.iter().filter(|o| act_of(o) == Some(number));
        let back = by_it.map(|o| o.back.map(|back| back.since(act.at)));
        events.push(event(act.at, &act.what, back.collect()));
    }
    let rest = outages.iter().filter(|o| act_of(o).is_none());
    let first = rest.clone().map(|o| o.lost).min();
    if let Some(first) = first {
        let back = rest.map(|o| o.back.map(|back| back.since(o.lost)));
        events.push(event(first, otherwise, back.collect()));
    }
    events
}

fn event(at: Micros, what: &str, back: Vec<Option<Micros>>) -> Event {
    let lost = back.len() as u64;
    let mut times: Vec<Micros> = back.into_iter().flatten().collect();
    times.sort_unstable();
    let after = |percent: usize| {
        let count = (times.len() * percent).div_ceil(100);
        let last = count.checked_sub(1).and_then(|last| times.get(last));
        last.map_or(0.0, |time| time.seconds())
    };
    Event {
        second: at.seconds(),
        what: what.to_owned(),
        lost,
        gone: lost - times.len() as u64,
        back_50_seconds: after(50),
        back_95_seconds: after(95),
        back_all_seconds: after(100),
    }
}

/// Returns what each process used from `start` on, this one first.
pub(super) fn processes(samples: &[Sample], pids: &[u32], start: Micros) -> Vec<Process> {
    let own = |sample: &Sample| Some(sample.own);
    let mut all = vec![process("loadtest".to_owned(), samples, start, own)];
    for (number, pid) in pids.iter().enumerate() {
        let usage = |sample: &Sample| sample.watched.get(number).copied().flatten();
        all.push(process(format!("process {pid}"), samples, start, usage));
    }
    all
}

fn process(
    name: String,
    samples: &[Sample],
    start: Micros,
    usage: impl Fn(&Sample) -> Option<crate::usage::Usage>,
) -> Process {
    let of = |sample: &Sample| Some((sample.at, usage(sample)?));
    let all: Vec<_> = samples.iter().filter_map(of).collect();
    let first = all.iter().rfind(|(at, _)| *at <= start).or(all.first());
    let (Some(first), Some(last)) = (first, all.last()) else {
        return Process {
            name,
            ..Process::default()
        };
    };
    let seconds = last.0.since(first.0).seconds();
    let cpu = last.1.cpu_seconds - first.1.cpu_seconds;
    Process {
        name,
        cores: if seconds > 0.0 { cpu / seconds } else { 0.0 },
        memory_mib_first: first.1.resident_bytes / MIB,
        memory_mib_last: last.1.resident_bytes / MIB,
        memory_mib: all.iter().map(|(_, u)| u.resident_bytes / MIB).collect(),
    }
}

/// What a run must keep.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Thresholds {
    /// Longest time of 99 % of the deliveries.
    pub(super) max_p99: Option<Duration>,
    /// Longest time until all are back after an event.
    pub(super) max_back: Option<Duration>,
}

/// Judges a run; `problems` are reasons that stand already.
pub(super) fn verdict(
    thresholds: Thresholds,
    counts: &Counts,
    (latency, events): (&Latency, &[Event]),
    problems: Vec<String>,
) -> Verdict {
    let mut reasons = problems;
    let faults = counts.faults().into_iter().filter(|(_, count)| *count > 0);
    reasons.extend(faults.map(|(what, count)| format!("{what}: {count}")));
    if let Some(most) = thresholds.max_p99 {
        let most = most.as_secs_f64() * 1e3;
        let p99 = latency.delivered.p99;
        if p99 > most {
            reasons.push(format!("p99 of deliveries is {p99:.1} ms, above {most} ms"));
        }
        if latency.delivered.count == 0 {
            reasons.push("no delivery was measured: --max-p99 cannot hold".to_owned());
        }
    }
    let gone: u64 = events.iter().map(|event| event.gone).sum();
    if gone > 0 {
        reasons.push(format!("agents that never came back: {gone}"));
    }
    for event in events {
        let back = event.back_all_seconds;
        if thresholds
            .max_back
            .is_some_and(|most| back > most.as_secs_f64())
        {
            let what = &event.what;
            reasons.push(format!(
                "after \"{what}\" the last agent was back in {back:.1} s"
            ));
        }
    }
    Verdict {
        is_passed: reasons.is_empty(),
        reasons,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Micros {
        Micros(seconds * 1_000_000)
    }

    fn outage(lost: u64, back: Option<u64>) -> Diary {
        Diary {
            outages: vec![Outage {
                lost: seconds(lost),
                back: back.map(seconds),
            }],
            ..Diary::default()
        }
    }

    #[test]
    fn agents_come_back_from_the_act_before_their_loss() {
        let acts = [(10, "one"), (20, "two")].map(|(at, what)| Act {
            at: seconds(at),
            what: what.to_owned(),
        });
        let diaries = [(3, Some(4)), (10, Some(12)), (11, Some(18)), (25, None)]
            .map(|(lost, back)| outage(lost, back));
        let events = events(&acts, &diaries, "by itself");
        let told: Vec<_> = events
            .iter()
            .map(|e| {
                (
                    e.what.as_str(),
                    e.lost,
                    e.gone,
                    e.back_50_seconds,
                    e.back_all_seconds,
                )
            })
            .collect();
        let expected = [
            ("one", 2, 0, 2.0, 8.0),
            ("two", 1, 1, 0.0, 0.0),
            ("by itself", 1, 0, 1.0, 1.0),
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn each_threshold_and_fault_is_a_reason() {
        let mut latency = Latency::default();
        latency.delivered.count = 1;
        latency.delivered.p99 = 200.0;
        let events = [event(Micros(0), "storm", vec![Some(seconds(9))])];
        let judged = |thresholds, counts| {
            verdict(thresholds, &counts, (&latency, &events), Vec::new()).reasons
        };
        let limits = |p99, back| Thresholds {
            max_p99: Some(Duration::from_millis(p99)),
            max_back: Some(Duration::from_secs(back)),
        };
        assert_eq!(judged(limits(200, 9), Counts::default()), [""; 0]);
        assert_eq!(
            judged(limits(150, 8), Counts::default()),
            [
                "p99 of deliveries is 200.0 ms, above 150 ms",
                "after \"storm\" the last agent was back in 9.0 s"
            ]
        );
        let lost = Counts {
            lost: 2,
            ..Counts::default()
        };
        assert_eq!(
            judged(Thresholds::default(), lost),
            ["acknowledged edits lost: 2"]
        );
    }
}
