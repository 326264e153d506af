//! Quantiles, medians, and the samples of rounds.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Significant digits of a quantile.
const DIGITS: u8 = 3;

/// What one round of a scenario measured: values by name.
#[derive(Debug, Default, Serialize)]
#[serde(transparent)]
pub(crate) struct Samples(BTreeMap<String, Vec<f64>>);

impl Samples {
    /// Adds a value.
    pub(crate) fn add(&mut self, name: impl Into<String>, value: f64) {
        self.0.entry(name.into()).or_default().push(value);
    }

    /// Adds a time in seconds.
    pub(crate) fn add_seconds(&mut self, name: impl Into<String>, time: Duration) {
        self.add(name, time.as_secs_f64());
    }

    /// Adds a time in milliseconds.
    pub(crate) fn add_millis(&mut self, name: impl Into<String>, time: Duration) {
        self.add(name, millis(time));
    }
}

/// The rounds of one scenario.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rounds<'a>(pub(crate) &'a [Samples]);

impl Rounds<'_> {
    /// Returns each round's median of a name; rounds without it are left out.
    pub(crate) fn each(&self, name: &str) -> Vec<f64> {
        let lists = self.0.iter().filter_map(|round| round.0.get(name));
        lists.map(|list| median(list)).collect()
    }

    /// Returns all values of a name, of all rounds.
    pub(crate) fn all(&self, name: &str) -> Vec<f64> {
        let lists = self.0.iter().filter_map(|round| round.0.get(name));
        lists.flatten().copied().collect()
    }

    /// Returns a ratio of two names round by round.
    pub(crate) fn ratio(&self, over: &str, under: &str) -> Vec<f64> {
        let pairs = self.each(over).into_iter().zip(self.each(under));
        pairs.map(|(over, under)| over / under).collect()
    }
}

/// Quantiles of times in milliseconds.
#[derive(Debug)]
pub(crate) struct Quantiles(Histogram<u64>);

impl Quantiles {
    /// Takes times in milliseconds; kept in microseconds.
    ///
    /// # Errors
    /// If the histogram cannot be made: never with these digits.
    pub(crate) fn of(times: &[f64]) -> anyhow::Result<Self> {
        let mut histogram = Histogram::new(DIGITS)?;
        for time in times {
            histogram.record(micros(*time))?;
        }
        Ok(Self(histogram))
    }

    /// Returns a quantile, 0 to 1, in milliseconds.
    pub(crate) fn at(&self, quantile: f64) -> f64 {
        self.0.value_at_quantile(quantile) as f64 / 1e3
    }
}

/// Returns a time in milliseconds.
pub(crate) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn micros(millis: f64) -> u64 {
    u64::try_from(Duration::from_secs_f64(millis / 1e3).as_micros()).unwrap_or(u64::MAX)
}

/// Returns the median; NaN for none.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_in_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0]), 2.5);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn quantiles_are_within_a_thousandth() {
        let times: Vec<f64> = (1..=1000).map(f64::from).collect();
        let quantiles = Quantiles::of(&times).unwrap();
        for (quantile, expected) in [(0.5, 500.0), (0.99, 990.0), (1.0, 1000.0)] {
            let found = quantiles.at(quantile);
            assert!(
                (found - expected).abs() <= expected / 500.0,
                "{quantile}: {found}"
            );
        }
    }

    #[test]
    fn rounds_pair_up_for_a_ratio() {
        let mut first = Samples::default();
        first.add("a", 4.0);
        first.add("b", 2.0);
        let mut second = Samples::default();
        second.add("a", 9.0);
        second.add("b", 3.0);
        let rounds = [first, second];
        assert_eq!(Rounds(&rounds).ratio("a", "b"), [2.0, 3.0]);
    }
}
