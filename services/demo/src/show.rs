//! What the demo prints: a line per event of each agent.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fsync_agent::control::State;
use fsync_agent::progress::{Event, Progress};
use tokio::sync::mpsc::Sender;

/// Prints a line; a reader that went away is no error.
pub(crate) fn say(line: &str) {
    drop(writeln!(std::io::stdout().lock(), "{line}"));
}

/// Prints an agent's events, and tells when it is in step for the first time.
#[derive(Debug)]
pub(crate) struct Show {
    name: &'static str,
    in_step: Sender<()>,
    was_in_step: AtomicBool,
}

impl Show {
    pub(crate) fn start(name: &'static str, in_step: Sender<()>) -> Arc<Self> {
        Arc::new(Self {
            name,
            in_step,
            was_in_step: AtomicBool::new(false),
        })
    }
}

impl Progress for Show {
    fn report(&self, event: &Event) {
        let name = self.name;
        match event {
            Event::Connected { server } => say(&format!("{name}     connected to {server}")),
            Event::Disconnected { .. } => say(&format!("{name}     disconnected")),
            Event::Finished { stage, done } if done.items > 0 => {
                say(&format!(
                    "{name}     {} of {} done",
                    stage.as_str(),
                    done.items
                ));
            }
            Event::Notice { message } => say(&format!("{name}     {message}")),
            Event::State {
                state: State::InStep,
                ..
            } => {
                if !self.was_in_step.swap(true, Ordering::AcqRel) {
                    // There is room for one message per agent; a receiver that is gone has stopped
                    // waiting.
                    self.in_step.try_send(()).unwrap_or_default();
                }
            }
            Event::Finished { .. } | Event::Progress { .. } | Event::State { .. } => {}
        }
    }
}
