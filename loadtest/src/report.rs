//! The table and the JSON file of a run.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::machine::Machine;
use crate::stats::{Quantiles, Samples, median};

/// One line of the table.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    what: String,
    /// Median of the rounds.
    value: f64,
    unit: &'static str,
    rounds: Vec<f64>,
    #[serde(skip_serializing_if = "String::is_empty")]
    note: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    goal: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    is_met: Option<bool>,
}

impl Row {
    /// Makes a row of each round's value.
    pub(crate) fn new(what: impl Into<String>, unit: &'static str, rounds: Vec<f64>) -> Self {
        Self {
            what: what.into(),
            value: median(&rounds),
            unit,
            rounds,
            note: String::new(),
            goal: None,
            is_met: None,
        }
    }

    /// Makes a row of times in milliseconds: p50, and the others in the note.
    ///
    /// # Errors
    /// As [`Quantiles::of`].
    pub(crate) fn times(what: impl Into<String>, times: &[f64]) -> Result<Self> {
        let quantiles = Quantiles::of(times)?;
        let row = Self::new(what, "ms", vec![quantiles.at(0.5)]);
        let at = |quantile| quantiles.at(quantile);
        Ok(row.note(format!(
            "p50; p95 {:.1}, p99 {:.1}, max {:.1}, n {}",
            at(0.95),
            at(0.99),
            at(1.0),
            times.len()
        )))
    }

    /// Adds a remark.
    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }

    /// Sets the goal: at most so much.
    pub(crate) fn at_most(self, most: f64) -> Self {
        let is_met = self.value <= most;
        self.goal(format!("<= {}", number(most)), is_met)
    }

    /// Sets the goal: at least so much.
    pub(crate) fn at_least(self, least: f64) -> Self {
        let is_met = self.value >= least;
        self.goal(format!(">= {}", number(least)), is_met)
    }

    /// Sets the goal in words.
    pub(crate) fn goal(mut self, goal: impl Into<String>, is_met: bool) -> Self {
        self.goal = Some(goal.into());
        self.is_met = Some(is_met);
        self
    }
}

/// What one scenario gave.
#[derive(Debug, Serialize)]
pub(crate) struct Section {
    /// Its name.
    pub(crate) scenario: &'static str,
    /// What it does.
    pub(crate) about: &'static str,
    /// The table.
    pub(crate) rows: Vec<Row>,
    /// All that was measured, round by round.
    pub(crate) rounds: Vec<Samples>,
}

/// What a run gave.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Where.
    pub(crate) machine: Machine,
    /// Seed of contents and orders.
    pub(crate) seed: u64,
    /// Whether sizes were cut down.
    pub(crate) is_quick: bool,
    /// What the figures are about.
    pub(crate) class: &'static str,
    /// By scenario.
    pub(crate) sections: Vec<Section>,
}

impl Report {
    /// Returns the number of goals that were missed.
    pub(crate) fn missed(&self) -> usize {
        let rows = self.sections.iter().flat_map(|section| &section.rows);
        rows.filter(|row| row.is_met == Some(false)).count()
    }

    /// Prints the table.
    ///
    /// # Errors
    /// If nobody reads it.
    pub(crate) fn print(&self, out: &mut impl Write) -> Result<()> {
        let size = if self.is_quick {
            "; --quick: SMALL SIZES, not the goals' own"
        } else {
            ""
        };
        writeln!(
            out,
            "\n{}\n{}; seed {}{size}",
            self.machine.line(),
            self.class,
            self.seed
        )?;
        for section in &self.sections {
            let rounds = section.rounds.len();
            writeln!(
                out,
                "\n{}: {} ({rounds} rounds)",
                section.scenario, section.about
            )?;
            for row in &section.rows {
                writeln!(out, "{}", line(row).trim_end())?;
            }
        }
        let missed = self.missed();
        Ok(writeln!(
            out,
            "\nall folders equal at every end; goals missed: {missed}"
        )?)
    }

    /// Saves all of it.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(crate) fn save(&self, path: &Path) -> Result<()> {
        let json = serde_json::to_vec_pretty(self)?;
        std::fs::write(path, json).with_context(|| format!("cannot write {}", path.display()))
    }
}

fn line(row: &Row) -> String {
    let goal = match (&row.goal, row.is_met) {
        (Some(goal), Some(true)) => format!("goal {goal}: met"),
        (Some(goal), _) => format!("goal {goal}: MISSED"),
        (None, _) => String::new(),
    };
    let rounds = match row.rounds.len() {
        0 | 1 => String::new(),
        _ => format!(
            "[{}]",
            row.rounds
                .iter()
                .map(|v| number(*v))
                .collect::<Vec<_>>()
                .join(" ")
        ),
    };
    let rest = [goal, row.note.clone(), rounds]
        .into_iter()
        .filter(|part| !part.is_empty());
    let rest = rest.collect::<Vec<_>>().join("  ");
    format!(
        "  {:<52} {:>10} {:<6} {rest}",
        row.what,
        number(row.value),
        row.unit
    )
}

/// Returns a number with three significant digits or all of its whole part.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 || size == 0.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.1 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_follows_the_median() {
        let row = |rounds: &[f64]| Row::new("x", "s", rounds.to_vec());
        assert_eq!(row(&[1.0, 9.0, 2.0]).at_most(2.0).is_met, Some(true));
        assert_eq!(row(&[1.0, 9.0, 3.0]).at_most(2.0).is_met, Some(false));
        assert_eq!(row(&[1.0]).at_least(2.0).is_met, Some(false));
        // Nothing measured is nothing reached.
        assert_eq!(row(&[]).at_most(2.0).is_met, Some(false));
    }

    #[test]
    fn a_line_shows_value_goal_and_rounds() {
        let row = Row::new("time", "s", vec![1.0, 2.5]).at_most(2.0);
        let expected = "time 1.75 s goal <= 2.00: met [1.00 2.50]";
        assert_eq!(
            line(&row).split_whitespace().collect::<Vec<_>>().join(" "),
            expected
        );
    }
}
