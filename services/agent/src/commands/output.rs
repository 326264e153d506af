//! What verbs print: text or JSON to stdout, errors to stderr.

use std::io::Write;

use serde::Serialize;

/// Where a verb prints.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    wants_json: bool,
}

impl Output {
    /// Chooses between JSON and text.
    pub fn new(wants_json: bool) -> Self {
        Self { wants_json }
    }

    /// Prints `value` as a line of JSON, or else what `text` makes.
    pub fn show(&self, value: &impl Serialize, text: impl FnOnce() -> String) {
        let line = if self.wants_json {
            serde_json::to_string(value).unwrap_or_else(|e| format!("{{\"error\":\"{e}\"}}"))
        } else {
            text()
        };
        self.line(&line);
    }

    /// Prints a line for people; nothing with JSON.
    pub fn note(&self, line: &str) {
        if !self.wants_json {
            self.line(line);
        }
    }

    /// Prints an error with its causes to stderr, and with JSON an `error` line to stdout too.
    pub fn error(&self, error: &anyhow::Error) {
        let message = chain(error);
        if self.wants_json {
            self.line(&serde_json::json!({ "event": "error", "message": message }).to_string());
        }
        // Nothing can be done about a terminal that is gone.
        drop(writeln!(std::io::stderr(), "error: {message}"));
    }

    /// Prints a line to stderr: something to know that is no error.
    pub fn warn(&self, line: &str) {
        // Nothing can be done about a terminal that is gone.
        drop(writeln!(std::io::stderr(), "{line}"));
    }

    #[expect(
        clippy::unused_self,
        reason = "printing goes through the value, so that it can be redirected in one place"
    )]
    fn line(&self, line: &str) {
        // A reader that went away (`| head`) is no error of ours.
        drop(writeln!(std::io::stdout().lock(), "{line}"));
    }
}

/// Returns an error and its causes, leaving out causes that a message quotes already.
fn chain(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_told_once() {
        let error = anyhow::anyhow!("disk full").context("cannot write x");
        assert_eq!(chain(&error), "cannot write x: disk full");
        let error = anyhow::anyhow!("disk full").context("cannot write x (disk full)");
        assert_eq!(chain(&error), "cannot write x (disk full)");
    }
}
