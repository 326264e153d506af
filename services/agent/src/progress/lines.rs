//! Progress as plain lines and as JSON lines.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, HumanCount, HumanDuration};

use super::{Amount, Event, Progress, Stage};

/// Shortest time between two lines about one stage.
const PACE: Duration = Duration::from_secs(1);

/// One line of text per event.
#[derive(Debug)]
pub struct Lines<W>(Mutex<Paced<W>>);

/// One line of JSON per event.
#[derive(Debug)]
pub struct Json<W>(Mutex<Paced<W>>);

#[derive(Debug)]
struct Paced<W> {
    out: W,
    stages: BTreeMap<Stage, Pace>,
}

#[derive(Debug, Clone, Copy)]
struct Pace {
    began: Instant,
    told: Option<Instant>,
}

impl<W> Lines<W> {
    /// Writes to `out`.
    pub fn new(out: W) -> Self {
        Self(Mutex::new(Paced::new(out)))
    }
}

impl<W> Json<W> {
    /// Writes to `out`.
    pub fn new(out: W) -> Self {
        Self(Mutex::new(Paced::new(out)))
    }
}

impl<W: Write + Send + std::fmt::Debug> Progress for Lines<W> {
    fn report(&self, event: &Event) {
        let mut paced = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(elapsed) = paced.is_due(event, Instant::now()) {
            paced.write(&text(event, elapsed));
        }
    }
}

impl<W: Write + Send + std::fmt::Debug> Progress for Json<W> {
    fn report(&self, event: &Event) {
        let mut paced = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if paced.is_due(event, Instant::now()).is_none() {
            return;
        }
        if let Ok(line) = serde_json::to_string(event) {
            paced.write(&line);
        }
    }
}

impl<W> Paced<W> {
    fn new(out: W) -> Self {
        Self {
            out,
            stages: BTreeMap::new(),
        }
    }

    /// Returns the time since the stage began if the event is to be shown. A stage shorter than
    /// [`PACE`] shows its end only.
    fn is_due(&mut self, event: &Event, now: Instant) -> Option<Duration> {
        match event {
            Event::Progress { stage, .. } => {
                let pace = self.stages.entry(*stage).or_insert(Pace {
                    began: now,
                    told: None,
                });
                if now.duration_since(pace.told.unwrap_or(pace.began)) < PACE {
                    return None;
                }
                pace.told = Some(now);
                Some(now.duration_since(pace.began))
            }
            Event::Finished { stage, .. } => {
                let began = self.stages.remove(stage).map_or(now, |p| p.began);
                Some(now.duration_since(began))
            }
            _ => Some(Duration::ZERO),
        }
    }
}

impl<W: Write> Paced<W> {
    fn write(&mut self, line: &str) {
        // Nobody reads any more: the sync goes on without its lines.
        drop(writeln!(self.out, "{line}").and_then(|()| self.out.flush()));
    }
}

/// Returns an event as a line for people.
pub(super) fn text(event: &Event, elapsed: Duration) -> String {
    match event {
        Event::Progress { stage, done, total } => {
            let of = total.map_or_else(String::new, |t| format!(" of {}", amount(t)));
            let rate = rate(*done, elapsed);
            let left = total.and_then(|t| time_left(*done, t, elapsed));
            let left = left.map_or_else(String::new, |t| format!(", {} left", HumanDuration(t)));
            format!("{}: {}{of}{rate}{left}", stage.as_str(), amount(*done))
        }
        Event::Finished { stage, done } => {
            let seconds = elapsed.as_secs_f64();
            format!(
                "{}: {} done in {seconds:.1} s",
                stage.as_str(),
                amount(*done)
            )
        }
        Event::Connected { server } => format!("connected to {server}"),
        Event::Disconnected { server } => format!("connection to {server} lost, connecting again"),
        Event::State { state, reason } if reason.is_empty() => state.as_str().to_owned(),
        Event::State { state, reason } => format!("{}: {reason}", state.as_str()),
        Event::Notice { message } => message.clone(),
    }
}

/// Returns an amount for people, without bytes where there are none.
pub(crate) fn amount(amount: Amount) -> String {
    let bytes = match amount.bytes {
        0 => String::new(),
        bytes => format!(" ({})", HumanBytes(bytes)),
    };
    format!("{}{bytes}", HumanCount(amount.items))
}

fn rate(done: Amount, elapsed: Duration) -> String {
    let per_second = |n: u64| {
        let millis = u64::try_from(elapsed.as_millis())
            .unwrap_or(u64::MAX)
            .max(1);
        n.saturating_mul(1000) / millis
    };
    match (per_second(done.items), per_second(done.bytes)) {
        (0, 0) => String::new(),
        (items, 0) => format!(", {}/s", HumanCount(items)),
        (_, bytes) => format!(", {}/s", HumanBytes(bytes)),
    }
}

/// Guesses the rest by what took longest so far: bytes where there are any, else things.
fn time_left(done: Amount, total: Amount, elapsed: Duration) -> Option<Duration> {
    let (done, total) = if total.bytes > 0 {
        (done.bytes, total.bytes)
    } else {
        (done.items, total.items)
    };
    if done == 0 || total <= done {
        return None;
    }
    let millis = elapsed.as_millis() * u128::from(total - done) / u128::from(done);
    u64::try_from(millis).ok().map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(items: u64, bytes: u64, total: Option<Amount>) -> Event {
        Event::Progress {
            stage: Stage::Upload,
            done: Amount { items, bytes },
            total,
        }
    }

    #[test]
    fn a_line_has_amount_rate_and_time_left() {
        let total = Some(Amount {
            items: 100,
            bytes: 4 << 20,
        });
        let line = text(&progress(10, 1 << 20, total), Duration::from_secs(2));
        assert_eq!(
            line,
            "upload: 10 (1.00 MiB) of 100 (4.00 MiB), 512.00 KiB/s, 6 seconds left"
        );
        let line = text(&progress(10, 0, None), Duration::from_secs(2));
        assert_eq!(line, "upload: 10, 5/s");
    }

    #[test]
    fn a_stage_speaks_once_a_second_and_at_its_end() {
        let mut paced = Paced::new(());
        let start = Instant::now();
        let mut due = |event: &Event, millis| {
            paced
                .is_due(event, start + Duration::from_millis(millis))
                .is_some()
        };
        let event = progress(1, 1, None);
        assert!(!due(&event, 0));
        assert!(!due(&event, 900));
        assert!(due(&event, 1000));
        assert!(!due(&event, 1500));
        assert!(due(&event, 2100));
        let end = Event::Finished {
            stage: Stage::Upload,
            done: Amount::default(),
        };
        assert!(due(&end, 2200));
        assert!(!due(&event, 2300));
    }

    #[test]
    fn json_lines_are_events() {
        let event = Event::State {
            state: crate::control::State::InStep,
            reason: String::new(),
        };
        let json = serde_json::to_string(&event).unwrap();
        assert_eq!(json, r#"{"event":"state","state":"in-step"}"#);
        let json = serde_json::to_string(&progress(1, 2, None)).unwrap();
        assert_eq!(
            json,
            r#"{"event":"progress","stage":"upload","done":{"items":1,"bytes":2}}"#
        );
    }
}
