//! Progress as bars on a terminal: one per stage that is under way, everything else as lines above
//! them.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::lines::text;
use super::{Amount, Event, Progress, Stage};

const WITH_TOTAL: &str = "{prefix:>8} {wide_bar} {msg} {percent:>3}% {eta:>4}";
const WITHOUT_TOTAL: &str = "{prefix:>8} {spinner} {msg}";

/// Bars on stderr.
#[derive(Debug, Default)]
pub struct Bars {
    all: MultiProgress,
    stages: Mutex<BTreeMap<Stage, ProgressBar>>,
}

impl Bars {
    /// Shows nothing until the first event.
    pub fn new() -> Self {
        Self::default()
    }

    fn advance(&self, stage: Stage, done: Amount, total: Option<Amount>) {
        let mut stages = self.stages.lock().unwrap_or_else(PoisonError::into_inner);
        let bar = stages.entry(stage).or_insert_with(|| {
            let bar = self.all.add(ProgressBar::no_length());
            bar.set_style(style(WITHOUT_TOTAL));
            bar.set_prefix(stage.as_str());
            bar
        });
        // One scale per bar: bytes if there are any, else things.
        let (position, length) = match total {
            Some(total) if total.bytes > 0 => (done.bytes, Some(total.bytes)),
            Some(total) => (done.items, Some(total.items)),
            None => (done.items, None),
        };
        if let Some(length) = length {
            if bar.length().is_none() {
                bar.set_style(style(WITH_TOTAL));
            }
            bar.set_length(length.max(position));
        }
        bar.set_position(position);
        let event = Event::Progress {
            stage,
            done,
            total: None,
        };
        let line = text(&event, bar.elapsed().max(Duration::from_millis(1)));
        let short = line.split_once(": ").map_or("", |(_, rest)| rest);
        bar.set_message(short.to_owned());
    }

    fn finish(&self, stage: Stage) -> Duration {
        let mut stages = self.stages.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(bar) = stages.remove(&stage) else {
            return Duration::ZERO;
        };
        let elapsed = bar.elapsed();
        bar.finish_and_clear();
        elapsed
    }

    fn line(&self, event: &Event, elapsed: Duration) {
        // A terminal that is gone takes no lines; the sync goes on.
        drop(self.all.println(text(event, elapsed)));
    }
}

impl Progress for Bars {
    fn report(&self, event: &Event) {
        match event {
            Event::Progress { stage, done, total } => self.advance(*stage, *done, *total),
            Event::Finished { stage, done } => {
                let elapsed = self.finish(*stage);
                // What nobody had time to see needs no line.
                if elapsed >= Duration::from_secs(1) || done.items >= 1000 {
                    self.line(event, elapsed);
                }
            }
            _ => self.line(event, Duration::ZERO),
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_invalid| ProgressStyle::default_bar())
}
