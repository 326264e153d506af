//! A plot as SVG: lines over seconds or percentiles, events as marks.

use super::escape;

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 30.0;
const BOTTOM: f64 = 30.0;
/// Lines of the grid above the ground.
const STEPS: u8 = 4;
const COLOURS: [&str; 4] = ["var(--a)", "var(--b)", "var(--c)", "var(--soft)"];
/// Characters of a mark's text.
const MARK_CHARS: usize = 28;

/// What the horizontal axis is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Axis {
    /// Seconds of the run, up to its end.
    Seconds(f64),
    /// Quantiles from 0 to 1, stretched towards 1.
    Percentile,
}

/// A line.
#[derive(Debug)]
pub(super) struct Line<'a> {
    /// Its name.
    pub(super) name: &'a str,
    /// Its points.
    pub(super) points: Vec<(f64, f64)>,
}

/// Something that happened.
#[derive(Debug)]
pub(super) struct Mark {
    /// When.
    pub(super) at: f64,
    /// What.
    pub(super) text: String,
}

/// A plot.
#[derive(Debug)]
pub(super) struct Plot<'a> {
    /// What it shows.
    pub(super) title: &'a str,
    /// Its horizontal axis.
    pub(super) x: Axis,
    /// Unit of the vertical one.
    pub(super) unit: &'a str,
    /// Its lines.
    pub(super) lines: Vec<Line<'a>>,
    /// Its marks.
    pub(super) marks: &'a [Mark],
}

impl Plot<'_> {
    /// Returns it as an element.
    pub(super) fn svg(&self) -> String {
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let top = nice(points().map(|p| p.1).fold(0.0, f64::max));
        let right = match self.x {
            Axis::Seconds(end) => end,
            Axis::Percentile => stretch(0.9999),
        };
        let scale = Scale { top, right };
        let mut out = format!(
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">",
            escape(self.title)
        );
        self.grid(&scale, &mut out);
        self.curves(&scale, &mut out);
        self.events(&scale, &mut out);
        out.push_str("</svg>");
        out
    }

    fn grid(&self, scale: &Scale, out: &mut String) {
        for step in 0..=STEPS {
            let value = scale.top * f64::from(step) / f64::from(STEPS);
            let y = scale.y(value);
            put(
                out,
                &format!(
                    "<line x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{:.1}\" y2=\"{y:.1}\" stroke=\"var(--line)\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                    WIDTH - RIGHT,
                    LEFT - 6.0,
                    y + 4.0,
                    number(value)
                ),
            );
        }
        put(out, &format!("<text x=\"6\" y=\"16\">{}</text>", self.unit));
        let ground = HEIGHT - 10.0;
        for (value, label) in self.ticks(scale) {
            let x = scale.x(self.place(value));
            put(
                out,
                &format!("<text x=\"{x:.1}\" y=\"{ground}\" text-anchor=\"middle\">{label}</text>"),
            );
        }
    }

    fn ticks(&self, scale: &Scale) -> Vec<(f64, String)> {
        match self.x {
            Axis::Seconds(_) => (0..=5)
                .map(|step| {
                    let value = scale.right * f64::from(step) / 5.0;
                    (value, format!("{value:.0} s"))
                })
                .collect(),
            Axis::Percentile => [(0.5, "p50"), (0.9, "p90"), (0.99, "p99"), (0.999, "p99.9")]
                .map(|(value, label)| (value, label.to_owned()))
                .into(),
        }
    }

    fn curves(&self, scale: &Scale, out: &mut String) {
        let mut legend = LEFT;
        for (line, colour) in self.lines.iter().zip(COLOURS.iter().cycle()) {
            let points = line
                .points
                .iter()
                .map(|(x, y)| format!("{:.1},{:.1}", scale.x(self.place(*x)), scale.y(*y)));
            let points = points.collect::<Vec<_>>().join(" ");
            put(
                out,
                &format!(
                    "<polyline points=\"{points}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.8\"/>\
                 <rect x=\"{legend}\" y=\"8\" width=\"12\" height=\"4\" fill=\"{colour}\"/>\
                 <text x=\"{:.1}\" y=\"14\">{}</text>",
                    legend + 16.0,
                    escape(line.name)
                ),
            );
            legend += 40.0 + 7.0 * line.name.len() as f64;
        }
    }

    fn events(&self, scale: &Scale, out: &mut String) {
        for mark in self.marks {
            let x = scale.x(mark.at);
            let text: String = mark.text.chars().take(MARK_CHARS).collect();
            put(
                out,
                &format!(
                    "<line x1=\"{x:.1}\" y1=\"{TOP}\" x2=\"{x:.1}\" y2=\"{:.1}\" stroke=\"var(--b)\" \
                 stroke-dasharray=\"4 3\"/><text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                    HEIGHT - BOTTOM,
                    x + 4.0,
                    TOP + 10.0,
                    escape(&text)
                ),
            );
        }
    }

    fn place(&self, x: f64) -> f64 {
        match self.x {
            Axis::Seconds(_) => x,
            Axis::Percentile => stretch(x),
        }
    }
}

/// Where values stand.
struct Scale {
    top: f64,
    right: f64,
}

impl Scale {
    fn x(&self, value: f64) -> f64 {
        LEFT + (WIDTH - LEFT - RIGHT) * (value / self.right).clamp(0.0, 1.0)
    }

    fn y(&self, value: f64) -> f64 {
        HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * (value / self.top).clamp(0.0, 1.0)
    }
}

/// Stretches quantiles so that each further nine takes the same room.
fn stretch(quantile: f64) -> f64 {
    -(1.0 - quantile).max(1e-4).log10()
}

/// Returns a round number that is not below a value.
fn nice(value: f64) -> f64 {
    if value <= 0.0 {
        return 1.0;
    }
    let power = 10_f64.powf(value.log10().floor());
    let steps = [1.0, 2.0, 4.0, 5.0, 8.0, 10.0];
    let step = steps.into_iter().find(|step| step * power >= value);
    step.unwrap_or(10.0) * power
}

fn number(value: f64) -> String {
    match value {
        value if value >= 10.0 || value == 0.0 => format!("{value:.0}"),
        value if value >= 1.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

fn put(out: &mut String, text: &str) {
    out.push_str(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tops_are_round() {
        for (value, top) in [
            (0.0, 1.0),
            (3.0, 4.0),
            (99.0, 100.0),
            (180.0, 200.0),
            (0.07, 0.08),
        ] {
            assert!((nice(value) - top).abs() < 1e-9, "{value}");
        }
    }

    #[test]
    fn each_nine_takes_the_same_room() {
        let (nine, two, three) = (stretch(0.9), stretch(0.99), stretch(0.999));
        assert!((two - nine - (three - two)).abs() < 1e-9);
        assert!(stretch(1.0).is_finite());
    }
}
